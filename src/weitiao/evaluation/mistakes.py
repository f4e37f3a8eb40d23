"""The mistakes a model is surest of: often the most telling ones, and often labels that are wrong."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weitiao.metrics.classification import as_array
from weitiao.records import Prediction


@dataclass(frozen=True)
class Mistake:
    """One wrong answer. `true` and `predicted` hold label names: one each, or any number when multi-label."""

    row: int  # in the split
    true: list[str]
    predicted: list[str]
    confidence: float  # probability given to what is wrong
    text: str = ""  # filled in by the caller, who has the examples
    where: str = ""  # such as ``test.csv:12``


class ConfidentMistakes:
    """Keeps the `limit` mistakes with the highest confidence, of any number of examples.

    Multi-label: the confidence is that in the label which is most wrong, ``p`` where it was predicted in error and
    ``1 - p`` where it was missed.
    """

    def __init__(self, labels: Sequence[str], limit: int = 20) -> None:
        self.labels, self.limit = list(labels), limit
        self._heap: list[tuple[float, int, Mistake]] = []  # the row breaks ties, earlier rows stay

    def add(self, rows: Sequence[int], labels: Any, predictions: list[Prediction]) -> None:
        """Take a batch: row numbers, gold labels (class indices, or a 0/1 matrix) and predictions."""
        for row, gold, prediction in zip(rows, as_array(labels), predictions, strict=True):
            mistake = self._single(int(row), int(gold), prediction) if gold.ndim == 0 else None
            mistake = self._several(int(row), gold > 0.5, prediction) if gold.ndim else mistake
            if mistake is None:
                continue
            entry = (mistake.confidence, -mistake.row, mistake)
            push = heapq.heappush if len(self._heap) < self.limit else heapq.heappushpop
            push(self._heap, entry)

    def top(self) -> list[Mistake]:
        """Return the mistakes, surest first."""
        return [mistake for *_, mistake in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]

    def _single(self, row: int, gold: int, prediction: Prediction) -> Mistake | None:
        true, said = self.labels[gold], prediction["label"]
        if said == true:
            return None
        return Mistake(row, [true], [said], float(prediction["probabilities"][said]))

    def _several(self, row: int, gold: Any, prediction: Prediction) -> Mistake | None:
        true = [label for label, is_gold in zip(self.labels, gold, strict=True) if is_gold]
        said = list(prediction["labels"])
        probabilities = prediction["probabilities"]
        doubts = [probabilities[label] for label in set(said) - set(true)]
        doubts += [1 - probabilities[label] for label in set(true) - set(said)]
        return Mistake(row, true, said, float(max(doubts))) if doubts else None
