"""Tags become spans and come back, faults in them are named, and entities are scored as documented."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weitiao.metrics.spans import EntityScorer
from weitiao.metrics.tags import SCHEMES, Span, check_tags, scheme_of, spans_of, tags_of, untokenized

PER, LOC = "PER", "LOC"


@st.composite
def entities(draw, longest=14):
    """Spans that do not overlap, with the number of tokens they lie in."""
    length, at, spans = draw(st.integers(1, longest)), 0, []
    while at < length:
        width = draw(st.integers(1, 4))
        if at + width <= length and draw(st.booleans()):
            spans.append(Span(at, at + width, draw(st.sampled_from([PER, LOC, "B-I"]))))
        at += width
    return spans, length


@settings(max_examples=100, deadline=None)
@given(entities(), st.sampled_from(SCHEMES))
def test_spans_come_back_from_their_tags_by_both_readings(case, scheme):
    spans, length = case
    tags = tags_of(spans, length, scheme)
    assert len(tags) == length
    assert check_tags(tags, scheme) == []
    assert spans_of(tags, scheme) == spans_of(tags, scheme, strict=True) == spans


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("BIO", "O B-PER I-PER I-PER B-PER B-LOC"),
        ("IOB1", "O I-PER I-PER I-PER B-PER I-LOC"),
        ("BIOES", "O B-PER I-PER E-PER S-PER S-LOC"),
        ("BMES", "O B-PER M-PER E-PER S-PER S-LOC"),
        ("BILOU", "O B-PER I-PER L-PER U-PER U-LOC"),
    ],
)
def test_each_scheme_as_written_down(scheme, tags):
    spans = [Span(1, 4, PER), Span(4, 5, PER), Span(5, 6, LOC)]
    assert tags_of(spans, 6, scheme) == tags.split()
    assert scheme_of([tags.split()]) == scheme


@pytest.mark.parametrize(
    ("scheme", "tags", "strict", "lenient"),
    [
        ("BIO", "I-PER I-PER O", [], [(0, 2, PER)]),
        ("BIO", "B-PER I-LOC I-LOC", [(0, 1, PER)], [(0, 1, PER), (1, 3, LOC)]),
        ("BIO", "B I O", [(0, 2, "_")], [(0, 2, "_")]),
        ("BIOES", "B-PER I-PER O", [], [(0, 2, PER)]),
        ("BIOES", "B-PER E-PER E-PER", [(0, 2, PER)], [(0, 2, PER), (2, 3, PER)]),
        ("BIOES", "S-PER I-PER E-PER", [(0, 1, PER)], [(0, 1, PER), (1, 3, PER)]),
        ("BMES", "B-PER B-PER M-PER E-PER", [(1, 4, PER)], [(0, 1, PER), (1, 4, PER)]),
        ("BILOU", "U-PER L-PER", [(0, 1, PER)], [(0, 1, PER), (1, 2, PER)]),
        ("IOB1", "O B-PER I-PER", [(2, 3, PER)], [(1, 3, PER)]),
    ],
)
def test_what_breaks_the_rules_is_left_out_or_mended(scheme, tags, strict, lenient):
    assert spans_of(tags.split(), scheme, strict=True) == strict
    assert spans_of(tags.split(), scheme) == lenient


@pytest.mark.parametrize(
    ("scheme", "tags", "found"),
    [
        ("BIO", "O I-PER", [(1, "'I-PER' follows neither 'B-PER' nor 'I-PER'", True)]),
        ("BIO", "B-PER I-LOC", [(1, "'I-LOC' follows neither 'B-LOC' nor 'I-LOC'", True)]),
        ("BIO", "B I", []),
        ("BIO", "B-PER PER", [(1, "'PER' is neither O nor a type after B-, I-", False)]),
        ("BIO", "B-PER E-PER O", [(1, "'E-PER' begins with E, BIO has B, I, O", False)]),
        ("BIOES", "B-PER O", [(0, "'B-PER' is not followed by 'E-PER'", True)]),
        ("BIOES", "B-PER I-PER", [(1, "'I-PER' is not followed by 'E-PER'", True)]),
        ("BILOU", "B-X", [(0, "'B-X' is not followed by 'L-X'", True)]),
        ("BMES", "O E-X", [(1, "'E-X' follows neither 'B-X' nor 'M-X'", True)]),
        ("BIOES", "S-PER E-PER", [(1, "'E-PER' follows neither 'B-PER' nor 'I-PER'", True)]),
        ("IOB1", "O B-PER", [(1, "'B-PER' separates nothing: no entity of its type ends right before it", True)]),
        ("IOB1", "I-PER B-PER I-LOC", []),
    ],
)
def test_faults_are_named_with_their_place(scheme, tags, found):
    tags = tags.split()
    assert [(p.at, p.problem, p.readable) for p in check_tags(tags, scheme)] == found
    assert all(problem.tag == tags[problem.at] for problem in check_tags(tags, scheme))


def test_the_scheme_is_the_one_broken_least():
    sound = ["B-PER", "I-PER", "O"]
    assert scheme_of([sound] * 9 + [["I-PER", "O"]]) == "BIO"
    assert scheme_of([["I-PER", "I-PER", "O"]] * 3 + [["I-PER", "B-PER"]]) == "IOB1"
    assert scheme_of([["O"]]) == scheme_of([]) == scheme_of([["B-PER", "O"]]) == "BIO"
    assert scheme_of([["U-PER", "O"]]) == "BILOU"
    assert scheme_of([["S-PER", "O"]]) == "BIOES"
    with pytest.raises(ValueError, match=r"'PER' is no tag: tags are O, or a letter and a type such as B-PER"):
        scheme_of([sound, ["PER"]])
    with pytest.raises(ValueError, match="tags begin with E, U: no scheme has all of these"):
        scheme_of([["E-PER", "U-PER"]])


def test_tags_that_cannot_be_read_and_spans_that_cannot_be_written():
    with pytest.raises(ValueError, match="'S-PER' is not a tag of BIO"):
        spans_of(["S-PER"], "BIO")
    with pytest.raises(ValueError, match=r"1 to 3 \(PER\) overlaps"):
        tags_of([Span(0, 2, LOC), Span(1, 3, PER)], 5)
    for outside in (Span(-1, 1, PER), Span(2, 2, PER), Span(3, 5, PER)):
        with pytest.raises(ValueError, match="does not lie within 4 tokens"):
            tags_of([outside], 4)


def entity(start, end, type, score=None):
    return {"start": start, "end": end, "type": type, "score": score}


def scored(pairs, **options):
    scorer = EntityScorer(lambda example: [Span.of(e) for e in example["entities"]], **options)
    for gold, said in pairs:
        scorer.add([{"entities": [entity(*e) for e in gold]}], [{"entities": [entity(*e) for e in said]}])
    return scorer


PAIRS = [
    ([(0, 2, PER), (5, 6, LOC)], [(0, 2, PER), (4, 6, LOC)]),  # one right, one overlaps
    ([(0, 3, PER)], [(0, 3, LOC)]),  # the wrong type
    ([], [(2, 3, LOC)]),  # invented
    ([], []),
    ([(7, 9, PER)], []),  # missed
]


def test_scores_by_hand():
    scores = scored(PAIRS, types=[PER, LOC]).scores()
    values = {name: score.value for name, score in scores.values.items()}
    # gold 4, found 4, right 1, partial 1; PER: 1 of 3 gold, 1 found; LOC: none of 1 gold, 3 found
    assert values == pytest.approx(
        {"f1": 1 / 4, "precision": 1 / 4, "recall": 1 / 4, "macro_f1": (2 / 4 + 0) / 2, "partial_f1": 3 / 8}
    )
    assert (scores.primary, scores.examples, scores.greater_is_better) == ("f1", 5, True)
    by_type, by_kind = scores.details["tables"]
    assert by_type["rows"] == [
        [PER, 1.0, pytest.approx(1 / 3), 0.5, 0.5, 3, 1],
        [LOC, 0.0, 0.0, 0.0, 0.25, 1, 3],
    ]
    assert {row[0]: row[1] for row in by_kind["rows"]} == {
        "right": 1, "other type": 1, "other bounds": 1, "other bounds and type": 0, "invented": 1,
    }  # fmt: skip
    assert by_kind["about"].startswith("1 right entities are missed")


def test_outcomes_are_the_f1_of_each_example():
    assert scored(PAIRS).outcomes().tolist() == [0.5, 0.0, 0.0, 1.0, 0.0]


def test_a_sample_counts_its_repeats():
    scorer = scored(PAIRS)
    rows = np.array([0, 0, 2, 4])
    assert scorer.compute(rows) == pytest.approx(scored([PAIRS[row] for row in rows]).compute())
    assert scorer.compute(np.array([3, 3])) == dict.fromkeys(
        ["f1", "precision", "recall", "macro_f1", "partial_f1"], 0.0
    )
    assert EntityScorer(lambda e: []).compute() == {}


def test_token_accuracy_counts_tokens_without_a_tag_as_wrong():
    scorer = EntityScorer(lambda e: spans_of(e["tags"]), gold_tags=lambda e: e["tags"])
    scorer.add([{"tags": ["O", "B-PER", "O", "O"]}], [{"entities": [], "tags": ["O", "O", "O"]}])
    scorer.add([{"tags": ["O"]}], [{"entities": [], "tags": ["O"]}])
    assert scorer.compute()["token_accuracy"] == pytest.approx(3 / 5)
    assert scorer.compute(np.array([1, 1]))["token_accuracy"] == 1.0
    assert "token_accuracy" not in scored(PAIRS).compute()


def test_tell_in_words_for_characters_and_for_tokens():
    scorer = EntityScorer(lambda example: [Span(0, 2, "Disease")])
    words = {"tokens": ["breast", "cancer", "again"]}
    told = scorer.tell(words, {"entities": [entity(0, 2, "Disease", 0.9), entity(2, 3, "Disease", 0.6)]})
    assert told.given == "breast cancer again"
    assert told.expected == ["Disease: breast cancer"]
    assert told.said == ["Disease: breast cancer", "Disease: again"]
    assert (told.right, told.sure) == (pytest.approx(2 / 3), 0.6)
    told = scorer.tell({"text": "肺癌的治疗"}, {"entities": []})
    assert (told.given, told.expected, told.said, told.sure) == ("肺癌的治疗", ["Disease: 肺癌"], [], None)
    assert EntityScorer(lambda e: []).tell({"text": "x"}, {"entities": []}).right == 1.0


def test_chinese_characters_are_told_without_spaces():
    assert untokenized(["我", "在", "Beijing", "city", "，", "好"]) == "我在 Beijing city ，好"
    assert untokenized([]) == ""


def test_a_bootstrap_is_quick():
    random = np.random.default_rng(0)
    pairs = []
    for _ in range(2000):
        starts = random.choice(30, 3, replace=False).tolist()
        spans = [(s, s + 1, str(t)) for s, t in zip(starts, random.integers(0, 8, 3), strict=True)]
        pairs.append((spans, [(s, e, t) if random.random() < 0.7 else (s, e, "0") for s, e, t in spans]))
    scorer = scored(pairs)
    scorer.compute()
    begin = time.perf_counter()
    for _ in range(100):
        scorer.compute(random.integers(0, 2000, 2000))
    assert time.perf_counter() - begin < 1.0  # about 0.03 s
