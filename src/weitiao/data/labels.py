"""A task's view of a table: columns called by their roles, labels as names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from weitiao import sources
from weitiao.data.arrow import arrow_batches, digest, is_whole, open_arrow, rows_digest, write_arrow
from weitiao.data.columns import check_column, file_columns
from weitiao.data.formats.encoding import text_lines
from weitiao.data.table import Table
from weitiao.errors import DataError
from weitiao.recipe import DataSettings
from weitiao.records import FILE, LINE, Column

if TYPE_CHECKING:
    from datasets import Dataset

GROUP = "__group__"  # column of a table whose recipe names `data.group`
YES = ("1", "1.0", "true", "yes", "y", "t", "是")
NO = ("0", "0.0", "-0.0", "false", "no", "n", "f", "", "否")
VERSION = "1"  # raise when what is written into the cache changes

Names = Mapping[str, str | list[str]]


def rename(
    table: Table,
    names: Names,
    settings: DataSettings | None = None,
    *,
    base: Path = Path(),
    columns: Sequence[Column] = (),
) -> Dataset:
    """Return the table with only the roles of `names`, `LINE`, `FILE` and, where the recipe names one, `GROUP`.

    Roles hold text, lists of text, or nested values as they are: numbers become text, so that a CSV and a Parquet file
    look the same to a task. Labels are cut, named and gathered as `settings` says; several columns of numbers become
    one list. Nothing is copied where nothing has to change; else the result is kept in the cache.
    """
    group = settings.group if settings else None
    if group is not None:
        check_column(table, group, "data.group")
    known = read_label_names(settings.label_names, base) if settings and settings.label_names else None
    separator = settings.label_separator if settings else None
    schema: pa.Schema = table.dataset.data.schema
    plain = all(isinstance(name, str) and _is_plain(schema.field(name).type) for name in names.values())
    once = len(set(file_columns(names, [group] if group else []))) == len(names) + 2 + bool(group)
    if plain and once and separator is None and known is None:
        return _view(table, names, group)
    numbers = frozenset(column.role for column in columns if column.kind == "number")
    return _prepared(table, names, group, separator, known, numbers)


def _is_plain(kind: pa.DataType) -> bool:
    """Whether values of this type are left as they are."""
    if pa.types.is_list(kind):
        return _is_plain(kind.value_type)
    known = (pa.types.is_string, pa.types.is_nested, pa.types.is_binary, pa.types.is_null)
    return any(is_kind(kind) for is_kind in known)


def _view(table: Table, names: Names, group: str | None) -> Dataset:
    kept = file_columns(names, [group] if group else [])
    roles = {str(name): role for role, name in names.items()} | ({group: GROUP} if group else {})
    renames = {name: role for name, role in roles.items() if name != role}
    key = digest(table.digest, sorted(roles.items()))
    view = table.dataset.select_columns(kept, new_fingerprint=key)
    return view.rename_columns(renames, new_fingerprint=key) if renames else view


def _prepared(
    table: Table,
    names: Names,
    group: str | None,
    separator: str | None,
    known: LabelNames | None,
    numbers: frozenset[str],
) -> Dataset:
    told = known and known.names
    key = digest(VERSION, table.digest, sorted(names.items()), group, separator, told, sorted(numbers))
    cached = sources.cache_folder() / "tables" / f"{key}.arrow"
    if not is_whole(cached):
        batches = _prepare(table, names, group, separator, known, numbers)
        first = next(batches)
        write_arrow(cached, chain([first], batches), first.schema)
    return open_arrow(cached, fingerprint=digest(rows_digest(open_arrow(cached, fingerprint=key)), table.sounds))


def _prepare(
    table: Table,
    names: Names,
    group: str | None,
    separator: str | None,
    known: LabelNames | None,
    numbers: frozenset[str],
) -> Iterator[pa.RecordBatch]:
    for batch in arrow_batches(table.dataset, file_columns(names, [group] if group else [])):
        columns: dict[str, pa.Array] = {}
        for role, name in names.items():
            if not isinstance(name, str):
                columns[role] = (gathered if role in numbers else marked_names)(batch, name)
                continue
            values = as_text(batch.column(name))
            if role == "label" and separator is not None and not pa.types.is_list(values.type):
                values = cut_labels(values, separator)
            columns[role] = known.named(values, batch) if role == "label" and known else values
        if group:
            columns[GROUP] = as_text(batch.column(group))
        columns[LINE], columns[FILE] = batch.column(LINE), batch.column(FILE)
        yield pa.RecordBatch.from_pydict(columns)


# --- label cells


def as_text(values: pa.Array) -> pa.Array:
    """Return values as text (lists as lists of text, nested values as they are); 1.0 becomes ``1``."""
    kind = values.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return values if _is_plain(kind) else values.cast(pa.list_(pa.string()))
    if _is_plain(kind):
        return values
    if pa.types.is_floating(kind):
        whole = pc.all(pc.equal(values, pc.round(values)), skip_nulls=True).as_py()
        values = values.cast(pa.int64(), safe=False) if whole and not _huge(values) else values
    return values.cast(pa.string())


def _huge(values: pa.Array) -> bool:
    largest = pc.max(pc.abs(values)).as_py()
    return largest is not None and not largest < 2**53


def cut_labels(values: pa.Array, separator: str) -> pa.Array:
    """Cut cells such as ``joy | love`` into lists of trimmed names; an empty cell becomes an empty list."""
    pieces = pc.split_pattern(values, separator)
    return _filtered(pieces, pc.utf8_trim_whitespace(pc.list_flatten(pieces)))


def _filtered(lists: pa.Array, names: pa.Array) -> pa.Array:
    """Put flattened `names` back into lists, empty ones left out, null lists kept null."""
    parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    keep = pc.not_equal(names, "").to_numpy(zero_copy_only=False).astype(bool)
    counts = np.bincount(parents[keep], minlength=len(lists))
    return _lists(counts, names.filter(pa.array(keep)), lists.is_null().to_numpy(zero_copy_only=False))


def _lists(counts: np.ndarray, values: pa.Array, null: np.ndarray | None = None) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    mask = pa.array(null) if null is not None and null.any() else None
    return pa.ListArray.from_arrays(pa.array(offsets), values.cast(pa.string()), mask=mask)


def gathered(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.Array:
    """Gather the cells of several columns into one list of texts a row, in the columns' order."""
    cells = [as_text(batch.column(name)).cast(pa.string()).to_pylist() for name in columns]
    return pa.array([list(row) for row in zip(*cells, strict=True)], pa.list_(pa.string()))


