"""Tests over folds: they keep their level where folds overlap, and the naive one does not; intervals hold the truth."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from weitiao.data.cut import folds
from weitiao.evaluation.resampling import (
    Folded,
    compare_folds,
    corrected_t,
    corrected_variance,
    correlated_t,
    interval,
    practically_none,
)

EXAMPLES, WIDTH, TRIALS = 120, 4, 200
DESIGNS = [(5, 1), (5, 2), (10, 1), (5, 10)]  # folds, repeats


# --- a real learner on overlapping folds: logistic regression by Newton's method, all folds at once


def fitted(x: np.ndarray, y: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Weights of shape (folds, width) of logistic regressions with a small ridge; `masks` (folds, n) weigh the rows."""
    outer = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)
    weights = np.zeros((len(masks), x.shape[1]))
    for _ in range(5):
        p = 1 / (1 + np.exp(-np.clip(x @ weights.T, -30, 30)))  # (n, folds)
        gradient = (masks * (y[:, None] - p).T) @ x - weights
        hessian = ((masks * (p * (1 - p)).T) @ outer).reshape(len(masks), x.shape[1], -1) + np.eye(x.shape[1])
        weights += np.linalg.solve(hessian, gradient[..., None])[..., 0]
    return weights


def drawn(random: np.random.Generator, count: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, and two views of each that tell as much about it: learners on either are equally good by symmetry."""
    y = random.integers(0, 2, count)
    views = [(y[:, None] - 0.5) * 0.9 + random.normal(0, n, (count, WIDTH)) for n in (1.0, noise)]
    one, other = (np.c_[view, np.ones(count)] for view in views)
    return one, other, y


def cut(seed: int, y: np.ndarray, of: int, repeats: int) -> np.ndarray:
    """Which rows are tested on in each fold, bool of shape (folds x repeats, n), cut as `weitiao cv` cuts them."""
    rows = np.arange(len(y))
    found = [folds(rows, y, rows.astype(np.uint64), of=of, seed=1000 * seed + repeat) for repeat in range(repeats)]
    return np.array([each == number for each in found for number in range(of)])


def scores(
    x: np.ndarray, y: np.ndarray, tested: np.ndarray, resampled: np.random.Generator | None = None
) -> np.ndarray:
    """Accuracy on each fold; `resampled`: each training draws its rows anew, as the seed of a training does."""
    masks = (~tested).astype(float)
    if resampled is not None:
        masks *= resampled.poisson(1.0, masks.shape)
    right = (x @ fitted(x, y, masks).T > 0) == y[:, None]
    return (right.T * tested).sum(1) / tested.sum(1)


@cache
def differences(of: int, repeats: int, noise: float = 1.0, *, copies: bool = False) -> np.ndarray:
    """Differences of two learners on the folds of `TRIALS` data sets, shape (trials, folds x repeats)."""
    random, found = np.random.default_rng(of * repeats), []
    for trial in range(TRIALS):
        one, other, y = drawn(random, EXAMPLES, noise)
        tested = cut(trial, y, of, repeats)
        if copies:
            found.append(scores(one, y, tested, random) - scores(one, y, tested, random))
        else:
            found.append(scores(one, y, tested) - scores(other, y, tested))
    return np.array(found)


@cache
def true_scores(count: int, noise: float) -> tuple[float, float]:
    """The expected accuracy of both learners on new examples, trained on `count` of them."""
    random, found = np.random.default_rng(99), []
    new, other_new, y_new = drawn(random, 20_000, noise)
    for _ in range(400):
        one, other, y = drawn(random, count, noise)
        whole = np.ones((1, count))
        found.append([((x_new @ fitted(x, y, whole)[0] > 0) == y_new).mean()
                      for x, x_new in ((one, new), (other, other_new))])  # fmt: skip
    first, second = np.mean(found, axis=0)
    return float(first), float(second)


def most(level: float) -> float:
    """At a true rate of `level` more are seen once in 1000 times."""
    return stats.binom.ppf(0.999, TRIALS, level)


@pytest.mark.parametrize(("of", "repeats"), DESIGNS)
@pytest.mark.parametrize("copies", [False, True], ids=["two views", "two copies"])
def test_equal_learners_are_found_different_no_more_often_than_the_level_says(of, repeats, copies):
    found = [corrected_t(each, 1 / (of - 1)).p_value < 0.05 for each in differences(of, repeats, copies=copies)]
    assert sum(found) <= most(0.05)


def test_the_naive_test_finds_far_too_much_on_repeated_folds():
    naive = [stats.ttest_1samp(each, 0).pvalue < 0.05 for each in differences(5, 10, copies=False)]
    assert sum(naive) > most(0.05)
    assert np.mean(naive) > 0.2


@pytest.mark.parametrize(("of", "repeats"), DESIGNS)
def test_the_interval_of_a_difference_holds_the_true_one(of, repeats):
    noise = 1.4
    first, second = true_scores(EXAMPLES - EXAMPLES // of, noise)
    assert first - second > 0.03
    held = [found.low <= first - second <= found.high for each in differences(of, repeats, noise)
            if (found := corrected_t(each, 1 / (of - 1)))]  # fmt: skip
    assert sum(held) >= stats.binom.ppf(0.001, TRIALS, 0.95)


def test_the_interval_of_a_mean_score_holds_the_true_one():
    random, held, (true, _) = np.random.default_rng(5), 0, true_scores(EXAMPLES - EXAMPLES // 5, 1.0)
    for trial in range(TRIALS):
        one, _, y = drawn(random, EXAMPLES, 1.0)
        low, high = interval(scores(one, y, cut(trial, y, 5, 2)), 1 / 4)
        held += low <= true <= high
    assert held >= stats.binom.ppf(0.001, TRIALS, 0.95)


def test_the_posterior_is_seldom_sure_of_a_better_one_among_equals():
    sure = [max(under, over) > 0.95 for each in differences(5, 2)
            for under, _, over in [correlated_t(each, 1 / 4, 0.0)]]  # fmt: skip
    assert sum(sure) <= most(0.10)  # one side or the other


# --- the formulas


def test_the_corrected_test_is_its_formula():
    values, ratio = [0.02, 0.05, -0.01, 0.04, 0.03], 1 / 4
    mean = sum(values) / 5
    squares = sum((v - mean) ** 2 for v in values) / 4
    variance = (1 / 5 + 1 / 4) * squares
    assert corrected_variance(values, ratio) == pytest.approx(variance)
    found = corrected_t(values, ratio, 0.9)
    t = mean / variance**0.5
    assert found.p_value == pytest.approx(2 * (1 - stats.t.cdf(t, 4)))
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.9, 4, mean, variance**0.5))
    assert found.freedom == 4
    naive = corrected_t(values, 0.0)
    assert naive.p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_the_posterior_is_the_integral_of_its_density():
    values, ratio, rope = [0.02, 0.05, -0.01, 0.04, 0.03], 1 / 4, 0.01
    scale = corrected_variance(values, ratio) ** 0.5
    grid = np.linspace(-3, 3, 600_001)
    density = stats.t.pdf(grid, 4, np.mean(values), scale) * (grid[1] - grid[0])
    slow = density[grid < -rope].sum(), density[abs(grid) <= rope].sum(), density[grid > rope].sum()
    assert correlated_t(values, ratio, rope) == pytest.approx(slow, abs=1e-3)
    assert correlated_t([0.1, 0.1], ratio, rope) == (0.0, 0.0, 1.0)
    assert correlated_t([0.0, 0.0], ratio, rope) == (0.0, 1.0, 0.0)


def test_folds_that_agree_by_chance_are_no_certainty():
    pairs, _ = compare_folds([Folded("a", [0.82, 0.84]), Folded("b", [0.80, 0.82])], "accuracy", ratio=1.0,
                             confidence=0.95, rope=0.01, examples=100)  # fmt: skip
    assert 0 < pairs[0].p_value < 1
    assert pairs[0].finding == "no difference"
    assert corrected_t([0.3], 0.25).why_not == "one fold only"


def test_what_is_found_is_said_ties_too():
    random = np.random.default_rng(0)
    base = 0.8 + random.normal(0, 0.01, 10)
    methods = [
        Folded("full", base + 0.1),
        Folded("lora", base + 0.1 + random.normal(0, 0.002, 10)),
        Folded("head", base),
    ]
    pairs, chances = compare_folds(methods, "accuracy", ratio=1 / 4, confidence=0.95, rope=0.01, examples=1500)
    found = {(p.first, p.second): p.finding for p in pairs}
    assert found == {("full", "lora"): "no difference", ("full", "head"): "better", ("lora", "head"): "better"}
    assert "corrected t, adjusted p" in pairs[1].verdict
    told = {(c.first, c.second): c for c in chances}
    assert told["full", "lora"].finding == "the same"
    assert told["full", "lora"].verdict.startswith(
        "full and lora are practically the same: they differ by less than 1.0 points of accuracy, with "
    )
    assert told["full", "head"].finding == "better"
    assert sum((told["full", "head"].better, told["full", "head"].same, told["full", "head"].worse)) == pytest.approx(1)
    noisy = [Folded("a", 0.8 + random.normal(0, 0.05, 5)), Folded("b", 0.8 + random.normal(0, 0.05, 5))]
    (unsure,) = compare_folds(noisy, "accuracy", ratio=1 / 4, confidence=0.95, rope=0.01, examples=100)[1]
    assert unsure.finding == "not clear"
    assert "cannot be told" in unsure.verdict


def test_of_a_loss_less_is_better():
    random = np.random.default_rng(0)
    base = 1 + random.normal(0, 0.01, 10)
    methods = [Folded("a", base - 0.5), Folded("b", base + random.normal(0, 0.01, 10))]
    pairs, chances = compare_folds(methods, "loss", ratio=1 / 4, confidence=0.95, rope=0.01, examples=100)
    assert (pairs[0].finding, chances[0].finding) == ("better", "better")
    assert practically_none("accuracy", [0.8]) == 0.01
    assert practically_none("bleu", [20.0]) == 1.0
    assert practically_none("rmse", [3.0, 5.0]) == pytest.approx(0.04)


def test_folds_as_cut_are_even_and_whole():
    random = np.random.default_rng(0)
    strata = random.integers(0, 3, 101)
    found = folds(np.arange(101), strata, random.integers(0, 2**60, 101).astype(np.uint64), of=5, seed=0)
    assert sorted(np.bincount(found)) == [20, 20, 20, 20, 21]
    for label in range(3):
        counts = np.bincount(found[strata == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert all(a <= b for a, b in pairwise(sorted(found)))


def test_no_share_is_above_all_and_folds_that_agree_are_no_certainty_of_it():
    low, high = interval([0.98, 1.0, 0.97], 0.5, score="accuracy", examples=300)
    assert low < 0.98 < high <= 1.0
    low, high = interval([1.0, 1.0, 1.0], 0.5, score="accuracy", examples=300)
    assert low < 1.0 == high
    assert interval([1.1, 1.3], 1.0, score="perplexity", examples=300)[1] > 1.3
    assert corrected_t([], 0.5).why_not == "no fold has both"
