"""`split`: train, validation and test as files, with nothing shared between them, not even nearly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from weitiao import registry
from weitiao.data import Splits, open_splits
from weitiao.data.arrow import row_numbers
from weitiao.data.made import Made
from weitiao.errors import DataError
from weitiao.recipe import DataSettings, Recipe
from weitiao.recipe.messages import checked
from weitiao.records import SplitName
from weitiao.workshop.changes import Change, FileFormat, NewPart, check_target, form_for, places, write_data
from weitiao.workshop.duplicates import compare
from weitiao.workshop.reading import ALL, Named, Opened, Part, Tell, given

LARGEST = 0.1  # share of the rows that one group of near duplicates may have: above it they say little
OWN = ("validation_size", "test_size", "group", "seed", "validation", "test", "label_names")  # what it may be told


def split(
    source: str | Path | Recipe,
    out: str | Path,
    settings: Mapping[str, Any] | None = None,
    *,
    near: bool = True,
    task: str | None = None,
    columns: Named | None = None,
    label_separator: str | None = None,
    form: FileFormat | None = None,
    tell: Tell | None = None,
) -> Made:
    """Cut data into splits as training would, and write them to the new folder `out`.

    `settings` are values of a recipe's section `data`: `validation_size`, `test_size`, `group`, `seed`, and
    `validation` or `test` where there is a file of it. With `near` texts that are nearly alike stay in one split, too.
    Raises `WeitiaoError` for settings, data or a folder that is there; nothing is written then.
    """
    out = Path(out)
    check_target(out)
    asked = given(source, task=task, columns=columns, separator=label_separator)
    chosen = _settings(asked.settings, settings or {})
    opened = asked.with_settings(chosen).open()
    if tell:
        tell("comparing texts", 0, sum(map(len, opened.parts)))
    kind = registry.get("task", opened.task)
    seed = asked.recipe.data_seed if asked.recipe and chosen.seed is None else chosen.seed or 0
    named = chosen.model_copy(update={"columns": {**chosen.columns, **opened.columns.names}, "max_examples": None,
                                      "label_separator": opened.separator})  # fmt: skip
    splits = open_splits(named, kind.columns, base=asked.base, seed=seed, layout=kind.layout,
                         alike=_alike(opened) if near else None)  # fmt: skip
    told = {name: getattr(chosen, name) for name in OWN} | {"seed": seed, "near": near}
    made = asked.made("split", opened, told, [str(each) for each in splits.findings if each not in opened.notes])
    parts = [_part(name, splits, opened) for name in splits]
    return write_data(out, parts, _left_out(parts, opened), made, form=form or form_for(opened.parts))


def _settings(data: DataSettings, changed: Mapping[str, Any]) -> DataSettings:
    unknown = [key for key in changed if key not in OWN]
    if unknown:
        raise DataError(f"'{unknown[0]}' is not told to split", where="split", fix=f"Known are {', '.join(OWN)}.")
    return checked(DataSettings, {**data.model_dump(), **changed}, ("data",))


def _alike(opened: Opened) -> np.ndarray | None:
    """Numbers of near duplicates in what is cut; None where one group is so large that it says little."""
    together = compare(opened.parts[:1], lambda _, make: make())
    numbers = np.unique(together.near.group, return_inverse=True)[1].reshape(-1)
    return numbers if np.bincount(numbers).max() <= max(LARGEST * len(numbers), 2) else None


def _part(name: SplitName, splits: Splits, opened: Opened) -> NewPart:
    """A split as rows of the part that it was cut from: its own where it was given, else the first."""
    part = next((part for part in opened.parts if part.name == name), opened.parts[0])
    rows = row_numbers(splits[name])
    return NewPart(name, part, np.arange(len(part)) if rows is None else rows.astype(np.int64), {})


def _left_out(parts: list[NewPart], opened: Opened) -> Iterator[Change]:
    """Rows that are in no split: their text, or their group, stands in a split that was given, or their text in another
    group in a split that was cut.
    """  # fmt: skip
    for part in opened.parts:
        used = np.zeros(len(part), bool)
        for each in parts:
            if each.part is part:
                used[each.rows] = True
        if not used.all():
            wheres = list(places(part))
            for row in np.flatnonzero(~used).tolist():
                yield Change(wheres[row], _called(part), "dropped", "leakage")


def _called(part: Part) -> str:
    return "train" if part.name == ALL else part.name
