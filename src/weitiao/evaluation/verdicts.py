"""Which of several methods is better, each trained with a few seeds? A test for every pair, over seeds and examples.

A score moves for two reasons: other seeds would have trained other models, and other test examples would have been
easier or harder. Both are drawn at random, all models meet the same examples: the design of a multi-reader multi-case
study (Obuchowski & Rockette 1995, degrees of freedom after Hillis 2007), seeds as readers. Between the means of two
methods over their seeds,

    variance = s1²/k1 + s2²/k2 + cov11 + cov22 - 2 cov12        t = difference / sqrt(variance)

where s² is the variance of the score over a method's k seeds, and the cov are mean covariances of two trained models'
scores (of the same method, of both, of one each) over bootstrap samples of the examples, the same ones for all models.
The p-value is from Student's t with Satterthwaite's degrees of freedom; those of several pairs are adjusted after Holm
(1979). A percentile bootstrap that draws both seeds and examples would not do: with three seeds it finds a difference
between equals in every fifth comparison (`tests/unit/test_verdicts.py` counts).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weitiao.evaluation.compare import Finding, in_words
from weitiao.metrics.words import greater_is_better, is_share, spoken
from weitiao.records import Scores

DRAWN = "bootstrap.json"  # in a run's folder
DIGITS = 9  # of a score that is kept
FEWEST = 10  # examples that a test needs


@dataclass(frozen=True)
class Drawn:
    """The primary score of a trained model, and what it is on each bootstrap sample of the examples."""

    score: str
    value: float
    examples: int
    samples: list[float | None]  # None: the sample had nothing to score
    which: str  # stands for the samples: only models that met the same ones can be paired

    @classmethod
    def of(cls, scores: Scores, samples: Sequence[float], *, order: Sequence[int], seed: int) -> Drawn:
        """Keep what was drawn by `seed` from the examples numbered `order`."""
        kept = [round(float(value), DIGITS) if np.isfinite(value) else None for value in samples]
        told = np.asarray(order, "<i8").tobytes() + f"{seed} {len(kept)}".encode()
        return cls(scores.primary, scores.main, scores.examples, kept, hashlib.sha256(told).hexdigest()[:16])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def read_drawn(path: Path) -> dict[str, Drawn]:
    """Read what a run keeps: "" is the model, the others are baselines by name."""
    return {name: Drawn(**stored) for name, stored in json.loads(path.read_text(encoding="utf-8")).items()}


@dataclass(frozen=True)
class Pair:
    """Two methods by their mean score over seeds."""

    first: str
    second: str
    difference: float  # first - second
    low: float | None  # interval of the difference, of this pair by itself
    high: float | None
    p_value: float | None
    adjusted: float | None  # the p-value after Holm, over all pairs
    freedom: float | None  # degrees of freedom
    finding: Finding  # the first is ... than the second
    verdict: str  # in words


def compare_pairs(drawn: Mapping[str, Sequence[Drawn]], confidence: float) -> list[Pair]:
    """Compare every two methods (name -> a `Drawn` a seed); "better" and "worse" hold for all pairs together.

    Raises `ValueError` where models were not measured on the same examples.
    """
    found = {(a, b): _tested(drawn[a], drawn[b], confidence) for a, b in combinations(drawn, 2)}
    adjusted = holm([test.p_value for test in found.values()])
    return [
        pair_of(names, drawn[names[0]][0].score, test, p, confidence)
        for (names, test), p in zip(found.items(), adjusted, strict=True)
    ]


def compare_with_first(drawn: Mapping[str, Sequence[Drawn]], confidence: float) -> list[Pair]:
    """Compare the first method with each of the others, as `compare_pairs` does with all pairs; p-values are adjusted
    for these alone.
    """  # fmt: skip
    first, *others = drawn
    tests = [_tested(drawn[first], drawn[other], confidence) for other in others]
    adjusted = holm([test.p_value for test in tests])
    return [
        pair_of((first, other), drawn[first][0].score, test, p, confidence)
        for other, test, p in zip(others, tests, adjusted, strict=True)
    ]


def compare_with(name: str, ours: Sequence[Drawn], other: Drawn, other_name: str, confidence: float) -> Pair:
    """Compare a method with one fixed model, such as a baseline, that no seed moves."""
    test = _tested(ours, [other], confidence, fixed=True)
    return pair_of((name, other_name), other.score, test, test.p_value, confidence, words="over seeds and examples")


def mean_interval(drawn: Sequence[Drawn], confidence: float) -> tuple[float, float] | None:
    """Return the interval of the mean score over seeds, seeds and examples both drawn at random; None where it cannot
    be told: the bootstrap is off, or there are too few examples.
    """  # fmt: skip
    if len(drawn[0].samples) < 2 or drawn[0].examples < FEWEST:
        return None
    samples = np.array([each.samples for each in drawn], dtype=float)
    covariance = np.atleast_2d(np.cov(samples[:, ~np.isnan(samples).any(axis=0)]))
    examples = max(_between(covariance), 0.0) + _least(drawn[0])
    k, values = len(drawn), [each.value for each in drawn]
    seeds = float(np.var(values, ddof=1)) / k if k > 1 else 0.0
    spread = examples**2 / (drawn[0].examples - 1) + (seeds**2 / (k - 1) if k > 1 else 0.0)
    variance = examples + seeds
    test = student(float(np.mean(values)), variance, variance**2 / spread if spread else 1.0, confidence)
    if test.low is None or test.high is None:
        return None
    inside = (0.0, 1.0) if is_share(drawn[0].score) and greater_is_better(drawn[0].score) else (-np.inf, np.inf)
    return max(test.low, inside[0]), min(test.high, inside[1])


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for all being looked at (Holm 1979); None stays None and does not count."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = highest
    return adjusted


@dataclass(frozen=True)
class Tested:
    """A difference of two scores with its test."""

    difference: float
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    freedom: float | None = None
    why_not: str = ""  # why there is no test


def _tested(ours: Sequence[Drawn], other: Sequence[Drawn], confidence: float, *, fixed: bool = False) -> Tested:
    difference = float(np.mean([each.value for each in ours]) - np.mean([each.value for each in other]))
    if len({(each.which, each.score) for each in (*ours, *other)}) > 1:
        raise ValueError("these models were not measured on the same examples")
    why_not = _why_not(ours, other, fixed)
    if why_not:
        return Tested(difference, why_not=why_not)
    variance, freedom = _variance(ours, other)
    return student(difference, variance, freedom, confidence)


def _why_not(ours: Sequence[Drawn], other: Sequence[Drawn], fixed: bool) -> str:
    if len(ours[0].samples) < 2:
        return "the bootstrap is off"
    if ours[0].examples < FEWEST:
        return f"{ours[0].examples} examples are too few"
    if not fixed and len(ours) != len(other) and 1 in (len(ours), len(other)):
        return "one of the two was trained with one seed only"
    return ""


def _variance(ours: Sequence[Drawn], other: Sequence[Drawn]) -> tuple[float, float]:
    """Return the variance of the difference of the means and its degrees of freedom."""
    samples = np.array([each.samples for each in (*ours, *other)], dtype=float)
    covariance = np.cov(samples[:, ~np.isnan(samples).any(axis=0)])
    k = len(ours)
    shared = _between(covariance[:k, :k]) + _between(covariance[k:, k:]) - 2 * float(covariance[:k, k:].mean())
    examples = max(shared, 0.0) + _least(ours[0])
    seeds = [(float(np.var([e.value for e in each], ddof=1)) / len(each), len(each) - 1)
             for each in (ours, other) if len(each) > 1]  # fmt: skip
    variance = examples + sum(part for part, _ in seeds)
    spread = sum(part**2 / free for part, free in seeds) + examples**2 / (ours[0].examples - 1)
    return variance, variance**2 / spread if spread else 1.0


def _between(covariance: NDArray[np.float64]) -> float:
    """The mean covariance of two different seeds; the variance where there is one seed only."""
    if len(covariance) == 1:
        return float(covariance[0, 0])
    return float(covariance[~np.eye(len(covariance), dtype=bool)].mean())


def _least(drawn: Drawn) -> float:
    """What a share of examples is uncertain by at least, for a bootstrap of a few examples that agree knows no doubt:
    half an example that differs each way (Agresti & Min 2005).
    """  # fmt: skip
    return float((drawn.examples + 2) ** -2) if is_share(drawn.score) else 0.0


def student(difference: float, variance: float, freedom: float, confidence: float) -> Tested:
    """Test a difference that has such a variance by Student's t; without any variance it is certain."""
    from scipy.stats import t

    if variance <= 0:
        p = 1.0 if difference == 0 else 0.0
        return Tested(difference, difference, difference, p, freedom)
    error = variance**0.5
    reach = float(t.ppf((1 + confidence) / 2, freedom)) * error
    p = float(2 * t.sf(abs(difference) / error, freedom))
    return Tested(difference, difference - reach, difference + reach, p, freedom)


def pair_of(
    names: tuple[str, str], score: str, test: Tested, adjusted: float | None, confidence: float, words: str = "adjusted"
) -> Pair:
    """Judge a test by its `adjusted` p-value at the level ``1 - confidence``; `words` say which p-value it is."""
    finding: Finding = "not tested" if adjusted is None else "no difference"
    if adjusted is not None and adjusted < 1 - confidence and test.difference:
        finding = "better" if (test.difference > 0) == greater_is_better(score) else "worse"
    interval = None if test.low is None or test.high is None else (test.low, test.high)
    if test.why_not:
        verdict = f"not tested against {names[1]} in {spoken(score)}: {test.why_not}"
    else:
        verdict = in_words(finding, names[1], score, test.difference, interval, confidence, words, adjusted)
    return Pair(*names, test.difference, test.low, test.high, test.p_value, adjusted, test.freedom, finding, verdict)
