"""What is asked for of a cross-validation, its folds, and what is told once all are measured."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from weitiao import models
from weitiao.artifacts.artifact import write_json
from weitiao.candidates import Candidate
from weitiao.evaluation.compared import Compared, Reference, Row, beside_baseline, ranked, recommend
from weitiao.evaluation.cross_validated import Chosen, CrossValidated, Fold, alone, write_cross_validation
from weitiao.evaluation.resampling import Folded, compare_folds, interval, practically_none
from weitiao.facts import environment
from weitiao.metrics.words import greater_is_better
from weitiao.preparation import Preparation, open_examples
from weitiao.recipe import Recipe
from weitiao.trials import Say

WHAT = "cross-validation"
PAGE, NUMBERS = "cv.html", "cv.json"
Jobs = int | Literal["auto"]
WHY = "the cross-validation's"  # the origin of what it sets


def folded(recipe: Recipe, number: int, of: int, repeat: int, keep_test: bool) -> Recipe:
    """The recipe with a fold to be tested on, cut by the same seed whatever a run is trained with."""
    fold = {"number": number, "of": of, "repeat": repeat, "keep_test": keep_test}
    values = {"data.fold": fold, "data.seed": recipe.data_seed, "evaluation.test": True}
    return recipe.changed({key: (value, WHY) for key, value in values.items()})


def cut(recipe: Recipe, ready: Preparation, folds: int, repeats: int, keep_test: bool) -> list[Fold]:
    """Cut all folds; raises where one cannot be trained or tested on."""
    found = []
    with models.quiet():
        for repeat in range(repeats):
            for number in range(1, folds + 1):
                splits, _ = open_examples(folded(recipe, number, folds, repeat, keep_test), ready.task)
                sizes = [len(splits[name]) if name in splits else 0 for name in ("train", "validation", "test")]
                found.append(Fold(number, repeat, *sizes))
    return found


@dataclass(frozen=True)
class Plan:
    """What is asked for, and the folds."""

    folder: Path
    recipe: Recipe
    folds: list[Fold]
    of: int
    repeats: int
    rope: float | None
    keep_test: bool
    ready: Preparation  # of the first fold, by the first method
    notes: list[str]
    stop: threading.Event
    say: Say

    def fold_recipe(self, candidate: Candidate, fold: Fold, path: Path) -> Recipe:
        """The recipe of a run: each fold has a seed of its own, the same for all methods."""
        seed = self.recipe.training.seed + self.of * fold.repeat + fold.number - 1
        return folded(candidate.recipe(self.recipe, seed, path), fold.number, self.of, fold.repeat, self.keep_test)

    def told(
        self, rows: list[Row], score: str, baselines: Mapping[str, list[float]],
        chosen: Mapping[str, Chosen] | None = None,
    ) -> CrossValidated:  # fmt: skip
        """Compare the methods, write it all down, and return it; `baselines` have a score on every fold."""
        rows = ranked(rows, greater_is_better=greater_is_better(score))
        there = [row for row in rows if row.scores]
        values, confidence = _shared(self.folds, there), self.recipe.evaluation.confidence
        ratio = sum(fold.test for fold in self.folds) / sum(fold.train for fold in self.folds)
        examples = sum(fold.test for fold in self.folds if not fold.repeat)
        rope = practically_none(score, there[0].scores) if self.rope is None else self.rope
        how: dict[str, Any] = {"ratio": ratio, "confidence": confidence, "rope": rope, "examples": examples}
        pairs, chances = compare_folds(values, score, **how)
        measured: dict[str, Any] = {"score": score, "examples": examples}
        intervals = {row.name: interval(row.scores, ratio, confidence, **measured) for row in there}
        recommended, advice = recommend(rows, pairs, score)
        if len(rows) == 1:
            advice = alone(there[0], score, intervals[there[0].name], confidence)
        taken = next(each for each in values if each.name == (recommended or there[0].name))
        references = _references(taken, baselines, score, how) if len(taken.values) == len(self.folds) else []
        advice += beside_baseline(taken.name, references, score)
        compared = Compared(
            task=self.recipe.task.name, model=self.recipe.model.source, score=score, split="test", examples=examples,
            greater_is_better=greater_is_better(score), confidence=confidence,
            seeds=sorted({each.seed for row in there for each in row.attempts}), rows=rows, pairs=pairs,
            baselines=references, recommended=recommended, advice=advice, notes=[*self.notes, *self._notes()],
            recipe_yaml=self.recipe.to_yaml(), environment=environment(self.ready.facts), folder=str(self.folder),
        )  # fmt: skip
        found = CrossValidated(
            compared, self.folds, self.of, self.repeats, rope, intervals, chances, dict(chosen or {})
        )
        write_json(self.folder / NUMBERS, found.to_dict())
        write_cross_validation(found, self.folder / PAGE)
        return found

    def _notes(self) -> list[str]:
        notes = []
        if "validation" not in self.ready.features:
            notes.append("there is no validation: every run has all its epochs")
        if self.recipe.data.test is not None or self.keep_test:
            notes.append("the test split stays aside: nothing here was trained or tested on it")
        return notes


def _shared(folds: Sequence[Fold], rows: Sequence[Row]) -> list[Folded]:
    """The scores of each method on the folds that all have."""
    known = [{each.name: each.score for each in row.attempts if each.score is not None} for row in rows]
    shared = [fold.name for fold in folds if all(fold.name in each for each in known)]
    return [Folded(row.name, [each[name] for name in shared]) for row, each in zip(rows, known, strict=True)]


def _references(
    taken: Folded, baselines: Mapping[str, list[float]], score: str, how: Mapping[str, Any]
) -> list[Reference]:
    """The baselines, the best first, and how the method to take compares with each on the same folds."""
    found = []
    for name, scores in baselines.items():
        (pair,), _ = compare_folds([taken, Folded(name, scores)], score, **how)
        found_ends = interval(scores, how["ratio"], how["confidence"], score=score, examples=how["examples"])
        low, high = found_ends or (None, None)
        found.append(Reference(name, float(np.mean(scores)), low, high, pair))
    return sorted(found, key=lambda each: -each.score if greater_is_better(score) else each.score)


def on_all(measured: Sequence[Mapping[str, float | None]], folds: int) -> dict[str, list[float]]:
    """The baselines' scores by name, of those that were measured on all folds."""
    if len(measured) < folds:
        return {}
    named = {name: [each.get(name) for each in measured] for name in measured[0]}
    return {name: [s for s in scores if s is not None] for name, scores in named.items() if None not in scores}
