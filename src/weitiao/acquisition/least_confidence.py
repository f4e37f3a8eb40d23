"""Rows whose best answer has little probability."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from weitiao.acquisition.base import Need, Ranked, Seen, highest
from weitiao.acquisition.uncertainty import least_confidence
from weitiao.recipe import Settings


class LeastConfidenceOptions(Settings):
    """The strategy `least-confidence` has no options."""


class LeastConfidence:
    """Rows whose most probable label has the least probability (Lewis & Gale 1994, arXiv:cmp-lg/9407020). Of several
    labels each counts by itself, yes or no, of a sentence each word: their mean. Scores: one less that probability.
    """  # fmt: skip

    name: ClassVar[str] = "least-confidence"
    Options: ClassVar[type[Settings]] = LeastConfidenceOptions
    needs: ClassVar[frozenset[Need]] = frozenset(("probabilities",))

    def __init__(self, options: LeastConfidenceOptions) -> None:
        self.options = options

    def rank(self, seen: Seen, number: int, rng: np.random.Generator) -> Ranked:
        """The least sure first."""
        return highest(seen.measured(self.name, least_confidence), number, rng)
