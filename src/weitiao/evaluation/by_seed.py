"""Models that began alike in each seed: their differences by seed are tested, so that what a seed does to both of them
does not count.
"""  # fmt: skip

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from weitiao.evaluation.verdicts import Drawn, Pair, Tested, compare_with, holm, pair_of

Side = tuple[str, Sequence[Drawn]]  # its name, and what it scored with each seed


def difference(one: Drawn, other: Drawn) -> Drawn:
    """Return the difference of two models' scores, on each bootstrap sample, too."""
    if (one.score, one.which) != (other.score, other.which):
        raise ValueError("these models were not measured on the same examples")
    samples = np.array(one.samples, dtype=float) - np.array(other.samples, dtype=float)
    return replace(one, value=one.value - other.value, samples=finite(samples))


def compare_by_seed(
    drawn: Mapping[str, Sequence[Drawn]], other: Sequence[Drawn], other_name: str, confidence: float
) -> list[Pair]:
    """Compare each of several ways to train with another one that began alike in each seed, all in the same order of
    seeds; p-values are adjusted for all of them.
    """  # fmt: skip
    pairs = [pair_by_seed((name, ours), (other_name, other), confidence) for name, ours in drawn.items()]
    return adjusted(pairs, other[0].score, confidence)


def pair_by_seed(one: Side, other: Side, confidence: float) -> Pair:
    """Compare two ways to train that began alike in each seed. The test is that of `evaluation.verdicts` on the
    differences by seed; its p-value is not adjusted.
    """  # fmt: skip
    apart = [difference(ours, theirs) for ours, theirs in zip(one[1], other[1], strict=True)]
    nothing = replace(apart[0], value=0.0, samples=[0.0] * len(apart[0].samples))
    return compare_with(one[0], apart, nothing, other[0], confidence)


def adjusted(pairs: Sequence[Pair], score: str, confidence: float) -> list[Pair]:
    """Return pairs that are read together with p-values adjusted for all of them (Holm 1979)."""
    return [
        pair if pair.p_value is None else pair_of(
            (pair.first, pair.second), score,
            Tested(pair.difference, pair.low, pair.high, pair.p_value, pair.freedom), p, confidence,
        )
        for pair, p in zip(pairs, holm([pair.p_value for pair in pairs]), strict=True)
    ]  # fmt: skip


def finite(samples: np.ndarray) -> list[float | None]:
    """Return the samples with None where there was nothing to score."""
    return [float(value) if np.isfinite(value) else None for value in samples]
