"""Cross-validation: every example is tested on once, by a model that was trained on the others.

::

    folds/all-minilm-1f3a9c02/
      plan.json                          the recipe that all runs share, and into how many folds it is cut
      recipes/lora-repeat0-fold1.json    the recipe of each run
      runs/lora-repeat0-fold1/           an ordinary run
      searches/repeat0-fold1/            instead, where a search is nested: an ordinary search
      cv.html                            for people; cv.json holds its numbers
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from weitiao import models
from weitiao.artifacts.artifact import write_json
from weitiao.artifacts.run_folder import Run, find_run, holding
from weitiao.candidates import Candidate, Named, as_candidates
from weitiao.comparison import checked, rate_notes
from weitiao.costs import attempt, kept
from weitiao.errors import Interrupted, RecipeError, RunError, WeitiaoError
from weitiao.evaluation.compared import Attempt, Compared, Reference, Row, beside_baseline, ranked, recommend
from weitiao.evaluation.cross_validated import CrossValidated, Fold, alone, write_cross_validation
from weitiao.evaluation.resampling import Folded, compare_folds, interval, practically_none
from weitiao.facts import environment
from weitiao.inspection import check
from weitiao.metrics.words import greater_is_better
from weitiao.plans import check_disk, check_folder, keep_plan, own_folder, refuse_output, saying, silent
from weitiao.preparation import Preparation, as_recipe, open_examples
from weitiao.recipe import Recipe
from weitiao.searching import drawing
from weitiao.searching.search import search
from weitiao.searching.searched import Searched
from weitiao.searching.space import Space
from weitiao.teaching import TEACHER
from weitiao.training.fit import stop_on_signal
from weitiao.trials import Say, Trial, at_once, cores

FOLDS = Path("folds")
WHAT = "cross-validation"
PAGE, NUMBERS = "cv.html", "cv.json"
WHY = "the cross-validation's"  # the origin of what it sets
Jobs = int | Literal["auto"]


def cross_validate(
    recipe: Recipe | Path | str | Mapping[str, Any],
    folds: int = 5,
    repeats: int = 1,
    *,
    methods: Sequence[Named] | None = None,
    rope: float | None = None,
    keep_test: bool = False,
    jobs: Jobs = "auto",
    output: str | Path | None = None,
    skip_unfit: bool = False,
    nested: bool = False,
    show: bool = False,
) -> CrossValidated:
    """Cut the training examples into `folds`, train on all but one and test on that one, for each; `repeats` times.

    Folds are stratified by label and whole by `data.group`; the same text is never in two. What early stopping looks at
    is cut from the part that is trained on. A test split that is given as a file stays aside; one that would be cut by
    `test_size` does with `keep_test`. `methods` are as in `compare`; the recipe's own when absent. `rope` is the
    difference of scores that is practically none, in the score's unit. `jobs` is how many runs go on at once; ``auto``
    by processors and memory. Each is an ordinary run in a process of its own; called again with the same `output` it
    goes on where it was stopped, and may have more methods and repeats. `nested`: the recipe's section `search` is
    carried out inside each fold, and the fold measures what it chose: how good is the search, not one setting.
    Raises `WeitiaoError` before the first run where anything is wrong, and `Interrupted` after ctrl-C or SIGTERM.
    """
    recipe = as_recipe(recipe)
    _check_numbers(folds, repeats, jobs, rope)
    refuse_output(recipe, WHAT)
    if nested:
        _check_nested(recipe, methods, jobs)
    candidates = as_candidates(methods or [recipe.method.model_dump(mode="json")])
    planned = _folded(recipe, 1, folds, 0, keep_test)
    what = f"nested {WHAT}" if nested else WHAT
    fixed = recipe.search.fixed if nested and recipe.search else {}
    folder = Path(output) if output is not None else own_folder(FOLDS, planned, what, fixed)
    check_folder(folder, planned, what, fixed=fixed, free=("method",))
    notes = rate_notes(recipe, candidates)
    ready, unfit = checked(candidates, planned, folder, skip_unfit)
    first = next(iter(ready.values()))
    parts = _parts(recipe, first, folds, repeats, keep_test)
    if not nested:
        check_disk(folder, ready, len(parts))
    folder.mkdir(parents=True, exist_ok=True)
    with holding(folder, f"this {WHAT}"), stop_on_signal() as stop:
        keep_plan(folder, planned, first.digest, what, fixed=fixed)
        plan = _Plan(folder, recipe, parts, folds, repeats, rope, keep_test, first, notes, stop, saying(show))
        if nested:
            return _Nested(plan, candidates[0]).carry_out()
        return _Plain(plan, candidates, ready, unfit).carry_out(jobs)


def _check_nested(recipe: Recipe, methods: Sequence[Named] | None, jobs: Jobs) -> None:
    if recipe.search is None:
        raise RecipeError("there is nothing to search in each fold", where="--nested",
                          fix="Give the recipe a section `search`, as for `weitiao search`.")  # fmt: skip
    if methods:
        raise RecipeError("the search chooses in each fold, and methods are named beside it", where="--methods",
                          fix="Leave it out.")  # fmt: skip
    if jobs != "auto":
        raise RecipeError("a search has workers of its own", where="--jobs", fix="Set search.workers.")
    if recipe.search.folds is not None:
        raise RecipeError("one fold is tested on, the search sees the others alone", where=recipe.place("search.folds"),
                          fix="Take it out.")  # fmt: skip
    drawing.require()
    Space(recipe).check()


def _check_numbers(folds: int, repeats: int, jobs: Jobs, rope: float | None) -> None:
    for name, value, least in (("folds", folds, 2), ("repeats", repeats, 1), ("jobs", jobs, 1)):
        if value != "auto" and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise RecipeError(f"found {value}", where=name, fix=f"Give a number from {least} up.")
    if rope is not None and not 0 <= rope < float("inf"):
        raise RecipeError(f"found {rope}", where="rope", fix="Give a difference of the score from 0 up, such as 0.01.")


def _folded(recipe: Recipe, number: int, of: int, repeat: int, keep_test: bool) -> Recipe:
    """The recipe with a fold to be tested on, cut by the same seed whatever a run is trained with."""
    fold = {"number": number, "of": of, "repeat": repeat, "keep_test": keep_test}
    values = {"data.fold": fold, "data.seed": recipe.data_seed, "evaluation.test": True}
    return recipe.changed({key: (value, WHY) for key, value in values.items()})


def _parts(recipe: Recipe, ready: Preparation, folds: int, repeats: int, keep_test: bool) -> list[Fold]:
    """Cut all folds; raises where one cannot be trained or tested on."""
    found = []
    with models.quiet():
        for repeat in range(repeats):
            for number in range(1, folds + 1):
                splits, _ = open_examples(_folded(recipe, number, folds, repeat, keep_test), ready.task)
                sizes = [len(splits[name]) if name in splits else 0 for name in ("train", "validation", "test")]
                found.append(Fold(number, repeat, *sizes))
    return found


@dataclass(frozen=True)
class _Plan:
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
        return _folded(candidate.recipe(self.recipe, seed, path), fold.number, self.of, fold.repeat, self.keep_test)

    def told(
        self, rows: list[Row], score: str, baselines: Mapping[str, list[float]],
        chosen: Mapping[str, dict[str, Any]] | None = None,
    ) -> CrossValidated:  # fmt: skip
        """Compare the methods, write it all down, and return it; `baselines` have a score on every fold."""
        rows = ranked(rows, greater_is_better=greater_is_better(score))
        there = [row for row in rows if row.scores]
        values, confidence = _shared(self.folds, there), self.recipe.evaluation.confidence
        ratio, examples = 1 / (self.of - 1), sum(fold.test for fold in self.folds if not fold.repeat)
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


def _on_all(measured: Sequence[Mapping[str, float | None]], folds: int) -> dict[str, list[float]]:
    """The baselines' scores by name, of those that were measured on all folds."""
    if len(measured) < folds:
        return {}
    named = {name: [each.get(name) for each in measured] for name in measured[0]}
    return {name: [s for s in scores if s is not None] for name, scores in named.items() if None not in scores}


