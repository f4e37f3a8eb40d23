"""Several tasks' splits as one: rows that say which task they are of, the example itself as JSON text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from weitiao import sources
from weitiao.data.arrow import arrow_batches, digest, fingerprint, is_whole, open_arrow, rows_digest, write_arrow
from weitiao.data.columns import ChosenColumns
from weitiao.data.splits import Splits
from weitiao.records import FILE, LINE, SPLITS, SplitName

if TYPE_CHECKING:
    from datasets import Dataset

VERSION = "1"  # raise when what is written into the cache changes
SCHEMA = pa.schema([("task", pa.string()), ("example", pa.string()), (LINE, pa.int64()), (FILE, pa.string())])


def join(parts: Mapping[str, Splits]) -> Splits:
    """Return the splits of several tasks as one, with the columns `task` (a name of `parts`) and `example` (JSON).

    A split is there where any of them has it; within it the tasks stand one after the other. `Splits.parts` keeps
    them apart.
    """
    names: list[SplitName] = [split for split in SPLITS if any(split in part for part in parts.values())]
    there = {split: {name: part for name, part in parts.items() if split in part} for split in names}
    return Splits(
        datasets={split: _joined({name: part[split] for name, part in there[split].items()}) for split in names},
        columns=ChosenColumns(
            {"task": "task", "example": "example"}, dict.fromkeys(("task", "example"), "of the joined data")
        ),
        origin={
            split: "; ".join(f"{name}: {part.origin[split]}" for name, part in there[split].items()) for split in names
        },
        findings=[finding for part in parts.values() for finding in part.findings],
        text_keys={split: np.concatenate([part.text_keys[split] for part in there[split].values()]) for split in names},
        parts=dict(parts),
        aside=np.concatenate([part.aside for part in parts.values()]),
    )


def _joined(datasets: Mapping[str, Dataset]) -> Dataset:
    parts = [f"{name} {fingerprint(dataset)}" for name, dataset in datasets.items()]
    key = digest(VERSION, *parts)
    cached = sources.cache_folder() / "tables" / f"{key}.arrow"
    if not is_whole(cached):
        write_arrow(cached, _rows(datasets), SCHEMA)
    return open_arrow(cached, fingerprint=digest(rows_digest(open_arrow(cached, fingerprint=key)), *parts))


def _rows(datasets: Mapping[str, Dataset]) -> Iterator[pa.RecordBatch]:
    for name, dataset in datasets.items():
        for batch in arrow_batches(dataset, dataset.column_names):
            records = batch.to_pylist()
            lines, files = [r.pop(LINE) for r in records], [r.pop(FILE) for r in records]
            texts = [json.dumps(record, ensure_ascii=False) for record in records]
            yield pa.RecordBatch.from_arrays([pa.array([name] * len(texts)), texts, lines, files], schema=SCHEMA)
