"""A data file as a memory-mapped Arrow table, read once and kept in the cache by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from weitiao import sources
from weitiao.data import audio, dialogue
from weitiao.data.arrow import digest, is_whole, metadata, open_arrow, rows_digest, write_arrow
from weitiao.data.formats.base import Format, Layout
from weitiao.data.formats.detect import files_of, format_of, splits_in
from weitiao.data.formats.encoding import shortened
from weitiao.errors import DataError, SourceError
from weitiao.records import FILE, LINE, SPLITS, Finding, SplitName

if TYPE_CHECKING:
    from datasets import Dataset

READER = "4"  # raise when a format or the table's layout changes: what is cached is read anew. Digests are of the rows
FIRST_ROWS, MOST_ROWS = 1_000, 10_000  # rows of a batch
BATCH_BYTES = 32 << 20

Record = dict[str, Any]
Named = Mapping[str, str | list[str]]  # role -> the file's column, or columns


@dataclass(frozen=True)
class Table:
    """The examples of one source with the file's own column names, and `LINE` and `FILE` beside them."""

    dataset: Dataset
    name: str  # the file's or folder's name, for messages
    notes: list[Finding]
    digest: str  # of the rows, and of the sounds that they name
    sounds: str = ""  # digest of these alone

    @property
    def columns(self) -> list[str]:
        """The file's own columns, in its order."""
        return [name for name in self.dataset.column_names if name not in (LINE, FILE)]


def open_table(
    source: str,
    *,
    base: Path = Path(),
    limit: int | None = None,
    split: SplitName | None = None,
    layout: Layout | None = None,
    named: Named | None = None,
    without: Collection[str] = (),
) -> Table:
    """Return the table that `source` names: a file, a folder, or anything `sources.fetch` takes.

    `limit` reads only so many first rows. `split` chooses in a folder that holds several (``train-*.parquet``, a
    `DatasetDict`); ``folder/train`` does the same. Objects and lists of objects are kept as JSON text, so that rows may
    have different keys; lists of plain values stay lists.

    `layout` says what a task wants rows to be, `named` which columns the recipe names (its ``data.columns``):

    - ``documents``: text files are read as documents (`formats.documents`), not a line an example.
    - ``dialogue``: each row gets `messages` (and `tools`) as JSON text, whatever its form, and is checked.
    - ``audio``: paths of sounds are made absolute, from the data file's folder; one that is missing is an error.

    Rows that stand at one of `without` (``reviews.csv:12``) are not read.

    Raises `SourceError` where nothing is there, `DataError` where it is empty or cannot be read.
    """
    path, split = locate(source, base=base, split=split, layout=layout)
    files = files_of(path, split, layout)
    reading = _Reading(
        files, [format_of(file, layout) for file in files], layout, named or {}, limit, path, frozenset(without)
    )
    key = reading.digest()
    cached = sources.cache_folder() / "tables" / f"{key}.arrow"
    if not is_whole(cached):
        _write(cached, reading)
    notes = [Finding("note", reading.name, note) for note in json.loads(metadata(cached)[b"weitiao.notes"])]
    dataset, sounds = open_arrow(cached, fingerprint=key), ""
    if layout == "audio" and (column := audio.audio_column(dataset.column_names, reading.named)):
        sounds = audio.files_digest(dataset, column)  # a sound that changed makes other examples
    content = digest(rows_digest(dataset), sounds)  # what was read counts, not how
    return Table(open_arrow(cached, fingerprint=content), reading.name, notes, content, sounds)


def laid_out(layout: Layout | None, named: Named) -> dict[str, str | list[str]]:
    """Return what of a recipe's ``data.columns`` still names columns once a layout has been applied to the table."""
    return dialogue.columns_left(named) if layout == "dialogue" else dict(named)


def locate(
    source: str, *, base: Path, split: SplitName | None = None, layout: Layout | None = None
) -> tuple[Path, SplitName | None]:
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
        if path is None or named not in splits_in(path, layout):
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


