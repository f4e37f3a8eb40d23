"""Rows unlike all that is labelled: a core-set."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from weitiao.acquisition.base import Need, Ranked, Seen
from weitiao.recipe import Settings
from weitiao.workshop.select.k_center import k_center


class KCenterOptions(Settings):
    """The strategy `k-center` has no options."""


class KCenter:
    """A core-set (Sener & Savarese 2018, arXiv:1708.00489), greedily: each row the farthest from all that is labelled
    and from those chosen before it, by the base model's vectors. Needs no trained model; likes outliers. Scores: the
    distance to the nearest of these when it was chosen, 0 to 2.
    """  # fmt: skip

    name: ClassVar[str] = "k-center"
    Options: ClassVar[type[Settings]] = KCenterOptions
    needs: ClassVar[frozenset[Need]] = frozenset(("vectors",))

    def __init__(self, options: KCenterOptions) -> None:
        self.options = options

    def rank(self, seen: Seen, number: int, rng: np.random.Generator) -> Ranked:
        """One row after the other; takes time in proportion to pool times (number + what is labelled)."""
        seed = int(rng.integers(1 << 32))
        rows, distance = k_center(seen.vectors(), min(number, len(seen)), seed, centres=seen.labelled_vectors())
        return Ranked(rows, distance[rows])
