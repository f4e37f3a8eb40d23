"""Rows between two answers."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from weitiao.acquisition.base import Need, Ranked, Seen, highest
from weitiao.acquisition.uncertainty import margin
from weitiao.recipe import Settings


class MarginOptions(Settings):
    """The strategy `margin` has no options."""


class Margin:
    """Rows whose two most probable labels are nearest to each other (Scheffer et al. 2001); of several labels, or the
    words of a sentence, on average. With two labels the order is that of `least-confidence`. Scores: one less the
    difference of both probabilities.
    """  # fmt: skip

    name: ClassVar[str] = "margin"
    Options: ClassVar[type[Settings]] = MarginOptions
    needs: ClassVar[frozenset[Need]] = frozenset(("probabilities",))

    def __init__(self, options: MarginOptions) -> None:
        self.options = options

    def rank(self, seen: Seen, number: int, rng: np.random.Generator) -> Ranked:
        """The least sure first."""
        return highest(seen.measured(self.name, margin), number, rng)
