"""Rows as dicts of values: the same that `datasets` gives, whatever a column holds and however it lies in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset

from weitiao.data import RowLookup, row_lookup, take_rows
from weitiao.data.arrow import open_arrow, write_arrow

LISTS = [[], [1], [2, 3, 4], [5, 6], [7], [8, 9]]
COLUMNS = {
    "whole": pa.array([1, -2, 3, 4, 5, 6], pa.int64()),
    "number": pa.array([0.5, 1.5, -2.25, 3.0, 0.0, 9.0], pa.float32()),
    "gaps": pa.array([1, None, 3, None, 5, 6], pa.int64()),
    "text": pa.array(["a", "", "中文", None, "e", "f"]),
    "flag": pa.array([True, False, True, True, False, None]),
    "tokens": pa.array(LISTS, pa.list_(pa.int32())),
    "scores": pa.array([[0.5], [], [1.5, 2.5], [], [], [3.0]], pa.list_(pa.float64())),
    "lists with gaps": pa.array([[1], None, [2, None], [], [3], [4]], pa.list_(pa.int32())),
    "nested": pa.array([[[1], [2, 3]], [], [[4]], [[]], [], [[5, 6]]], pa.list_(pa.list_(pa.int32()))),
    "texts": pa.array([["a", "b"], [], ["c"], [], [], ["d"]], pa.list_(pa.string())),
    "vectors": pa.array([[1.0, 2.0]] * 6, pa.list_(pa.float32(), 2)),
}


@pytest.fixture
def mapped(tmp_path: Path) -> Dataset:
    """A file of three batches, one of them empty."""
    table = pa.table(COLUMNS)
    batches = [*table.slice(0, 2).to_batches(), *table.slice(0, 0).to_batches(), *table.slice(2).to_batches()]
    write_arrow(tmp_path / "rows.arrow", batches, table.schema)
    return open_arrow(tmp_path / "rows.arrow", "rows")


def _by_datasets(dataset: Dataset, rows: np.ndarray) -> list[dict[str, object]]:
    return [dataset[int(row)] for row in rows]


def _alike(found: list[dict[str, object]], wanted: list[dict[str, object]]) -> bool:
    """Of the same Python types, too: 1 and 1.0 are equal."""
    return repr(found) == repr(wanted)


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4, 5], [5, 0, 2, 2], [3], []])
def test_rows_are_those_of_datasets(mapped: Dataset, rows: list[int]) -> None:
    wanted = np.array(rows, np.int64)
    assert _alike(take_rows(mapped, wanted), _by_datasets(mapped, wanted))


def test_rows_of_a_selection_count_within_it(mapped: Dataset) -> None:
    chosen, rows = mapped.select([4, 0, 5, 1]), np.array([3, 0, 1])
    assert _alike(take_rows(chosen, rows), _by_datasets(chosen, rows))
    assert [row["whole"] for row in take_rows(chosen, rows)] == [-2, 5, 1]


def test_a_part_of_a_table_is_read_from_where_it_begins() -> None:
    part = Dataset(pa.table(COLUMNS)).select(range(2, 5))
    assert _alike(take_rows(part, np.arange(3)), _by_datasets(part, np.arange(3)))


def test_columns_left_out_are_not_read(mapped: Dataset) -> None:
    assert take_rows(mapped.select_columns(["tokens"]), np.array([2, 1])) == [{"tokens": [2, 3, 4]}, {"tokens": [1]}]


def test_all_rows_in_turn(mapped: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_lookup, "AT_ONCE", 4)
    for dataset in (mapped, mapped.select([4, 0, 5, 1, 2]), mapped.select([])):
        assert _alike(list(RowLookup(dataset)), _by_datasets(dataset, np.arange(len(dataset))))
        assert len(RowLookup(dataset)) == len(dataset)


def test_a_lookup_serves_again_and_again(mapped: Dataset) -> None:
    lookup = RowLookup(mapped)
    assert [[row["tokens"] for row in lookup(np.array([n]))] for n in (5, 1, 5)] == [[[8, 9]], [[1]], [[8, 9]]]


@pytest.mark.parametrize("row", [6, -1])
def test_a_row_that_is_not_there_is_an_error(mapped: Dataset, row: int) -> None:
    with pytest.raises(IndexError):
        take_rows(mapped, np.array([row]))


def test_no_rows_of_a_selection(mapped: Dataset) -> None:
    assert take_rows(mapped.select([4, 0]), np.array([])) == []
