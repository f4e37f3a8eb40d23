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

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weitiao import models
from weitiao.candidates import digest_of
from weitiao.comparison import measured_apart
from weitiao.consistency import with_unlabelled
from weitiao.errors import DataError, RecipeError, RunError
from weitiao.metrics.words import greater_is_better, spoken
from weitiao.plans import check_folder, keep_plan, own_folder, read_plan, refuse_output, saying, stoppable
from weitiao.preparation import Preparation, as_recipe, prepare, refuse_errors
from weitiao.recipe import Recipe, SearchSettings
from weitiao.searching import drawing
from weitiao.searching.finishing import finish
from weitiao.searching.ongoing import Ongoing, parts_of
from weitiao.searching.searched import Searched
from weitiao.searching.space import Point, Space, grid_of, told
from weitiao.searching.trying import Part, trial_recipe
from weitiao.searching.working import Workers
from weitiao.training.fit import stop_on_signal

SEARCHES = Path("searches")
WHAT = "search"


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
        return _carried_out(
            Ongoing(folder, recipe, space, settings, study, ready, objective, notes, stop, saying(show), show)
        )


def _carried_out(ongoing: Ongoing) -> Searched:
    limit, trials = ongoing.settings.time, ongoing.trials
    many = f"{trials} trials" if trials else f"trials for {limit}"
    ongoing.say(f"search by {ongoing.settings.strategy} for {spoken(ongoing.objective)}, {many}, in {ongoing.folder}")

    def done() -> str:
        ended = sum(each.state != "running" for each in ongoing.known())
        return f"{ended}{f' of {trials}' if trials else ''} trials done"

    with stoppable(ongoing.folder, done):
        Workers(ongoing).carry_out()
        with ongoing.alone():
            return finish(ongoing)


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
    """Prepare a point with each choice of task, model, data and method as if to train, on each fold; return the first.

    Raises where one cannot be trained, has nothing to choose by, or is measured on other examples than the others.
    """
    firsts: dict[Part, Preparation] = {}
    with models.quiet():
        for number, point in enumerate(space.structures()):
            for part in parts_of(space.recipe, seeds=1):
                ready = _prepared(space, point, part, folder, alone=number == 0)
                if split := measured_apart(firsts.setdefault(part, ready), ready):
                    same = f"Name data.{split}, the same for all" if part.fold is None else "Take out what moves them"
                    raise DataError(f"with {told(point)} there are other {split} examples", where="search.space",
                                    fix=f"{same}, and leave out of the data what one of them cannot read.")  # fmt: skip
    return next(iter(firsts.values()))


def _prepared(space: Space, point: Point, part: Part, folder: Path, *, alone: bool) -> Preparation:
    """Prepare a part of a trial; what is wrong with a point that is not `alone` is said with it."""
    try:
        ready = prepare(trial_recipe(space, point, part, folder / "runs" / "0"))
        ready = with_unlabelled(ready, silent=True)
        refuse_errors(ready.findings)
    except RecipeError as error:
        problem = error.problem if alone else f"with {told(point)}: {error.problem}"
        raise RecipeError(problem, where=error.where, fix=error.fix) from None
    if ("validation" if part.fold is None else "test") not in ready.features:
        raise DataError("there is no validation split to choose by", where="data.validation",
                        fix="Set data.validation_size, or give a file as data.validation.")  # fmt: skip
    return ready


def _primary(ready: Preparation) -> str:
    found = getattr(ready.task.scorer(), "primary", None)
    if found is None:
        raise RecipeError("this task does not say beforehand what its primary score is", where="search.objective",
                          fix="Name a score.")  # fmt: skip
    return str(found)
