"""Steps that hold several examples of each of their labels, for losses that compare the examples of a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ByLabel:
    """An `Order` in which `together` rows of a label, or a few more, follow each other, in random groups in random
    order; each row comes once an epoch. Steps are as many as with any order, and alike in size where groups allow.
    """  # fmt: skip

    labels: np.ndarray  # a number for the label of each row, shape (rows,)
    together: int
    batch_size: int
    seed: int

    def __call__(self, epoch: int) -> list[np.ndarray]:
        """Return the rows of each step of an epoch."""
        random = np.random.Generator(np.random.PCG64([self.seed, epoch, 3]))
        groups: list[np.ndarray] = []
        for label in np.unique(self.labels):
            rows = random.permutation(np.flatnonzero(self.labels == label))
            groups += np.array_split(rows, max(1, len(rows) // self.together))
        rows = np.concatenate([groups[number] for number in random.permutation(len(groups))])
        size = self._size(len(rows))
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def _size(self, rows: int) -> int:
        """Rows of a step: even, yet whole groups where that makes no more of them than fit."""
        even = -(-rows // -(-rows // self.batch_size))
        return min(-(-even // self.together) * self.together, self.batch_size)
