"""Examples without a target: those of a file, and the training split with what a teacher says in place of targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from weitiao import sources
from weitiao.data.arrow import (
    arrow_batches,
    digest,
    fingerprint,
    is_whole,
    open_arrow,
    rows_digest,
    select_rows,
    write_arrow,
)
from weitiao.data.checks import empty_rows
from weitiao.data.columns import listed
from weitiao.data.keys import input_keys
from weitiao.data.labels import GROUP, rename
from weitiao.data.splits import Splits
from weitiao.data.table import Table, open_table
from weitiao.data.units import group_keys, in_groups
from weitiao.errors import DataError, WeitiaoError
from weitiao.recipe import DataSettings
from weitiao.records import FILE, LINE, Column, Example, Finding

if TYPE_CHECKING:
    from datasets import Dataset

VERSION = "1"  # raise when what is written into the cache changes
UNLABELLED = "unlabelled.jsonl"  # a file of them by role, where a command writes one for its runs
SOME = 2000  # rows whose copies are kept at once


def open_unlabelled(
    source: str, settings: DataSettings, columns: Sequence[Column], splits: Splits, *, base: Path, where: str,
    answers: bool = False, besides: Iterable[Dataset] = (),
) -> tuple[Dataset, list[Finding]]:  # fmt: skip
    """Return a file's rows under the roles that a model reads, and what was left out of them.

    Left out are rows without text, those that stand in a split or `besides` already, those of a group that is measured
    on, where the file has the column of `data.group`, and all but the first of the same text. Columns are called as in
    the training data, or by their roles; none is guessed. With `answers` the targets are there, too, where the file has
    their columns and they can be read as such. Raises a `DataError` where the file has not the columns, or no row is
    left.
    """
    table, names = _table(source, base, where), splits.columns.names
    found_in = _inputs(table, columns, names, where)
    if answers:
        targets = {column.role: names[column.role] for column in columns if column.target and column.role in names}
        found_in |= {role: name for role, name in targets.items() if set(listed(name)) <= set(table.columns)}
    read = [column for column in columns if column.role in found_in]
    group = settings.group if settings.group in table.columns else None
    unread = {} if answers else {"label_separator": None, "label_names": None}
    try:
        found = rename(table, found_in, settings.model_copy(update={"group": group, **unread}), base=base, columns=read)
    except DataError as error:
        if not answers:
            raise
        rows, findings = open_unlabelled(source, settings, columns, splits, base=base, where=where, besides=besides)
        return rows, [*findings, Finding("note", where, f"its labels are not looked at: {error.problem}")]
    keys = input_keys(found, read)
    full = np.ones(len(found), bool)
    for column in read:
        if column.every and not column.target:
            full[empty_rows(found, column.role)] = False
    there = [splits.known, *(input_keys(rows, columns) for rows in besides)]
    new = ~np.isin(keys, np.concatenate(there))
    apart, found = _apart(found, splits)
    first = np.zeros(len(found), bool)
    first[np.unique(keys, return_index=True)[1]] = True
    kept = np.flatnonzero(full & new & apart & first)
    if not len(kept):
        groups = ", or their groups are measured on" if not apart.all() else ""
        problem = f"no row of {table.name} is left: all are empty, or stand in the data already{groups}"
        raise DataError(problem, where=where,
                        fix="Name a file of other texts.")  # fmt: skip
    why = {"without text": ~full, "in the data already": full & ~new,
           "of a group that is measured on": full & new & ~apart, "repeated": full & new & apart & ~first}  # fmt: skip
    left_out = ", ".join(f"{int(mask.sum()):,} {name}" for name, mask in why.items() if mask.any())
    said = f"{len(kept):,} of {len(found):,} rows of {table.name} are used" + (f": {left_out}" if left_out else "")
    rows = select_rows(found, kept, digest(fingerprint(found), kept.astype("<i8").tobytes()))
    return rows, [*table.notes, Finding("note", where, said)]


def _apart(rows: Dataset, splits: Splits) -> tuple[np.ndarray, Dataset]:
    """Which rows are of no group that is measured on; and the rows without the column of groups."""
    if GROUP not in rows.column_names:
        return np.ones(len(rows), bool), rows
    kept = [name for name in rows.column_names if name != GROUP]
    apart = ~in_groups(group_keys(rows), splits.measured_groups)
    return apart, rows.select_columns(kept, new_fingerprint=digest(fingerprint(rows), kept))


def unlabelled_rows(
    source: str, columns: Sequence[Column], names: Mapping[str, str | list[str]], *, base: Path, where: str,
    group: str | None = None,
) -> Dataset:  # fmt: skip
    """Return all rows of such a file under the roles that a model reads, and under `GROUP` its column `group`, where it
    has it; `names`: role -> column in training.
    """  # fmt: skip
    table = _table(source, base, where)
    settings = DataSettings(train=table.name, group=group if group in table.columns else None)
    return rename(table, _inputs(table, columns, names, where), settings, base=base, columns=columns)


def _table(source: str, base: Path, where: str) -> Table:
    try:
        return open_table(source, base=base)
    except WeitiaoError as error:
        raise DataError(f"{source}: {error.problem}", where=where, fix=error.fix) from None


def _inputs(
    table: Table, columns: Sequence[Column], names: Mapping[str, str | list[str]], where: str
) -> dict[str, str | list[str]]:  # fmt: skip
    """Role -> the table's column of what a model reads: all of them as in training, else all by their roles."""
    called = {column.role: names[column.role] for column in columns if not column.target and column.role in names}
    there = [column for name in called.values() for column in listed(name)]
    missing = next((name for name in there if name not in table.columns), None)
    if missing is None:
        return called
    if set(called) <= set(table.columns):
        return {role: role for role in called}
    ways = " or ".join(dict.fromkeys([", ".join(there), ", ".join(called)]))
    role = next(role for role, name in called.items() if missing in listed(name))
    raise DataError(f"cannot tell which column of {table.name} is the {role}: there is no '{missing}', as the training "
                    "data calls it", where=where,
                    fix=f"Call what is read {ways}. The columns are: {', '.join(table.columns)}.")  # fmt: skip


