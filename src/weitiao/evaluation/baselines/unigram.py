"""A unigram model: each token by its frequency in training, whatever stands around it. A floor for perplexities."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from weitiao.data import RowLookup
from weitiao.evaluation.baselines.base import Knows
from weitiao.evaluation.evaluate import Inference, Labelled
from weitiao.records import Prediction, SplitName

SMOOTHING = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)


class Unigram:
    """``p(t) = (c(t) + a) / (N + a V)``: counts of the task's `counted` tokens, smoothed for those not seen.

    The a of `SMOOTHING` is taken under which each training token is likeliest when it is left out of the counts
    (leave-one-out; Ney et al. 1995), so that no other data is needed.
    """

    knows: Knows = "examples"  # not "answers": a pretrained model begins far below its loss

    def __init__(self, task: Any, *, seed: int = 0) -> None:
        self.task, self.vocabulary = task, int(task.prepared.vocabulary)
        self.name, self.notes = "a unigram model", list[str]()
        self._losses: np.ndarray | None = None  # nats of each token

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """Count the tokens of train and choose the smoothing."""
        counts = np.zeros(self.vocabulary)
        for _, ids in self._counted(on["train"]):
            np.add.at(counts, ids, 1)
        best = max(SMOOTHING, key=lambda a: _left_out(counts, a))
        self._losses = -np.log((counts + best) / (counts.sum() + best * self.vocabulary))

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield each document's loss, tokens and perplexity."""
        if self._losses is None:
            raise RuntimeError("the unigram model is used before it was fitted")
        found: dict[int, tuple[float, int]] = {}
        for row, ids in self._counted(on):
            loss, tokens = found.get(row, (0.0, 0))
            found[row] = loss + float(self._losses[ids].sum()), tokens + len(ids)
        for row in on.rows.tolist():
            loss, tokens = found[row]
            yield {"loss": loss, "tokens": tokens, "perplexity": math.exp(loss / max(tokens, 1))}

    def _counted(self, on: Labelled) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (example, token ids) of each feature."""
        for feature in RowLookup(on.features):
            yield feature["row"], np.asarray(self.task.counted(feature), np.int64)


def _left_out(counts: np.ndarray, smoothing: float) -> float:
    """Return the log-likelihood of all tokens, each judged by the counts without it."""
    seen = counts[counts > 0]
    whole = counts.sum() - 1 + smoothing * len(counts)
    return float((seen * np.log((seen - 1 + smoothing) / whole)).sum())
