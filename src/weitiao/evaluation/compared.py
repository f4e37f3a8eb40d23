"""What a comparison of methods tells, as plain data: a row a method, a verdict a pair, and which method to take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from weitiao.evaluation.verdicts import Pair
from weitiao.metrics.words import distance, in_points, scale, spoken, written

AS_QUICK = 1.1  # a method that takes up to so many times the time of the quickest is as quick
LIGHTER = 0.8  # share of the memory from which on another method is worth naming


@dataclass(frozen=True)
class Attempt:
    """One training: a method with a seed."""

    seed: int
    folder: str  # within the comparison's
    score: float | None = None
    low: float | None = None  # interval over the test examples
    high: float | None = None
    seconds: float | None = None  # of training, evaluations on validation included
    peak_memory: int | None = None  # bytes, of the whole process
    steps: int | None = None  # trained
    problem: str = ""  # why there is no score
    name: str = ""  # what it is called, where it is not told by its seed

    @property
    def called(self) -> str:
        """What it is called among the others of its method."""
        return self.name or f"seed {self.seed}"


@dataclass(frozen=True)
class Row:
    """One method with all its seeds."""

    name: str  # such as ``lora (rank 4)``
    method: dict[str, Any]  # as in a recipe
    differs: dict[str, dict[str, Any]] = field(default_factory=dict)  # section -> what differs in the recipe for it
    attempts: list[Attempt] = field(default_factory=list)
    learning_rate: float | None = None
    trainable: int | None = None
    parameters: int | None = None
    saved: int | None = None  # bytes of what has to be kept beside the base model
    keeps: Literal["adapter", "model"] = "model"
    problem: str = ""  # why it was left out

    @property
    def scores(self) -> list[float]:
        """The score of each seed that was trained to the end."""
        return [each.score for each in self.attempts if each.score is not None]

    @property
    def mean(self) -> float | None:
        """The mean score over seeds."""
        return float(np.mean(self.scores)) if self.scores else None

    @property
    def sd(self) -> float | None:
        """The scores' standard deviation over seeds; None for one seed."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else None

    @property
    def seconds(self) -> float | None:
        """The mean time of a training."""
        known = [each.seconds for each in self.attempts if each.seconds is not None and each.score is not None]
        return float(np.mean(known)) if known else None

    @property
    def peak_memory(self) -> int | None:
        """The most memory that any of the trainings had."""
        return max((each.peak_memory for each in self.attempts if each.peak_memory is not None), default=None)

    @property
    def why_not(self) -> str:
        """What went wrong, where anything did."""
        problems = [f"{each.called}: {each.problem}" for each in self.attempts if each.problem]
        return self.problem or "; ".join(problems)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, means and spread included."""
        return asdict(self) | {"mean": self.mean, "sd": self.sd, "seconds": self.seconds,
                               "peak_memory": self.peak_memory}  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """A simple baseline, or the model before training, for comparison."""

    name: str
    score: float
    low: float | None
    high: float | None
    pair: Pair | None = None  # the recommended method against it


@dataclass(frozen=True)
class Compared:
    """All that a comparison tells."""

    task: str
    model: str
    score: str  # the primary one
    split: str
    examples: int
    greater_is_better: bool
    confidence: float
    seeds: list[int]
    rows: list[Row]  # the best mean first, those without a score last
    pairs: list[Pair]
    baselines: list[Reference] = field(default_factory=list)
    recommended: str | None = None
    advice: list[str] = field(default_factory=list)  # sentences: which method to take, and why
    notes: list[str] = field(default_factory=list)
    recipe_yaml: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"rows": [row.to_dict() for row in self.rows]}

    def __getitem__(self, name: str) -> Row:
        """Return a method's row by its name."""
        return {row.name: row for row in self.rows}[name]

    def pair(self, first: str, second: str) -> Pair | None:
        """Return the verdict on two methods, from the first one's side where it is kept so."""
        return next((p for p in self.pairs if {p.first, p.second} == {first, second}), None)


def ranked(rows: Sequence[Row], *, greater_is_better: bool) -> list[Row]:
    """Return the rows by their mean score, the best first, those without one last."""
    sign = -1 if greater_is_better else 1
    return sorted(rows, key=lambda row: (row.mean is None, sign * (row.mean or 0.0)))


