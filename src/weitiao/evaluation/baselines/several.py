"""The baseline of several tasks: for each the last, strongest one of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from weitiao import registry
from weitiao.data import column_array
from weitiao.evaluation.baselines.base import Baseline, Knows, TakesTime
from weitiao.evaluation.evaluate import Inference, Labelled
from weitiao.metrics.several import own
from weitiao.records import Prediction, SplitName


class EachOwn:
    """A simple model for each task, fitted on that task's examples alone; a task that names none gets no baseline."""

    knows: Knows = "examples"

    def __init__(self, task: Any, *, seed: int = 0) -> None:
        self.name = "each task's own baseline"
        self.notes: list[str] = []
        fitted = {
            name: [kind for kind in map(_kind, part.task.baselines) if kind.knows != "before training"]
            for name, part in task.parts.items()
        }
        self._each: dict[str, Baseline] = {
            name: kinds[-1](task.parts[name].task, seed=seed) for name, kinds in fitted.items() if kinds
        }
        known = {each.knows for each in self._each.values()}
        self.knows = "examples" if "examples" in known else "answers" if "answers" in known else "nothing"
        self._all = len(self._each) == len(task.parts)
        self._numbers = {name: number for number, name in enumerate(task.parts)}

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """Fit each on its own part of the splits."""
        from weitiao.errors import RunError

        if not self._all:
            raise RunError("not every task has a simple baseline")
        for name, baseline in self._each.items():
            parts = {split: _part(labelled, name)[0] for split, labelled in on.items()}
            baseline.fit({split: part for split, part in parts.items() if len(part.rows)}, untouched)
            self.notes += [f"{name}: {baseline.name}", *(f"{name}: {note}" for note in baseline.notes)]

    def fit_seconds(self, train: Labelled) -> float:
        """That of each, on its own part."""
        part, total = column_array(train.features, "part"), 0.0
        for name, baseline in self._each.items():
            if isinstance(baseline, TakesTime):
                own = np.flatnonzero(part == self._numbers[name])
                total += baseline.fit_seconds(replace(train, features=train.features.select(own)))
        return total

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield each example's answer in order."""
        found: dict[int, Prediction] = {}
        for name, baseline in self._each.items():
            part, rows = _part(on, name)
            found.update(zip(rows, baseline.predict(part), strict=True))
        yield from (found[row] for row in on.rows.tolist())


def _kind(name: str) -> type[Baseline]:
    kind: type[Baseline] = registry.get("baseline", name)
    return kind


def _part(on: Labelled, name: str) -> tuple[Labelled, list[int]]:
    """One task's examples of a split, and their numbers in it."""
    from datasets import Dataset

    rows, examples = [], []
    numbers = iter(on.rows.tolist())
    for chunk in on.chunks():
        for example in chunk:
            row = next(numbers)
            if example["task"] == name:
                rows.append(row)
                examples.append(own(example))
    return Labelled(on.name, Dataset.from_list(examples), on.features, np.arange(len(examples))), rows
