"""What a learning curve tells, as plain data: scores by training rows, and what more of these would bring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from weitiao.metrics.words import distance, greater_is_better, in_points, is_share, scale, spoken, written
from weitiao.probing.power_law import PowerLaw

TIMES = (2, 4)  # the largest size, at which the curve is told
WORTH = 1.0  # points of a share or of a score up to 100 that are worth labelling for


@dataclass(frozen=True)
class Point:
    """One size with all its trainings."""

    rows: int
    seeds: list[int]
    scores: list[float]
    fitted: bool = True  # whether the curve goes by it

    @property
    def mean(self) -> float:
        """The mean score."""
        return float(np.mean(self.scores))

    @property
    def sd(self) -> float | None:
        """The standard deviation over trainings; None of one."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else None


@dataclass(frozen=True)
class Ahead:
    """The curve at more data than there is."""

    times: int  # of the largest size
    rows: int
    value: float  # the mean score over trainings
    low: float
    high: float
    gain: float  # how much better than at the largest size; of a loss, how much less
    gain_low: float
    gain_high: float


@dataclass(frozen=True)
class LearningCurve:
    """All that a learning curve tells."""

    task: str
    model: str
    method: str
    score: str
    greater_is_better: bool
    split: str
    examples: int  # measured on, the same for all
    confidence: float
    points: list[Point]
    law: dict[str, float]  # a, b, c and the largest size N of ``a - b (n / N)^-c``; of a loss ``a + b (n / N)^-c``
    ahead: list[Ahead]
    band: list[tuple[float, float, float, float]]  # (rows, value, low, high) to be drawn
    advice: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    recipe_yaml: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        points = [asdict(point) | {"mean": point.mean, "sd": point.sd} for point in self.points]
        return asdict(self) | {"points": points}


def looked_ahead(law: PowerLaw, confidence: float) -> list[Ahead]:
    """Return the curve at twice and four times the largest size."""
    found = []
    for times in TIMES:
        size = times * law.largest
        found.append(Ahead(times, int(size), float(law.at(size)), *law.interval(size, confidence),
                           *law.gain(size, confidence)))  # fmt: skip
    return found


def banded(law: PowerLaw, first: float, confidence: float, count: int = 40) -> list[tuple[float, float, float, float]]:
    """Return the curve with its band, from the smallest size to four times the largest."""
    sizes = np.unique([*np.geomspace(first, max(TIMES) * law.largest, count), law.largest])
    return [(float(size), float(law.at(size)), *law.interval(size, confidence)) for size in sizes]


def advise(score: str, points: Sequence[Point], ahead: Sequence[Ahead], confidence: float) -> list[str]:
    """Return in sentences whether more data is worth labelling, and how much it would bring."""
    found, twice, largest = worth_it(score, points), ahead[0], points[-1]
    level = f"{100 * confidence:g}% interval"
    told = f"{_size(score, twice.gain, twice)} ({level} {_range(score, twice)})"
    more = f"twice the training rows ({twice.rows:,} in place of {largest.rows:,})"
    if found is None:
        unknown = (f"It cannot be told whether more data would help: how much {spoken(score)} differs from training to "
                "training is not known from one seed. Take several seeds.")  # fmt: skip
        return [unknown, *_last_step(score, points)]
    worth = found
    rose = (1 if greater_is_better(score) else -1) * (largest.mean - points[0].mean)
    if rose < worth:
        return [f"It cannot be told whether more data would help, for the score does not rise with it here: "
                f"{written(score, points[0].mean)} on {points[0].rows:,} rows, {written(score, largest.mean)} on "
                f"{largest.rows:,}. Either there is nothing more to learn, or the recipe learns nothing: look at "
                "one of the runs' reports."]  # fmt: skip
    if twice.gain_low >= worth:
        first = f"More data is worth labelling: {more} would bring about {told}."
    elif twice.gain_high < worth:
        first = f"More data would bring little: {more} about {told}."
    else:
        first = (f"It cannot be told whether more data would help: {more} would bring about {told}; "
                 f"{_unit(score, worth)} or more would be worth it.")  # fmt: skip
    far = ahead[-1]
    said = [first, f"Four times the rows ({far.rows:,}) would bring about {_size(score, far.gain, far)} ({level} "
            f"{_range(score, far)}), to {written(score, far.value)} {spoken(score)}."]  # fmt: skip
    return [*said, *_last_step(score, points)]


def worth_it(score: str, points: Sequence[Point]) -> float | None:
    """Return the gain from which on more data is said to be worth it: a point, or the spread of a training; None where
    that is not known.
    """  # fmt: skip
    if is_share(score):
        return WORTH / 100
    return WORTH if in_points(score) else max((point.sd or 0.0 for point in points[-2:]), default=0.0) or None


def _last_step(score: str, points: Sequence[Point]) -> list[str]:
    """What the last of the data that is there brought."""
    if len(points) < 2:
        return []
    before, last = points[-2], points[-1]
    spread = f", a training's own spread being {_unit(score, last.sd)}" if last.sd is not None else ""
    return [f"Measured: {written(score, before.mean)} on {before.rows:,} rows, {written(score, last.mean)} on "
            f"{last.rows:,}{spread}."]  # fmt: skip


def _size(score: str, gain: float, ahead: Ahead) -> str:
    return distance(score, gain) if gain >= 0 else f"{distance(score, gain)} less ({ahead.rows:,} rows)"


def _range(score: str, ahead: Ahead) -> str:
    factor, digits = scale(score, ahead.gain)
    low, high = (round(factor * end, digits) + 0.0 for end in (ahead.gain_low, ahead.gain_high))
    return f"{low:,.{digits}f} to {high:,.{digits}f}"


def _unit(score: str, value: float) -> str:
    factor, digits = scale(score, value)
    count = f"{factor * value:,.{digits}f}"
    return count + (" point" if in_points(score) and float(count) == 1 else " points" if in_points(score) else "")
