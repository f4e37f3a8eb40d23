"""Rows of a data set as dicts of Python values, read where they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from weitiao.data.arrow import row_numbers

if TYPE_CHECKING:
    from datasets import Dataset

AT_ONCE = 1000  # rows in memory when all are read
Cell = Callable[[int], Any]  # number of a row in its batch of the table -> its value


class RowLookup:
    """Takes rows of a data set by their numbers, as many and in whatever order, or all in turn.

    The values are those that `datasets` gives. It gathers each row of a step by a slice of the whole table first, which
    takes longer than a small step does; here numbers and lists of numbers are read from the mapped file.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._names = dataset.column_names
        self._selected = row_numbers(dataset)
        self._batches: list[pa.RecordBatch] = dataset.data.table.select(self._names).to_batches()
        self._ends = np.cumsum([len(batch) for batch in self._batches], dtype=np.int64)
        self._cells: dict[int, list[Cell]] = {}  # of each batch that was read from, by column

    def __call__(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """Return rows, a dict each; shape of `rows`: (rows,). Raises an `IndexError` where there is no such row."""
        rows = np.asarray(rows, np.int64)
        if (rows < 0).any():
            raise IndexError("rows are counted from 0")
        places = rows if self._selected is None else self._selected[rows].astype(np.int64)  # are unsigned
        batches = np.searchsorted(self._ends, places, side="right")
        numbers = places - np.concatenate([[0], self._ends])[batches]
        return [
            dict(zip(self._names, [cell(number) for cell in self._of(batch)], strict=True))
            for batch, number in zip(batches.tolist(), numbers.tolist(), strict=True)
        ]

    def __len__(self) -> int:
        return sum(map(len, self._batches)) if self._selected is None else len(self._selected)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in range(0, len(self), AT_ONCE):
            yield from self(np.arange(start, min(start + AT_ONCE, len(self))))

    def _of(self, batch: int) -> Sequence[Cell]:
        cells = self._cells.get(batch)
        if cells is None:
            cells = self._cells[batch] = [_cell(column) for column in self._batches[batch].columns]
        return cells


def take_rows(dataset: Dataset, rows: np.ndarray) -> list[dict[str, Any]]:
    """Return rows of a data set, a dict each. Who takes rows again and again keeps a `RowLookup`."""
    return RowLookup(dataset)(rows)


def _cell(column: pa.Array) -> Cell:
    """How a value of a column is read; of numbers, and lists of them, without a step through Arrow's own scalars."""
    if column.null_count == 0 and _is_number(column.type):
        numbers: np.ndarray = column.to_numpy()
        return numbers.item
    if column.null_count == 0 and pa.types.is_list(column.type) and _is_number(column.type.value_type):
        items = column.values
        if items.null_count == 0:
            starts, values = column.offsets.to_numpy(), items.to_numpy()
            return lambda row: values[starts[row] : starts[row + 1]].tolist()
    return lambda row: column[row].as_py()


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
