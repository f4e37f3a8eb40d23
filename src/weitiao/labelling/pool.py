"""The rows to be labelled. Each has an id by what stands in it, so that the file may grow or be sorted anew."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from itertools import repeat
from pathlib import Path

from weitiao.data.arrow import arrow_batches
from weitiao.data.keys import normalised
from weitiao.data.units import group_cells, group_keys
from weitiao.errors import DataError
from weitiao.recipe import Recipe
from weitiao.records import FILE, LINE
from weitiao.workshop.reading import as_text, open_parts


@dataclass(frozen=True)
class Row:
    """One of them."""

    id: str
    number: int  # in the pool, from 0
    cells: Mapping[str, str]  # role -> text, of what a model reads
    place: str  # ``pool.csv:12``
    group: str | None = None  # stands for its group, where the pool has the column of `data.group`

    @property
    def text(self) -> str:
        """Its first text: what spans are counted in."""
        return next(iter(self.cells.values()))


@dataclass(frozen=True, eq=False)
class Pool(Sequence[Row]):
    """All rows of a file or folder, in its order."""

    rows: list[Row] = field(repr=False)
    source: str
    digest: str  # of the content
    columns: Mapping[str, str]  # role -> the file's column
    grouped: bool = False  # whether the rows have groups

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number):  # type: ignore[no-untyped-def]
        return self.rows[number]

    @cached_property
    def by_id(self) -> dict[str, Row]:
        """Id -> row."""
        return {row.id: row for row in self.rows}

    @property
    def examples(self) -> list[dict[str, str]]:
        """The rows as a task reads them."""
        return [dict(row.cells) for row in self.rows]

    def find(self, words: str, most: int) -> list[Row]:
        """Return the first rows with a text that holds `words`, whatever the case, width and spaces."""
        wanted = normalised(words)
        found = []
        for row, text in zip(self.rows, self._normalised, strict=True):
            if wanted in text:
                found.append(row)
                if len(found) == most:
                    break
        return found

    @cached_property
    def _normalised(self) -> list[str]:
        return [normalised("\n".join(row.cells.values())) for row in self.rows]


def open_pool(source: str, recipe: Recipe, *, base: Path = Path()) -> Pool:
    """Open a file or folder of texts for a recipe's task; labels in it are not looked at.

    Columns are those that the recipe names where the pool has them, else told by their names. Rows without any text are
    left out. Raises `SourceError` or `DataError` where it cannot be read or a column that the task needs is not there.
    """
    opened = open_parts(source, task=recipe.task.name, named=_named(source, recipe, base), labelled=False, base=base)
    if len(opened.parts) > 1:
        names = ", ".join(part.name for part in opened.parts)
        raise DataError(f"holds several splits: {names}", where=source, fix=f"Name one: {source}/train")
    part = opened.parts[0]
    roles = [column.role for column in part.columns]
    grouped = recipe.data.group in part.table.columns
    groups = iter(group_cells(group_keys(part.table.dataset, str(recipe.data.group))) if grouped else repeat(None))
    counts: Counter[str] = Counter()
    rows: list[Row] = []
    for batch in arrow_batches(part.dataset, [*roles, LINE, FILE]):
        for record in batch.to_pylist():
            cells, group = {c.role: as_text(record[c.role], c) for c in part.columns}, next(groups)
            if not any(text.strip() for text in cells.values()):
                continue
            digest = row_digest(cells)
            rows.append(Row(
                f"{digest}-{counts[digest]}" if counts[digest] else digest, len(rows), cells,
                f"{record[FILE]}:{record[LINE]}", group,
            ))  # fmt: skip
            counts[digest] += 1
    if not rows:
        raise DataError("holds no text to label", where=source)
    return Pool(rows, source, part.digest, {role: str(name) for role, name in part.names.items()}, grouped)


def row_digest(cells: Mapping[str, str]) -> str:
    """Return 16 hex digits that stand for what is in a row, to the character."""
    told = json.dumps(list(cells.values()), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return blake2b(told, digest_size=8).hexdigest()


def _named(source: str, recipe: Recipe, base: Path) -> dict[str, str | list[str]]:
    """The columns of the recipe that the pool has: it may be another kind of file than the recipe's data."""
    from weitiao.data.table import open_table

    there = open_table(source, base=base, limit=1).columns
    return {
        role: name for role, name in recipe.data.columns.items()
        if all(each in there for each in ([name] if isinstance(name, str) else name))
    }  # fmt: skip
