"""Rows that the model is unsure of and that many others are like."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from weitiao.acquisition.base import Need, Ranked, Seen, highest
from weitiao.acquisition.uncertainty import MEASURES
from weitiao.recipe import Settings


class DensityWeightedOptions(Settings):
    """Options of the strategy `density-weighted`."""

    by: Literal["least-confidence", "margin", "entropy"] = "entropy"
    """How unsure the model is."""
    beta: float = Field(1.0, ge=0)
    """The power that the similarity is raised to; 0 leaves it out."""


class DensityWeighted:
    """Information density (Settles & Craven 2008): how unsure the model is, times the mean similarity to the pool, so
    that outliers do not come first. Similarity is the cosine of the base model's vectors; below 0 it counts as 0.
    Scores: the product.
    """  # fmt: skip

    name: ClassVar[str] = "density-weighted"
    Options: ClassVar[type[Settings]] = DensityWeightedOptions
    needs: ClassVar[frozenset[Need]] = frozenset(("probabilities", "vectors"))

    def __init__(self, options: DensityWeightedOptions) -> None:
        self.options = options

    def rank(self, seen: Seen, number: int, rng: np.random.Generator) -> Ranked:
        """The densest of the unsure first."""
        vectors = seen.vectors()
        similar = np.maximum(vectors @ vectors.mean(axis=0), 0).astype(float)  # the mean of all cosines at once
        unsure = seen.measured(self.options.by, MEASURES[self.options.by])
        return highest(unsure * similar**self.options.beta, number, rng)
