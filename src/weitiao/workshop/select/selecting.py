"""`select`: a part of a large pool as new data, with why each other row was left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weitiao import registry
from weitiao.data.arrow import digest
from weitiao.data.kept import keeper
from weitiao.data.keys import mixed
from weitiao.data.made import Made
from weitiao.data.table import open_table
from weitiao.errors import DataError, WeitiaoError
from weitiao.recipe import Recipe
from weitiao.recipe.sections import choose
from weitiao.workshop.changes import Change, FileFormat, NewPart, check_target, form_for, places, write_data
from weitiao.workshop.mismatch import Mismatch, mismatch
from weitiao.workshop.reading import Given, Named, Opened, Part, Tell, given, open_parts
from weitiao.workshop.select.base import Asked, Choice, Strategy, TextsOfPart

VERSION = "1"  # raise when what is kept in the cache changes
SAMPLE = 5_000  # texts a side that are set beside the target
QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Described:
    """Rows in numbers."""

    rows: int
    characters: tuple[int, int, int]  # quantiles of the texts' lengths: 5%, 50%, 95%
    target: Mismatch | None = None  # the same beside the target's texts; None where there is no target


@dataclass(frozen=True)
class Selected:
    """What was chosen, beside what it was chosen from."""

    made: Made
    pool: Described
    chosen: Described


def select(
    source: str | Path | Recipe,
    out: str | Path,
    *,
    by: str,
    rows: int | None = None,
    like: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    task: str | None = None,
    columns: Named | None = None,
    label_separator: str | None = None,
    form: FileFormat | None = None,
    tell: Tell | None = None,
) -> Selected:
    """Write a part of a pool to the new folder `out`; rows keep their order.

    `by` names a strategy of the registry's kind ``selection``, `options` are its own. `like`: texts that the chosen
    ones are to be like. Rows are chosen of the data, or of their ``train`` where they are split; other splits stay as
    they are. Labels are not needed. Nothing is written where an error is raised: `RecipeError` for a strategy or an
    option that is not known, `WeitiaoError` or `DataError` for what cannot be chosen, read or written.
    """
    out = Path(out)
    check_target(out)
    named = choose("selection", {**(options or {}), "name": by})
    strategy: Strategy = registry.get("selection", named.name)(named.options)
    if rows is not None and rows < 1:
        raise WeitiaoError(f"found {rows}", where="--rows", fix="Ask for one row at least.")
    asked = given(source, task=task, columns=columns, separator=label_separator)
    opened = _open(asked)
    pool = opened.parts[0]
    target = None if like is None else _target(str(like), opened, asked)
    say = tell or (lambda *_: None)
    choice = strategy.choose(Asked(
        TextsOfPart(pool, lambda done, whole: say("choosing", done, whole)), rows,
        None if target is None else TextsOfPart(target), seed, keeper("selections", digest(VERSION, pool.digest)),
    ))  # fmt: skip
    say("writing", 0, len(pool))
    settings = {"by": named.model_dump(mode="json"), "rows": rows, "like": None if like is None else str(like),
                "seed": seed}  # fmt: skip
    parts = [NewPart(part.name, part, choice.rows if part is pool else np.arange(len(part)), {})
             for part in opened.parts]  # fmt: skip
    made = write_data(
        out, parts, _changes(pool, choice, named.name),
        asked.made("select", opened, settings), form=form or form_for(opened.parts),
    )  # fmt: skip
    say("comparing", 0, len(pool))
    return Selected(made, _described(pool, np.arange(len(pool)), target, seed),
                    _described(pool, choice.rows, target, seed))  # fmt: skip


def _open(asked: Given) -> Opened:
    """Open the pool with its labels, or without them where there are none."""
    try:
        return asked.open()
    except DataError:
        return asked.open(labelled=False)


def _target(like: str, opened: Opened, asked: Given) -> Part:
    """The target, read by the pool's task; columns that were named count where it has them."""
    there = open_table(like, limit=1).columns
    named = {role: name for role, name in asked.settings.columns.items() if name in there}
    parts = open_parts(like, task=opened.task, named=named, labelled=False).parts
    if len(parts) > 1:
        raise DataError(f"{like} holds several splits", where="--like", fix=f"Name one: {like}/test")
    return parts[0]


def _changes(pool: Part, choice: Choice, rule: str) -> Iterator[Change]:
    """Each row that was left out, and why."""
    for row, where in enumerate(places(pool)):
        if not choice.kept[row]:
            score = float(choice.scores[row])
            told: dict[str, Any] = {"reason": choice.why(row)} | ({} if np.isnan(score) else {"score": round(score, 4)})
            yield Change(where, pool.name, "dropped", rule, told)


def _described(pool: Part, rows: np.ndarray, target: Part | None, seed: int) -> Described:
    lengths = [np.fromiter(map(len, batch), np.int64, len(batch)) for batch in _texts(pool, rows)]
    low, middle, high = (
        int(cut) for cut in np.quantile(np.concatenate([np.empty(0), *lengths]), QUANTILES, method="lower")
    )
    beside = None
    if target is not None:
        every = np.arange(len(target))
        beside = mismatch(_sample(pool, rows, seed), _sample(target, every, seed), seed=seed)
    return Described(len(rows), (low, middle, high), beside)


def _sample(part: Part, rows: np.ndarray, seed: int) -> list[str]:
    drawn = rows[np.argsort(mixed(rows.astype(np.uint64), seed), kind="stable")[:SAMPLE]]
    return [text for batch in _texts(part, np.sort(drawn)) for text in batch]


def _texts(part: Part, rows: np.ndarray) -> Iterator[list[str]]:
    return part.joined(part.inputs or part.targets, rows)
