"""Sentences whose best tags have little probability, whatever their length."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from weitiao.acquisition.base import Need, Ranked, Seen, highest
from weitiao.acquisition.uncertainty import surprise
from weitiao.recipe import Settings


class MnlpOptions(Settings):
    """The strategy `mnlp` has no options."""


class Mnlp:
    """Maximum normalised log-probability (Shen et al. 2018, arXiv:1707.05928): the sentences whose most probable tags
    have the least log-probability by word, so that long sentences are not favoured. For tasks that tag words. Scores:
    minus that log-probability a word, in nats.
    """  # fmt: skip

    name: ClassVar[str] = "mnlp"
    Options: ClassVar[type[Settings]] = MnlpOptions
    needs: ClassVar[frozenset[Need]] = frozenset(("tags",))

    def __init__(self, options: MnlpOptions) -> None:
        self.options = options

    def rank(self, seen: Seen, number: int, rng: np.random.Generator) -> Ranked:
        """The least sure first."""
        return highest(seen.measured(self.name, surprise), number, rng)
