"""The rows of a step become micro-batches: rows of several kinds, such as with and without a label, each by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from weitiao import data
from weitiao.records import Batch


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one kind, numbered from 0."""

    lengths: np.ndarray  # tokens that each counts in a micro-batch, shape (rows,)
    batch: Callable[[np.ndarray], Batch]  # pads some of them together
    parts: np.ndarray | None = None  # a step takes rows of one of these numbers only, shape (rows,)
    labels: np.ndarray | None = None  # of each, where its length does not tell: an encoder-decoder's target, (rows,)


@dataclass(frozen=True, eq=False)
class MicroBatches:
    """Rows of a step -> its micro-batches, of at most so many `tokens` each, padding included.

    The rows of a kind are numbered behind those of the kind before; a micro-batch holds rows of one kind.
    """

    kinds: Sequence[Rows]
    tokens: int

    def __call__(self, rows: np.ndarray) -> list[Batch]:
        """Return the micro-batches of these rows."""
        return [kind.batch(part - first) for first, kind in self._placed() for part in self._cut(rows, first, kind)]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens that each row counts, by its number, shape (rows,)."""
        return np.concatenate([kind.lengths for kind in self.kinds])

    @property
    def labels(self) -> np.ndarray:
        """Labels of each row by its number, 0 where its length tells how many there are; shape (rows,)."""
        return np.concatenate([_labels(kind) for kind in self.kinds])

    def cut(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return the rows of each micro-batch."""
        return [part for first, kind in self._placed() for part in self._cut(rows, first, kind)]

    def longest(self) -> list[np.ndarray]:
        """Return the rows that may share a micro-batch, those of each kind and of each part of it, longest first; of
        rows of one length that with most labels.
        """  # fmt: skip
        found = []
        for first, kind in self._placed():
            rows = np.lexsort((-_labels(kind), -kind.lengths))
            parts = np.zeros(len(rows), np.int64) if kind.parts is None else kind.parts
            found += [first + rows[parts[rows] == part] for part in np.unique(parts)]
        return found

    def _placed(self) -> Iterator[tuple[int, Rows]]:
        first = 0
        for kind in self.kinds:
            yield first, kind
            first += len(kind.lengths)

    def _cut(self, rows: np.ndarray, first: int, kind: Rows) -> list[np.ndarray]:
        own = rows[(rows >= first) & (rows < first + len(kind.lengths))]
        return data.micro_batches(own, kind.lengths[own - first], self.tokens)


def _labels(kind: Rows) -> np.ndarray:
    return np.zeros(len(kind.lengths), np.int64) if kind.labels is None else kind.labels
