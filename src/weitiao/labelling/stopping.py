"""Is it worth labelling more? The rounds' scores by the number of labels they were trained on, followed to more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MORE = 100  # labels that are looked ahead
DRAWN = 24  # points of the curve


@dataclass(frozen=True)
class Measured:
    """What a round measured."""

    number: int
    rows: int  # labelled ones that it was trained on
    score: float
    low: float | None
    high: float | None
    name: str  # of the score
    examples: int | None = None  # measured on
    split: str = ""  # that these are


@dataclass(frozen=True)
class Outlook:
    """What more labels would bring."""

    sentences: list[str]
    gain: tuple[float, float, float] | None = None  # of `MORE` labels, with its interval
    curve: list[tuple[float, float, float, float]] = field(default_factory=list)  # rows, score, low, high


def outlook(
    points: Sequence[Measured], *, same: bool, confidence: float = 0.95, seconds: float | None = None, more: int = MORE
) -> Outlook:
    """Return what `more` labels would bring by an inverse power law through the rounds (`probing.power_law`).

    `same`: whether all rounds were measured on the same examples; else what is measured anew each time makes it as
    doubtful as the rounds' own intervals are wide. `seconds`: what a label takes. It takes for granted that what is
    chosen next is worth as much as what was chosen so far, and that the recipe stays as it is.
    """
    from scipy.stats import norm

    from weitiao.metrics.words import distance, greater_is_better, in_points, is_share, scale, spoken
    from weitiao.probing.curve import bound
    from weitiao.probing.learned import WORTH
    from weitiao.probing.power_law import FEWEST, UNLIKELY, follow

    sizes = sorted({point.rows for point in points})
    if len(sizes) < FEWEST:
        left = FEWEST - len(sizes)
        return Outlook([f"What more labels would bring can be told after {left} more round{'s' * (left != 1)}."])
    name, by_size = points[-1].name, {size: [p.score for p in points if p.rows == size] for size in sizes}
    sides = [(p.high - p.low) / 2 for p in points if p.low is not None and p.high is not None]
    apart = float(np.mean(sides) / norm.ppf((1 + confidence) / 2)) if sides and not same else 0.0
    examples = min((p.examples for p in points if p.examples), default=None)
    law, first = follow(
        [float(size) for size in sizes], [by_size[size] for size in sizes],
        greater_is_better=greater_is_better(name), bound=bound(name),
        least=max(apart, 1 / examples if examples and is_share(name) else 0.0),
    )  # fmt: skip
    gain = law.gain(law.largest + more, confidence)
    worth = WORTH / 100 if is_share(name) else WORTH if in_points(name) else None
    factor, digits = scale(name, gain[0])
    low, high = (f"{round(factor * end, digits) + 0.0:,.{digits}f}" for end in gain[1:])
    told = (f"{more} more labels would bring about {distance(name, max(gain[0], 0.0))}"
            f" ({100 * confidence:g}% interval {low} to {high})")  # fmt: skip
    if seconds:
        told += f", and take about {_time(seconds * more)} of labelling"
    sentences = [f"{told}."]
    if worth is not None and gain[2] < worth:
        sentences.append("You can stop: more labels of this kind bring little.")
    elif worth is not None and gain[1] >= worth:
        sentences.append("Going on is worth it.")
    else:
        sentences.append("Whether that is so cannot be told yet: another round says more.")
    if not same and examples:
        sentences.append(f"Measured on {examples:,} examples or more, cut from what is labelled anew each time: name a "
                         "test file in the recipe for scores to go by.")  # fmt: skip
    if law.likely <= UNLIKELY:
        sentences.append(f"The rounds' {spoken(name)} lies on no such curve: take it as a guess.")
    sizes_drawn = np.unique([*np.geomspace(sizes[first], law.largest + more, DRAWN), law.largest])
    curve = [(float(size), float(law.at(size)), *law.interval(size, confidence)) for size in sizes_drawn]
    return Outlook(sentences, gain, curve)


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "a minute"
    return f"{minutes} minute{'s' * (minutes != 1)}" if minutes < 90 else f"{seconds / 3600:.1f} hours"


def points_dict(points: Sequence[Measured]) -> list[dict[str, Any]]:
    """Return plain JSON values."""
    from weitiao.metrics.words import written

    return [{"round": p.number, "rows": p.rows, "score": p.score, "low": p.low, "high": p.high,
             "written": written(p.name, p.score)} for p in points]  # fmt: skip
