"""Entities and their scores are those of seqeval (both modes) and nervaluate, on legal and broken tags, Chinese too."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_metrics_spans import entities
from weitiao.metrics.spans import EntityScorer
from weitiao.metrics.tags import Span, spans_of, tags_of

seqeval_metrics = pytest.importorskip("seqeval.metrics")
schemes = pytest.importorskip("seqeval.scheme")
nervaluate = pytest.importorskip("nervaluate")

TYPES = ["PER", "LOC", "机构"]
REFERENCE = {"BIO": "IOB2", "BIOES": "IOBES", "BILOU": "BILOU", "IOB1": "IOB1"}
LETTERS = {"BIO": "BI", "BIOES": "BIES", "BILOU": "BILU"}

# A sentence tagged by hand and what a tagger could say about it: one character too few, one type wrong, one missed.
CHINESE = list("王小明昨天在北京大学见到了李华和上海的同事")
CHINESE_GOLD = [(0, 3, "PER"), (6, 10, "机构"), (13, 15, "PER"), (16, 18, "LOC")]
CHINESE_SAID = [(0, 3, "PER"), (6, 8, "机构"), (13, 15, "LOC"), (3, 5, "LOC")]


def random_tags(scheme):
    tag = st.one_of(st.just("O"), st.builds("{}-{}".format, st.sampled_from(LETTERS[scheme]), st.sampled_from(TYPES)))
    return st.lists(tag, min_size=1, max_size=12)


def scored(gold, said, scheme, *, strict):
    def spans(tags):
        return spans_of(tags, scheme, strict=strict)

    scorer = EntityScorer(lambda example: spans(example["tags"]), gold_tags=lambda example: example["tags"])
    predictions = [
        {"entities": [dict(zip(("start", "end", "type"), span, strict=True)) for span in spans(tags)], "tags": tags}
        for tags in said
    ]
    scorer.add([{"tags": tags} for tags in gold], predictions)
    return scorer


def seqeval_scores(gold, said, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        common = {"zero_division": 0, **options}
        found = {
            "f1": seqeval_metrics.f1_score(gold, said, **common),
            "precision": seqeval_metrics.precision_score(gold, said, **common),
            "recall": seqeval_metrics.recall_score(gold, said, **common),
            "macro_f1": seqeval_metrics.f1_score(gold, said, average="macro", **common),
            "token_accuracy": seqeval_metrics.accuracy_score(gold, said),
        }
    return {name: float(np.nan_to_num(value)) for name, value in found.items()}  # no type at all: a mean of nothing


def nervaluate_partial(gold, said):
    """Partial scores added up type by type: nervaluate's own total looks at no type."""
    types = sorted({type for spans in [*gold, *said] for _, _, type in spans})
    as_dicts = [
        [[{"start": s, "end": e - 1, "label": t} for s, e, t in spans] for spans in side] for side in (gold, said)
    ]
    results = nervaluate.Evaluator(*as_dicts, tags=types, loader="dict").evaluate()["entities"]
    partial = [results[type]["partial"] for type in types]
    halves = sum(each.correct + 0.5 * each.partial for each in partial)
    whole = sum(each.actual + each.possible for each in partial)
    return 2 * halves / whole if whole else 0.0


def agree(gold, said, scheme):
    strict = scored(gold, said, scheme, strict=True).compute()
    reference = seqeval_scores(gold, said, mode="strict", scheme=getattr(schemes, REFERENCE[scheme]))
    assert {name: strict[name] for name in reference} == pytest.approx(reference)
    if scheme == "BILOU":
        return  # seqeval's default mode knows no L and U
    lenient = scored(gold, said, scheme, strict=False).compute()
    reference = seqeval_scores(gold, said)
    assert {name: lenient[name] for name in reference} == pytest.approx(reference)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(list(LETTERS)))
def test_any_tags_in_both_modes(data, scheme):
    gold = data.draw(st.lists(random_tags(scheme), min_size=1, max_size=6))
    random = np.random.default_rng(data.draw(st.integers(0, 999)))
    pool = ["O", *(f"{letter}-{type}" for letter in LETTERS[scheme] for type in TYPES)]
    said = [[tag if random.random() < 0.7 else str(random.choice(pool)) for tag in tags] for tags in gold]
    agree(gold, said, scheme)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(entities(), entities()), min_size=1, max_size=6), st.sampled_from(list(REFERENCE)))
def test_legal_tags_of_every_scheme(cases, scheme):
    pairs = [(gold, [s for s in said if s.end <= length]) for (gold, length), (said, _) in cases]
    lengths = [length for (_, length), _ in cases]
    gold, said = (
        [tags_of(pair[side], length, scheme) for pair, length in zip(pairs, lengths, strict=True)] for side in (0, 1)
    )
    agree(gold, said, scheme)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(entities(), entities()), min_size=1, max_size=6))
def test_partial_scores_are_those_of_nervaluate(cases):
    gold, said = ([case[side][0] for case in cases] for side in (0, 1))
    if not any(gold) and not any(said):
        return
    scorer = EntityScorer(lambda example: example["spans"])
    predictions = [{"entities": [span._asdict() for span in spans]} for spans in said]
    scorer.add([{"spans": spans} for spans in gold], predictions)
    assert scorer.compute()["partial_f1"] == pytest.approx(nervaluate_partial(gold, said))


@pytest.mark.parametrize("scheme", list(REFERENCE))
def test_chinese_characters(scheme):
    gold, said = ([tags_of(map(Span._make, spans), len(CHINESE), scheme)] for spans in (CHINESE_GOLD, CHINESE_SAID))
    agree(gold, said, scheme)
    scores = scored(gold, said, scheme, strict=True).compute()
    assert scores["f1"] == pytest.approx(1 / 4)  # 1 right of 4 found and 4 gold
    assert scores["partial_f1"] == pytest.approx(nervaluate_partial([CHINESE_GOLD], [CHINESE_SAID]))
    assert scores["partial_f1"] == pytest.approx(1.5 / 4)
