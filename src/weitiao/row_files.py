"""Rows written to files, and the recipe that reads these in place of its own data: for runs of which each learns from
other rows.
"""  # fmt: skip

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao.data import RowLookup
from weitiao.data.keys import input_keys
from weitiao.data.labels import GROUP
from weitiao.data.units import GROUP_CELL, group_cells, group_keys, in_groups
from weitiao.data.unlabelled import UNLABELLED, unlabelled_rows
from weitiao.preparation import Preparation
from weitiao.recipe import Recipe
from weitiao.records import Example, SplitName
from weitiao.sources.cache import write_synced
from weitiao.tasks.base import NamesLabels

if TYPE_CHECKING:
    from datasets import Dataset


def rows_of(rows: Dataset, roles: Iterable[str]) -> list[Example]:
    """Return a split's rows with these roles alone."""
    there = [role for role in roles if role in rows.column_names]
    return [{role: row[role] for role in there} for row in RowLookup(rows)]


def with_groups(rows: Iterable[Example], groups: np.ndarray | None) -> Iterator[Example]:
    """Yield rows with their groups (see `data.units.group_keys`), if any: who cuts them anew has to know."""
    if groups is None:
        yield from rows
    else:
        yield from ({**row, GROUP_CELL: cell} for row, cell in zip(rows, group_cells(groups), strict=True))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_synced(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_unlabelled(ready: Preparation, folder: Path) -> None:
    """Write the texts without labels that the recipe names, if any, by role, where they are not there. Those that are
    spoken for and in no split are not among them, nor are those of a group that is measured on: who reads the files
    does not know of these.
    """
    named, path = ready.recipe.unlabelled, folder / UNLABELLED
    if named is None or path.exists():
        return
    (key, source), recipe, columns = named, ready.recipe, ready.task.columns
    names = ready.splits.columns.names
    rows = unlabelled_rows(source, columns, names, base=recipe.base, where=recipe.place(key), group=recipe.data.group)
    used, groups = ~np.isin(input_keys(rows, columns), ready.splits.hidden), None
    if GROUP in rows.column_names:
        groups = group_keys(rows)
        used &= ~in_groups(groups, ready.splits.measured_groups)
    kept = np.flatnonzero(used)
    write_rows(path, with_groups(rows_of(rows.select(kept), names), None if groups is None else groups[kept]))


def reading(
    recipe: Recipe, ready: Preparation, files: Mapping[SplitName, Path], *, why: str, validation_size: float = 0.0
) -> Recipe:
    """Return the recipe with these files for data, whose rows are those of `ready`. It knows all labels of `ready`,
    though a file has not all of them; `validation_size` of train is cut off where there is no file of it, in whole
    groups where `ready` has such: then train was written `with_groups`. Texts without labels are those that
    `write_unlabelled` put beside train. `why` is the origin of what is set.
    """
    given, task = ready.recipe.data, ready.task
    grouped = bool(validation_size) and "train" in ready.splits.group_keys
    values: dict[str, Any] = {
        **{name: os.path.relpath(path, recipe.base) for name, path in files.items()},
        "validation_size": validation_size, "test_size": 0.0,
        "columns": {role: role for role in ready.splits.columns.names},
        "duplicates": given.duplicates, "seed": given.seed, "group": GROUP_CELL if grouped else None,
    }  # fmt: skip
    options = task.told() if isinstance(task, NamesLabels) else task.options
    learned = {"name": task.name, **options.model_dump(mode="json")}
    beside = os.path.relpath(files["train"].parent / UNLABELLED, recipe.base)
    unlabelled = {recipe.unlabelled[0]: (beside, why)} if recipe.unlabelled else {}
    return recipe.resolved({"data": (values, why), "task": (learned, why), **unlabelled})
