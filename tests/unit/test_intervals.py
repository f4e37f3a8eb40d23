"""Bootstrap intervals: seeded, from the same samples, honest where the bootstrap knows nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from tests.samples import gold_examples
from weitiao.evaluation.intervals import FEWEST_ROUNDS, affordable_rounds, percentiles, resampled, with_intervals
from weitiao.metrics.classification import SingleLabelScorer


def scorer(right, seed=0):
    """A two-class scorer whose example i is right where right[i]."""
    gold = np.random.default_rng(seed).integers(0, 2, len(right))
    said = np.where(right, gold, 1 - gold)
    made = SingleLabelScorer(["no", "yes"])
    odds = [{"no": 0.8, "yes": 0.2}, {"no": 0.2, "yes": 0.8}]
    made.add(
        gold_examples(made.labels, gold),
        [{"label": ["no", "yes"][i], "score": 0.8, "probabilities": odds[i]} for i in said],
    )
    return made


def test_every_score_gets_an_interval_around_it_close_to_the_normal_one():
    scores = with_intervals(scorer(np.arange(1000) % 10 > 0), rounds=1000, confidence=0.95, seed=1)
    for score in scores.values.values():
        assert score.low < score.value < score.high
    half = 1.96 * np.sqrt(0.9 * 0.1 / 1000)
    accuracy = scores.values["accuracy"]
    assert (accuracy.low, accuracy.high) == pytest.approx((0.9 - half, 0.9 + half), abs=0.003)
    assert scores.details["bootstrap"] == {"rounds": 1000, "confidence": 0.95, "seed": 1}


def test_coverage_is_about_what_it_says():
    random = np.random.default_rng(3)
    held = 0
    for seed in range(100):
        interval = with_intervals(scorer(random.random(200) < 0.8, seed), rounds=200, confidence=0.9, seed=seed)
        accuracy = interval.values["accuracy"]
        held += accuracy.low <= 0.8 <= accuracy.high
    assert 0.8 <= held / 100 <= 0.97


def test_seed_decides_and_zero_rounds_give_none():
    made = scorer(np.arange(50) % 4 > 0)
    first, again = (with_intervals(made, rounds=100, confidence=0.95, seed=5) for _ in range(2))
    assert first == again
    assert first != with_intervals(made, rounds=100, confidence=0.95, seed=6)
    plain = with_intervals(made, rounds=0, confidence=0.95, seed=5)
    assert all(score.low is None and score.high is None for score in plain.values.values())


def test_all_right_is_not_certainty():
    accuracy = with_intervals(scorer(np.ones(20, bool)), rounds=200, confidence=0.95, seed=0).values["accuracy"]
    exact = binomtest(20, 20).proportion_ci(0.95)
    assert (accuracy.low, accuracy.high) == (pytest.approx(exact.low), 1.0)
    assert accuracy.low < 0.85


def test_huge_splits_draw_fewer_samples():
    assert affordable_rounds(1000, 3000) == 1000
    assert affordable_rounds(1000, 10_000_000) == FEWEST_ROUNDS
    assert affordable_rounds(50, 10_000_000) == 50
    assert affordable_rounds(0, 10) == 0


def test_undefined_resamples_are_left_out():
    assert percentiles(np.array([np.nan, 0.5, 0.5]), 0.95) == (0.5, 0.5)
    assert percentiles(np.array([np.nan]), 0.95) is None
    assert with_intervals(SingleLabelScorer(["a", "b"]), rounds=10, confidence=0.95, seed=0).values == {}


def test_samples_are_of_the_same_examples_in_whatever_order_they_were_seen():
    right = np.random.default_rng(0).random(50) < 0.6
    order = np.random.default_rng(1).permutation(50)  # as another tokenizer has them read
    straight = resampled(scorer(right), rounds=20, seed=3, order=range(50))
    turned = resampled(scorer(right[order]), rounds=20, seed=3, order=order.tolist())
    assert [each["accuracy"] for each in turned] == pytest.approx([each["accuracy"] for each in straight])
    assert straight == resampled(scorer(right), rounds=20, seed=3)
