"""Rows with many possible answers."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from weitiao.acquisition.base import Need, Ranked, Seen, highest
from weitiao.acquisition.uncertainty import entropy
from weitiao.recipe import Settings


class EntropyOptions(Settings):
    """The strategy `entropy` has no options."""


class Entropy:
    """Rows whose probabilities have the greatest entropy (Settles & Craven 2008); of several labels, or the words of a
    sentence, on average. Looks at all labels, the improbable ones too. Scores: the entropy in nats.
    """  # fmt: skip

    name: ClassVar[str] = "entropy"
    Options: ClassVar[type[Settings]] = EntropyOptions
    needs: ClassVar[frozenset[Need]] = frozenset(("probabilities",))

    def __init__(self, options: EntropyOptions) -> None:
        self.options = options

    def rank(self, seen: Seen, number: int, rng: np.random.Generator) -> Ranked:
        """The least sure first."""
        return highest(seen.measured(self.name, entropy), number, rng)
