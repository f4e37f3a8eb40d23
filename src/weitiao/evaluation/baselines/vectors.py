"""Baselines of sentence vectors: TF-IDF."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from weitiao.data import RowLookup
from weitiao.evaluation.baselines.base import Knows
from weitiao.evaluation.evaluate import Inference, Labelled
from weitiao.records import Prediction, SplitName
from weitiao.tasks.vectors import text_number


class TfidfVectors:
    """A text's vector is what tokens stand in it: ``(1 + log tf) (log((1 + n) / (1 + df)) + 1)``, at length 1.

    Texts are compared by the words that they share and nothing else. The weights are scikit-learn's, `sublinear_tf` on,
    over the model's own tokens, so that it reads the same copies.
    """

    knows: Knows = "examples"

    def __init__(self, task: Any, *, seed: int = 0) -> None:
        self.name = "TF-IDF"
        self.notes: list[str] = []
        self._task, self._texts = task, 0
        self._there: Counter[int] = Counter()  # token -> training texts that hold it

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """Count in how many training texts each token stands."""
        for feature in RowLookup(on["train"].features):
            self._there.update(set(self._task.counted(feature["input_ids"])))
            self._texts += 1

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield the vector of each text and of its copy, as token -> weight."""
        found = {feature["row"]: feature["input_ids"] for feature in RowLookup(on.features)}
        for row in on.rows.tolist():
            ids, copy = found[row], self._task.copied(found[row])
            vectors = (self._vector(self._task.counted(each)) for each in (ids, copy))
            yield {**dict(zip(("vector", "copy"), vectors, strict=True)), "text": text_number(ids)}

    def _vector(self, ids: list[int]) -> dict[int, float]:
        weights = {
            token: (1 + np.log(times)) * (np.log((1 + self._texts) / (1 + self._there[token])) + 1)
            for token, times in Counter(ids).items()
        }
        length = np.sqrt(sum(weight**2 for weight in weights.values()))
        return {token: float(weight / length) for token, weight in weights.items()}
