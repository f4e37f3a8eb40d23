"""A folder written by `save_to_disk` of the `datasets` library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from weitiao.data.formats.parquet import class_names, records_of
from weitiao.errors import DataError


class SavedDataset:
    """One data set on disk; of a `DatasetDict`, one split's folder."""

    suffixes: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def recognises(path: Path) -> bool:
        """By the two files that `Dataset.save_to_disk` writes."""
        return (path / "state.json").is_file() and (path / "dataset_info.json").is_file()

    @staticmethod
    def read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (row, record), classes by name; a `DataError` where the folder is damaged."""
        from datasets import load_from_disk

        try:
            dataset = load_from_disk(str(path))
            names = class_names(dataset.features.arrow_schema.metadata or {})
            row = 0
            for table in dataset.with_format("arrow").iter(2_000):
                for batch in table.to_batches():
                    for record in records_of(batch, names):
                        yield (row := row + 1), record
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"is not a whole saved data set: {str(error)[:200]}", where=path.name) from None
