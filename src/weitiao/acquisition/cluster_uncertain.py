"""One row of each kind that the pool has, the one that the model is least sure of."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from weitiao.acquisition.base import Need, Ranked, Seen
from weitiao.acquisition.uncertainty import MEASURES
from weitiao.recipe import Settings
from weitiao.workshop.select.clusters import in_turns, nearest_centres

MOST = 200  # clusters without being told: more take long on a large pool


class ClusterUncertainOptions(Settings):
    """Options of the strategy `cluster-uncertain`."""

    clusters: Annotated[int, Field(ge=1)] | Literal["auto"] = Field("auto", union_mode="left_to_right")
    """How many clusters of k-means. `auto`: as many as rows to choose, 200 at most."""
    by: Literal["least-confidence", "margin", "entropy"] = "margin"
    """How unsure the model is."""


class ClusterUncertain:
    """The rows of each cluster that the model is least sure of, one of each cluster after the other; clusters are those
    of k-means on the base model's vectors (a batch of kinds, after Zhdanov 2019, arXiv:1901.05954). Before there is a
    model, those nearest to the centres: a cold start. Scores: how unsure the model is, or minus the distance to the
    centre.
    """  # fmt: skip

    name: ClassVar[str] = "cluster-uncertain"
    Options: ClassVar[type[Settings]] = ClusterUncertainOptions
    needs: ClassVar[frozenset[Need]] = frozenset(("vectors",))

    def __init__(self, options: ClusterUncertainOptions) -> None:
        self.options = options

    def rank(self, seen: Seen, number: int, rng: np.random.Generator) -> Ranked:
        """Of each cluster in turn; within a turn the clusters whose row is least sure come first."""
        wanted = min(number, MOST) if self.options.clusters == "auto" else self.options.clusters
        cluster, distance = nearest_centres(seen.vectors(), min(wanted, len(seen)), int(rng.integers(1 << 32)))
        by = self.options.by
        scores = seen.measured(by, MEASURES[by]) if seen.has_probabilities else -distance
        rows = in_turns(cluster, -scores, -scores)[:number]
        return Ranked(rows, scores[rows])