def marked_names(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.Array:
    """Gather 0/1 columns into one list of the names whose cell says yes; a `DataError` names any other value."""
    marks = np.stack([_marks(batch, name) for name in columns], axis=1)
    _, chosen = np.nonzero(marks)
    return _lists(marks.sum(axis=1), pa.array(list(columns)).take(pa.array(chosen)))


def _marks(batch: pa.RecordBatch, name: str) -> np.ndarray:
    cells = pc.utf8_lower(pc.utf8_trim_whitespace(as_text(batch.column(name)).fill_null("")))
    yes: np.ndarray = pc.is_in(cells, pa.array(YES)).to_numpy(zero_copy_only=False)
    wrong = ~(yes | pc.is_in(cells, pa.array(NO)).to_numpy(zero_copy_only=False))
    if wrong.any():
        row = int(np.argmax(wrong))
        where = f"{batch.column(FILE)[row]}:{batch.column(LINE)[row]}"
        problem = f"found '{cells[row]}' in the column '{name}', which should hold 1 or 0"
        raise DataError(problem, where=where, fix="For a column of names give one column as the label, not a list.")
    return yes


class LabelNames:
    """Names by number, counted from 0."""

    def __init__(self, names: Sequence[str], file: str) -> None:
        self.names, self.file = list(names), file

    def named(self, values: pa.Array, batch: pa.RecordBatch) -> pa.Array:
        """Replace numbers by names, in lists too; a `DataError` names the line of what is no number of a label."""
        if pa.types.is_list(values.type):
            flat = pc.list_flatten(values)
            rows = pc.list_parent_indices(values).to_numpy(zero_copy_only=False)
            counts = np.bincount(rows, minlength=len(values))
            null = values.is_null().to_numpy(zero_copy_only=False)
            return _lists(counts, self._look_up(flat, batch, lambda at: int(rows[at])), null)
        return self._look_up(values, batch, lambda at: at)

    def _look_up(self, values: pa.Array, batch: pa.RecordBatch, row_of: Callable[[int], int]) -> pa.Array:
        cells = pc.utf8_trim_whitespace(values)
        known = pa.array([str(number) for number in range(len(self.names))])
        found = pc.index_in(cells, known)
        wrong = pc.and_(pc.is_null(found), pc.not_equal(cells, "").fill_null(False)).to_numpy(zero_copy_only=False)
        if wrong.any():
            at = int(np.argmax(wrong))
            where = f"{batch.column(FILE)[row_of(at)]}:{batch.column(LINE)[row_of(at)]}"
            raise DataError(
                f"the label '{cells[at]}' is no number from 0 to {len(self.names) - 1}",
                where=where,
                fix=f"{self.file} (data.label_names) has {len(self.names)} names, the first for 0. "
                "For several labels in one cell set data.label_separator.",
            )
        return pa.array(self.names, pa.string()).take(found)


def read_label_names(source: str, base: Path) -> LabelNames:
    """Read label names, one a line; a `DataError` for none, or for a name that stands twice."""
    path = sources.fetch(source, base=base, kind="data")
    names: dict[str, int] = {}
    for line, text in text_lines(path):
        if (name := text.strip()) in names:
            raise DataError(f"'{name}' stands here and on line {names[name]}", where=f"{path.name}:{line}")
        if name:
            names[name] = line
    if not names:
        raise DataError("holds no label names", where=path.name, fix="Write one a line, the first for label 0.")
    return LabelNames(list(names), path.name)


# --- looking at labels


def _labels_of(batch: pa.RecordBatch) -> tuple[np.ndarray, pa.Array]:
    """Return the row within the batch of each label, and the labels: one a row, or all of a list."""
    values = as_text(batch.column(0))
    if pa.types.is_null(values.type):
        values = values.cast(pa.string())
    if pa.types.is_list(values.type):
        return pc.list_parent_indices(values).to_numpy(zero_copy_only=False), pc.list_flatten(values)
    return np.arange(len(values)), values


def label_counts(dataset: Dataset, column: str = "label") -> dict[str, int]:
    """Return label -> number of examples, in order of first appearance; in lists each label counts, nulls not."""
    counts: dict[str, int] = {}
    for batch in arrow_batches(dataset, [column]):
        _, values = _labels_of(batch)
        for entry in pc.value_counts(values.drop_null()).to_pylist():
            counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
    return counts


def label_codes(dataset: Dataset, column: str = "label") -> tuple[np.ndarray, list[str]]:
    """Return a number a row, int64 of shape (n,), and the names they count through, sorted; no label: the last number.

    A row of several labels gets the one that is rarest in the data.
    """
    counts = label_counts(dataset, column)
    names = sorted(counts)
    by_rarity = sorted(names, key=lambda name: (counts[name], name))
    known, place = pa.array(by_rarity, pa.string()), {name: code for code, name in enumerate(names)}
    code_of = np.array([place[name] for name in by_rarity] + [len(names)], np.int64)
    codes = np.full(len(dataset), len(names), np.int64)  # ranks by rarity at first: the lowest of a row is its rarest
    start = 0
    for batch in arrow_batches(dataset, [column]):
        rows, values = _labels_of(batch)
        found = pc.index_in(values, known).fill_null(len(names)).to_numpy(zero_copy_only=False)
        np.minimum.at(codes, start + rows, found)
        start += len(batch)
    return code_of[codes], names


def rows_labelled(dataset: Dataset, label: str, column: str = "label") -> np.ndarray:
    """Return the numbers of the rows that carry a label, alone or among others."""
    found, start = [], 0
    for batch in arrow_batches(dataset, [column]):
        rows, values = _labels_of(batch)
        found.append(start + rows[pc.equal(values, label).fill_null(False).to_numpy(zero_copy_only=False)])
        start += len(batch)
    return np.concatenate(found) if found else np.array([], dtype=np.int64)


def places(dataset: Dataset, rows: np.ndarray | Sequence[int]) -> tuple[str, ...]:
    """Return where each row stands: ``reviews.csv:12``. `rows`: a mask or row numbers."""
    chosen = np.asarray(rows)
    chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
    there = dataset.select_columns([LINE, FILE]).select(chosen)
    return tuple(f"{example[FILE]}:{example[LINE]}" for example in there)


def lines_where(dataset: Dataset, rows: np.ndarray | Sequence[int], shown: int = 3) -> str:
    """Return where rows stand, for people: ``reviews.csv:12, 15, 29 and 14 more``. `rows`: a mask or row numbers."""
    chosen = np.asarray(rows)
    chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
    places: dict[str, list[str]] = {}
    for row in chosen[:shown].tolist():
        example = dataset.select_columns([LINE, FILE])[row]
        places.setdefault(example[FILE], []).append(str(example[LINE]))
    told = "; ".join(f"{name}:{', '.join(lines)}" for name, lines in places.items())
    return told + (f" and {len(chosen) - shown} more" if len(chosen) > shown else "")
