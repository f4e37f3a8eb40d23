"""Word and character error rates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weitiao.metrics.speech import SpeechScorer, error_counts, normalised


def speech(pairs, language="en", **options):
    scorer = SpeechScorer(lambda example: example["right"], language, given=lambda example: example["audio"], **options)
    scorer.add([{"right": right, "audio": "a.wav"} for _, right in pairs], [{"text": text} for text, _ in pairs])
    return scorer


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Don't STOP —  it’s $5.", "en", "dont stop its 5"),
        ("Ｈｅｌｌｏ，世界！ ２０２４年", "zh", "hello世界2024年"),
        ("state-of-the-art", "en", "state of the art"),
        ("...", "en", ""),
    ],
)
def test_normalised(text, language, expected):
    assert normalised(text, language) == expected


@pytest.mark.parametrize(
    ("said", "reference", "expected"),
    [
        ("a b c", "a b c", (0, 0, 0)),
        ("a x c", "a b c", (1, 0, 0)),
        ("a b c d", "a b c", (0, 1, 0)),
        ("a", "a b c", (0, 0, 2)),
        ("", "a b", (0, 0, 2)),
        ("a b", "", (0, 2, 0)),
    ],
)
def test_error_counts(said, reference, expected):
    assert error_counts(said.split(), reference.split()) == expected


@given(st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abc"), max_size=8))
def test_error_counts_are_a_shortest_way(said, reference):
    table = np.zeros((len(reference) + 1, len(said) + 1), int)
    table[:, 0], table[0] = range(len(reference) + 1), range(len(said) + 1)
    for i, a in enumerate(reference, 1):
        for j, b in enumerate(said, 1):
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a != b))
    substituted, inserted, deleted = error_counts(said, reference)
    assert substituted + inserted + deleted == table[-1, -1]
    assert len(reference) + inserted - deleted == len(said)


def test_rates_are_of_the_whole_set_not_the_mean_of_sentences():
    scorer = speech([("yes", ["No."]), ("the cat sat on the mat", ["The cat sat on a mat!"])])
    assert scorer.compute()["wer"] == pytest.approx(2 / 7)
    assert scorer.compute()["cer"] == pytest.approx((3 + 3) / (2 + 20))
    assert scorer.compute(np.array([1, 1]))["wer"] == pytest.approx(2 / 12)
    assert scorer.outcomes() == pytest.approx([0.0, 5 / 6])
    scores = scorer.scores()
    assert (scores.primary, scores.greater_is_better) == ("wer", False)
    assert scores.details["tables"][0]["rows"] == [[2, 0, 0, 7]]


def test_chinese_is_measured_by_characters():
    scorer = speech([("今天 天气很好", ["今天天气不错。"])], "zh")
    assert scorer.compute() == {"cer": pytest.approx(2 / 6)}
    assert scorer.scores().primary == "cer"


def test_as_written_case_and_punctuation_count():
    pair = [("the cat", ["The cat."])]
    assert speech(pair).compute()["wer"] == 0.0
    assert speech(pair, normalise=False).compute()["wer"] == 1.0


def test_the_nearest_of_several_references_counts():
    assert speech([("colour it", ["color it red now", "colour it"])]).compute()["wer"] == 0.0


def test_more_words_than_there_are_is_over_one():
    scorer = speech([("a b c", ["x"])])
    assert scorer.compute()["wer"] == 3.0
    assert scorer.outcomes().tolist() == [0.0]


def test_silence():
    scorer = speech([("", ["..."]), ("word", [""])])
    assert scorer.outcomes().tolist() == [1.0, 0.0]
    assert "wer" not in scorer.compute()


def test_a_telling():
    scorer = speech([])
    told = scorer.tell({"right": ["The cat."], "audio": "b.wav"}, {"text": "a cat"})
    assert (told.given, told.expected, told.said, told.right) == ("b.wav", ["The cat."], ["a cat"], 0.5)


def test_loss_alone():
    scorer = SpeechScorer(lambda example: example["right"], given=lambda example: "")
    scorer.add([{"right": ["x"]}], [{"loss": 1.0, "tokens": 2}])
    assert list(scorer.compute()) == ["perplexity", "loss"]
