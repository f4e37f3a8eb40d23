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
                    for record in with_class_names(batch, names).to_pylist():
                        yield (row := row + 1), record
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"is not a whole Parquet file: {str(error)[:200]}", where=path.name) from None


def class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Return column -> class names from the features that the `datasets` library writes into a schema."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return {
        column: feature["names"]
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
    }


def with_class_names(batch: pa.RecordBatch, names: Mapping[str, list[str]]) -> pa.RecordBatch:
    """Replace class numbers by names; -1, which means unlabelled, by null."""
    for column, known in names.items():
        position = batch.schema.get_field_index(column)
        numbers = batch.column(position).cast(pa.int64()).to_pylist()
        found = [known[n] if n is not None and 0 <= n < len(known) else None for n in numbers]
        batch = batch.set_column(position, column, pa.array(found, pa.string()))
    return batch
