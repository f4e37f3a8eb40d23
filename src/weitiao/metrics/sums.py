"""Scores that follow from a few numbers an example, summed over examples: BLEU, ROUGE, perplexity, error rates.

A `Measure` says which numbers and what follows from their sums; `SummedScorer` keeps one row of them an example. A
bootstrap sample is then a weighted sum of rows: no text is kept or read again.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from weitiao.metrics.words import greater_is_better
from weitiao.records import Example, Prediction, Score, Scores, Told

Floats = NDArray[np.float64]


class Measure(Protocol):
    """Scores that follow from the same sums."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the scores it gives."""

    @property
    def width(self) -> int:
        """How many numbers it keeps of an example."""

    def row(self, example: Example, prediction: Prediction) -> Sequence[float]:
        """Return `width` numbers of an example; all 0 where the prediction lacks what it takes."""

    def scores(self, sums: Floats) -> dict[str, float]:
        """Return the scores of rows summed, shape (width,); none where nothing was counted."""

    def outcome(self, name: str, row: Sequence[float]) -> float:
        """Return how right one example is by the score `name`, 0.0 to 1.0."""

    def details(self) -> dict[str, Any]:
        """Return what is to be known about its scores (JSON values)."""


class SummedScorer:
    """Scores by `measures`, of which the score `primary` decides. Keeps the measures' numbers of an example."""

    def __init__(
        self,
        measures: Sequence[Measure],
        primary: str,
        *,
        kind: str,
        given: Callable[[Example], str],
        expected: Callable[[Example], list[str]],
    ) -> None:
        self.measures, self.primary, self.kind = list(measures), primary, kind
        self._given, self._expected = given, expected
        self._numbers, self._outcomes = array("d"), array("d")
        self._matrix: Floats | None = None

    def add(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        """Take a batch: examples with their targets and a prediction for each."""
        self._matrix = None
        for example, prediction in zip(examples, predictions, strict=True):
            rows = [measure.row(example, prediction) for measure in self.measures]
            for row in rows:
                self._numbers.extend(row)
            self._outcomes.append(self._outcome(rows))

    def compute(self, rows: NDArray[Any] | None = None) -> dict[str, float]:
        """Return the scores on `rows` (repeats count as often as they stand), or on all, the primary one first."""
        matrix = self._rows()
        times = np.ones(len(matrix)) if rows is None else np.bincount(rows, minlength=len(matrix)).astype(float)
        sums, start = times @ matrix, 0
        found: dict[str, float] = {}
        for measure in self.measures:
            found |= measure.scores(sums[start : start + measure.width])
            start += measure.width
        first = {self.primary: found[self.primary]} if self.primary in found else {}
        return first | found

    def scores(self) -> Scores:
        """Return all scores without intervals; details are those of the measures and `kind`."""
        values = {name: Score(value) for name, value in self.compute().items()}
        details: dict[str, Any] = {"kind": self.kind}
        for measure in self.measures:
            for name, value in measure.details().items():  # several measures tell their signatures
                details[name] = details[name] | value if isinstance(details.get(name), dict) else value
        return Scores(self.primary, values, len(self._outcomes), greater_is_better(self.primary), details)

    def outcomes(self) -> Floats:
        """Return how right each example is by the primary score, 0.0 to 1.0, shape (n,)."""
        return np.array(self._outcomes, dtype=float)

    def tell(self, example: Example, prediction: Prediction) -> Told:
        """Return the example, what was expected and what was said."""
        right = self._outcome([measure.row(example, prediction) for measure in self.measures])
        return Told(self._given(example), self._expected(example), said(prediction), right)

    def _outcome(self, rows: Sequence[Sequence[float]]) -> float:
        for measure, row in zip(self.measures, rows, strict=True):
            if self.primary in measure.names:
                return measure.outcome(self.primary, row)
        return 0.0

    def _rows(self) -> Floats:
        if self._matrix is None:  # a bootstrap asks a thousand times for the same
            width = sum(measure.width for measure in self.measures)
            self._matrix = np.array(self._numbers, dtype=float).reshape(len(self._outcomes), width)
        return self._matrix


def said(prediction: Prediction) -> list[str]:
    """Return the texts of a prediction: its one text, its several, or none."""
    if "texts" in prediction:
        return list(prediction["texts"])
    return [prediction["text"]] if "text" in prediction else []
