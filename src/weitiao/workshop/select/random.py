"""Rows at random: what any other strategy is to be measured against."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from weitiao.recipe import Settings
from weitiao.workshop.select.base import Asked, Choice, chosen, enough


class RandomOptions(Settings):
    """The strategy `random` has no options."""


class Random:
    """Each row with the same chance. Scores: none."""

    name: ClassVar[str] = "random"
    Options: ClassVar[type[Settings]] = RandomOptions

    def __init__(self, options: RandomOptions) -> None:
        self.options = options

    def choose(self, asked: Asked) -> Choice:
        """Draw rows without replacement."""
        count = len(asked.pool)
        enough(count, asked.number)
        rows = np.random.default_rng(asked.seed).choice(count, asked.number, replace=False)
        return Choice(chosen(rows, count), np.full(count, np.nan), lambda _: "not drawn")
