"""`choose`: which rows of a pool to label next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weitiao.recipe import Recipe
from weitiao.records import Example, Prediction

Tell = Callable[[str, int, int], None]  # (what is done, how many of it, of how many)


@dataclass(frozen=True)
class Query:
    """What is to be labelled next."""

    strategy: str
    rows: list[int]  # numbers of rows of the pool, in the order in which they should be labelled
    scores: list[float]  # what the strategy went by, one each; greater is sooner, but for those that draw
    guesses: (
        list[Prediction] | None
    )  # what the model answers, with probabilities where its task has any; None: no model
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
    by `recipe`; None: there is none yet, and only a strategy that needs none can be asked for (`random`, `k-center`,
    `cluster-uncertain`). `strategy` is a name of the registry's kind ``acquisition``, or a map with `name` and options.
    A text that is labelled, or was chosen, is not chosen again where it stands in another row. The same seed chooses
    the same rows. With `guesses` the model predicts the chosen rows. `tell` is called with the progress.
    Raises `RecipeError` for an unknown strategy or one that does not fit the task or needs a model, `DataError` where
    rows lack a role that the model reads.
    """
    raise NotImplementedError
