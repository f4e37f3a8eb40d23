"""Parquet, read by batches of rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from weitiao.errors import DataError


class Parquet:
    """Columns keep their types; class numbers become names where the file says what they are."""

    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".pq")

    @staticmethod
    def recognises(path: Path) -> bool:
        """By the four bytes that a Parquet file starts with."""
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"

    @staticmethod
    def read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (row, record); a `DataError` where the file is damaged."""
        try:
            with pq.ParquetFile(path) as file:
                names = class_names(file.schema_arrow.metadata or {})
                row = 0
                for batch in file.iter_batches(batch_size=2_000):
                    for record in records_of(batch, names):
                        yield (row := row + 1), record
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"is not a whole Parquet file: {str(error)[:200]}", where=path.name) from None


def records_of(batch: pa.RecordBatch, names: Mapping[str, list[str]]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a batch, classes by name, objects without the keys that only other rows have."""
    batch = with_class_names(batch, names)
    nested = [field.name for field in batch.schema if pa.types.is_nested(field.type) and not _holds_bytes(field.type)]
    for record in batch.to_pylist():
        yield record | {name: _without_nulls(record[name]) for name in nested}


def _holds_bytes(kind: pa.DataType) -> bool:
    """Whether objects of this type hold bytes, as sounds and images do: they stay as they are."""
    known = (pa.types.is_binary, pa.types.is_large_binary)
    return pa.types.is_struct(kind) and any(is_kind(field.type) for field in kind for is_kind in known)


def _without_nulls(value: Any) -> Any:
    """Leave out the keys without a value: Arrow gives all objects of a column the same keys."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Return column -> class names from the features that the `datasets` library writes into a schema.

    A column of lists (tags of tokens) has them too.
    """
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    found = {}
    for column, feature in features.items():
        inner = feature.get("feature") if isinstance(feature, dict) and "feature" in feature else feature
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel" and inner.get("names"):
            found[column] = inner["names"]
    return found


def with_class_names(batch: pa.RecordBatch, names: Mapping[str, list[str]]) -> pa.RecordBatch:
    """Replace class numbers by names, in lists too; -1, which means unlabelled, by null."""
    for column, known in names.items():
        position = batch.schema.get_field_index(column)
        found = [_named(value, known) for value in batch.column(position).to_pylist()]
        kind = pa.list_(pa.string()) if pa.types.is_nested(batch.schema.field(position).type) else pa.string()
        batch = batch.set_column(position, column, pa.array(found, kind))
    return batch


def _named(value: Any, known: list[str]) -> Any:
    if isinstance(value, list):
        return [_named(number, known) for number in value]
    return known[int(value)] if value is not None and 0 <= value < len(known) else None
