"""Which entrants can run, and on which data: before the first run of a probe."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from weitiao import models as open_models
from weitiao import registry
from weitiao.comparison import measured_apart
from weitiao.consistency import with_unlabelled
from weitiao.errors import (
    DataError,
    ModelError,
    RecipeError,
    RefusedError,
    SourceError,
    WeitiaoError,
    WeitiaoWarning,
)  # fmt: skip
from weitiao.preparation import Preparation, open_examples, prepare, refuse_errors
from weitiao.probing.crossing import Entrant
from weitiao.probing.race import WHY
from weitiao.recipe import Recipe

ENOUGH = 500  # validation examples that candidates are to be told apart by, where there are enough to cut
LARGEST = 0.3  # share of the data that validation may have for it


def ready_for(
    entrants: Sequence[Entrant], recipe: Recipe, folder: Path
) -> tuple[Recipe, dict[str, Preparation], dict[str, WeitiaoError]]:
    """Return the recipe of all runs, what is prepared by it, and why the others cannot run, each by the entrant's name.

    Where a larger validation split leaves too few examples of a class, it stays as the recipe has it. Raises a
    `DataError` where there is no validation, and a `WeitiaoError` where no entrant fits.
    """
    *larger, plain = _shared(recipe)
    for shared in larger:
        try:
            return shared, *_checked(entrants, shared, folder)
        except DataError:
            continue
    return plain, *_checked(entrants, plain, folder)


def _shared(recipe: Recipe) -> list[Recipe]:
    """What the recipe of all runs may be: nothing looks at test, and validation is large enough to tell candidates
    apart by; else it is the recipe's own.
    """  # fmt: skip
    task = registry.get("task", recipe.task.name)(recipe.task.options)
    plain, _ = open_examples(recipe, task)
    if "validation" not in plain:
        raise DataError("there is no validation split to compare candidates on", where="data",
                        fix="Set data.validation_size, or give a file as data.validation.")  # fmt: skip
    shared = recipe.changed({"evaluation.test": (False, WHY), "time": (None, WHY)})
    size, there = recipe.data.validation_size, len(plain["validation"])
    wanted = round(min(LARGEST, size * ENOUGH / max(there, 1)), 4)
    if task.parts or recipe.data.validation is not None or wanted <= size:
        return [shared]
    larger = shared.changed({"data.validation_size": (wanted, WHY)})
    try:
        cut, _ = open_examples(larger, task)
    except DataError:
        return [shared]
    seen = np.concatenate([cut.text_keys[split] for split in cut if split != "test"])
    test = plain.text_keys.get("test", np.empty(0, seen.dtype))
    return [shared] if len(cut.get("validation", ())) <= there or np.isin(seen, test).any() else [larger, shared]


def _checked(
    entrants: Sequence[Entrant], shared: Recipe, folder: Path
) -> tuple[dict[str, Preparation], dict[str, WeitiaoError]]:
    """Prepare every candidate as if to train; those that do not fit are left out."""
    ready: dict[str, Preparation] = {}
    unfit: dict[str, WeitiaoError] = {}
    with open_models.quiet():
        for entrant in entrants:
            own = entrant.candidate.recipe(shared, shared.training.seed, folder / "runs" / entrant.candidate.slug)
            try:
                prepared = with_unlabelled(prepare(own), silent=True)
                refuse_errors(prepared.findings)
            except (RecipeError, ModelError, SourceError, RefusedError) as error:
                unfit[entrant.name] = error
                continue
            first = next(iter(ready.values()), prepared)
            if split := measured_apart(first, prepared):
                unfit[entrant.name] = DataError(f"has other {split} examples than {next(iter(ready))}, so that they "
                                                "cannot be compared")  # fmt: skip
                continue
            ready[entrant.name] = prepared
    if not ready:
        told = list(dict.fromkeys(str(error) for error in unfit.values()))
        if len(told) == 1:
            raise next(iter(unfit.values()))
        raise ModelError("no candidate fits\n" + "\n".join(f"{name}: {error}" for name, error in unfit.items()),
                         where="models", fix="Take models and methods that fit the task and its data.")  # fmt: skip
    for name, problem in unfit.items():
        warnings.warn(f"{name} is left out: {problem}", WeitiaoWarning, stacklevel=3)
    return ready, unfit
