"""Regression scores equal scipy's and scikit-learn's, and a bootstrap of them is quick."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from weitiao.metrics.regression import METRICS, RegressionScorer

TARGETS = ["valence", "arousal"]


def scored(gold, said, targets=("score",), chunk=7, **options):
    """A scorer that saw the values, both of shape (n, targets), in batches."""
    scorer = RegressionScorer(targets, lambda example: [float(example[t]) for t in targets], **options)
    for start in range(0, len(gold), chunk):
        examples = [dict(zip(targets, map(str, row), strict=True)) for row in gold[start : start + chunk]]
        rows = said[start : start + chunk]
        if len(targets) == 1:
            predictions = [{"value": float(row[0])} for row in rows]
        else:
            predictions = [{"values": dict(zip(targets, map(float, row), strict=True))} for row in rows]
        scorer.add(examples, predictions)
    return scorer


def expected(gold, said):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "spearman": stats.spearmanr(gold, said).statistic,
            "pearson": stats.pearsonr(gold, said).statistic,
            "rmse": sk.root_mean_squared_error(gold, said),
            "mae": sk.mean_absolute_error(gold, said),
            "r2": sk.r2_score(gold, said),
        }


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 40), st.integers(0, 10_000), st.sampled_from([1, 10, 1000]))
def test_scores_are_those_of_scipy_and_scikit_learn(count, seed, steps):
    random = np.random.default_rng(seed)
    gold, said = random.integers(0, steps + 1, (2, count, 1)) / steps  # few steps: many ties
    rows = random.integers(0, count, count)
    scorer = scored(gold, said)
    for at in (slice(None), rows):
        reference = expected(gold[at, 0], said[at, 0])
        for name, value in scorer.compute(None if isinstance(at, slice) else rows).items():
            wanted = 0.0 if np.isnan(reference[name]) else reference[name]
            assert value == pytest.approx(wanted, abs=1e-9), name


def test_the_headline_of_several_targets_is_the_mean_of_their_own_scores():
    random = np.random.default_rng(1)
    gold = random.normal(size=(50, 2))
    said = gold + random.normal(size=(50, 2)) * [0.3, 2.0]
    scores = scored(gold, said, TARGETS).scores()
    each = [expected(gold[:, i], said[:, i]) for i in range(2)]
    for name in METRICS:
        assert scores.values[name].value == pytest.approx(np.mean([e[name] for e in each]))
    (table,) = scores.details["tables"]
    assert table["columns"][:6] == ["target", "Spearman", "Pearson", "RMSE", "MAE", "R²"]
    assert [row[0] for row in table["rows"]] == TARGETS
    for row, own in zip(table["rows"], each, strict=True):
        assert row[1:6] == pytest.approx([own[name] for name in METRICS])
        assert len(row) == len(table["columns"])


def test_the_mean_baseline_has_no_correlation_but_an_error():
    gold = np.array([[1.1], [2.3], [2.9], [4.7]])
    said = np.full((4, 1), gold.mean())
    values = scored(gold, said).compute()
    assert (values["spearman"], values["pearson"]) == (0.0, 0.0)
    assert values["r2"] == pytest.approx(0.0)
    assert values["rmse"] == pytest.approx(gold.std())


def test_a_sample_with_one_gold_value_only():
    gold, said = np.array([[2.0], [5.0]]), np.array([[2.5], [5.0]])
    scorer = scored(gold, said)
    assert scorer.compute(np.array([0, 0]))["r2"] == 0.0
    assert scorer.compute(np.array([1, 1]))["r2"] == 1.0
    assert scorer.compute(np.array([1, 1]))["spearman"] == 0.0


def test_primary_and_direction():
    assert scored([[1.0]], [[1.0]]).scores().primary == "spearman"
    rmse = scored([[1.0]], [[1.0]], metric="rmse").scores()
    assert (rmse.primary, rmse.greater_is_better, rmse.main) == ("rmse", False, 0.0)
    with pytest.raises(ValueError, match="'accuracy' is no score of a regression"):
        RegressionScorer(["score"], lambda e: [0.0], metric="accuracy")


def test_no_examples():
    scorer = RegressionScorer(["score"], lambda e: [0.0])
    assert scorer.compute() == {}
    assert scorer.scores().examples == 0
    assert len(scorer.outcomes()) == 0


def test_outcomes_fall_with_the_error_in_units_of_the_scale():
    scorer = scored([[1.0], [1.0], [1.0]], [[1.0], [3.0], [0.0]], scales=[2.0])
    assert scorer.outcomes().tolist() == pytest.approx([1.0, 0.5, 1 / 1.5])


def test_tell_names_the_targets_where_there_are_several():
    one = RegressionScorer(["score"], lambda e: [float(e["score"])])
    told = one.tell({"text": "fine", "score": "3"}, {"value": 3.14159})
    assert (told.given, told.expected, told.said, told.sure) == ("fine", ["3"], ["3.142"], None)
    assert told.right == pytest.approx(1 / 1.14159)
    two = RegressionScorer(TARGETS, lambda e: [3, 2])
    told = two.tell({"text": "a", "text_pair": "b"}, {"values": {"arousal": 2, "valence": 3}})
    assert told.expected == told.said == ["valence 3", "arousal 2"]
    assert told.right == 1.0


def test_a_bootstrap_is_quick():
    random = np.random.default_rng(0)
    gold = random.integers(10, 50, (2000, 2)) / 10
    scorer = scored(gold, gold + random.normal(size=gold.shape), TARGETS, chunk=64)
    scorer.compute()
    begin = time.perf_counter()
    for _ in range(100):
        scorer.compute(random.integers(0, 2000, 2000))
    assert time.perf_counter() - begin < 1.5  # about 0.05 s; ranking anew with scipy takes ten times as long
