"""Bootstrap confidence intervals: how far a score could move on another sample of examples of the same kind.

Percentile bootstrap over examples (Efron 1979, *Bootstrap Methods: Another Look at the Jackknife*; Efron & Tibshirani
1993, chapter 13). It covers the choice of test examples, not the luck of one training (its seed).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from weitiao.metrics.words import counts_right
from weitiao.records import Score, Scores

if TYPE_CHECKING:
    from weitiao.tasks.base import Scorer

MOST_DRAWS = 200_000_000  # examples drawn in all samples together; about half a minute of work on one slow core
FEWEST_ROUNDS = 200


def affordable_rounds(rounds: int, examples: int) -> int:
    """Return how many bootstrap samples to draw: `rounds`, fewer where that would draw over `MOST_DRAWS` examples.

    At least `FEWEST_ROUNDS` (or `rounds`): with so many examples the interval is narrow, and its ends are known well
    enough from fewer samples. From 200,000 examples on, 1000 rounds become fewer; from a million on, they are 200.
    """
    return min(rounds, max(MOST_DRAWS // max(examples, 1), FEWEST_ROUNDS))


def samples(examples: int, rounds: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield `rounds` bootstrap samples: row numbers of shape (examples,) drawn with replacement."""
    random = np.random.default_rng(seed)
    for _ in range(rounds):
        yield random.integers(0, examples, examples)


def resampled(scorer: Scorer, *, rounds: int, seed: int, order: Sequence[int] | None = None) -> list[dict[str, float]]:
    """Return the scores on each bootstrap sample; the same samples for all that saw so many examples.

    `order` are the numbers of the examples in the order in which the scorer saw them: then the samples are the same
    for all that saw these examples in any order, as models whose tokenizers make texts of other lengths do.
    """
    examples = len(scorer.outcomes())
    places = np.arange(examples) if order is None else np.argsort(np.asarray(order), kind="stable")
    return [scorer.compute(places[rows]) for rows in samples(examples, affordable_rounds(rounds, examples), seed)]


def with_intervals(
    scorer: Scorer, *, rounds: int, confidence: float, seed: int, drawn: list[dict[str, float]] | None = None
) -> Scores:
    """Return the scorer's scores, each with its percentile bootstrap interval, all from the same samples.

    `drawn` is what `resampled` gave, where that is known already.

    `rounds` 0: no intervals. A score that is the same in every sample (all right, all wrong) says nothing about its
    spread by bootstrap: where it is the share of right examples it gets the exact binomial interval (Clopper &
    Pearson 1934) instead, else none. ``details["bootstrap"]`` says what was done.
    """
    scores = scorer.scores()
    rounds = affordable_rounds(rounds, scores.examples)
    if not rounds or not scores.examples:
        return scores
    if drawn is None:
        drawn = resampled(scorer, rounds=rounds, seed=seed)
    outcomes = scorer.outcomes()
    values = {}
    for name, score in scores.values.items():
        interval = percentiles(np.array([each.get(name, np.nan) for each in drawn]), confidence)
        if interval is not None and interval[0] == interval[1]:
            interval = _exact(score.value, outcomes, confidence) if any(map(counts_right, scores.values)) else None
        values[name] = Score(score.value, *interval) if interval else score
    about = {"rounds": rounds, "confidence": confidence, "seed": seed}
    return dataclasses.replace(scores, values=values, details={**scores.details, "bootstrap": about})


def percentiles(values: NDArray[np.float64], confidence: float) -> tuple[float, float] | None:
    """Return the central interval that holds a share `confidence` of `values`; nan are left out; None if all are."""
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _exact(value: float, outcomes: NDArray[np.float64], confidence: float) -> tuple[float, float] | None:
    """Return the Clopper-Pearson interval where `value` is the share of right examples, else None."""
    from scipy.stats import binomtest

    if not np.isin(outcomes, (0.0, 1.0)).all() or abs(outcomes.mean() - value) > 1e-12:
        return None
    interval = binomtest(int(outcomes.sum()), len(outcomes)).proportion_ci(confidence)
    return float(interval.low), float(interval.high)
