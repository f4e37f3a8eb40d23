"""Scores of several tasks at once: each task's own, and the mean of their primary ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from weitiao.metrics.words import greater_is_better, kind
from weitiao.records import FILE, LINE, Example, Prediction, Score, Scores, Told


class _Scorer(Protocol):
    def add(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None: ...
    def compute(self, rows: NDArray[Any] | None = None) -> dict[str, float]: ...
    def scores(self) -> Scores: ...
    def outcomes(self) -> NDArray[np.float64]: ...
    def tell(self, example: Example, prediction: Prediction) -> Told: ...


def own(example: Example) -> dict[str, Any]:
    """Return the example of a task as the task itself knows it."""
    return {**json.loads(example["example"]), **{key: example[key] for key in (LINE, FILE) if key in example}}


class SeveralScorer:
    """Hands each example to the scorer of its task. Scores are called ``task.score``; ``mean`` decides.

    The mean is over the tasks' primary scores, each counting the same: points (BLEU) over 100, and where less is
    better (a perplexity, an error) 1 / (1 + value), so that all are at most 1.
    """

    primary = "mean"

    def __init__(self, scorers: Mapping[str, _Scorer]) -> None:
        self.scorers = dict(scorers)
        self._task: list[int] = []  # of each example
        self._names = list(scorers)

    def add(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        """Take one batch of examples of any of the tasks."""
        for name, scorer in self.scorers.items():
            chosen = [i for i, example in enumerate(examples) if example["task"] == name]
            if chosen:
                scorer.add([own(examples[i]) for i in chosen], [predictions[i] for i in chosen])
        self._task += [self._names.index(example["task"]) for example in examples]

    def compute(self, rows: NDArray[Any] | None = None) -> dict[str, float]:
        """Return all tasks' scores on the given rows, or on all; a task without rows has none."""
        found: dict[str, float] = {}
        primaries = []
        for name, scores in self._each(rows).items():
            found |= {f"{name}.{score}": value for score, value in scores.items()}
            primary = self._primary(name)
            if primary in scores:
                primaries.append(_comparable(primary, scores[primary]))
        return {"mean": float(np.mean(primaries)), **found} if primaries else found

    def scores(self) -> Scores:
        """Return all scores; details hold a table of the tasks and each task's own tables."""
        values = {name: Score(value) for name, value in self.compute().items()}
        each = {name: scorer.scores() for name, scorer in self.scorers.items() if name in self._there()}
        rows = [[name, scores.primary, scores.main, scores.examples] for name, scores in each.items()]
        tables = [
            {"title": "Task by task", "about": "", "columns": ["task", "score", "value", "examples"], "rows": rows}
        ]
        for name, scores in each.items():
            tables += [{**table, "title": f"{name}: {table['title']}"} for table in scores.details.get("tables", [])]
        unsaid = {
            f"{name}: {label}": count
            for name, scores in each.items()
            for label, count in scores.details.get("never_said", {}).items()
        }
        return Scores("mean", values, len(self._task), details={"tables": tables, "never_said": unsaid})

    def outcomes(self) -> NDArray[np.float64]:
        """Return each example's outcome as its own task's scorer gives it, in the order they came."""
        codes, found = np.array(self._task), np.zeros(len(self._task))
        for number, name in enumerate(self._names):
            if name in self._there():
                found[codes == number] = self.scorers[name].outcomes()
        return found

    def tell(self, example: Example, prediction: Prediction) -> Told:
        """Return what the task's own scorer tells, with the task's name before it."""
        told = self.scorers[example["task"]].tell(own(example), prediction)
        return replace(told, given=f"{example['task']}: {told.given}")

    def _there(self) -> set[str]:
        return {self._names[number] for number in set(self._task)}

    def _primary(self, name: str) -> str:
        return self.scorers[name].scores().primary if name not in self._known else self._known[name]

    @property
    def _known(self) -> dict[str, str]:
        return {name: scorer.primary for name, scorer in self.scorers.items() if hasattr(scorer, "primary")}

    def _each(self, rows: NDArray[Any] | None) -> dict[str, dict[str, float]]:
        there = self._there()
        if rows is None:
            return {name: self.scorers[name].compute() for name in self._names if name in there}
        codes = np.array(self._task)
        place = np.zeros(len(codes), np.int64)  # each example's number within its own task
        for number in range(len(self._names)):
            chosen = np.flatnonzero(codes == number)
            place[chosen] = np.arange(len(chosen))
        found = {}
        for number, name in enumerate(self._names):
            drawn = rows[codes[rows] == number]
            if len(drawn):
                found[name] = self.scorers[name].compute(place[drawn])
        return found


def _comparable(score: str, value: float) -> float:
    if not greater_is_better(score):
        return 1 / (1 + value)
    return value / 100 if kind(score) == "points" else value
