"""Tests of two models on the same examples: the formulas, and that they keep their level."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest
from scipy import stats

from tests.unit.test_resampling import drawn, fitted
from weitiao.evaluation.paired import (
    approximate_randomisation,
    bootstrap_p,
    cohens_d,
    cohens_h,
    discordant,
    mcnemar,
    odds_ratio,
)

TRIALS, EXAMPLES = 200, 150


# --- the formulas


def test_mcnemar_is_the_sum_of_its_binomial():
    assert discordant(np.array([1.0, 1, 0, 0, 1]), np.array([1.0, 0, 1, 0, 0])) == (2, 1)
    for b, c in ((9, 2), (3, 3), (0, 6), (1, 0)):
        slow = min(1.0, 2 * sum(comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c))
        assert mcnemar(b, c) == pytest.approx(slow)
    assert mcnemar(0, 0) == 1.0


def f1(gold: np.ndarray, said: np.ndarray) -> float:
    hits = (gold & said).sum()
    return 2 * hits / max(gold.sum() + said.sum(), 1)


def test_approximate_randomisation_comes_near_all_swaps_there_are():
    random = np.random.default_rng(0)
    gold = random.random(10) < 0.5
    first, second = gold ^ (random.random(10) < 0.1), gold ^ (random.random(10) < 0.5)
    answers, golds = np.concatenate([first, second]), np.concatenate([gold, gold])
    seen = abs(f1(gold, first) - f1(gold, second))
    all_swaps = [
        abs(f1(gold, np.where(swap, second, first)) - f1(gold, np.where(swap, first, second))) >= seen - 1e-12
        for swap in product([False, True], repeat=10)
    ]
    found = approximate_randomisation(lambda rows: f1(golds[rows], answers[rows]), 10, rounds=4000, seed=0)
    assert found == pytest.approx(np.mean(all_swaps), abs=0.03)
    assert approximate_randomisation(lambda rows: 0.5, 10, rounds=99, seed=0) == 1.0
    assert approximate_randomisation(lambda rows: float("nan"), 10, rounds=99, seed=0) is None
    assert approximate_randomisation(lambda rows: 0.5, 10, rounds=0, seed=0) is None


def test_the_bootstrap_counts_the_rarer_side():
    assert bootstrap_p(np.array([0.1] * 97 + [-0.1, 0.0, np.nan])) == pytest.approx(2 * 3 / 100)
    assert bootstrap_p(np.array([np.nan])) is None


def test_sizes_of_effects():
    assert odds_ratio(9, 2) == pytest.approx(9.5 / 2.5)
    assert odds_ratio(0, 0) == 1.0
    assert cohens_h(0.9, 0.5) == pytest.approx(2 * np.arcsin(0.9**0.5) - 2 * np.arcsin(0.5**0.5))
    assert cohens_h(0.5, 0.9) == pytest.approx(-cohens_h(0.9, 0.5))
    one, other = np.array([1.0, 0.5, 0.8]), np.array([0.5, 0.6, 0.2])
    assert cohens_d(one, other) == pytest.approx((one - other).mean() / np.std(one - other, ddof=1))
    assert cohens_d(one, one) == 0.0
    assert cohens_d(one, one + 1) is None


# --- they keep their level: two copies of one learner, trained with different seeds


def right_of_copies(random: np.random.Generator, luck: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What two copies answer, and what is right, on new examples; with `luck` each seed trains on other draws."""
    x, _, y = drawn(random, 200, 1.0)
    masks = np.ones((2, len(y))) if not luck else random.gamma(1 / luck, luck, (2, len(y)))
    new, _, gold = drawn(random, EXAMPLES, 1.0)
    said = new @ fitted(x, y, masks).T + random.normal(0, 0.3, (EXAMPLES, 2)) > 0
    return said[:, 0], said[:, 1], gold == 1


@pytest.mark.parametrize("luck", [0.0, 0.3])
def test_two_copies_are_found_different_no_more_often_than_the_level_says(luck):
    random, found = np.random.default_rng(3), {"McNemar": 0, "bootstrap": 0, "randomisation of F1": 0}
    for trial in range(TRIALS):
        one, other, gold = right_of_copies(random, luck)
        right, right_other = (one == gold) * 1.0, (other == gold) * 1.0
        found["McNemar"] += mcnemar(*discordant(right, right_other)) < 0.05
        rows = random.integers(0, EXAMPLES, (400, EXAMPLES))
        found["bootstrap"] += bootstrap_p(right[rows].mean(1) - right_other[rows].mean(1)) < 0.05
        answers, golds = np.concatenate([one, other]), np.concatenate([gold, gold])
        p = approximate_randomisation(lambda at, a=answers, g=golds: f1(g[at], a[at]), EXAMPLES, rounds=200, seed=trial)
        found["randomisation of F1"] += p < 0.05
    allowed = stats.binom.ppf(0.999, TRIALS, 0.05)
    assert all(count <= allowed for count in found.values()), found


def test_a_true_difference_is_found():
    random, found = np.random.default_rng(4), 0
    for trial in range(40):
        one, _, gold = right_of_copies(random, 0.0)
        worse = np.where(random.random(EXAMPLES) < 0.25, ~gold, one)
        answers, golds = np.concatenate([one, worse]), np.concatenate([gold, gold])
        p = approximate_randomisation(lambda at, a=answers, g=golds: f1(g[at], a[at]), EXAMPLES, rounds=200, seed=trial)
        found += p < 0.05
    assert found >= 30
