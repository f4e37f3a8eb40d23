"""Steps that also take texts without labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from weitiao import data
from weitiao.training.order import Order

KEPT = 2  # passes: a short epoch takes rows of one, or of two that follow each other


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, eq=False)
class WithUnlabelled:
    """An `Order` in which the rows of each step of another one are followed by `ratio` times as many without a label.

    These are copies of texts: variant v of text t has the number ``first + t * variants + v``. All texts come in random
    order, those of like length near each other, before any comes again, then in another order; each time the next
    variant of a text does. An epoch goes on where the one before it ended. What a step takes hangs on the seed, the
    epoch and its place in that alone.
    """

    labelled: Order
    an_epoch: int  # labelled rows of one
    batch_size: int  # labelled rows of a step
    lengths: np.ndarray  # tokens of the texts, shape (texts,)
    variants: int
    ratio: int
    first: int
    seed: int
    begin: Callable[[], None] = nothing  # called when an epoch begins, after steps that were only tried out
    _latest: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False)  # passes, by number

    def __call__(self, epoch: int) -> list[np.ndarray]:
        """Return the rows of each step of an epoch."""
        self.begin()
        return self._beside(self.labelled(epoch), epoch)

    def ahead(self, epoch: int) -> list[np.ndarray]:
        """Return them as far as those with a label can be told."""
        return self._beside(self.labelled.ahead(epoch), epoch)

    def _beside(self, steps: list[np.ndarray], epoch: int) -> list[np.ndarray]:
        """The rows of each step with those without a label behind them."""
        ends = self.ratio * np.cumsum([len(rows) for rows in steps])
        drawn = np.split(self._drawn(epoch * self.ratio * self.an_epoch, int(ends[-1])), ends[:-1])
        return [np.concatenate([rows, own]) for rows, own in zip(steps, drawn, strict=True)]

    def _drawn(self, start: int, count: int) -> np.ndarray:
        """`count` rows from the place `start` in all that come."""
        texts = len(self.lengths)
        first, last = start // texts, (start + count - 1) // texts
        rows = np.concatenate([self._pass(number) for number in range(first, last + 1)])
        return rows[start - first * texts :][:count]

    def _pass(self, number: int) -> np.ndarray:
        """Each text once, in the order of one pass over them; of short epochs many lie in one or two of these."""
        if number not in self._latest:
            self._latest[number] = self._ordered(number)
            for old in list(self._latest)[:-KEPT]:
                del self._latest[old]
        return self._latest[number]

    def _ordered(self, number: int) -> np.ndarray:
        together = min(self.ratio * self.batch_size, len(self.lengths))
        texts = np.concatenate(data.length_bucketed(self.lengths, together, seed=self.seed, epoch=number))
        rows: np.ndarray = self.first + texts * self.variants + (texts + number) % self.variants
        return rows
