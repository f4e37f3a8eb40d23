"""Shares of labels are told from texts alone where they have changed, and nothing is made of chance."""

from __future__ import annotations

import numpy as np
import pytest

from weitiao.workshop.label_model import LabelModel, out_of_fold
from weitiao.workshop.label_shift import label_shift, shares, told

NAMES = ["anger", "joy", "love"]


def drawn(count, priors, seed, spread=1.5):
    """Points around a middle for each label."""
    random = np.random.default_rng(seed)
    labels = random.choice(len(priors), count, p=priors)
    middles = np.eye(len(priors), 8) * 2
    return (middles[labels] + random.normal(0, spread, (count, 8))).astype(np.float32), labels


def shifted(priors, target_priors, seed=0, count=2000, most=1000):
    features, labels = drawn(count, priors, seed)
    target, there = drawn(most, target_priors, seed + 100)
    known = out_of_fold(features, labels, np.arange(count, dtype=np.uint64), seed)
    guessed = LabelModel(seed).fit(features, labels).probabilities(target)
    found = label_shift(known, labels, guessed, NAMES, seed=seed)
    return found, np.bincount(there, minlength=3) / most, guessed


def test_a_shift_is_estimated_better_than_by_counting_guesses():
    found, true, guessed = shifted([0.6, 0.3, 0.1], [0.2, 0.2, 0.6])
    by_label = {each.label: each for each in found.labels}
    counted = np.bincount(guessed.argmax(1), minlength=3) / len(guessed)
    estimated = np.array([by_label[name].target for name in NAMES])
    assert np.abs(estimated - true).max() < 0.06
    assert np.abs(estimated - true).sum() < np.abs(counted - true).sum() / 2
    assert all(each.low <= each.target <= each.high for each in found.labels)
    assert found.clear
    assert found.labels[0].label == "love"  # the largest difference first
    assert found.distance == pytest.approx(true[2] - 0.1, abs=0.06)
    line = told(found, alike=True)
    assert "would need another label" in line
    assert "love" in line
    assert "guess only" in told(found, alike=False)


def test_the_same_shares_are_no_shift():
    clear = [shifted([0.5, 0.3, 0.2], [0.5, 0.3, 0.2], seed=seed, count=800, most=300)[0].clear for seed in range(20)]
    assert sum(clear) <= 2
    assert "as frequent" in told(shifted([0.5, 0.3, 0.2], [0.5, 0.3, 0.2])[0], alike=True)


def test_sure_guesses_are_counted():
    sure = np.eye(3)[np.repeat([0, 1, 2], [10, 30, 60])]
    np.testing.assert_allclose(shares(np.maximum(sure, 1e-12), np.full(3, 1 / 3)), [0.1, 0.3, 0.6], atol=1e-6)
