"""Cells of labels as they are written: several labels in one, and one label in several spellings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from weitiao.data.labels import label_counts
from weitiao.recipe import CleanSettings
from weitiao.workshop.by_label import spellings
from weitiao.workshop.reading import Opened, Part

Cell = str | list[str] | None  # as a part holds it


def written(part: Part, separator: str | None) -> Callable[[Sequence[str]], Any]:
    """Return what makes the file's own cell of several labels: joined by what cuts its cells, or a list."""
    cells = part.table.dataset.data.schema.field(part.names["label"]).type if separator else None
    return separator.join if separator and pa.types.is_string(cells) else list


@dataclass(frozen=True)
class Respelling:
    """Labels that are written in several ways, and how most rows write each."""

    usual: Mapping[str, str]
    separator: str | None  # what cuts label cells

    @classmethod
    def of(cls, opened: Opened, settings: CleanSettings) -> Respelling | None:
        """Learn it from all parts together; None where it is not asked for, or there is nothing to respell."""
        if not settings.label_spellings:
            return None
        counts = Counter[str]()
        for part in opened.parts:
            counts.update(label_counts(part.dataset) if part.label is not None else {})
        usual = {label: max(group, key=lambda each: counts[each]) for group in spellings(counts) for label in group}
        return cls(usual, opened.separator) if usual else None

    def cell(self, cell: Cell) -> Cell:
        """Return a cell with its labels as most rows write them, none of them twice."""
        if isinstance(cell, list):
            return list(dict.fromkeys(self.usual.get(label, label) for label in cell))
        return None if cell is None else self.usual.get(cell, cell)

    def in_file(self, part: Part, cell: Cell) -> Any:
        """Return a cell as the part's file has it."""
        return written(part, self.separator)(cell) if isinstance(cell, list) else cell
