"""Scores of text regression, one or several targets, gathered batch by batch: two numbers an example and target.

A prediction is ``{"value": 3.2}`` for one target, ``{"values": {"valence": 3.1, ...}}`` for several. Values are those
of `scipy.stats` and `sklearn.metrics`. A correlation with a constant (predictions that are all the mean, or a sample in
which all gold values are the same) is undefined; by convention it is 0.0 here, so that the mean baseline scores 0.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weitiao.metrics.told import joined
from weitiao.metrics.words import greater_is_better, spoken
from weitiao.records import Example, Prediction, Score, Scores, Told

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

METRICS = ("spearman", "pearson", "rmse", "mae", "r2")


class _Column(NamedTuple):
    """Numbers of shape (n,), and what ranks need: each one's place among the distinct ones, how many of those."""

    values: Floats
    places: Ints
    distinct: int

    @classmethod
    def of(cls, values: Floats) -> _Column:
        found, places = np.unique(values, return_inverse=True)
        return cls(values, places.astype(np.int64), len(found))

    def counts(self, times: Floats) -> Floats:
        """Count each distinct value where the example i counts `times[i]`; shape (distinct,)."""
        return np.bincount(self.places, times, self.distinct).astype(float)

    def ranks(self, counts: Floats) -> Floats:
        """Return the ranks from 1, equal values sharing their mean rank; shape (n,)."""
        ranks: Floats = (counts.cumsum() - (counts - 1) / 2)[self.places]
        return ranks


def _correlation(x: Floats, y: Floats, times: Floats) -> float:
    total = times.sum()
    x, y = x - times @ x / total, y - times @ y / total
    spread = np.sqrt((times @ (x * x)) * (times @ (y * y)))
    return float(np.clip(times @ (x * y) / spread, -1, 1)) if spread > 0 else 0.0


class _Target(NamedTuple):
    """Gold and predicted values of one target."""

    gold: _Column
    said: _Column

    def compute(self, times: Floats) -> dict[str, float]:
        """Return the scores where the example i counts `times[i]`, at least one of them above 0."""
        error, total = self.said.values - self.gold.values, times.sum()
        squares = float(times @ (error * error))
        return {**self._correlations(times), "rmse": float(np.sqrt(squares / total)),
                "mae": float(times @ np.abs(error) / total), "r2": self._r2(squares, times)}  # fmt: skip

    def _correlations(self, times: Floats) -> dict[str, float]:
        gold, said = self.gold.counts(times), self.said.counts(times)
        if np.count_nonzero(gold) < 2 or np.count_nonzero(said) < 2:
            return {"spearman": 0.0, "pearson": 0.0}
        return {
            "spearman": _correlation(self.gold.ranks(gold), self.said.ranks(said), times),
            "pearson": _correlation(self.gold.values, self.said.values, times),
        }

    def _r2(self, squares: float, times: Floats) -> float:
        """1 - residual / total sum of squares; where all gold values are one, 1.0 for no error at all, else 0.0."""
        if np.count_nonzero(self.gold.counts(times)) < 2:
            return float(squares == 0)
        away = self.gold.values - times @ self.gold.values / times.sum()
        return 1 - squares / float(times @ (away * away))


