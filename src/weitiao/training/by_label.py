"""Steps that hold several examples of each of their labels, for losses that compare the examples of a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from weitiao import data


@dataclass(frozen=True)
class ByLabel:
    """An `Order` in which up to `together` rows of a label come together, and a step holds such groups of many labels.

    Each row comes once an epoch, in other groups each time, and the groups of a label are spread over the epoch. There
    are as many steps as with any order, alike in size; a group is cut only where no whole one fits. The step that holds
    the longest row comes first in epoch 0, so that a lack of memory shows at once.
    """

    labels: np.ndarray  # a number for the label of each row, shape (rows,)
    lengths: np.ndarray  # tokens of each row, shape (rows,)
    together: int
    batch_size: int
    seed: int

    def __call__(self, epoch: int) -> list[np.ndarray]:
        """Return the rows of each step of an epoch."""
        random = np.random.Generator(np.random.PCG64([self.seed, epoch, 3]))
        most = max(2, min(self.together, self.batch_size // 2))  # so that there are others to tell it from
        groups: list[np.ndarray] = []
        places: list[float] = []
        for label in np.unique(self.labels):
            rows = random.permutation(np.flatnonzero(self.labels == label))
            count = max(1, min(-(-len(rows) // most), len(rows) // 2))  # none of one row alone
            groups += np.array_split(rows, count)
            places += [*((np.arange(count) + random.random(count)) / count)]
        ordered = [groups[number] for number in np.argsort(places, kind="stable")]
        steps = np.split(np.concatenate(ordered), self._cuts(np.cumsum([len(group) for group in ordered])))
        return data.longest_first(steps, self.lengths) if epoch == 0 else steps

    def ahead(self, epoch: int) -> list[np.ndarray]:
        """Return the same."""
        return self(epoch)

    def _cuts(self, ends: np.ndarray) -> list[int]:
        """Where steps end, of rows in groups that end at `ends`: near even parts, and where groups end if that fits."""
        rows, size, cuts = int(ends[-1]), self.batch_size, [0]
        steps = -(-rows // size)
        for left in range(steps - 1, 0, -1):
            low, high = max(cuts[-1] + 1, rows - left * size), min(cuts[-1] + size, rows - left)
            wanted = min(max(round(rows * (steps - left) / steps), low), high)
            whole = ends[(ends >= low) & (ends <= high)]
            cuts.append(int(whole[np.abs(whole - wanted).argmin()]) if len(whole) else wanted)
        return cuts[1:]