# --- every method by its own settings


@dataclass(frozen=True)
class _Plain:
    plan: _Plan
    candidates: list[Candidate]
    ready: dict[str, Preparation]  # by name, of the first fold; what does not fit is in `unfit`
    unfit: dict[str, WeitiaoError]

    def carry_out(self, jobs: Jobs) -> CrossValidated:
        """Do all runs, fold by fold, then write the page."""
        plan = self.plan
        fit = [candidate for candidate in self.candidates if candidate.name in self.ready]
        work = [(candidate, fold) for fold in plan.folds for candidate in fit]
        left = [each for each in work if _finished(self._path(*each)) is None]
        repeated = f", {plan.repeats} times" if plan.repeats > 1 else ""
        plan.say(f"{WHAT} of {len(fit)} method{'s' if len(fit) > 1 else ''} in {plan.of} folds{repeated}, in "
                 f"{plan.folder}")  # fmt: skip
        jobs = self._jobs(jobs, len(left))
        problems: dict[Path, str] = {}

        def one(each: tuple[Candidate, Fold]) -> None:
            problem = self._run(*each, title=f"[{work.index(each) + 1}/{len(work)}]", jobs=jobs)
            if problem:
                problems[self._path(*each)] = problem
                plan.say(f"error: {each[0].name}, {each[1].name}: {problem}")

        try:
            at_once(one, work, jobs, plan.stop)
        except (Interrupted, KeyboardInterrupt):
            done = sum(_finished(self._path(*each)) is not None for each in work)
            raise Interrupted(f"stopped with {done} of {len(work)} runs finished", where=str(plan.folder),
                              fix="Give the same command again to go on.") from None  # fmt: skip
        if len(problems) == len(work):
            raise RunError("no run came to its end: " + next(iter(problems.values())), where=str(plan.folder))
        rows = [self._row(candidate, problems) for candidate in self.candidates]
        score = next(run.primary for each in work if (run := _finished(self._path(*each))) and run.primary)
        runs = [_finished(self._path(self._measuring, fold)) for fold in plan.folds]
        measured = [_baselines(run, score) for run in runs if run is not None]
        return plan.told(rows, score, _on_all(measured, len(plan.folds)))

    def _jobs(self, wanted: Jobs, left: int) -> int:
        """How many runs go on at once: as many as there are processors, and as fit into the memory that is free."""
        if wanted != "auto" or left < 2:
            return 1 if wanted == "auto" else min(wanted, max(left, 1))
        if self.plan.ready.device.type != "cpu" or cores() < 2:
            return 1
        needs = [self._needs(candidate) for candidate in self.candidates if candidate.name in self.ready]
        free = models.free_memory()
        fits = max(1, min(left, cores(), int(free / max(needs)) if all(needs) else 1))
        if fits > 1:
            self.plan.say(f"{fits} at once: each takes about {max(needs) / 1e9:.1f} GB of {free / 1e9:.1f} GB free")
        return fits

    def _needs(self, candidate: Candidate) -> int:
        """Bytes that a run of it is forecast to take; 0 where the system does not tell."""
        recipe = self._recipe(candidate, self.plan.folds[0]).changed({"output": (None, WHY)})
        return int(check(recipe).facts["forecast"]["memory"] or 0)

    def _path(self, candidate: Candidate, fold: Fold) -> Path:
        return self.plan.folder / "runs" / f"{candidate.slug}-{fold.slug}"

    @property
    def _measuring(self) -> Candidate:
        """The method whose runs have the baselines beside them, which do not hang on it."""
        return next(each for each in self.candidates if each.name in self.ready)

    def _recipe(self, candidate: Candidate, fold: Fold) -> Recipe:
        baselines = self.plan.recipe.evaluation.baselines and candidate is self._measuring
        own = self.plan.fold_recipe(candidate, fold, self._path(candidate, fold))
        return own.changed({"evaluation.baselines": (baselines, WHY)})

    def _run(self, candidate: Candidate, fold: Fold, *, title: str, jobs: int) -> str:
        """Train, or go on, or nothing where it is finished; return why it failed."""
        path = self._path(candidate, fold)
        stored = self.plan.folder / "recipes" / f"{path.name}.json"
        trial = Trial(lambda: self._recipe(candidate, fold), path, stored, f"{title} {candidate.name}, {fold.name}")
        shown = self.plan.say is not silent and jobs == 1
        threads = max(1, cores() // jobs) if jobs > 1 else None
        return trial.to_its_end(say=self.plan.say, stop=self.plan.stop, show=shown, threads=threads)

    def _row(self, candidate: Candidate, problems: Mapping[Path, str]) -> Row:
        known: dict[str, Any] = {"method": candidate.method.model_dump(mode="json"), "differs": candidate.differs}
        if candidate.name in self.unfit:
            return Row(candidate.name, problem=str(self.unfit[candidate.name]), **known)
        attempts, runs = [], []
        for fold in self.plan.folds:
            path = self._path(candidate, fold)
            where = str(path.relative_to(self.plan.folder))
            run = _finished(path)
            if run is None:
                problem = problems.get(path, "did not come to its end")
                attempts.append(Attempt(fold.number, where, problem=problem, name=fold.name))
                continue
            runs.append(run)
            attempts.append(attempt(run, run.recipe.training.seed, where, name=fold.name))
        facts = self.ready[candidate.name].facts
        return Row(candidate.name, attempts=attempts, trainable=facts["trainable"], parameters=facts["parameters"],
                   **known, **(kept(runs[0]) if runs else {}))  # fmt: skip


def _finished(path: Path) -> Run | None:
    if not (path / "run.json").exists():
        return None
    run = find_run(path)
    return run if run.status == "finished" and run.score is not None else None


def _baselines(run: Run, score: str) -> dict[str, float | None]:
    """The score of each baseline that was measured beside a run."""
    stored = {name: each for name, each in run.scores["test"]["baselines"].items() if not name.startswith(TEACHER)}
    return {name: each["values"].get(score, {}).get("value") for name, each in stored.items()}


# --- what a search chooses in each fold


@dataclass(frozen=True)
class _Nested:
    plan: _Plan
    candidate: Candidate

    def carry_out(self) -> CrossValidated:
        """Search in each fold, fold by fold, then write the page; each search goes on where it was stopped."""
        plan, found = self.plan, {}
        plan.say(f"nested {WHAT} in {plan.of} folds, in {plan.folder}")
        for number, fold in enumerate(plan.folds):
            plan.say(f"[{number + 1}/{len(plan.folds)}] {fold.name}")
            try:
                if plan.stop.is_set():
                    raise Interrupted("stopped")
                found[fold.name] = search(self._recipe(fold), output=self._path(fold), show=plan.say is not silent)
            except Interrupted:
                done = f"stopped with {number} of {len(plan.folds)} searches finished"
                raise Interrupted(done, where=str(plan.folder),
                                  fix="Give the same command again to go on.") from None  # fmt: skip
        score = next(iter(found.values())).score
        attempts = [self._attempt(fold, found[fold.name]) for fold in plan.folds]
        if not any(each.score is not None for each in attempts):
            raise RunError("no fold could be measured: " + attempts[0].problem, where=str(plan.folder))
        name = f"what the search chooses ({self.candidate.name})"
        row = Row(name, self.candidate.method.model_dump(mode="json"), attempts=attempts)
        measured = [dict(found[fold.name].baselines) for fold in plan.folds]
        return plan.told([row], score, _on_all(measured, len(plan.folds)),
                         {name: searched.values for name, searched in found.items()})  # fmt: skip

    def _path(self, fold: Fold) -> Path:
        return self.plan.folder / "searches" / fold.slug

    def _recipe(self, fold: Fold) -> Recipe:
        own = self.plan.fold_recipe(self.candidate, fold, self._path(fold))
        return own.changed({"output": (None, WHY),
                            "evaluation.baselines": (self.plan.recipe.evaluation.baselines, WHY)})  # fmt: skip

    def _attempt(self, fold: Fold, searched: Searched) -> Attempt:
        """The search's one look at the fold."""
        seed, where = searched.seeds[0], str(self._path(fold).relative_to(self.plan.folder))
        if searched.test is None:
            problem = "; ".join(searched.notes) or "its winner was not measured"
            return Attempt(seed, where, problem=problem, name=fold.name)
        tested = searched.test
        return Attempt(seed, where, tested.value, tested.low, tested.high, searched.seconds, steps=searched.steps,
                       name=fold.name)  # fmt: skip
