"""Learning curves of strategies beside each other: pure functions of scores by labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from weitiao.evaluation.by_seed import finite
from weitiao.evaluation.verdicts import Drawn
from weitiao.metrics.words import greater_is_better


def weights(labels: Sequence[float]) -> np.ndarray:
    """Return what the score at each number of labels counts in the mean over the curve, shape (sizes,), summing to 1:
    the area below straight lines between them (trapezoids), divided by its width.
    """  # fmt: skip
    if len(labels) == 1:
        return np.ones(1)
    gaps = np.diff(np.asarray(labels, float))
    return np.asarray((np.r_[gaps, 0] + np.r_[0, gaps]) / (2 * gaps.sum()))


def over_curve(labels: Sequence[float], drawn: Sequence[Drawn]) -> Drawn:
    """Return the mean score over a curve, and what it is on each bootstrap sample: all sizes met the same ones. Raises
    `ValueError` where they did not.
    """  # fmt: skip
    if len({(each.score, each.which) for each in drawn}) > 1:
        raise ValueError("the sizes were not measured on the same examples")
    share = weights(labels)
    samples = share @ np.array([each.samples for each in drawn], dtype=float)
    value = float(share @ np.array([each.value for each in drawn]))
    return replace(drawn[0], value=value, samples=finite(samples))


def labels_needed(labels: Sequence[float], scores: Sequence[float], target: float, score: str) -> float | None:
    """Return with how many labels a curve reaches a score, straight lines between its sizes; None where it does not.

    The curve is first made one that never gets worse (isotonic regression, Ayer et al. 1955), so that a lucky size in
    the middle does not count as having reached it. A curve that begins there needs no more than its first size.
    """
    from sklearn.isotonic import isotonic_regression

    sign = 1 if greater_is_better(score) else -1
    fitted = isotonic_regression(sign * np.asarray(scores, float))
    reached = np.flatnonzero(fitted >= sign * target - 1e-12)
    if not len(reached):
        return None
    at = int(reached[0])
    if at == 0:
        return float(labels[0])
    share = (sign * target - fitted[at - 1]) / (fitted[at] - fitted[at - 1])
    return float(labels[at - 1] + share * (labels[at] - labels[at - 1]))


def median(values: Sequence[float | None]) -> float | None:
    """Return the median, where None is more than any number; None where it is that."""
    found = float(np.median([np.inf if value is None else value for value in values])) if values else np.inf
    return found if np.isfinite(found) else None