def recommend(rows: Sequence[Row], pairs: Sequence[Pair], score: str) -> tuple[str | None, list[str]]:
    """Return the method to take and why, in sentences: the quickest that is not measurably worse than the best.

    `rows` are ranked, and the first of a pair is ranked before the second.
    """
    there = [row for row in rows if row.mean is not None]
    if not there:
        return None, ["No method was trained to the end, so there is none to take."]
    best = there[0]
    against = {pair.second: pair for pair in pairs if pair.first == best.name}
    equal = [best, *(row for row in there[1:] if against[row.name].finding == "no difference")]
    untested = [row.name for row in there[1:] if against[row.name].finding == "not tested"]
    quickest = min(row.seconds or 0.0 for row in equal)
    taken = next(row for row in equal if (row.seconds or 0.0) <= AS_QUICK * quickest)
    said = [_why(taken, best, equal, there, against, score)]
    lighter = min(equal, key=lambda row: row.peak_memory or 0)
    if lighter is not taken and (lighter.peak_memory or 0) < LIGHTER * (taken.peak_memory or 0):
        need = f"{_gigabytes(lighter)} rather than {_gigabytes(taken)}"
        said.append(f"Where memory is short, take {lighter.name}: it needs {need} and is not measurably worse either.")
    unclear = [row.name for row in equal[1:] if _clear_by_itself(against[row.name])]
    if unclear:
        said.append(f"By itself the difference to {best.name} would count for {_listed(unclear)}, as one of so many "
                    "pairs it does not: more seeds or test examples would tell.")  # fmt: skip
    if untested:
        said.append(f"Not tested against {best.name}, as told below: {_listed(untested)}.")
    return taken.name, said


def _why(
    taken: Row, best: Row, equal: Sequence[Row], there: Sequence[Row], against: dict[str, Pair], score: str
) -> str:
    assert taken.mean is not None
    value = f"{written(score, taken.mean)} {spoken(score)}"
    if len(there) == 1:
        return f"Take {taken.name} ({value}): no other method was trained to the end."
    if len(equal) == 1 and any(pair.finding == "not tested" for pair in against.values()):
        return f"Take {taken.name} ({value}): it has the best score, which is not tested against all others."
    if len(equal) == 1:
        pair = against[there[1].name]
        return (f"Take {taken.name} ({value}): it is measurably better than every other method here; the next, "
                f"{there[1].name}, is {distance(score, pair.difference)} behind{_interval(score, pair)}.")  # fmt: skip
    if taken is best:
        others = _listed([row.name for row in equal[1:]])
        quick = "none of these is quicker to train" if len(equal) > 2 else "it is no quicker to train"
        return (f"Take {taken.name} ({value}): it has the best score, and though {others} "
                f"{'are' if len(equal) > 2 else 'is'} not measurably worse, {quick}.")  # fmt: skip
    pair = against[taken.name]
    behind = f"{distance(score, pair.difference)} behind{_interval(score, pair)}"
    return (f"Take {taken.name} ({value}): it is not measurably worse than the best, {best.name} ({behind}), and "
            f"{_savings(taken, best)}.")  # fmt: skip


def beside_baseline(taken: str, baselines: Sequence[Reference], score: str) -> list[str]:
    """Say where a simple baseline does better than the method to take, or as well; `baselines` are the best first."""
    for finding, said in (("worse", "does better"), ("no difference", "may do")):
        for each in baselines:
            if each.pair is not None and each.pair.finding == finding:
                told = f"{each.name} ({written(score, each.score)}) {said}"
                return [f"But {told}, and costs next to nothing: {taken} "
                        f"{'is' if finding == 'worse' else 'shows'} {each.pair.verdict}."]  # fmt: skip
    return []


def _clear_by_itself(pair: Pair) -> bool:
    return pair.low is not None and pair.high is not None and not pair.low <= 0 <= pair.high


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _savings(taken: Row, best: Row) -> str:
    """What a method costs beside the best one."""
    costs = []
    if taken.seconds and best.seconds:
        costs.append(f"takes {taken.seconds / best.seconds:.0%} of its time")
    if taken.peak_memory and best.peak_memory:
        costs.append(f"{taken.peak_memory / best.peak_memory:.0%} of its memory")
    return " and ".join(costs) or "costs less"


def _interval(score: str, pair: Pair) -> str:
    """How far behind the second of a pair may be, for the better one's side: the interval without its sign."""
    if pair.low is None or pair.high is None:
        return ""
    factor, digits = scale(score, pair.difference)
    ends = sorted(factor * end for end in (pair.low, pair.high))
    if pair.difference < 0:  # less is better: behind is more
        ends = sorted(-end for end in ends)
    points = " points" if in_points(score) else ""
    return f", interval {ends[0] + 0.0:,.{digits}f} to {ends[1] + 0.0:,.{digits}f}{points}"


def _gigabytes(row: Row) -> str:
    return f"{(row.peak_memory or 0) / 1e9:.1f} GB"
