"""Features of a split: tokenized once, in batches, kept in the cache by content and read back memory-mapped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from weitiao import sources
from weitiao.data.arrow import arrow_batches, digest, fingerprint, is_whole, open_arrow, write_arrow

if TYPE_CHECKING:
    from datasets import Dataset

VERSION = "2"  # raise when what is written changes

Encode = Callable[[dict[str, list[Any]]], dict[str, list[Any]]]


def encode_split(split: Dataset, encode: Encode, *, key: str, batch_size: int = 1000) -> Dataset:
    """Return the split's features: what `encode` makes of a batch of role columns, with `length` and `row`.

    `length` is the number of `input_ids` unless `encode` tells another, `row` the example's number in the split.
    `encode` may make several features of an example, or none, and then returns their `row` in the batch. `key` stands
    for everything that `encode` depends on (tokenizer, options, `max_length`); with the split's content it names the
    cached file, so the same is never tokenized twice. `encode` may return `full_length`, tokens before truncation,
    for `truncated`.
    """
    name = digest(VERSION, key, fingerprint(split))
    cached = sources.cache_folder() / "features" / f"{name}.arrow"
    if not is_whole(cached):
        with _tokenizer_threads():
            batches = _encoded(split, encode, batch_size)
            first = next(batches)
            write_arrow(cached, _like(first, batches), first.schema)
    return open_arrow(cached, fingerprint=name)


def _encoded(split: Dataset, encode: Encode, batch_size: int) -> Iterator[pa.RecordBatch]:
    columns = list(split.column_names)  # with LINE and FILE, so that an error can name the place
    row = count = 0
    features: dict[str, Any] = {}
    for batch in arrow_batches(split, columns, batch_size):
        features = dict(encode(batch.to_pydict()))
        if "length" not in features and "input_ids" in features:
            features["length"] = [len(ids) for ids in features["input_ids"]]
        features["row"] = [row + own for own in features.get("row", range(len(batch)))]
        row += len(batch)
        if features["row"]:
            count += len(features["row"])
            yield pa.RecordBatch.from_pydict({name: _array(values) for name, values in features.items()})
    if count == 0:
        names = features or encode({name: [] for name in columns})  # a tokenizer need not take no texts
        lists = {name: pa.array([], pa.list_(pa.int32())) for name in names}
        numbers = {name: pa.array([], pa.int64()) for name in ("length", "row")}
        yield pa.RecordBatch.from_pydict({**lists, **numbers})


def _array(values: Any) -> pa.Array:
    """Build an Arrow array; lists of integers take 4 bytes each, which holds every token id."""
    array = pa.array(values)
    if pa.types.is_list(array.type) and array.type.value_type in (pa.int64(), pa.null()):  # null: all lists empty
        return array.cast(pa.list_(pa.int32()))
    return array


def _like(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield batches of the first's types: one whose lists are all empty may have others of its own."""
    yield first
    for batch in rest:
        yield batch if batch.schema == first.schema else batch.select(first.schema.names).cast(first.schema)


@contextmanager
def _tokenizer_threads() -> Iterator[None]:
    """Let the fast tokenizers use their own threads, which are all the parallelism needed; processes would copy data.

    Set back afterwards: a process forked later must not inherit their locks.
    """
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = before or "true"
    try:
        yield
    finally:
        if before is None:
            os.environ["TOKENIZERS_PARALLELISM"] = "false"


def column_array(features: Dataset, name: str) -> np.ndarray:
    """Return a column of numbers, shape (n,), such as `length`."""
    parts = [batch.column(0).to_numpy(zero_copy_only=False) for batch in arrow_batches(features, [name])]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def list_lengths(features: Dataset, name: str) -> np.ndarray | None:
    """Return how long each list of a column is, shape (n,); None where there is no such column, or it has no lists."""
    if name not in features.column_names or not pa.types.is_list(features.data.table.schema.field(name).type):
        return None
    lists = [batch.column(0).value_lengths().fill_null(0) for batch in arrow_batches(features, [name])]
    return np.concatenate([np.empty(0, np.int64), *(lengths.to_numpy(zero_copy_only=False) for lengths in lists)])


def truncated(features: Dataset, max_length: int) -> tuple[int, int, list[int]]:
    """Return how many rows are longer than `max_length` tokens, the longest's tokens, and the rows, longest first.

    Counts by `full_length`, tokens before truncation, where `encode` gave it, else by `length`.
    """
    name = "full_length" if "full_length" in features.column_names else "length"
    lengths = column_array(features, name)
    long = np.flatnonzero(lengths > max_length)
    longest_first = long[np.argsort(-lengths[long], kind="stable")]
    rows = dict.fromkeys(column_array(features, "row")[longest_first].tolist())  # once for all features of an example
    return len(rows), int(lengths.max(initial=0)), list(rows)
