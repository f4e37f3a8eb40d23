"""Arrow files in the cache: written as a stream and published whole, read back memory-mapped."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from weitiao.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


def digest(*parts: Any) -> str:
    """Return 32 hex digits that stand for the parts' text or bytes, the same in every process and on every machine."""
    sha = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        sha.update(len(data).to_bytes(8, "little") + data)
    return sha.hexdigest()[:32]


def fingerprint(dataset: Dataset) -> str:
    """Return what stands for a data set's content, the same in each process for what this package opens."""
    return str(dataset._fingerprint)


def write_arrow(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
    """Stream batches into `path` as Arrow IPC; the file appears only once it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            with pa.ipc.new_stream(file, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DataError("the disk that holds the cache is full", where=str(path.parent), fix="Free space.") from None
    finally:
        part.unlink(missing_ok=True)


def is_whole(path: Path) -> bool:
    """Whether a cached file is there and readable to its end; a damaged one is removed."""
    if not path.exists():
        return False
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
            for _ in stream:
                pass
    except (pa.ArrowException, OSError):
        path.unlink(missing_ok=True)
        return False
    return True


def metadata(path: Path) -> dict[bytes, bytes]:
    """Return what was written beside the schema; `datasets` drops it."""
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        return dict(stream.schema.metadata or {})


def open_arrow(path: Path, fingerprint: str) -> Dataset:
    """Return the file as a `datasets.Dataset`, memory-mapped."""
    from datasets import Dataset
    from datasets.table import MemoryMappedTable

    return Dataset(MemoryMappedTable.from_file(str(path)), fingerprint=fingerprint)


def rows_digest(dataset: Dataset) -> str:
    """Return what stands for the names and values of a whole table, however it is cut into batches and by whichever
    version of Arrow it was written.
    """  # fmt: skip
    sums: dict[str, list[Any]] = {name: [] for name in dataset.column_names}
    for batch in dataset.data.table.to_batches():
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            for number, stream in enumerate(_streams(values)):
                if number == len(sums[name]):
                    sums[name].append(hashlib.sha256())
                sums[name][number].update(stream)
    return digest(*(" ".join([name, *(each.hexdigest() for each in own)]) for name, own in sums.items()))


def _streams(values: pa.Array) -> Iterator[bytes | memoryview]:
    """What tells a column, as streams of bytes of which there are as many for all arrays of a type: of lists their
    lengths and what tells their items, of texts their lengths and their bytes.
    """  # fmt: skip
    if pa.types.is_list(values.type):
        yield _numbers(pc.fill_null(pc.list_value_length(values), -1), "<i8")
        yield from _streams(values.flatten())
    elif pa.types.is_string(values.type):
        yield _numbers(pc.fill_null(pc.binary_length(values), -1), "<i8")
        yield _text_bytes(values)
    elif pa.types.is_boolean(values.type) or pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        kind = "<f8" if pa.types.is_floating(values.type) else "<i8"
        yield _numbers(pc.is_valid(values), "<i8")
        yield _numbers(pc.fill_null(values, False if pa.types.is_boolean(values.type) else 0), kind)
    else:
        yield "".join(f"{value!r}\n" for value in values.to_pylist()).encode("utf-8", "surrogatepass")


def _numbers(values: pa.Array, kind: str) -> bytes:
    return bytes(values.to_numpy(zero_copy_only=False).astype(kind).tobytes())


def _text_bytes(values: pa.Array) -> memoryview:
    """The texts of a column one after the other, as they lie in memory."""
    offsets = np.frombuffer(values.buffers()[1], dtype=np.int32)[values.offset : values.offset + len(values) + 1]
    content = values.buffers()[2]
    return memoryview(content if content is not None else b"")[int(offsets[0]) : int(offsets[-1])]


def row_numbers(dataset: Dataset) -> np.ndarray | None:
    """Return the rows of the underlying table that `dataset` selects, in its order; None: all of them."""
    indices = dataset._indices
    return None if indices is None else indices.column(0).to_numpy()


def arrow_batches(dataset: Dataset, columns: Sequence[str], size: int = 10_000) -> Iterator[pa.RecordBatch]:
    """Yield the columns in row order, at most `size` rows at a time, copying no more than that.

    `datasets` gathers selected rows one slice each, which is slow; rows in file order are taken chunk by chunk here.
    """
    table: pa.Table = dataset.data.table.select(list(columns))
    rows = row_numbers(dataset)
    if rows is None:
        yield from table.to_batches(max_chunksize=size)
    elif len(rows) < 2 or bool(np.all(rows[1:] > rows[:-1])):
        yield from _taken(table, rows, size)
    else:
        arrow = dataset.select_columns(list(columns)).with_format("arrow")
        for start in range(0, len(rows), size):
            yield arrow[start : start + size].combine_chunks().to_batches()[0]


def _taken(table: pa.Table, rows: np.ndarray, size: int) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in table.to_batches():
        low, high = np.searchsorted(rows, (start, start + len(batch)))
        for at in range(low, high, size):
            local = rows[at : min(at + size, high)].astype(np.int64) - start
            yield batch.take(pa.array(local))
        start += len(batch)


def select_rows(dataset: Dataset, rows: np.ndarray, fingerprint: str) -> Dataset:
    """Return `rows` of the dataset as a view: only their numbers are held, the text stays on disk."""
    return dataset.select(rows.tolist(), new_fingerprint=fingerprint)
