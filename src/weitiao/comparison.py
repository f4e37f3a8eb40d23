"""Several methods on one recipe, a few seeds each, on the same splits: which one to take.

::

    comparisons/all-minilm-1f3a9c02/
      plan.json                   the recipe that all runs share, so that nothing else is ever mixed in
      recipes/lora-seed0.json     the recipe of each run
      runs/lora-seed0/            an ordinary run
      baselines.json              simple baselines, measured once
      comparison.html             for people; comparison.json holds its numbers
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weitiao import models
from weitiao.artifacts.artifact import write_json
from weitiao.artifacts.run_folder import Run, find_run, holding
from weitiao.candidates import Candidate, Named, as_candidates
from weitiao.consistency import with_unlabelled
from weitiao.entries import Entries, Seed
from weitiao.errors import DataError, ModelError, RecipeError, WeitiaoError, WeitiaoWarning
from weitiao.evaluation.compared import Compared, Reference, beside_baseline, ranked, recommend
from weitiao.evaluation.comparison_page import write_comparison
from weitiao.evaluation.verdicts import DRAWN, Drawn, compare_pairs, compare_with, read_drawn
from weitiao.facts import environment
from weitiao.metrics.words import greater_is_better
from weitiao.plans import check_disk, check_folder, keep_plan, own_folder, refuse_output, saying, silent, stoppable
from weitiao.preparation import Preparation, as_recipe, prepare, refuse_errors
from weitiao.recipe import Recipe
from weitiao.records import SplitName
from weitiao.training.fit import stop_on_signal
from weitiao.trials import BASELINES, carry_out

COMPARISONS = Path("comparisons")
WHAT = "comparison"
PAGE, NUMBERS = "comparison.html", "comparison.json"


def compare(
    recipe: Recipe | Path | str | Mapping[str, Any],
    methods: Sequence[Named],
    seeds: int | Sequence[int] = 3,
    *,
    output: str | Path | None = None,
    skip_unfit: bool = False,
    show: bool = False,
) -> Compared:
    """Train each method with each seed, test every pair, and say which method to take.

    `methods` are names, or dicts of a name with options, with sections `training`, `task` and `data` that hold what
    differs for this method, and with what to call it: ``{"name": "full", "as": "focal", "task": {"focal": 2.0}}``.
    `seeds` is their number, counted from the recipe's `training.seed`, or the seeds themselves. All runs are measured
    on the same examples. Each is an ordinary run in a process of its own; called again with the same `output` it goes
    on where it was stopped. `skip_unfit` leaves out methods that do not fit the model or task; `show` tells progress on
    standard error.
    Raises `WeitiaoError` before the first run where anything is wrong, and `Interrupted` after ctrl-C or SIGTERM.
    """
    recipe = as_recipe(recipe)
    candidates, numbers = as_candidates(methods), numbered(seeds, recipe.training.seed)
    refuse_output(recipe, WHAT)
    folder = Path(output) if output is not None else own_folder(COMPARISONS, recipe, WHAT)
    check_folder(folder, recipe, WHAT, free=("method",))
    notes = _warnings(recipe, numbers, candidates)
    ready, unfit = checked(candidates, recipe, folder, skip_unfit)
    check_disk(folder, ready, len(numbers))
    folder.mkdir(parents=True, exist_ok=True)
    with holding(folder, "this comparison"), stop_on_signal() as stop:
        keep_plan(folder, recipe, next(iter(ready.values())).digest, WHAT)
        entries = Entries(
            folder, candidates, list(map(Seed, numbers)), ready, unfit,
            lambda candidate, seed, path: candidate.recipe(recipe, seed.number, path), finished, stop, saying(show),
        )  # fmt: skip
        return _Comparison(folder, recipe, numbers, entries, notes).carry_out()


def numbered(seeds: int | Sequence[int], first: int) -> list[int]:
    """Return the seeds: given themselves, or so many counted from `first`."""
    numbers = [first + i for i in range(seeds)] if isinstance(seeds, int) else list(seeds)
    if not numbers or len(set(numbers)) < len(numbers) or any(not isinstance(n, int) or n < 0 for n in numbers):
        raise RecipeError(f"found {seeds}", where="seeds", fix="Give a number from 1 up, or different seeds: 0,1,2.")
    return numbers


# --- before the first run


def _warnings(recipe: Recipe, seeds: Sequence[int], candidates: Sequence[Candidate]) -> list[str]:
    notes = rate_notes(recipe, candidates)
    if not recipe.evaluation.bootstrap:
        notes.append("evaluation.bootstrap is 0: no pair can be tested")
    if len(seeds) == 1:
        notes.append("one seed: verdicts are about these trainings, another seed may turn them round; take 3 or more")
    for note in notes:
        warnings.warn(note, WeitiaoWarning, stacklevel=3)
    return notes


def rate_notes(recipe: Recipe, candidates: Sequence[Candidate]) -> list[str]:
    """Say where one learning rate is fixed for methods that need different ones."""
    rate = recipe.training.learning_rate
    if not isinstance(rate, float) or len({each.method.name for each in candidates}) < 2:
        return []
    return [
        f"the recipe fixes learning_rate {rate:g} for all methods, and what suits them differs by orders of "
        "magnitude: take it out, or give methods their own: {name: lora, training: {learning_rate: 0.001}}"
    ]


def checked(
    candidates: Sequence[Candidate], recipe: Recipe, folder: Path, skip_unfit: bool
) -> tuple[dict[str, Preparation], dict[str, WeitiaoError]]:
    """Prepare every method as if to train; those that do not fit are told all at once, or left out."""
    ready: dict[str, Preparation] = {}
    unfit: dict[str, WeitiaoError] = {}
    with models.quiet():
        for candidate in candidates:
            own = candidate.recipe(recipe, recipe.training.seed, folder / "runs" / candidate.slug)
            try:
                prepared = with_unlabelled(prepare(own), silent=True)
            except (RecipeError, ModelError) as error:
                unfit[candidate.name] = error
                continue
            refuse_errors(prepared.findings)
            ready[candidate.name] = prepared
    if unfit and not ready and len({str(error) for error in unfit.values()}) == 1:
        raise next(iter(unfit.values()))  # it is not about the method
    if unfit and (not ready or not skip_unfit):
        told = "\n".join(f"{name}: {error}" for name, error in unfit.items())
        raise RecipeError(told, where="methods", fix="Leave them out: by hand, or with --skip-unfit." if ready else "")
    if all(name == "train" for name in next(iter(ready.values())).features):
        raise DataError("there is neither a test nor a validation split to compare on", where="data",
                        fix="Set data.test_size, or give a file as data.test.")  # fmt: skip
    check_measured(ready)
    return ready, unfit


def check_measured(ready: Mapping[str, Preparation]) -> None:
    """Raise a `DataError` where two methods would be measured on other examples."""
    (first, one), *others = ready.items()
    for name, other in others:
        if split := measured_apart(one, other):
            raise DataError(f"{name} has other {split} examples than {first}", where="methods", fix="Name "
                            "data.validation and data.test, or a folder of splits that are the same.")  # fmt: skip


def measured_apart(one: Preparation, other: Preparation) -> str:
    """Return a split of which the two would be measured on other examples, those that a model cannot read left out; ""
    where there is none.
    """  # fmt: skip
    names: tuple[SplitName, ...] = ("validation", "test")
    for split in names:
        ours, theirs = (each.splits.text_keys.get(split, np.empty(0)) for each in (one, other))
        if not np.array_equal(ours, theirs):
            return split
        if split in one.features and not np.array_equal(one.labelled(split).rows, other.labelled(split).rows):
            return split
    return ""


# --- the runs


@dataclass(frozen=True)
class _Comparison:
    folder: Path
    recipe: Recipe
    seeds: list[int]
    entries: Entries[Seed]
    notes: list[str]

    def carry_out(self) -> Compared:
        """Do all runs, seed by seed, then write the page."""
        entries = self.entries
        entries.say(f"comparison of {len(entries.ready)} methods with {len(self.seeds)} seeds in {self.folder}")
        with stoppable(self.folder, entries.done):
            entries.carry_out()
            self._measure_baselines()
        return self._written()

    def _measure_baselines(self) -> None:
        """Once, beside the first run that is finished: they do not hang on the method."""
        if not self.recipe.evaluation.baselines or (self.folder / BASELINES).exists():
            return
        entries = self.entries
        entries.say("baselines")
        show = entries.say is not silent
        problem = carry_out("baselines", entries.runs()[0].folder, show=show, stop=entries.stop)
        if problem:
            self.notes.append(f"the baselines could not be measured: {problem}")

    # --- what came of them

    def _written(self) -> Compared:
        rows = [self.entries.row(candidate) for candidate in self.entries.candidates]
        drawn = {row.name: [read_drawn(self.folder / each.folder / DRAWN)[""] for each in row.attempts
                            if each.score is not None] for row in rows}  # fmt: skip
        one = next(each for found in drawn.values() for each in found)
        rows = ranked(rows, greater_is_better=greater_is_better(one.score))
        pairs = compare_pairs({row.name: drawn[row.name] for row in rows if drawn[row.name]}, self._confidence)
        recommended, advice = recommend(rows, pairs, one.score)
        baselines = self._references(recommended, drawn)
        advice += beside_baseline(recommended, baselines, one.score) if recommended else []
        split = "test" if "test" in self._any.features else "validation"
        compared = Compared(
            task=self.recipe.task.name, model=self.recipe.model.source, score=one.score, split=split,
            examples=one.examples, greater_is_better=greater_is_better(one.score), confidence=self._confidence,
            seeds=self.seeds, rows=rows, pairs=pairs, baselines=baselines, recommended=recommended, advice=advice,
            notes=[*self.notes, *split_note(split)], recipe_yaml=self.recipe.to_yaml(),
            environment=environment(self._any.facts), folder=str(self.folder),
        )  # fmt: skip
        write_json(self.folder / NUMBERS, compared.to_dict())
        write_comparison(compared, self.folder / PAGE)
        return compared

    @property
    def _any(self) -> Preparation:
        return next(iter(self.entries.ready.values()))

    @property
    def _confidence(self) -> float:
        return self.recipe.evaluation.confidence

    def _references(self, recommended: str | None, drawn: Mapping[str, Sequence[Drawn]]) -> list[Reference]:
        if recommended is None:
            return []
        found, notes = references(self.folder / BASELINES, recommended, drawn[recommended], self._confidence)
        self.notes.extend(notes)
        return found


def references(path: Path, taken: str, ours: Sequence[Drawn], confidence: float) -> tuple[list[Reference], list[str]]:
    """Return the baselines that stand in a file, the best first, with how what is taken compares with each, and what
    was noted of them. Those that were measured on other examples are left out.
    """  # fmt: skip
    if not path.exists():
        return [], []
    stored = json.loads(path.read_text(encoding="utf-8"))
    found = []
    for name, scores in stored["baselines"].items():
        value = scores["values"].get(scores["primary"])
        if value is None or stored["drawn"].get(name, {}).get("which") != ours[0].which:
            continue
        pair = compare_with(taken, ours, Drawn(**stored["drawn"][name]), name, confidence)
        found.append(Reference(name, value["value"], value["low"], value["high"], pair))
    sign = -1 if greater_is_better(ours[0].score) else 1
    return sorted(found, key=lambda each: sign * each.score), list(stored["notes"])


def finished(path: Path) -> Run | None:
    """Return the run in a folder where it is finished and can be compared."""
    if not (path / "run.json").exists():
        return None
    run = find_run(path)
    return run if run.status == "finished" and (path / DRAWN).exists() else None


def split_note(split: str) -> list[str]:
    """Return what is to be known of scores on a split."""
    if split == "test":
        return []
    return ["compared on validation, which also chose the step that each run keeps: the scores are a little too good"]
