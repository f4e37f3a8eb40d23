"""What a cross-validation tells, as plain data, and its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from weitiao.evaluation.compared import Attempt, Compared, Row
from weitiao.evaluation.comparison_page import shown
from weitiao.evaluation.page import page, write
from weitiao.evaluation.resampling import Chances
from weitiao.metrics.words import distance, spoken, written


@dataclass(frozen=True)
class Fold:
    """One part of the examples, tested on by models that were trained on the others."""

    number: int  # from 1
    repeat: int  # from 0
    train: int  # examples
    validation: int  # that early stopping looked at, of the others
    test: int

    @property
    def name(self) -> str:
        """What it is called where there are several repeats, and where there are not."""
        return f"fold {self.number}" + (f" of repeat {self.repeat + 1}" if self.repeat else "")

    @property
    def slug(self) -> str:
        """Its name as part of a folder's."""
        return f"repeat{self.repeat}-fold{self.number}"


@dataclass(frozen=True)
class Chosen:
    """What a search chose on the examples that a fold left."""

    values: dict[str, Any]  # of the recipe, by dotted key
    told: str  # the same for people


@dataclass(frozen=True)
class CrossValidated:
    """All that a cross-validation tells: the rows of `compared` are methods, their attempts are folds."""

    compared: Compared
    folds: list[Fold]
    of: int  # folds of a repeat
    repeats: int
    rope: float  # difference that is practically none
    intervals: dict[str, tuple[float, float] | None]  # of each method's mean
    chances: list[Chances] = field(default_factory=list)
    chosen: dict[str, Chosen] = field(default_factory=dict)  # of a nested search: what it chose, by fold

    @property
    def best(self) -> Row:
        """The method to take; the only one where there is one."""
        return self.compared[self.compared.recommended or self.compared.rows[0].name]

    @property
    def mean(self) -> float:
        """The mean score over folds of the method to take."""
        return float(np.mean(self.best.scores))

    @property
    def sd(self) -> float | None:
        """The standard deviation of that score over folds."""
        return self.best.sd

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval of that mean, for folds share most of their training examples."""
        return self.intervals[self.best.name]

    def score_of(self, row: Row, fold: Fold) -> Attempt | None:
        """Return what came of a method on a fold."""
        return next((each for each in row.attempts if each.name == fold.name), None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            **self.compared.to_dict(), "mean": self.mean, "sd": self.sd, "interval": self.interval, "of": self.of,
            "repeats": self.repeats, "folds": [asdict(fold) for fold in self.folds], "rope": self.rope,
            "intervals": self.intervals, "chances": [each.to_dict() for each in self.chances],
            "chosen": {name: each.values for name, each in self.chosen.items()},
        }  # fmt: skip


def alone(row: Row, score: str, interval: tuple[float, float] | None, confidence: float) -> list[str]:
    """Say how good a method is that nothing else was trained beside."""
    assert row.mean is not None
    told = f", {100 * confidence:g}% interval {ends(score, interval)}" if interval else ""
    low, high = (written(score, end) for end in (min(row.scores), max(row.scores)))
    return [f"{row.name} has {written(score, row.mean)} {spoken(score)} on examples it was not trained on{told}.",
            f"On single folds it has {low} to {high}."]  # fmt: skip


def ends(score: str, interval: tuple[float, float] | None) -> str:
    """Return an interval as people read it: ``76.1% to 80.3%``; ``–`` for none."""
    return f"{written(score, interval[0])} to {written(score, interval[1])}" if interval else "–"


def write_cross_validation(found: CrossValidated, path: Path) -> None:
    """Write the page to `path`, whole or not at all. Raises `OSError` where that cannot be done."""
    write(render(found), path)


def render(found: CrossValidated) -> str:
    """Return the page as HTML."""
    compared = found.compared
    there = [row for row in compared.rows if row.mean is not None]
    values = shown(compared) | {"report": "search.html" if found.chosen else "report.html"}
    for row, cells in zip(compared.rows, values["rows"], strict=True):
        if found.intervals.get(row.name):
            cells["seeds"] = ends(compared.score, found.intervals[row.name])
        if len(compared.rows) == 1:  # there is nothing to choose from
            cells["pills"], cells["against"] = [], ""
    names = [row.name for row in there]
    return page("cv.html.j2", **values, found=found, methods=names, per_fold=_per_fold(found, there),
                rope=distance(compared.score, found.rope))  # fmt: skip


def _per_fold(found: CrossValidated, rows: Sequence[Row]) -> list[dict[str, Any]]:
    told = []
    for fold in found.folds:
        attempts = [found.score_of(row, fold) for row in rows]
        scores = [
            (written(found.compared.score, each.score), each.folder) if each and each.score is not None else ("–", "")
            for each in attempts
        ]
        chosen = found.chosen[fold.name].told if fold.name in found.chosen else ""
        told.append({"name": fold.name, "fold": fold, "scores": scores, "chosen": chosen})
    return told