class RegressionScorer:
    """Spearman's and Pearson's correlation, RMSE, MAE and R² of one or several targets.

    Of several targets the headline is the mean of each target's own score (of the RMSEs too: no pooling); each one's
    scores are in the details. `gold` returns the targets' values of an example, in the order of `targets`. `metric`
    names the primary score; ``auto`` is Spearman. `scales`: what counts as a middling error of each target, best its
    standard deviation in the training split; used by `outcomes` and `tell` alone.
    """

    def __init__(
        self,
        targets: Sequence[str],
        gold: Callable[[Example], Sequence[float]],
        metric: str = "auto",
        scales: Sequence[float] | None = None,
    ) -> None:
        self.targets, self.gold = list(targets), gold
        self.primary = "spearman" if metric == "auto" else metric
        if self.primary not in METRICS:
            raise ValueError(f"'{metric}' is no score of a regression: {', '.join(METRICS)}")
        self.scales = np.array([scale or 1.0 for scale in scales or [1.0] * len(self.targets)])
        self._gold = [array("d") for _ in self.targets]
        self._said = [array("d") for _ in self.targets]
        self._seen: list[_Target] | None = None

    def add(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        """Take a batch: examples with their numbers and a prediction for each."""
        self._seen = None
        for example, prediction in zip(examples, predictions, strict=True):
            for columns, values in ((self._gold, self.gold(example)), (self._said, self._values(prediction))):
                for column, value in zip(columns, values, strict=True):
                    column.append(value)

    def compute(self, rows: NDArray[Any] | None = None) -> dict[str, float]:
        """Return the scores on `rows` (repeats count as often as they stand), or on all; empty without examples."""
        each = self._each(rows)
        return {name: float(np.mean([scores[name] for scores in each])) for name in METRICS} if each else {}

    def scores(self) -> Scores:
        """Return all scores without intervals; details hold `targets` and `tables`: each target's own scores."""
        values = {name: Score(value) for name, value in self.compute().items()}
        details = {"kind": "regression", "targets": self.targets, "tables": [self._table()] if values else []}
        return Scores(self.primary, values, len(self._gold[0]), greater_is_better(self.primary), details)

    def outcomes(self) -> Floats:
        """Return how near each example's values are, shape (n,): the mean over targets of ``1 / (1 + error / scale)``.

        1.0 is exact, 0.5 an error as large as the scale; never 0.
        """
        error = np.abs(np.array(self._said) - np.array(self._gold))
        near: Floats = (1 / (1 + error / self.scales[:, None])).mean(axis=0)
        return near

    def tell(self, example: Example, prediction: Prediction) -> Told:
        """Return the example with its values and the predicted ones; `right` is as in `outcomes`."""
        gold, said = np.array(self.gold(example), float), np.array(self._values(prediction), float)
        right = float((1 / (1 + np.abs(said - gold) / self.scales)).mean())
        given = joined(example.get(role) for role in ("text", "text_pair"))
        return Told(given, self._words(gold), self._words(said), right)

    def _values(self, prediction: Prediction) -> list[float]:
        values = prediction.get("values")
        return [prediction["value"]] if values is None else [values[target] for target in self.targets]

    def _words(self, values: Floats) -> list[str]:
        if len(self.targets) == 1:
            return [f"{values[0]:.4g}"]
        return [f"{target} {value:.4g}" for target, value in zip(self.targets, values, strict=True)]

    def _each(self, rows: NDArray[Any] | None) -> list[dict[str, float]]:
        """Return each target's own scores; empty without examples."""
        n = len(self._gold[0])
        times = np.ones(n) if rows is None else np.bincount(rows, minlength=n).astype(float)
        return [target.compute(times) for target in self._columns()] if times.any() else []

    def _columns(self) -> list[_Target]:
        if self._seen is None:  # a bootstrap asks a thousand times for the same
            pairs = zip(self._gold, self._said, strict=True)
            self._seen = [_Target(_Column.of(np.array(gold)), _Column.of(np.array(said))) for gold, said in pairs]
        return self._seen

    def _table(self) -> dict[str, Any]:
        rows = []
        for name, target, scores in zip(self.targets, self._columns(), self._each(None), strict=True):
            gold, said = target.gold.values, target.said.values
            spread = [float(gold.mean()), float(gold.std()), float(said.mean()), float(said.std())]
            rows.append([name, *(scores[metric] for metric in METRICS), *spread])
        return {
            "title": "Each target",
            "about": "Correlations with a constant are 0 by convention. Spread is the standard deviation: predictions "
            "that spread much less than the gold values keep close to the mean.",
            "columns": ["target", *map(spoken, METRICS),
                        "gold mean", "gold spread", "predicted mean", "predicted spread"],
            "rows": rows,
        }  # fmt: skip
