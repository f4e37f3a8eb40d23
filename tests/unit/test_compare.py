"""Paired tests and verdicts that say no more than they support."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest

from tests.samples import gold_examples
from tests.unit.test_intervals import scorer
from weitiao.evaluation.compare import compare, in_words
from weitiao.metrics.classification import MultiLabelScorer


def against(right, right_other, *, primary="accuracy", rounds=500, confidence=0.95):
    return compare(
        scorer(np.asarray(right)), scorer(np.asarray(right_other)),
        primary=primary, rounds=rounds, confidence=confidence, seed=0, name="TF-IDF",
    )  # fmt: skip


def pattern(both, ours, other, neither):
    """Which examples each has right, from the four counts of a paired table."""
    table = [(True, True)] * both + [(True, False)] * ours + [(False, True)] * other + [(False, False)] * neither
    return zip(*table, strict=True)


def test_mcnemar_counts_and_p_value_are_exact():
    found = against(*pattern(60, 25, 5, 10))
    assert (found.only_ours_right, found.only_other_right, found.test) == (25, 5, "exact McNemar")
    assert found.p_value == pytest.approx(binomtest(25, 30, 0.5).pvalue)
    assert found.difference == pytest.approx(0.2)
    assert found.low < 0.2 < found.high
    assert found.finding == "better"
    assert found.verdict.startswith("better than TF-IDF by 20.0 points of accuracy (95% interval ")
    assert found.verdict.endswith("McNemar p < 0.001)")


def test_worse_is_said_with_sizes_that_read_well():
    found = against(*pattern(60, 5, 25, 10))
    assert found.finding == "worse"
    assert "worse than TF-IDF by 20.0 points of accuracy" in found.verdict
    assert "-" not in found.verdict.split("(")[1].replace("TF-IDF", "")


def test_a_small_difference_is_no_measurable_difference():
    found = against(*pattern(80, 7, 5, 8))
    assert found.finding == "no difference"
    assert found.verdict.startswith("no measurable difference from TF-IDF in accuracy (+2.0 points, 95% interval -")


def test_the_same_model_is_not_better_than_itself():
    found = against(*pattern(8, 0, 0, 2))
    assert (found.p_value, found.finding) == (1.0, "no difference")
    assert "-0.0" not in found.verdict


def test_both_test_and_interval_have_to_agree():
    found = against(*pattern(10, 5, 0, 5))  # the interval excludes 0; the exact test does not reach 0.05
    assert found.low > 0
    assert found.p_value == pytest.approx(0.0625)
    assert found.finding == "no difference"


def test_other_scores_use_the_paired_bootstrap():
    found = against(*pattern(300, 80, 10, 10), primary="macro_f1")
    assert (found.test, found.finding, found.only_ours_right) == ("paired bootstrap", "better", None)
    assert 0 < found.p_value < 0.01
    assert "paired bootstrap p = " in found.verdict


def test_lower_is_better_for_losses():
    found = against(*pattern(300, 80, 10, 10), primary="log_loss")
    assert found.difference < 0
    assert found.finding == "better"


def test_the_interval_of_a_large_difference_is_written_as_the_difference_is():
    verdict = in_words("better", "it", "perplexity", -347_915.42, (-371_416.2, -327_297.1), 0.95, "none", None)
    assert verdict == "better than it by 347,915 of perplexity (95% interval 327,297 to 371,416)"
    verdict = in_words("no difference", "it", "perplexity", 1233.6, (-2000.4, 3000.0), 0.95, "none", None)
    assert verdict.endswith("(+1,234, 95% interval -2,000 to +3,000)")


def test_without_resamples_mcnemar_still_tests_and_others_do_not():
    assert against(*pattern(60, 25, 5, 10), rounds=0).verdict == (
        "better than TF-IDF by 20.0 points of accuracy (McNemar p < 0.001)"
    )
    untested = against(*pattern(60, 25, 5, 10), rounds=0, primary="macro_f1")
    assert (untested.test, untested.finding, untested.p_value) == ("none", "not tested", None)
    assert "not tested" in untested.verdict


def test_false_alarms_are_rare():
    random = np.random.default_rng(0)
    alarms = sum(
        against(random.random(100) < 0.8, random.random(100) < 0.8, rounds=100).finding != "no difference"
        for _ in range(60)
    )
    assert alarms <= 6


def test_multi_label_subset_accuracy_is_tested_by_mcnemar():
    gold = np.tile([[1, 0], [0, 1]], (20, 1))
    right = [{"labels": [["a"], ["b"]][i % 2], "probabilities": {"a": 0.5, "b": 0.5}} for i in range(40)]
    empty = [{**prediction, "labels": []} for prediction in right]
    scorers = [MultiLabelScorer(["a", "b"], "subset_accuracy") for _ in range(2)]
    for made, predictions in zip(scorers, (right, empty), strict=True):
        made.add(gold_examples("ab", gold), predictions)
    found = compare(*scorers, primary="subset_accuracy", rounds=50, confidence=0.95, seed=0, name="nothing")
    assert (found.test, found.only_ours_right, found.finding) == ("exact McNemar", 40, "better")


def test_different_examples_cannot_be_paired_and_the_record_is_json():
    with pytest.raises(ValueError, match="5 examples against 4"):
        against([True] * 5, [True] * 4)
    assert json.loads(json.dumps(against([True] * 4, [True] * 4).to_dict()))["name"] == "TF-IDF"
