"""Rows of a table on the way to being a split."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from weitiao.data.arrow import digest, fingerprint, select_rows
from weitiao.data.labels import GROUP

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Part:
    """Rows of a table that make up a split, on the way there."""

    data: Dataset
    name: str
    keys: np.ndarray
    rows: np.ndarray = field(repr=False)
    groups: np.ndarray | None = field(default=None, repr=False)  # their `group_keys`, where `data.group` names some

    def only(self, keep: np.ndarray) -> Part:
        """Return some of them; `keep` is a mask, or places."""
        groups = None if self.groups is None else self.groups[keep]
        return replace(self, keys=self.keys[keep], rows=self.rows[keep], groups=groups)

    def dataset(self) -> Dataset:
        """Return them as a data set, without `GROUP`."""
        kept = [name for name in self.data.column_names if name != GROUP]
        key = digest(fingerprint(self.data), self.rows.astype("<i8").tobytes(), kept)
        data = self.data.select_columns(kept, new_fingerprint=key) if GROUP in self.data.column_names else self.data
        if len(self.rows) == len(data):
            return data
        return select_rows(data, self.rows, key)
