"""Better settings for a recipe, looked for by trials; the best of them measured once on what no trial looked at.

::

    searches/minilm-1f3a9c02/
      plan.json                 the recipe that all trials share, so that nothing else is ever mixed in
      journal.log               every trial: what was drawn, how it went (in a database with `search.storage`)
      recipes/7-seed0.json      the recipe of each run
      runs/7-seed0/             an ordinary run; only the best trial keeps its model
      held/                     locks: who works on which trial and point
      best.yaml                 the best settings as a recipe
      search.html               for people; search.json holds its numbers

Any number of processes may work on one folder: each trial is held by a lock that its process lets go of however it
ends. A trial that nobody holds is gone on with by whoever looks next.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import models
from weitiao.artifacts.artifact import write_json
from weitiao.artifacts.run_folder import find_run, holding
from weitiao.candidates import digest_of
from weitiao.errors import DataError, Interrupted, RecipeError, RunError
from weitiao.evaluation.page import write
from weitiao.facts import environment
from weitiao.metrics.words import greater_is_better, spoken, written
from weitiao.plans import check_folder, keep_plan, own_folder, read_plan, refuse_output, saying
from weitiao.preparation import Preparation, as_recipe, open_examples, prepare, refuse_errors
from weitiao.recipe import Recipe, SearchSettings
from weitiao.recipe.amounts import seconds_of
from weitiao.records import SplitName
from weitiao.searching import drawing
from weitiao.searching.drawing import COST, PROBLEM, SAME_AS, SCORES, SPENT, SURPLUS, Known
from weitiao.searching.page import write_search
from weitiao.searching.searched import (
    FEWEST,
    ROUGH,
    OnTest,
    Searched,
    State,
    Tried,
    advice_of,
    best_of,
    chosen_on,
    tested_of,
)
from weitiao.searching.space import WHY, Point, Space, grid_of, names_of, told
from weitiao.searching.trying import Attempt, Ended, Part, cost_of, run_folder, trial_recipe
from weitiao.training.fit import stop_on_signal
from weitiao.trials import TESTED, Say, carry_out, cores

if TYPE_CHECKING:
    import optuna

SEARCHES = Path("searches")
WHAT = "search"
PAGE, NUMBERS, BEST = "search.html", "search.json", "best.yaml"
TRIALS = 20  # where neither trials nor time are given
HOPELESS = 3  # trials that fail before any comes to its end
PAUSE = 1.0  # seconds between two looks at what other workers do


def search(
    recipe: Recipe | Path | str | Mapping[str, Any],
    *,
    output: str | Path | None = None,
    trials: int | None = None,
    time: str | None = None,
    workers: int | None = None,
    storage: str | None = None,
    show: bool = False,
) -> Searched:
    """Look for better settings of a recipe, among those that its section `search` names, and return what was found.

    `trials`, `time`, `workers` and `storage` stand in for those of the section. Each trial is an ordinary run (several
    with `search.seeds` and `search.folds`) in a process of its own that never looks at the test split; the best one is
    measured there once. Called again with the same `output` it goes on where it was stopped; several processes that
    are given the same work together. `show` tells progress on standard error.
    Raises `WeitiaoError` before the first trial where anything is wrong, and `Interrupted` after ctrl-C or SIGTERM.
    """
    drawing.require()
    given = {"trials": trials, "time": time, "workers": workers, "storage": storage}
    recipe = _with_section(as_recipe(recipe), {key: value for key, value in given.items() if value is not None})
    settings = recipe.search
    assert settings is not None
    if settings.folds is not None and recipe.data.fold is not None:
        raise RecipeError("one fold is tested on already", where=recipe.place("search.folds"),
                          fix="Take it out: this search sees the other folds alone.")  # fmt: skip
    space = Space(recipe)
    space.check()
    notes = _notes(space, settings)
    folder = Path(output) if output is not None else own_folder(SEARCHES, recipe, WHAT, settings.fixed)
    check_folder(folder, recipe, WHAT, fixed=settings.fixed)
    _check_storage(folder, settings)
    ready = _checked(space, folder)
    objective = settings.objective or _primary(ready)
    database = drawing.database(settings.storage) if settings.storage else None
    folder.mkdir(parents=True, exist_ok=True)
    plan = keep_plan(folder, recipe, ready.digest, WHAT, fixed=settings.fixed, more=_apart(settings))
    _check_storage(folder, settings)
    with stop_on_signal() as stop:
        name = plan["study"] if database else digest_of(plan["fixed"])[:8]  # the same name draws alike
        study = drawing.open_study(
            database or drawing.journal(folder / drawing.JOURNAL), name, settings,
            greater_is_better=greater_is_better(objective), seed=recipe.training.seed,
        )  # fmt: skip
        (folder / "runs").mkdir(exist_ok=True)
        ours = _Search(folder, recipe, space, settings, study, ready, objective, notes, stop, saying(show), show)
        return ours.carry_out()


# --- before the first trial


def _with_section(recipe: Recipe, given: Mapping[str, Any]) -> Recipe:
    if recipe.search is None:
        raise RecipeError("the recipe does not say what to search", where="search", fix="For example\n  search:\n    "
                          "space: {training.learning_rate: {log: [1e-5, 1e-3]}}")  # fmt: skip
    refuse_output(recipe, WHAT)
    return recipe.changed({f"search.{key}": (value, "given") for key, value in given.items()}) if given else recipe


def _notes(space: Space, settings: SearchSettings) -> list[str]:
    """What a person should know of a search that can be done; raises where a grid has no end."""
    if settings.strategy == "grid":
        endless = next((key for key, each in space.dimensions.items() if grid_of(each) is None), None)
        if endless is not None:
            low, high = space.dimensions[endless].ends
            raise RecipeError("a grid needs to know which values", where=space.place(endless),
                              fix=f"Say how many: {{{space.dimensions[endless].kind}: [{low:g}, {high:g}], steps: 5}}."
                              )  # fmt: skip
        count = sum(1 for _ in space.points())
        if settings.trials is not None and settings.trials < count:
            return [f"the grid has {count:,} points, of which only the first {settings.trials:,} are tried"]
    return []


def _apart(settings: SearchSettings) -> dict[str, Any]:
    """Where the trials are, and what they are called there."""
    storage = drawing.without_password(settings.storage) if settings.storage else None
    return {"study": f"weitiao-{uuid.uuid4().hex[:12]}", "storage": storage}


def _check_storage(folder: Path, settings: SearchSettings) -> None:
    """Raise `RunError` where the trials of this folder are elsewhere."""
    plan, now = read_plan(folder), _apart(settings)["storage"]
    if plan is not None and plan.get("storage") != now:
        was, there = (each or "its own journal" for each in (plan.get("storage"), now))
        raise RunError(f"its trials are in {was}, not in {there}", where=str(folder),
                       fix="Give the storage as it was, or name another folder: --output.")  # fmt: skip


def _checked(space: Space, folder: Path) -> Preparation:
    """Prepare a point with each choice of task, model, data and method as if to train; return the first.

    Raises where one cannot be trained, has nothing to choose by, or other examples in it than the others.
    """
    first: Preparation | None = None
    part, *others = parts_of(space.recipe)
    split: SplitName = "validation" if part.fold is None else "test"
    with models.quiet():
        for point in space.structures():
            try:
                ready = prepare(trial_recipe(space, point, part, folder / "runs" / "0"))
                refuse_errors(ready.findings)
            except RecipeError as error:
                problem = f"with {told(point)}: {error.problem}" if first else error.problem
                raise RecipeError(problem, where=error.where, fix=error.fix) from None
            if split not in ready.features:
                raise DataError("there is no validation split to choose by", where="data.validation",
                                fix="Set data.validation_size, or give a file as data.validation.")  # fmt: skip
            first = first or ready
            if not np.array_equal(first.splits.text_keys[split], ready.splits.text_keys[split]):
                raise DataError(f"with {told(point)} there are other {split} examples", where="search.space",
                                fix=f"Name data.{split}, the same for all.")  # fmt: skip
        for other in others if part.fold is not None else ():  # raises where a fold cannot be trained or tested on
            open_examples(trial_recipe(space, point, other, folder / "runs" / "0"), ready.task)
    assert first is not None
    return first


def parts_of(recipe: Recipe) -> list[Part]:
    """The trainings that each trial of a recipe is made of: with each seed, each fold."""
    settings, first = recipe.search, recipe.training.seed
    assert settings is not None
    folds = range(1, settings.folds + 1) if settings.folds else (None,)
    return [Part(first + number, fold) for number in range(settings.seeds) for fold in folds]


def _primary(ready: Preparation) -> str:
    found = getattr(ready.task.scorer(), "primary", None)
    if found is None:
        raise RecipeError("this task does not say beforehand what its primary score is", where="search.objective",
                          fix="Name a score.")  # fmt: skip
    return str(found)


# --- the trials


@dataclass
class _Search:
    folder: Path
    recipe: Recipe
    space: Space
    settings: SearchSettings
    study: optuna.Study
    ready: Preparation  # of one point
    objective: str  # a score on validation, or on folds
    notes: list[str]
    stop: threading.Event
    say: Say
    show: bool
    drawing: threading.Lock = field(default_factory=threading.Lock)
    grid: list[Point] = field(default_factory=list)
    failed: int = 0  # in this process
    deadline: float | None = None

    def __post_init__(self) -> None:
        if self.settings.strategy == "grid":
            self.grid = list(self.space.points())
        if self.settings.time is not None:
            self.deadline = time.monotonic() + seconds_of(self.settings.time) - _spent(self._known())

    @property
    def trials(self) -> int | None:
        """How many there may be; None: as many as there is time for."""
        asked = self.settings.trials
        if self.grid:
            return min(asked or len(self.grid), len(self.grid))
        return TRIALS if asked is None and self.settings.time is None else asked

    @property
    def parts(self) -> list[Part]:
        """The trainings of each trial."""
        return parts_of(self.recipe)

    def _known(self) -> list[Known]:
        return [each for each in drawing.known(self.study, self.space) if each.counts]

    def carry_out(self) -> Searched:
        """Do the trials, as many at once as there are workers, then measure the best and write the page."""
        many = f"{self.trials} trials" if self.trials else f"trials for {self.settings.time}"
        self.say(f"search by {self.settings.strategy} for {spoken(self.objective)}, {many}, in {self.folder}")
        try:
            with ThreadPoolExecutor(self.settings.workers) as pool:
                work = [pool.submit(self._work) for _ in range(self.settings.workers)]
                _first_problem([each.exception() for each in work])
            with self._alone():
                return self._written()
        except (Interrupted, KeyboardInterrupt):
            done = sum(each.state != "running" for each in self._known())
            of = f" of {self.trials}" if self.trials else ""
            raise Interrupted(f"stopped with {done}{of} trials done", where=str(self.folder),
                              fix="Give the same command again to go on.") from None  # fmt: skip

    def _work(self) -> None:
        """One worker: trials until there are no more, and none of others that might have to be gone on with."""
        try:
            while True:
                with ExitStack() as held:
                    with self.drawing:
                        attempt = self._next(held)
                    if attempt is not None:
                        self._carry_out(attempt)
                        continue
                if not self._others_work():
                    return
                self._pause(PAUSE)
        except BaseException:
            self.stop.set()  # the other workers, too
            raise

    def _pause(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise Interrupted("stopped")

    def _late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def _next(self, held: ExitStack) -> Attempt | None:
        """A trial that nobody holds, else a new one; None where there is nothing to do."""
        while not self._late():
            if self.stop.is_set():
                raise Interrupted("stopped")
            trial = self._left_behind(held)
            if trial is None:
                if self._all_drawn():
                    return None
                trial = self.study.ask()
                if not self._hold(held, "trials", trial.number):
                    continue  # another worker took it for one that was left behind
            attempt = self._drawn(trial, held)
            if attempt is not None:
                return attempt
            held.close()
        return None

    def _left_behind(self, held: ExitStack) -> optuna.Trial | None:
        from optuna import Trial

        for each in self._known():
            if each.state == "running" and self._hold(held, "trials", each.number):
                if any(now.number == each.number and now.state == "running" for now in self._known()):
                    return Trial(self.study, each.id)
                held.close()
        return None

    def _hold(self, held: ExitStack, kind: str, name: int | str) -> bool:
        """Hold a trial or a point; False where another worker does."""
        folder = self.folder / "held" / f"{kind}-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            held.enter_context(holding(folder, "it"))
        except RunError:
            return False
        return True

    def _others_work(self) -> bool:
        """Whether another worker, here or elsewhere, is at a trial."""
        running = [each.number for each in self._known() if each.state == "running"]
        for number in running:
            with ExitStack() as held:
                if not self._hold(held, "trials", number):
                    return True
        return bool(running) and not self._late()  # one was let go of in between

    def _all_drawn(self) -> bool:
        there = self._known()
        if self.trials is not None and len(there) >= self.trials:
            return True
        tried = {digest_of(each.point) for each in there if each.state != "failed"}
        return not self.grid and self.space.size is not None and len(tried) >= self.space.size

    def _drawn(self, trial: optuna.Trial, held: ExitStack) -> Attempt | None:
        """The trial with its point; None where it is one too many, or had before."""
        others = [each for each in self._known() if each.number != trial.number]
        place = sum(each.number < trial.number for each in others)
        if self.trials is not None and place >= self.trials:
            trial.set_user_attr(SURPLUS, True)
            self._tell(trial, failed=True)
            return None
        point = (drawing.placed(trial, self.space, self.grid[place]) if self.grid
                 else drawing.draw(trial, self.space))  # fmt: skip
        if self._answered(trial, point, others, held):
            return None
        reported = {number for number, _ in next(e.curve for e in self._known() if e.number == trial.number)}
        return Attempt(trial.number, point, self.space, self.folder, trial, reported, self.objective, self.parts)

    def _answered(self, trial: optuna.Trial, point: Point, others: Sequence[Known], held: ExitStack) -> bool:
        """Whether the same point was tried before, or is being tried: the trial is then answered from that."""
        same = [each for each in others if each.point == point and each.same_as is None and each.state != "failed"]
        known = next((each for each in same if each.state != "running"), None)
        if known is None and self._hold(held, "points", digest_of(point)[:16]):
            return False
        first = known or next(iter(same), None)
        if first is None:  # drawn this moment by another worker, who holds it
            trial.set_user_attr(SURPLUS, True)
            self._tell(trial, failed=True)
            return True
        trial.set_user_attr(SAME_AS, first.number)
        self.say(f"{trial.number}: {told(point)}: the same as {first.number}")
        if known is not None and known.state == "finished":
            self._tell(trial, score=known.score)
        else:
            for number, value in known.curve if known is not None else []:
                trial.report(value, number)
            self._tell(trial, failed=known is None)
        return True

    def _tell(self, trial: optuna.Trial, score: float | None = None, *, failed: bool = False) -> None:
        from optuna.trial import TrialState

        state = TrialState.FAIL if failed else TrialState.PRUNED if score is None else TrialState.COMPLETE
        self.study.tell(trial, score, state=state)

    def _carry_out(self, attempt: Attempt) -> None:
        began = time.monotonic()
        try:
            ended = self._ended(attempt, self.settings.workers)
        except Interrupted:
            self._spend(attempt, time.monotonic() - began)
            raise
        self._noted(attempt, ended, time.monotonic() - began)
        with self._alone():
            self._tidy()

    def _spend(self, attempt: Attempt, seconds: float) -> None:
        """Write down what was spent on a trial that has not come to its end."""
        known = next(each.notes.get(SPENT, 0.0) for each in self._known() if each.number == attempt.number)
        attempt.trial.set_user_attr(SPENT, known + seconds)

    def _ended(self, attempt: Attempt, workers: int) -> Ended:
        count = f"{attempt.number}" + (f" of {self.trials}" if self.trials else "")
        return attempt.carry_out(
            say=self.say, title=f"trial {count}: {told(attempt.point)}", stop=self.stop,
            show=self.show and workers == 1, out_of_time=self._late,
            threads=max(1, cores() // workers) if workers > 1 else None,
        )  # fmt: skip

    def _noted(self, attempt: Attempt, ended: Ended, seconds: float) -> None:
        """Write down how a trial ended. One that there was no time for stays open: it may be gone on with."""
        trial, number = attempt.trial, attempt.number
        if ended.out_of_time:
            self._spend(attempt, seconds)
            self.say(f"{number}: not finished, the time is up")
            return
        cost = np.array([cost_of(attempt.run_folder(part)) for part in self.parts]).sum(axis=0).tolist()
        trial.set_user_attr(COST, [*cost, seconds])
        trial.set_user_attr(SCORES, ended.scores)
        mean = float(np.mean(ended.scores)) if ended.scores else float("nan")
        if ended.pruned:
            self._tell(trial)
            self.say(f"{number}: stopped early at {self._last_told(attempt)}")
        elif ended.problem or not np.isfinite(mean):
            problem = ended.problem or "its score is no number"
            trial.set_user_attr(PROBLEM, problem)
            self._tell(trial, failed=True)
            self.say(f"error: trial {number}: {problem}")
            self._check_hope(problem)
        else:
            self._tell(trial, mean)
            best = best_of(self._tried(), self.objective)
            so_far = ", the best so far" if best is not None and best.number == number else ""
            self.say(f"{number}: {written(self.objective, mean)} {spoken(self.objective)}{so_far}")

    def _last_told(self, attempt: Attempt) -> str:
        curve = next(each.curve for each in self._known() if each.number == attempt.number)
        return written(self.objective, curve[-1][1]) if curve else "no score"

    def _check_hope(self, problem: str) -> None:
        """Raise where one trial after the other fails, and none has come to its end."""
        self.failed += 1
        if self.failed >= HOPELESS and not any(each.state in ("finished", "pruned") for each in self._known()):
            raise RunError(f"no trial comes to its end: {problem}", where=str(self.folder))

    def _tidy(self) -> None:
        """Take away what is no longer needed: models of all but the best, checkpoints of what was stopped early."""
        tried = self._tried()
        best = best_of(tried, self.objective)
        for each in tried:
            if each.state in ("finished", "pruned", "failed") and (best is None or each.number != best.number):
                for name in each.runs:
                    for part in ("artifact", "checkpoints") if each.state != "failed" else ("checkpoints",):
                        shutil.rmtree(self.folder / name / part, ignore_errors=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder; wait while another worker does."""
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(holding(self.folder, "this search"))
                    break
                except RunError:
                    self._pause(0.2)
            yield

    # --- what came of them

    def _tried(self) -> list[Tried]:
        known = self._known()
        by_number = {each.number: each for each in known}
        return [self._one(each, by_number) for each in known if each.state != "failed" or each.notes]

    def _one(self, each: Known, known: Mapping[int, Known]) -> Tried:
        folders = [run_folder(self.folder, each.number, part) for part in self.parts]
        runs = [str(path.relative_to(self.folder)) for path in folders if path.exists()]
        cost = each.notes.get(COST) or np.array([cost_of(path) for path in folders]).sum(axis=0).tolist()
        score, curve, scores = each.score, each.curve, each.notes.get(SCORES, [])
        state: State = {"running": "unfinished"}.get(each.state, each.state)  # type: ignore[assignment]
        if each.same_as is not None:
            first = known.get(each.same_as, each)
            state, score, curve = "same", first.score, first.curve
        elif state != "finished":
            score = curve[-1][1] if curve else None
        return Tried(
            each.number, each.point, state, score, scores, curve, int(cost[0]), int(cost[1]), float(cost[2]), runs,
            each.same_as, str(each.notes.get(PROBLEM, "")),
        )  # fmt: skip

    def _written(self) -> Searched:
        tried = self._tried()
        best = best_of(tried, self.objective)
        if best is None or best.score is None:
            raise self._nothing(tried)
        tested, baselines = self._tested(best, tried)
        shares, note = self._importance(tried)
        open_ones = sum(each.state == "unfinished" for each in tried)
        if open_ones:
            self.notes.append(f"the time was up before {open_ones} trial{'s' if open_ones > 1 else ''} came to an end: "
                              "the same command with a longer time goes on with it")  # fmt: skip
        if not self.grid and self.space.size is not None and self._all_drawn() and len(tried) < (self.trials or 0):
            self.notes.append(f"all {self.space.size} points of the space were tried")
        recipe = self._best_recipe(best)
        searched = Searched(
            task=self.recipe.task.name, model=self.recipe.model.source, score=self.objective,
            strategy=self.settings.strategy, pruning=self.settings.pruning.model_dump(),
            seeds=sorted({part.seed for part in self.parts}), folds=self.settings.folds,
            trials=tried, best=best.number, validation=best.score, values=best.point, test=tested,
            baselines=baselines, importance=shares, importance_note=note, notes=self.notes,
            advice=advice_of(self.objective, best, tested, baselines, chosen_on(self.settings.folds)),
            space={key: each.model_dump(mode="json", exclude_defaults=True)
                   for key, each in self.space.dimensions.items()},
            recipe_yaml=recipe.to_yaml(), environment=environment(self.ready.facts), folder=str(self.folder),
        )  # fmt: skip
        write(searched.recipe_yaml, self.folder / BEST)
        write_json(self.folder / NUMBERS, searched.to_dict())
        write_search(searched, self.folder / PAGE)
        return searched

    def _nothing(self, tried: Sequence[Tried]) -> RunError:
        if any(each.state == "unfinished" for each in tried) or not tried:
            return RunError(f"{self.settings.time} is too little for one trial", where="search.time",
                            fix="Give more: the same command goes on with what was begun.")  # fmt: skip
        problem = next((each.problem for each in tried if each.problem), "all were stopped early")
        return RunError(f"no trial came to its end: {problem}", where=str(self.folder))

    def _best_recipe(self, best: Tried) -> Recipe:
        values = {"search": None, "data.seed": self.recipe.data_seed}
        recipe = self.space.at(best.point).changed({key: (value, WHY) for key, value in values.items()})
        return recipe.moved(self.folder)

    def _tested(self, best: Tried, tried: Sequence[Tried]) -> tuple[OnTest | None, dict[str, float]]:
        """Measure the winner on the test split, where there is one, once; and the simple baselines beside it."""
        if "test" not in open_examples(self.recipe, self.ready.task)[0]:
            return None, {}
        before = sum((self.folder / each.runs[0] / TESTED).exists() for each in tried
                     if each.runs and each.number != best.number)  # fmt: skip
        for number, name in enumerate(best.runs):
            if not (self.folder / name / TESTED).exists():
                problem = self._test(self.folder / name, baselines=number == 0)
                if problem:
                    self.notes.append(f"the winner could not be measured on test: {problem}")
                    return None, {}
        runs = [json.loads((self.folder / name / TESTED).read_text(encoding="utf-8")) for name in best.runs]
        if before:
            self.notes.append(f"the test split was looked at {before + 1} times: trials were added after a winner had "
                              "been measured")  # fmt: skip
        baselines = {
            name: each["values"][self.objective]["value"] for name, each in runs[0]["baselines"].items()
            if self.objective in each["values"]
        }  # fmt: skip
        return tested_of(runs, self.objective, self.recipe.evaluation.confidence, before), baselines

    def _test(self, run: Path, *, baselines: bool) -> str:
        self.say(f"{run.name}: measured on test")
        own = self.recipe.evaluation
        values: dict[str, Any] = {"evaluation.test": True, "evaluation.bootstrap": own.bootstrap,
                  "evaluation.baselines": own.baselines and baselines}  # fmt: skip
        values |= {"data.fold": None} if self.settings.folds else {}  # the test split that all folds were kept from
        stored = self.folder / "recipes" / f"{run.name}-test.json"
        find_run(run).recipe.resolved({key: (value, WHY) for key, value in values.items()}).store(stored)
        return carry_out("test", stored, show=False, stop=self.stop)

    def _importance(self, tried: Sequence[Tried]) -> tuple[dict[str, float], str]:
        """The share of each dimension, and what to think of it."""
        ended = [each for each in tried if each.state in ("finished", "same") and each.score is not None]
        keys = [key for key in self.space.dimensions if all(key in each.point for each in ended)]
        others = [key for key in self.space.dimensions if key not in keys]
        if len(ended) < FEWEST or len(keys) < 2:
            few = (
                f"{len(ended)} trials came to their end"
                if len(ended) < FEWEST
                else "only one dimension is in all trials"
            )
            return {}, f"not told: {few}, and that says too little"
        if len({each.score for each in ended}) == 1:
            return {}, "not told: all trials have the same score"
        note = ""
        if len(ended) < ROUGH * len(keys):
            note = f"a hint: {len(ended)} trials say little about {len(keys)} dimensions"
        if any(each.state == "pruned" for each in tried):
            note += f"{'; ' if note else ''}of the trials that came to their end alone, which are the better ones"
        if others:
            names = ", ".join(names_of(others).values())
            note += f"{'; ' if note else ''}without {names}, which not all trials have"
        return drawing.importance(self.study, keys, self.recipe.training.seed), note


def _spent(known: Sequence[Known]) -> float:
    """Seconds in which trials were worked on so far, those at the same time counted once."""
    spans = sorted(
        (each.ended - each.notes[COST][3], each.ended)
        for each in known
        if each.ended is not None and COST in each.notes
    )
    total, end = sum(float(each.notes.get(SPENT, 0.0)) for each in known), float("-inf")  # on what was stopped
    for low, high in spans:
        total += max(0.0, high - max(low, end))
        end = max(end, high)
    return total


def _first_problem(errors: Sequence[BaseException | None]) -> None:
    """Raise what went wrong first of all: a worker that was stopped for another's fault does not count."""
    there = [error for error in errors if error is not None]
    for error in sorted(there, key=lambda each: isinstance(each, Interrupted)):
        raise error