@dataclass(frozen=True)
class _Reading:
    """Files to read into one table, and how."""

    files: list[Path]
    formats: list[type[Format]]
    layout: Layout | None
    named: Named
    limit: int | None
    source: Path
    without: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        if self.files == [self.source] or self.source.is_file():
            return self.source.name
        return f"{self.source.name}/{_common(self.source, self.files)}"

    def digest(self) -> str:
        """Digest of all that the table's content hangs on: its name in the cache."""
        options: list[Any] = [self.limit, *sorted(self.without)]
        if self.layout is not None:
            options += [self.layout, sorted(self.named.items())]
        if self.layout == "audio":
            options.append(self.files[0].parent.absolute())
        read = (f"{kind.__name__} {_content(file)}" for kind, file in zip(self.formats, self.files, strict=True))
        return digest(READER, *options, *read)

    def notes(self) -> list[str]:
        """What the formats tell, each note once, with the files that it is about where it is not about all."""
        told: dict[str, list[str]] = {}
        for kind, file in zip(self.formats, self.files, strict=True):
            for note in _notes(kind, file):
                told.setdefault(note, []).append(file.name)
        whole = len(self.files)
        return sorted(note if len(names) == whole else f"{shortened(names)}: {note}" for note, names in told.items())

    def records(self) -> Iterator[tuple[int, Record]]:
        """Read from the start."""
        found = chain.from_iterable(
            self._laid_out(self._lines(kind, file), file) for kind, file in zip(self.formats, self.files, strict=True)
        )
        return ((line, _stored(line, record)) for line, record in islice(found, self.limit))

    def _lines(self, kind: type[Format], file: Path) -> Iterator[tuple[int, Record]]:
        for line, record in kind.read(file):
            record.setdefault(FILE, file.name)
            if not self.without or f"{record[FILE]}:{line}" not in self.without:
                yield line, record

    def _laid_out(self, rows: Iterator[tuple[int, Record]], file: Path) -> Iterator[tuple[int, Record]]:
        if self.layout == "dialogue":
            return dialogue.with_messages(rows, file.name, self.named)
        if self.layout == "audio":
            return audio.with_paths(rows, file.parent, self.named)
        return rows


def _stored(line: int, record: Record) -> Record:
    """Return a record with its line and with nested values as JSON text."""
    return {key: v if isinstance(v, str) else _flat(v) for key, v in record.items()} | {LINE: line}


def _flat(value: Any) -> Any:
    """Return objects and lists that hold objects or lists as JSON text; objects that hold bytes stay objects."""
    if isinstance(value, dict):
        with_bytes = set(value) == {"bytes", "path"} or any(isinstance(inner, bytes) for inner in value.values())
        return value if with_bytes else _as_text(value)
    if isinstance(value, list) and any(isinstance(inner, dict | list | tuple) for inner in value):
        return _as_text(value)
    return value


def _write(target: Path, reading: _Reading) -> None:
    notes = reading.notes()
    batches = _batches(reading.records(), None)
    first = next(batches, None)
    if first is None:
        raise DataError("holds no examples", where=reading.name, fix="Each row after the header is an example.")
    try:
        write_arrow(target, chain([first], batches), _with_notes(first.schema, notes))
    except _OtherTypes:  # read again from the start
        schema = _widest(reading.records())
        write_arrow(target, _batches(reading.records(), schema), _with_notes(schema, notes))


def _notes(kind: type[Format], file: Path) -> list[str]:
    told = getattr(kind, "notes", None)  # a format from outside may have none
    return told(file) if told else []


def _with_notes(schema: pa.Schema, notes: list[str]) -> pa.Schema:
    return schema.with_metadata({"weitiao.notes": json.dumps(notes, ensure_ascii=False)})


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
    """Build an Arrow array; values that have no common type become text: elements of lists, else all as JSON."""
    if kind is not None and _is_text_list(kind):
        return pa.array([value if value is None else list(map(_as_text, value)) for value in values], kind)
    if kind is not None and pa.types.is_string(kind):
        return pa.array(map(_as_text, values), kind)
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        if kind is not None:
            raise
    lists = all(value is None or isinstance(value, list) for value in values)
    return _array(values, pa.list_(pa.string()) if lists else pa.string())


def _is_text_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_string(kind.value_type))


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=_told)


def _told(value: Any) -> str:
    """Dates and the like as text; bytes have none."""
    if isinstance(value, bytes):
        raise DataError("a column holds bytes in some rows and other values in others", where="data")
    return str(value)


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
        lists = pa.types.is_list(one) and pa.types.is_list(other)
        return pa.list_(pa.string()) if lists else pa.string()
