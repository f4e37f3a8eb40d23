"""Rows on which a model with dropout disagrees with itself."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from weitiao.acquisition.base import Need, Ranked, Seen, highest
from weitiao.acquisition.uncertainty import disagreement, entropy
from weitiao.recipe import Settings


class BaldOptions(Settings):
    """Options of the strategy `bald`."""

    passes: int = Field(10, ge=2)
    """Passes with dropout over each text. Each costs as much as predicting it."""
    among: int | None = Field(20_000, ge=1)
    """Of a larger pool only so many rows are passed over, those of the greatest entropy without dropout. All when
    `null`."""


class Bald:
    """Bayesian active learning by disagreement (Houlsby et al. 2011, arXiv:1112.5745), with dropout in place of draws
    of the weights (Gal et al. 2017, arXiv:1703.02910): the rows where each pass is sure, and each of something else.
    Dropout layers are on as in training, but for the dropout of attention. What a text has dropped hangs on the text
    alone. Scores: the mutual information of label and weights in nats, of several labels or words their mean.
    """  # fmt: skip

    name: ClassVar[str] = "bald"
    Options: ClassVar[type[Settings]] = BaldOptions
    needs: ClassVar[frozenset[Need]] = frozenset(("probabilities", "dropout"))

    def __init__(self, options: BaldOptions) -> None:
        self.options = options

    def rank(self, seen: Seen, number: int, rng: np.random.Generator) -> Ranked:
        """Those that the passes disagree on most first."""
        rows, among = np.arange(len(seen)), self.options.among
        if among is not None and len(rows) > max(among, number):
            rows = np.sort(highest(seen.measured("entropy", entropy), max(among, number), rng).rows)
        found = highest(
            seen.measured_with_dropout(self.name, disagreement, self.options.passes, rows), number, rng
        )  # fmt: skip
        return Ranked(rows[found.rows], found.scores)
