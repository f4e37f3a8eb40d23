"""Tests of two models on the same examples, and the sizes of what they find: pure functions of numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
HALF = 0.5  # added to both counts of an odds ratio (Haldane 1955, Anscombe 1956), so that it is finite


def discordant(right: Floats, right_other: Floats) -> tuple[int, int]:
    """Return how many examples only the first has right, and only the other."""
    return int(((right == 1) & (right_other == 0)).sum()), int(((right == 0) & (right_other == 1)).sum())


def mcnemar(only_first: int, only_other: int) -> float:
    """Return the two-sided p-value of the exact McNemar test (McNemar 1947): binomial on the examples that one has."""
    from scipy.stats import binomtest

    apart = only_first + only_other
    return float(binomtest(only_first, apart, 0.5).pvalue) if apart else 1.0


def bootstrap_p(differences: Floats) -> float | None:
    """Two-sided p-value of a paired bootstrap (Efron & Tibshirani 1993, chapter 16): twice the share of samples on the
    rarer side of 0, one sample added so that it is never 0. None where no sample has a score.
    """  # fmt: skip
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        return None
    rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(differences) + 1))


def approximate_randomisation(
    score: Callable[[NDArray[np.int64]], float], examples: int, *, rounds: int, seed: int
) -> float | None:
    """Return the two-sided p-value of approximate randomisation (Noreen 1989; for BLEU and F1 Riezler & Maxwell 2005).

    Were the two models alike, their answers to an example could be swapped: the p-value is the share of `rounds` random
    swaps with a difference at least as large as that seen, the one seen added. `score` is of answers by their numbers:
    the first model's are 0 to ``examples - 1``, the other's follow. None where there is nothing to score.
    """
    own = np.arange(examples)
    seen = abs(score(own) - score(own + examples))
    if not rounds or np.isnan(seen):
        return None
    random, as_far = np.random.default_rng(seed), 0
    for _ in range(rounds):
        swapped = random.random(examples) < 0.5
        difference = abs(score(own + examples * swapped) - score(own + examples * ~swapped))
        as_far += bool(difference >= seen - 1e-12)
    return (as_far + 1) / (rounds + 1)


def odds_ratio(only_first: int, only_other: int) -> float:
    """Return how many times likelier an example that one has right is the first's: the odds ratio of matched pairs."""
    return (only_first + HALF) / (only_other + HALF)


def cohens_h(share: float, other: float) -> float:
    """Return Cohen's h of two shares (Cohen 1988): 0.2 is small, 0.5 medium, 0.8 large."""
    first, second = (2 * float(np.arcsin(np.sqrt(min(max(each, 0.0), 1.0)))) for each in (share, other))
    return first - second


def cohens_d(values: Floats, other: Floats) -> float | None:
    """Return Cohen's d of paired values, shape (n,): the mean difference over the differences' standard deviation.

    None where all differ by the same, which has no standard deviation.
    """
    differences = values - other
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    if spread == 0:
        return 0.0 if not differences.any() else None
    return float(differences.mean()) / spread
