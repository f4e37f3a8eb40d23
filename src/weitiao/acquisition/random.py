"""Any rows: what every other strategy is measured against."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from weitiao.acquisition.base import Need, Ranked, Seen, highest
from weitiao.recipe import Settings


class RandomOptions(Settings):
    """Drawing at random has no options."""


class Random:
    """Rows drawn at random, each with the same chance. Scores: the numbers drawn."""

    name: ClassVar[str] = "random"
    Options: ClassVar[type[Settings]] = RandomOptions
    needs: ClassVar[frozenset[Need]] = frozenset()

    def __init__(self, options: RandomOptions) -> None:
        self.options = options

    def rank(self, seen: Seen, number: int, rng: np.random.Generator) -> Ranked:
        """Draw."""
        return highest(rng.random(len(seen)), number, rng)
