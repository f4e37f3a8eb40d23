"""A data file as a memory-mapped Arrow table, read once and kept in the cache by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from weitiao import sources
from weitiao.data.arrow import digest, is_whole, metadata, open_arrow, write_arrow
from weitiao.data.formats.base import Format
from weitiao.data.formats.detect import files_of, format_of, splits_in
from weitiao.errors import DataError, SourceError
from weitiao.records import FILE, LINE, SPLITS, Finding, SplitName

if TYPE_CHECKING:
    from datasets import Dataset

READER = "2"  # raise when a format or the table's layout changes: what is cached is read anew
FIRST_ROWS, MOST_ROWS = 1_000, 10_000  # rows of a batch
BATCH_BYTES = 32 << 20

Record = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """The examples of one source with the file's own column names, and `LINE` and `FILE` beside them."""

    dataset: Dataset
    name: str  # the file's or folder's name, for messages
    notes: list[Finding]
    digest: str  # of content, reader and options

    @property
    def columns(self) -> list[str]:
        """The file's own columns, in its order."""
        return [name for name in self.dataset.column_names if name not in (LINE, FILE)]


def open_table(source: str, *, base: Path = Path(), limit: int | None = None, split: SplitName | None = None) -> Table:
    """Return the table that `source` names: a file, a folder, or anything `sources.fetch` takes.

    `limit` reads only so many first rows. `split` chooses in a folder that holds several (``train-*.parquet``, a
    `DatasetDict`); ``folder/train`` does the same. Raises `SourceError` where nothing is there, `DataError` where it
    is empty or cannot be read.
    """
    path, split = locate(source, base=base, split=split)
    files = files_of(path, split)
    formats = [format_of(file) for file in files]
    key = digest(
        READER, limit, *(f"{kind.__name__} {_content(file)}" for kind, file in zip(formats, files, strict=True))
    )
    cached = sources.cache_folder() / "tables" / f"{key}.arrow"
    name = path.name if files == [path] or path.is_file() else f"{path.name}/{_common(path, files)}"
    if not is_whole(cached):
        _write(cached, files, formats, name, limit)
    dataset = open_arrow(cached, fingerprint=key)
    notes = json.loads(metadata(cached)[b"weitiao.notes"])
    return Table(dataset, name, [Finding("note", name, note) for note in notes], key)


def locate(source: str, *, base: Path, split: SplitName | None = None) -> tuple[Path, SplitName | None]:
    """Fetch a source; ``folder/train`` also stands for the files of that split in `folder`."""
    try:
        return sources.fetch(source, base=base, kind="data"), split
    except SourceError:
        folder, slash, last = source.rstrip("/").rpartition("/")
        named = next((known for known in SPLITS if known == last), None)
        if not slash or named is None:
            raise
        try:
            path = sources.fetch(folder, base=base, kind="data")
        except SourceError:
            path = None
        if path is None or named not in splits_in(path):
            raise
        return path, named


def _common(path: Path, files: list[Path]) -> str:
    return (
        str(files[0].relative_to(path))
        if len(files) == 1
        else f"{files[0].relative_to(path)} and {len(files) - 1} more"
    )


def _content(path: Path) -> str:
    """Digest of a file, or of a folder's files with their names (labels can be names)."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() + path.name
    inside = (file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith("."))
    return digest(*(f"{file.relative_to(path)} {_content(file)}" for file in inside)) + path.name


# --- reading into Arrow


def _write(target: Path, files: list[Path], formats: list[type[Format]], name: str, limit: int | None) -> None:
    notes = sorted({note for kind, file in zip(formats, files, strict=True) for note in _notes(kind, file)})

    def records() -> Iterator[tuple[int, Record]]:  # read again when a type widens
        return islice(_records(files, formats), limit)

    batches = _batches(records(), None)
    first = next(batches, None)
    if first is None:
        raise DataError("holds no examples", where=name, fix="Each row after the header is an example.")
    try:
        write_arrow(target, chain([first], batches), _with_notes(first.schema, notes))
    except _OtherTypes:
        schema = _widest(records())
        write_arrow(target, _batches(records(), schema), _with_notes(schema, notes))


def _notes(kind: type[Format], file: Path) -> list[str]:
    told = getattr(kind, "notes", None)  # a format from outside may have none
    return told(file) if told else []


def _with_notes(schema: pa.Schema, notes: list[str]) -> pa.Schema:
    return schema.with_metadata({"weitiao.notes": json.dumps(notes, ensure_ascii=False)})


def _records(files: list[Path], formats: list[type[Format]]) -> Iterator[tuple[int, Record]]:
    for kind, file in zip(formats, files, strict=True):
        for line, record in kind.read(file):
            record.setdefault(FILE, file.name)
            record[LINE] = line
            yield line, record


class _OtherTypes(Exception):  # noqa: N818 - a signal, caught here
    """A later batch has columns or types that the first had not."""


def _batches(records: Iterator[tuple[int, Record]], schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    """Build batches of one schema, the first one's when none is given; `_OtherTypes` when that does not hold."""
    size, widened = FIRST_ROWS, schema is not None
    while rows := [record for _, record in islice(records, size)]:
        batch = _batch(rows, schema if widened else None)
        if schema is None:
            schema = batch.schema
        elif batch.schema != schema:
            raise _OtherTypes
        yield batch
        size = min(MOST_ROWS, max(1, int(BATCH_BYTES * len(rows) / max(1, batch.nbytes))))


def _batch(rows: list[Record], schema: pa.Schema | None) -> pa.RecordBatch:
    names = list(schema.names) if schema else _keys(rows)
    arrays = [_array([row.get(name) for row in rows], schema.field(name).type if schema else None) for name in names]
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _keys(rows: list[Record]) -> list[str]:
    """All keys in order of first appearance, `LINE` and `FILE` last."""
    own = dict.fromkeys(key for row in rows for key in row)
    return [key for key in own if key not in (LINE, FILE)] + [LINE, FILE]


def _array(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    """Build an Arrow array; values that have no common type become text, numbers and lists as JSON."""
    if kind is not None and pa.types.is_string(kind):
        return pa.array(map(_as_text, values), pa.string())
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        if kind is not None:
            raise
        return pa.array(map(_as_text, values), pa.string())


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _widest(records: Iterator[tuple[int, Record]]) -> pa.Schema:
    """Return the schema that takes all records: columns of any of them, int beside float as float, else text."""
    types: dict[str, pa.DataType] = {}
    size = FIRST_ROWS
    while rows := [record for _, record in islice(records, size)]:
        for name in _keys(rows):
            found = _array([row.get(name) for row in rows], None).type
            types[name] = _wider(types[name], found) if name in types else found
    own = [pa.field(name, kind) for name, kind in types.items() if name not in (LINE, FILE)]
    return pa.schema([*own, pa.field(LINE, pa.int64()), pa.field(FILE, pa.string())])


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if one == other:
        return one
    try:
        both = (pa.schema([pa.field("x", kind)]) for kind in (one, other))
        return pa.unify_schemas(list(both), promote_options="permissive").field("x").type
    except pa.ArrowException:
        return pa.string()
