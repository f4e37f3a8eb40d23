"""Answers are measured as SQuAD 2.0 and CMRC 2018 describe it, and the threshold for no answer is the best one."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weitiao.metrics.answers import (
    NO_ANSWER,
    AnswerScorer,
    NoAnswerThreshold,
    exact_match,
    normalised,
    segments,
    token_f1,
)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The  Cat.", "cat"),
        ("a Dog, an Owl!", "dog owl"),
        ("Theatre-an", "theatrean"),  # marks go first, articles are whole words
        ("U.S.\n $5", "us 5"),
        ("the", ""),
    ],
)
def test_english_is_normalised_as_by_squad(text, plain):
    assert normalised(text, "en") == plain


def test_chinese_is_cut_into_characters_words_and_signs():
    assert segments("《三国演义》，iPhone 4S售价 3,999元(约$600.5)。", "zh") == [
        *"三国演义", "iphone", "4s", *"售价", "3,999", "元", "(", "约", "$", "600.5", ")",
    ]  # fmt: skip
    assert segments("他说 don't stop. ", "zh") == ["他", "说", "do", "n't", "stop", "."]
    assert segments("GDP-增长：5%", "zh") == ["gdp", "增", "长", "5", "%"]
    assert normalised(" 《红楼梦》 ", "zh") == "红楼梦"


@pytest.mark.parametrize(
    ("text", "references", "language", "exact", "f1"),
    [
        ("the cat sat", ["The cat, sat!"], "en", 1, 1),
        ("a cat", ["dog", "black cat"], "en", 0, 2 / 3),
        ("cat cat dog", ["cat dog dog"], "en", 0, 2 / 3),  # two of three in common
        ("dog cat", ["cat dog"], "en", 0, 1),  # order does not count
        ("", [], "en", 1, 1),
        ("", ["cat"], "en", 0, 0),
        ("cat", [], "en", 0, 0),
        ("the", ["cat"], "en", 0, 0),
        ("the", ["a", "cat"], "en", 0, 0),  # a reference that is only an article is none
        ("北京大学", ["北京大学。"], "zh", 1, 1),
        ("北京的大学", ["北京大学"], "zh", 0, 4 / 9),  # the longest run is two long: no gaps
        ("1999年", ["1999", "在1999年"], "zh", 0, 4 / 5),
        ("", [""], "zh", 1, 1),
        ("上海", ["北京"], "zh", 0, 0),
    ],
)
def test_by_hand(text, references, language, exact, f1):
    assert exact_match(text, references, language) == exact
    assert token_f1(text, references, language) == pytest.approx(f1)


def test_auto_reads_the_language_off_the_references():
    assert token_f1("大学北京", ["北京大学"]) == 0.5  # English rules would see one word
    assert token_f1("cat the dog", ["dog cat"]) == 1.0
    assert exact_match("The café", ["café"]) == 1.0


def example(gold, question="who?", context="some text"):
    return {"question": question, "context": context, "answers": gold}


def scored(cases, **options):
    scorer = AnswerScorer(lambda e: e["answers"], **options)
    for gold, said in cases:
        scorer.add([example(gold)], [{"answer": said}])
    return scorer


CASES = [
    (["cat"], "the cat"),  # right
    (["black cat"], "cat"),  # F1 2/3
    (["dog"], ""),  # withheld
    ([], ""),  # rightly none
    ([""], "owl"),  # should be none
]


def test_scores_with_questions_that_have_no_answer():
    scores = scored(CASES).scores()
    assert {name: score.value for name, score in scores.values.items()} == pytest.approx(
        {
            "f1": (1 + 2 / 3 + 0 + 1 + 0) / 5,
            "exact_match": 2 / 5,
            "has_answer_f1": (1 + 2 / 3) / 3,
            "has_answer_exact_match": 1 / 3,
            "no_answer_accuracy": 1 / 2,
            "no_answer_f1": 2 / 4,  # one right of two said and two gold
        }
    )
    assert (scores.primary, scores.examples) == ("f1", 5)
    (table,) = scores.details["tables"]
    assert table["rows"] == [
        ["with an answer", 3, pytest.approx(5 / 9), pytest.approx(1 / 3), pytest.approx(1 / 3)],
        ["without an answer", 2, 0.5, 0.5, 0.5],
    ]


def test_scores_where_every_question_has_an_answer():
    assert scored(CASES[:3]).compute() == pytest.approx({"f1": 5 / 9, "exact_match": 1 / 3})
    assert AnswerScorer(lambda e: e["answers"]).compute() == {}


def test_a_sample_counts_its_repeats_and_leaves_out_what_it_cannot_say():
    scorer = scored(CASES)
    rows = np.array([0, 0, 1, 4])
    assert scorer.compute(rows) == pytest.approx(scored([CASES[row] for row in rows]).compute())
    assert "no_answer_accuracy" not in scorer.compute(np.array([0, 1]))
    assert "has_answer_f1" not in scorer.compute(np.array([3, 4]))


def test_outcomes_follow_the_primary_score():
    assert scored(CASES).outcomes().tolist() == pytest.approx([1, 2 / 3, 0, 1, 0])
    assert scored(CASES, primary="exact_match").outcomes().tolist() == [1, 0, 0, 1, 0]
    assert scored(CASES, primary="exact_match").scores().main == pytest.approx(2 / 5)


def test_each_example_is_measured_by_its_own_language():
    scorer = AnswerScorer(lambda e: e["answers"])
    examples = [example(["3"], "How many?", "屋里有三个人, 一共 3 个。"), example(["cat dog"])]
    scorer.add(examples, [{"answer": "3。"}, {"answer": "dog cat"}])
    assert scorer.compute() == pytest.approx({"f1": 1.0, "exact_match": 0.5})
    scores = scorer.scores()
    assert scores.details["languages"] == {"other": 1, "zh": 1}
    assert [row[0] for row in scores.details["tables"][0]["rows"]] == [
        "with an answer", "by the English rules", "by the Chinese rules",
    ]  # fmt: skip


def test_tell():
    scorer = AnswerScorer(lambda e: e["answers"])
    told = scorer.tell(example(["black cat", "cat", "cat"]), {"answer": "a dog", "score": 0.7, "no_answer": 0.1})
    assert told.given == "who? ⏐ some text"
    assert (told.expected, told.said, told.right, told.sure) == (["black cat", "cat"], ["a dog"], 0.0, 0.7)
    told = scorer.tell(example([]), {"answer": "", "score": 0.7, "no_answer": 0.9})
    assert (told.expected, told.said, told.right, told.sure) == ([NO_ANSWER], [NO_ANSWER], 1.0, 0.9)
    assert scorer.tell(example(["x"]), {"text": "x", "score": -3.2}).sure is None


def tuned(cases, **options):
    """A threshold from (gold, best answer, probability of none)."""
    tuner = NoAnswerThreshold(lambda e: e["answers"], **options)
    for gold, said, none in cases:
        tuner.add([example(gold)], [{"answer": said, "no_answer": none}])
    return tuner


def mean_f1(cases, threshold):
    return np.mean([token_f1(said if none <= threshold else "", gold, "en") for gold, said, none in cases])


def test_the_threshold_parts_what_has_an_answer_from_what_has_none():
    cases = [(["cat"], "cat", 0.1), (["dog"], "dog", 0.3), ([], "owl", 0.6), ([], "owl", 0.9)]
    assert tuned(cases).best() == (pytest.approx(0.45), 1.0)
    assert tuned(cases[:2]).best() == (1.0, 1.0)  # every question has an answer: always answer
    wrong = [(["cat"], "cow", 0.1), ([], "owl", 0.2)]
    threshold, best = tuned(wrong).best()
    assert best == 0.5
    assert threshold < 0.1  # never answering is as good as it gets
    assert tuned([]).best() == (1.0, 0.0)
    assert tuned([(["cat"], "cat", 0.0), ([], "owl", 0.0)]).best() == (0.5, 0.5)  # equal ones stay together


def test_the_language_is_that_of_the_question_where_there_is_no_context():
    scorer = AnswerScorer(lambda e: e["answers"])
    scorer.add([{"question": "60的因数有哪些？", "answers": ["1 2 3"]}], [{"answer": "1 2 4"}])
    assert scorer.scores().details["languages"] == {"zh": 1}


def test_the_best_answer_is_read_where_the_given_one_is_withheld():
    tuner = NoAnswerThreshold(lambda e: e["answers"])
    tuner.add([example(["cat"])], [{"answer": "", "best_answer": "cat", "no_answer": 0.6}])
    tuner.add([example([])], [{"answer": "", "best_answer": "cat", "no_answer": 0.8}])
    assert tuner.best() == (pytest.approx(0.7), 1.0)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 30), st.integers(0, 9999), st.sampled_from([4, 1000]))
def test_no_threshold_is_better(count, seed, steps):
    random = np.random.default_rng(seed)
    answers = [["red cat"], ["cat"], ["a red dog"], []]
    cases = [
        (answers[random.integers(4)], ["cat", "red dog", "owl"][random.integers(3)], random.integers(steps + 1) / steps)
        for _ in range(count)
    ]
    threshold, best = tuned(cases).best()
    assert mean_f1(cases, threshold) == pytest.approx(best)
    if all(gold for gold, _, _ in cases):
        return
    for other in [0.0, *(none for _, _, none in cases)]:
        assert mean_f1(cases, other) <= best + 1e-9


def test_a_bootstrap_is_quick():
    scorer, random = scored(CASES * 400), np.random.default_rng(0)
    scorer.compute()
    begin = time.perf_counter()
    for _ in range(100):
        scorer.compute(random.integers(0, 2000, 2000))
    assert time.perf_counter() - begin < 1.0  # about 0.02 s
