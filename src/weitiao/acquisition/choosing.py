"""`choose`: which rows of a pool to label next."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from weitiao import registry, sources
from weitiao.acquisition.base import NEED_MODEL, Acquisition, Ranked
from weitiao.acquisition.seen import BaseView, Looked, ModelView, Tell, silent, texts_of
from weitiao.artifacts.run_folder import artifact_folder
from weitiao.data.arrow import digest
from weitiao.data.kept import keeper
from weitiao.data.keys import text_key
from weitiao.errors import DataError, RecipeError, WeitiaoError
from weitiao.inspection import load
from weitiao.models.fingerprint import weights_fingerprint
from weitiao.recipe import Chosen, Recipe
from weitiao.recipe import choose as chosen_by_name
from weitiao.records import Example, Prediction
from weitiao.tasks.base import GivesProbabilities, Task

SEEN = "acquisition"  # folder of the cache: what a model saw of a pool, until rows are chosen
VERSION = "1"  # raise when what is kept there changes
EMPTY = 0  # the key of a row without a text


@dataclass(frozen=True)
class Query:
    """What is to be labelled next."""

    strategy: str
    rows: list[int]  # numbers of rows of the pool, in the order in which they should be labelled
    scores: list[float]  # what the strategy went by, one each; greater is sooner, but for those that draw
    guesses: list[Prediction] | None  # what the model answers, probabilities included; None: there is none
    left: int  # rows that can be chosen after these


def choose(
    recipe: Recipe,
    pool: Sequence[Example],
    labelled: Collection[int] = (),
    *,
    strategy: str | Mapping[str, Any],
    number: int,
    seed: int = 0,
    artifact: str | Path | None = None,
    also: Sequence[Example] = (),
    guesses: bool = True,
    tell: Tell | None = None,
) -> Query:
    """Choose `number` rows of a pool to be labelled next, fewer where there are no more.

    The rows of `pool` and `also` are maps from the task's roles to values, such as ``{"text": "..."}``; targets are not
    read. `labelled` are numbers of rows of the pool that have a label or are not to be asked for again (skipped ones,
    those that somebody else has before them), `also` are labelled examples from elsewhere. Give the pool whole each
    time: what the base model makes of it is kept in the cache. `artifact` is the folder of a model that was trained
    by `recipe`, or of its run; None: there is none yet, and only a strategy that needs none can be asked for (`random`,
    `k-center`, `cluster-uncertain`). `strategy` is a name of the registry's kind ``acquisition``, or a map with `name`
    and options. A text that is labelled, or was chosen, is not chosen again where it stands in another row, and none
    that is empty. The same seed chooses the same rows. With `guesses` the model predicts the chosen rows. `tell` is
    called with what is looked at, how many rows of it were, and of how many.
    Raises `RecipeError` for an unknown strategy or one that does not fit the task or needs a model, `DataError` where
    rows lack a role that the model reads, or `labelled` names one that the pool has not. What was stopped goes on where
    it was.
    """
    chosen, task = named(strategy), _task(recipe)
    check_fits(chosen, task, trained=artifact is not None)
    if number < 1:
        raise WeitiaoError(f"found {number}", where="number", fix="Ask for one row at least.")
    _check_labelled(labelled, len(pool))
    roles, say = _roles(task, pool), tell or silent
    keys = keys_of(pool, roles)
    rows = new_rows(keys, labelled, keys_of(also, roles))
    key = digest(VERSION, keys[rows].tobytes(), *(() if artifact is None else _told(Path(artifact))))
    model = cache(lambda: None if artifact is None else load(artifact))  # not every strategy looks at it

    def view() -> ModelView | None:
        predictor = model()
        if predictor is None:
            return None
        check_prepared(chosen, predictor.inference.task)
        return ModelView(predictor, [pool[row] for row in rows], keys[rows], keeper(SEEN, key), say)

    seen = Looked(rows, np.array(sorted(labelled), np.int64), view, BaseView(recipe, say),
                  lambda: texts_of([*pool, *also], roles), len(pool))  # fmt: skip
    ranked = _ranked(chosen, seen, number, seed)
    shutil.rmtree(sources.cache_folder() / SEEN / key, ignore_errors=True)  # another round has another model
    found, predictor = [int(row) for row in rows[ranked.rows]], model() if guesses else None
    return Query(
        chosen.name, found, [float(score) for score in ranked.scores],
        None if predictor is None else predictor.predict([pool[row] for row in found]), len(rows) - len(found),
    )  # fmt: skip


def _ranked(chosen: Chosen, seen: Looked, number: int, seed: int) -> Ranked:
    if not len(seen):
        return Ranked(np.empty(0, np.int64), np.empty(0))
    acquisition: Acquisition = registry.get("acquisition", chosen.name)(chosen.options)
    return acquisition.rank(seen, number, np.random.default_rng(seed))


# --- strategies


def named(strategy: str | Mapping[str, Any]) -> Chosen:
    """Return a strategy by name, its options checked; a `RecipeError` for an unknown one."""
    try:
        chosen: Chosen = chosen_by_name("acquisition", strategy)
    except RecipeError as error:
        raise RecipeError(error.problem.replace("acquisition", "strategy"),
                          where=error.where.replace("acquisition", "strategy"), fix=error.fix) from None  # fmt: skip
    return chosen


def check_fits(chosen: Chosen, task: Task, *, trained: bool) -> None:
    """Raise a `RecipeError` where a strategy cannot be asked for: of such a task, or before there is a model."""
    needs = registry.get("acquisition", chosen.name).needs
    without = ", ".join(name for name in registry.names("acquisition")
                        if not registry.get("acquisition", name).needs & NEED_MODEL)  # fmt: skip
    if needs & NEED_MODEL and not isinstance(task, GivesProbabilities):
        raise RecipeError(f"'{chosen.name}' goes by probabilities, and the task '{task.name}' gives none",
                          where="strategy", fix=f"Take one of: {without}.")  # fmt: skip
    if needs & NEED_MODEL and not trained:
        raise RecipeError(f"'{chosen.name}' asks a trained model, and there is none yet", where="strategy",
                          fix=f"Begin with one of: {without}.")  # fmt: skip


def check_prepared(chosen: Chosen, task: Task) -> None:
    """Raise a `RecipeError` where a strategy does not fit what a task that was prepared has to choose."""
    needs = registry.get("acquisition", chosen.name).needs
    if not isinstance(task, GivesProbabilities):
        return
    if "tags" in needs and task.chooses() != "tags":
        raise RecipeError(f"'{chosen.name}' is for tasks that tag words", where="strategy",
                          fix="Take least-confidence.")  # fmt: skip
    if "gradients" in needs and task.chooses() == "tags":
        raise RecipeError(f"'{chosen.name}' is for one answer a text, and '{task.name}' gives one a word",
                          where="strategy", fix="Take mnlp, margin or bald.")  # fmt: skip


# --- rows


def _check_labelled(labelled: Collection[int], size: int) -> None:
    outside = sorted(row for row in labelled if not 0 <= row < size)
    if outside:
        raise DataError(f"there is no row {outside[0]:,} in a pool of {size:,}", where="labelled",
                        fix="Give numbers of the pool's rows, counted from 0.")  # fmt: skip


def keys_of(examples: Sequence[Example], roles: Sequence[str]) -> np.ndarray:
    """Return a number for what a model reads of each example, uint64 of shape (n,); the same for the same text."""
    rows = ([example.get(role) or "" for role in roles] for example in examples)
    return np.array([text_key(*row) if any(map(_says, row)) else EMPTY for row in rows], np.uint64)


def _says(value: Any) -> bool:
    return bool(value.strip() if isinstance(value, str) else value)


def new_rows(keys: np.ndarray, labelled: Collection[int], also: np.ndarray) -> np.ndarray:
    """Return the rows that can be chosen, int64, ascending: the first of each text that is not labelled, nor empty."""
    taken = np.concatenate([keys[np.array(sorted(labelled), np.int64)], also, np.array([EMPTY], np.uint64)])
    first = np.unique(keys, return_index=True)[1]
    rows = np.sort(first)
    return rows[~np.isin(keys[rows], taken)].astype(np.int64)


def _task(recipe: Recipe) -> Task:
    task: Task = registry.get("task", recipe.task.name)(recipe.task.options)
    if task.parts:
        raise RecipeError("several tasks are learned together, and rows are chosen for one", where="task",
                          fix="Choose for each task by itself.")  # fmt: skip
    return task


def _roles(task: Task, pool: Sequence[Example]) -> list[str]:
    """The roles that the rows have of those a model reads."""
    read = [column.role for column in task.columns if not column.target]
    there = [role for role in read if any(role in row for row in pool[:1])]
    if pool and not there:
        raise DataError(f"the rows have no {read[0]}; they have: {', '.join(pool[0])}", where="pool",
                        fix=f"Name the columns by the task's roles: {', '.join(read)}.")  # fmt: skip
    return there


def _told(artifact: Path) -> tuple[str, str]:
    """Stands for a trained model."""
    folder = artifact_folder(artifact)
    return weights_fingerprint(folder), weights_fingerprint(folder / "adapter")
