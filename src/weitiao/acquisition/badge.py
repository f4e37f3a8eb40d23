"""Rows that would move the last layer much, and each elsewhere."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from weitiao.acquisition.base import Gradients, Need, Ranked, Seen
from weitiao.recipe import Settings


class BadgeOptions(Settings):
    """The strategy `badge` has no options."""


class Badge:
    """Batch active learning by diverse gradient embeddings (Ash et al. 2020, arXiv:1906.03671): k-means++ over the
    gradients that the rows would give the last layer, were the model's own answers right. What it is unsure of has long
    ones, what is alike has like ones. Scores: the squared distance to the nearest gradient chosen before (of the first,
    its squared length), which is what a row's chance to be drawn was in proportion to.
    """  # fmt: skip

    name: ClassVar[str] = "badge"
    Options: ClassVar[type[Settings]] = BadgeOptions
    needs: ClassVar[frozenset[Need]] = frozenset(("probabilities", "gradients"))

    def __init__(self, options: BadgeOptions) -> None:
        self.options = options

    def rank(self, seen: Seen, number: int, rng: np.random.Generator) -> Ranked:
        """One row after the other; takes time in proportion to pool times number."""
        return spread(seen.gradients(), number, rng)


def spread(gradients: Gradients, number: int, rng: np.random.Generator) -> Ranked:
    """Return rows drawn by k-means++ (Arthur & Vassilvitskii 2007) on the outer products, the first the longest.

    These are never made: ``<a ⊗ h, b ⊗ g> = <a, b> <h, g>``, so that n rows take n (labels + width) numbers.
    """
    errors, inputs = gradients.errors, gradients.inputs
    count = min(number, len(errors))
    squares = np.einsum("nd,nd->n", errors, errors, dtype=float) * np.einsum("nd,nd->n", inputs, inputs, dtype=float)
    nearest, rows, scores = squares.copy(), np.empty(count, np.int64), np.empty(count)
    taken = np.zeros(len(errors), bool)
    row = int(squares.argmax()) if count else 0
    for place in range(count):
        rows[place], scores[place], taken[row] = row, nearest[row], True
        apart = squares + squares[row] - 2.0 * (errors @ errors[row]) * (inputs @ inputs[row])
        apart = np.maximum(apart, 0)
        nearest = apart if place == 0 else np.minimum(nearest, apart)
        nearest[taken] = 0
        row = _drawn(nearest, taken, rng)
    return Ranked(rows, scores)


def _drawn(weights: np.ndarray, taken: np.ndarray, rng: np.random.Generator) -> int:
    """A row by its weight; any that is left where none has one, as where all gradients are 0."""
    whole = np.cumsum(weights)
    if whole[-1] > 0:
        return int(min(np.searchsorted(whole, rng.random() * whole[-1], side="right"), len(whole) - 1))
    left = np.flatnonzero(~taken)
    return int(rng.choice(left)) if len(left) else 0
