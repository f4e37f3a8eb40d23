"""What a simulation of active learning tells, as plain data: a curve a strategy, each beside random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from weitiao.acquisition.curves import median
from weitiao.evaluation.verdicts import Pair
from weitiao.metrics.words import greater_is_better, spoken, written


@dataclass(frozen=True)
class Point:
    """One number of labels, with the score of each seed."""

    labels: int
    scores: list[float]

    @property
    def mean(self) -> float:
        """The mean score."""
        return float(np.mean(self.scores))

    @property
    def sd(self) -> float | None:
        """The standard deviation over seeds; None of one."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else None


@dataclass(frozen=True)
class Course:
    """What came of a strategy."""

    name: str
    strategy: dict[str, Any]  # name and options
    seeds: list[int]  # that came to the end
    points: list[Point] = field(default_factory=list)
    over_curve: list[float] = field(default_factory=list)  # of each seed the mean score over the curve
    needed: list[float | None] = field(default_factory=list)  # of each seed the labels to reach random's last score
    against: Pair | None = None  # beside random, in the mean over the curve; of random itself None
    at_end: Pair | None = None  # the same with all labels
    seconds: float | None = None  # that choosing once took, on average
    problem: str = ""  # why there is nothing

    @property
    def mean(self) -> float | None:
        """The mean over curve and seeds."""
        return float(np.mean(self.over_curve)) if self.over_curve else None

    @property
    def median_needed(self) -> float | None:
        """The median of the labels needed; None: never reached."""
        return median(self.needed)

    @property
    def reached(self) -> int:
        """How many seeds reached it."""
        return sum(each is not None for each in self.needed)


@dataclass(frozen=True)
class Simulated:
    """All that a simulation tells."""

    task: str
    model: str
    method: str
    score: str
    greater_is_better: bool
    split: str  # measured on
    examples: int  # of it, the same for all
    pool: int  # rows with different texts that there were to choose from
    confidence: float
    sizes: list[int]  # labels of each round
    seeds: list[int]
    first: str  # how the first labels were chosen
    target: float  # random's score with all labels, a mean over seeds
    courses: list[Course]  # the best first
    advice: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    recipe_yaml: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = ""

    def __getitem__(self, name: str) -> Course:
        return next(course for course in self.courses if course.name == name)

    @property
    def until(self) -> int:
        """Labels of the last round."""
        return self.sizes[-1]

    def share(self, course: Course) -> float | None:
        """The labels that a strategy needed as a share of those of random; None: never reached."""
        needed = course.median_needed
        return None if needed is None else needed / self.until

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"courses": [
            asdict(course) | {
                "points": [asdict(point) | {"mean": point.mean, "sd": point.sd} for point in course.points],
                "mean": course.mean, "median_needed": course.median_needed, "share": self.share(course),
            }
            for course in self.courses
        ]}  # fmt: skip


RANDOM = "random"


def ordered(courses: Sequence[Course], score: str) -> list[Course]:
    """Return the courses with the fewest labels needed first, among equals the better curve."""
    sign = -1 if greater_is_better(score) else 1

    def place(course: Course) -> tuple[bool, float, float]:
        needed = course.median_needed
        return (course.mean is None, np.inf if needed is None else needed, sign * (course.mean or 0.0))

    return sorted(courses, key=place)


def needed_in_words(found: Simulated, course: Course, unit: str = "") -> str:
    """Return ``560 (56%; 540 to 610)``, or that it was never reached; "" of one that did not come to its end."""
    if not course.needed:
        return ""
    labels = course.median_needed
    there = f"{course.reached} of {len(course.needed)} seeds"
    if labels is None:
        return f"not within {found.until:,}" + (f" ({there} reached it)" if course.reached else "")
    known = [each for each in course.needed if each is not None]
    spread = f"; {min(known):,.0f} to {max(known):,.0f}" if len(known) > 1 else ""
    some = f"; {there}" if course.reached < len(course.needed) else ""
    return f"{labels:,.0f}{unit} ({labels / found.until:.0%}{spread}{some})"


def advise(found: Simulated) -> list[str]:
    """Return in sentences which strategy to take, if any."""
    others = [course for course in found.courses if course.against is not None]
    if not others:
        return ["There is no strategy beside random: name one."]
    better = [course for course in others if course.against and course.against.finding == "better"]
    target = f"{written(found.score, found.target)} {spoken(found.score)}"
    said = []
    for course in better[:1]:
        assert course.against is not None
        what = f"what random has with {found.until:,} labels ({target})"
        ahead = f"does not reach {what}"
        if course.median_needed is not None:
            ahead = f"reaches {what} with {needed_in_words(found, course, ' labels')}"
        said.append(f"Take {course.name}: it {ahead}; over the whole curve it is {course.against.verdict}.")
    if not better:
        first = others[0]
        assert first.against is not None
        said.append(f"No strategy was measurably better than random. Of {first.name}, the first of them: over the "
                    f"whole curve {first.against.verdict}; labels to reach {target}: "
                    f"{needed_in_words(found, first)}.")  # fmt: skip
    worse = [course.name for course in others if course.against and course.against.finding == "worse"]
    if worse:
        said.append(f"Worse than random: {', '.join(worse)}.")
    return said