def copies_of(
    rows: Dataset, roles: Sequence[str], make: Callable[[int, list[Example]], Sequence[Sequence[Mapping[str, Any]]]], *,
    key: str,
) -> Dataset:  # fmt: skip
    """Return copies of rows: what stands under `roles`, `LINE` and `FILE`, and `of`, the number of the row it is of.

    ``make(start, part)`` gives role -> new cell for each copy of each row of a part that begins at `start`; what it
    does not name is as in the row. Kept in the cache by content, a part at a time, so that what was stopped goes on;
    `key` stands for all that `make` hangs on but the rows.
    """
    fields: list[pa.Field] = [rows.data.schema.field(name).remove_metadata() for name in (*roles, LINE, FILE)]
    schema = pa.schema([*fields, pa.field("of", pa.int64())])
    names = schema.names[:-1]

    def part(start: int, batch: pa.RecordBatch) -> pa.RecordBatch:
        found = batch.to_pylist()
        made = [
            {**row, **new, "of": start + number}
            for number, (row, copies) in enumerate(zip(found, make(start, found), strict=True))
            for new in copies
        ]
        return pa.RecordBatch.from_pylist(made, schema)  # fmt: skip

    def parts() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in arrow_batches(rows, names, SOME):
            kept = _place(digest(VERSION, fingerprint(rows), key, *names, start, len(batch)))
            if not is_whole(kept):
                write_arrow(kept, [part(start, batch)], schema)
            yield from open_arrow(kept, fingerprint="").data.table.to_batches()
            start += len(batch)

    name = digest(VERSION, fingerprint(rows), key, *names)
    cached = _place(name)
    if not is_whole(cached):
        write_arrow(cached, parts(), schema)
    return open_arrow(cached, fingerprint=digest(rows_digest(open_arrow(cached, fingerprint=name))))


def _place(key: str) -> Path:
    return sources.cache_folder() / "tables" / f"{key}.arrow"


def with_targets(
    train: Dataset, more: Dataset | None, read: Sequence[str], role: str, values: Sequence[Any]
) -> Dataset:  # fmt: skip
    """Return the rows of `train`, then those of `more`, with what is `read` of them and `values` as their one target.

    `values` are texts, or lists of texts, one a row. Kept in the cache by content.
    """
    fields: list[pa.Field] = [train.data.schema.field(name).remove_metadata() for name in (*read, LINE, FILE)]
    kind = pa.list_(pa.string()) if any(isinstance(value, list) for value in values) else pa.string()
    schema = pa.schema([*fields, pa.field(role, kind)])
    parts = [train] if more is None else [train, more]
    key = digest(VERSION, *map(fingerprint, parts), *schema.names, str(kind), *map(repr, values))
    cached = _place(key)
    if not is_whole(cached):
        write_arrow(cached, _batches(parts, schema, values), schema)
    return open_arrow(cached, fingerprint=digest(rows_digest(open_arrow(cached, fingerprint=key))))


def _batches(parts: Sequence[Dataset], schema: pa.Schema, values: Sequence[Any]) -> Any:
    start, names = 0, schema.names[:-1]
    for part in parts:
        for batch in arrow_batches(part, names):
            columns = [batch.column(name).cast(schema.field(name).type) for name in names]
            targets = pa.array(values[start : start + len(batch)], schema.field(schema.names[-1]).type)
            start += len(batch)
            yield pa.RecordBatch.from_arrays([*columns, targets], schema=schema)
