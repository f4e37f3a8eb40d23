"""Rows of all kinds that a pool has: the same number of each cluster of k-means."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from weitiao.recipe import Settings
from weitiao.workshop.select.base import Asked, Choice, chosen, enough
from weitiao.workshop.select.vectors import vectors

FITTED = 50_000  # vectors that centres are learned from
PIECE = 10_000  # vectors whose distances to all centres are held at once


class ClustersOptions(Settings):
    """Options of the strategy `clusters`."""

    model: str | None = None
    """Model whose mean-pooled hidden states say how far apart texts are. TF-IDF when absent."""
    clusters: Annotated[int, Field(ge=1)] | Literal["auto"] = Field("auto", union_mode="left_to_right")
    """How many. `auto`: the square root of the pool's rows, and no more than rows to choose."""
    within: Literal["random", "centre"] = "random"
    """Which rows of a cluster: drawn at random, or those that are nearest to its centre."""


class Clusters:
    """An equal share of each cluster; what a small cluster cannot give is shared by the others. Scores: the distance to
    the centre of the row's cluster, 0 to 2.
    """  # fmt: skip

    name: ClassVar[str] = "clusters"
    Options: ClassVar[type[Settings]] = ClustersOptions

    def __init__(self, options: ClustersOptions) -> None:
        self.options = options

    def choose(self, asked: Asked) -> Choice:
        """Take rows of all clusters in turn."""
        count = len(asked.pool)
        enough(count, asked.number)
        wanted = round(count**0.5) if self.options.clusters == "auto" else self.options.clusters
        cluster, distance = nearest_centres(vectors(asked, self.options.model), min(wanted, asked.number), asked.seed)
        random = np.random.default_rng(asked.seed).random(count)
        rows = in_turns(cluster, random if self.options.within == "random" else distance, random)[: asked.number]
        return Choice(chosen(rows, count), distance, lambda row: f"cluster {cluster[row]} has given its share")


def nearest_centres(vectors: np.ndarray, clusters: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each vector the number of its cluster, int64, and the distance to its centre, float64; shape (n,)."""
    from sklearn.cluster import KMeans

    fitted = vectors
    if len(vectors) > FITTED:
        fitted = vectors[np.random.default_rng(seed).choice(len(vectors), FITTED, replace=False)]
    means = KMeans(clusters, n_init=1, random_state=seed).fit(fitted)
    cluster, distance = np.empty(len(vectors), np.int64), np.empty(len(vectors))
    for start in range(0, len(vectors), PIECE):
        apart = means.transform(vectors[start : start + PIECE])
        cluster[start : start + PIECE] = apart.argmin(axis=1)
        distance[start : start + PIECE] = apart.min(axis=1)
    return cluster, distance


def in_turns(cluster: np.ndarray, first: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return all rows: one of each cluster, then a second one of each, and so on, until none is left.

    Within a cluster those with the smaller number in `first` come first, within a round those with the smaller number
    in `turn`; all of shape (n,).
    """
    order = np.lexsort((first, cluster))
    starts = np.flatnonzero(np.r_[True, np.diff(cluster[order]) != 0])
    sizes = np.diff(np.r_[starts, len(order)])
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    return np.lexsort((turn, rank))
