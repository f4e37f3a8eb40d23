"""Is one model better than another on the same examples? A paired test, and a verdict in words that it supports."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from weitiao.evaluation.intervals import affordable_rounds, percentiles, samples
from weitiao.evaluation.paired import bootstrap_p, discordant, mcnemar
from weitiao.metrics.words import counts_right, distance, greater_is_better, in_points, probability, scale, spoken

if TYPE_CHECKING:
    from weitiao.tasks.base import Scorer

Finding = Literal["better", "worse", "no difference", "not tested"]


@dataclass(frozen=True)
class Comparison:
    """Our model against another on the same examples, by one score."""

    name: str  # of the other, in words
    score: str  # the score compared, usually the primary one
    test: str  # "exact McNemar", "paired bootstrap" or "none"
    examples: int
    only_ours_right: int | None  # examples that only ours (only the other) has right; McNemar only
    only_other_right: int | None
    p_value: float | None  # two-sided
    ours: float
    other: float
    difference: float  # ours - other
    low: float | None  # bootstrap interval of the difference
    high: float | None
    confidence: float
    finding: Finding
    verdict: str  # in words

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)


def compare(
    ours: Scorer, other: Scorer, *, primary: str, rounds: int, confidence: float, seed: int, name: str
) -> Comparison:
    """Compare two scorers that saw the same examples in the same order, by the score `primary`.

    Where `primary` is a share of examples that are right, the test is the exact McNemar test (McNemar 1947; binomial
    on the examples that only one of the two has right); otherwise a paired bootstrap (Efron & Tibshirani 1993,
    chapter 16). "Better" and "worse" need both the test at level ``1 - confidence`` and an interval of the difference
    without 0. `rounds` 0: no interval, and no test but McNemar. Raises `ValueError` if the examples differ in number.
    """
    right, right_other = ours.outcomes(), other.outcomes()
    if len(right) != len(right_other):
        raise ValueError(f"{len(right)} examples against {len(right_other)}: a paired test needs the same ones")
    value, value_other = ours.compute()[primary], other.compute()[primary]
    differences = _resampled(ours, other, primary, affordable_rounds(rounds, len(right)), seed)
    interval = percentiles(differences, confidence)
    counted = is_share_right(primary, value, right) and is_share_right(primary, value_other, right_other)
    apart = discordant(right, right_other) if counted else None
    p_value = mcnemar(*apart) if apart else bootstrap_p(differences)
    difference = value - value_other
    finding = judge(difference, interval, p_value, confidence, greater_is_better(primary))
    test = "exact McNemar" if apart else "paired bootstrap" if p_value is not None else "none"
    low, high = interval or (None, None)
    return Comparison(
        name=name,
        score=primary,
        test=test,
        examples=len(right),
        only_ours_right=apart[0] if apart else None,
        only_other_right=apart[1] if apart else None,
        p_value=p_value,
        ours=value,
        other=value_other,
        difference=difference,
        low=low,
        high=high,
        confidence=confidence,
        finding=finding,
        verdict=in_words(finding, name, primary, difference, interval, confidence, test, p_value),
    )


def _resampled(ours: Scorer, other: Scorer, primary: str, rounds: int, seed: int) -> NDArray[np.float64]:
    """Return the difference of the score on each bootstrap sample; both scorers see the same rows."""
    pairs = (
        (ours.compute(rows).get(primary, np.nan), other.compute(rows).get(primary, np.nan))
        for rows in samples(len(ours.outcomes()), rounds, seed)
    )
    return np.array([a - b for a, b in pairs], dtype=float)


def is_share_right(primary: str, value: float, outcomes: NDArray[np.float64]) -> bool:
    """Whether a score is the share of the examples that are right, each being right or wrong."""
    return (
        counts_right(primary)
        and bool(np.isin(outcomes, (0.0, 1.0)).all())
        and abs(float(outcomes.mean()) - value) < 1e-9
    )


def judge(
    difference: float, interval: tuple[float, float] | None, p_value: float | None, confidence: float, greater: bool
) -> Finding:
    """Tell what a test supports: "better" and "worse" need both its p-value and an interval without 0."""
    if p_value is None:
        return "not tested"
    clear = interval is None or interval[0] > 0 or interval[1] < 0
    if p_value >= 1 - confidence or not clear or difference == 0:
        return "no difference"
    return "better" if (difference > 0) == greater else "worse"


def in_words(
    finding: Finding,
    name: str,
    primary: str,
    difference: float,
    interval: tuple[float, float] | None,
    confidence: float,
    test: str,
    p_value: float | None,
) -> str:
    """Tell a finding in words that it supports, with the interval of the difference and the p-value of the `test`."""
    evidence = _evidence(primary, difference, interval, confidence, test, p_value, signed=finding == "no difference")
    if finding in ("better", "worse"):
        return f"{finding} than {name} by {distance(primary, difference)}{evidence}"
    if finding == "no difference" and interval and (interval[0] > 0 or interval[1] < 0):
        return f"too few examples to tell from {name} in {spoken(primary)}{evidence}"
    if finding == "no difference":
        return f"no measurable difference from {name} in {spoken(primary)}{evidence}"
    side = "above" if difference > 0 else "below" if difference < 0 else "from"
    return f"{distance(primary, difference)} {side} {name}; not tested, as the bootstrap is off"


def _evidence(
    primary: str,
    difference: float,
    interval: tuple[float, float] | None,
    confidence: float,
    test: str,
    p_value: float | None,
    *,
    signed: bool,
) -> str:
    told = [_range(primary, difference, interval, confidence, signed)] if interval else []
    told += [f"{test.removeprefix('exact ')} {probability(p_value)}"] if p_value is not None else []
    return f" ({', '.join(told)})" if told else ""


def _range(primary: str, difference: float, interval: tuple[float, float], confidence: float, signed: bool) -> str:
    """Write the interval in the unit of `distance`: as sizes where the side is already said, else with signs."""
    low, high = interval
    if not signed and difference < 0:
        low, high = -high, -low
    factor, digits = scale(primary, difference)
    seen, low, high = (round(factor * value, digits) + 0.0 for value in (difference, low, high))  # + 0.0: no -0.0
    form = f"{'+' if signed else ''},.{digits}f"
    points = " points" if in_points(primary) else ""
    told = f"{seen:{form}}{points}, " if signed else ""
    return f"{told}{100 * confidence:g}% interval {low:{form}} to {high:{form}}"
