"""Scores of text classification, single-label and multi-label, gathered batch by batch in bounded memory.

A single-label prediction is ``{"label": name, "score": confidence, "probabilities": {name: p, ...}}``, a multi-label
one ``{"labels": [name, ...], "probabilities": {name: p, ...}}``. Probabilities are read once and not kept: what stays
is a few numbers an example. Values are those of `sklearn.metrics` with ``zero_division=0``.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weitiao.metrics.told import joined
from weitiao.metrics.words import greater_is_better
from weitiao.records import Example, Prediction, Score, Scores, Told

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

BINS = 10  # of the calibration error and the reliability diagram
_LARGEST_MATRIX = 300  # labels; a larger confusion matrix is neither read nor small
_EPSILON = float(np.finfo(np.float64).eps)  # what scikit-learn clips probabilities to


def label_names(cell: Any) -> list[str]:
    """Return the label names in a cell: one, or several in a list; white space around them does not count."""
    cells = cell if isinstance(cell, list) else [cell]
    return [name for c in cells if c is not None and (name := c.strip())]


def gold_index(labels: Mapping[str, int], example: Example) -> int:
    """Return the index of an example's one label."""
    return labels[label_names(example["label"])[0]]


def gold_matrix(labels: Mapping[str, int], examples: Sequence[Example]) -> NDArray[np.bool_]:
    """Return which labels each example has, bool of shape (examples, labels)."""
    matrix = np.zeros((len(examples), len(labels)), dtype=bool)
    for row, example in enumerate(examples):
        matrix[row, [labels[name] for name in label_names(example["label"])]] = True
    return matrix


def _given(example: Example) -> str:
    return joined(example.get(role) for role in ("text", "text_pair"))


def _ratio(part: Floats, whole: Floats) -> Floats:
    result: Floats = np.divide(part, whole, out=np.zeros_like(part, dtype=float), where=whole > 0)
    return result


class _Counts:
    """Hits, predicted and gold counts of each label, shape (labels,), and what follows from them."""

    def __init__(self, hits: Floats, predicted: Floats, gold: Floats) -> None:
        self.hits, self.predicted, self.gold = hits, predicted, gold
        self.precision, self.recall = _ratio(hits, predicted), _ratio(hits, gold)
        self.f1 = _ratio(2 * hits, predicted + gold)
        self.occurs = (predicted + gold) > 0

    def averages(self, averaged: NDArray[np.bool_]) -> dict[str, float]:
        """Macro over the `averaged` labels, micro over all decisions, weighted by gold counts."""
        hits, predicted, gold = self.hits.sum(), self.predicted.sum(), self.gold.sum()
        return {
            "macro_f1": _mean(self.f1[averaged]),
            "micro_f1": float(2 * hits / (predicted + gold)) if predicted + gold else 0.0,
            "weighted_f1": float(self.f1 @ self.gold / gold) if gold else 0.0,
            "macro_precision": _mean(self.precision[averaged]),
            "macro_recall": _mean(self.recall[averaged]),
            "micro_precision": float(hits / predicted) if predicted else 0.0,
            "micro_recall": float(hits / gold) if gold else 0.0,
        }

    def never_said(self, labels: Sequence[str]) -> dict[str, int]:
        """Label -> how often it is right, of those that are right and never predicted."""
        counted = zip(labels, self.gold, self.predicted, strict=True)
        return {label: int(gold) for label, gold, predicted in counted if gold and not predicted}

    def table(self, labels: Sequence[str]) -> list[dict[str, Any]]:
        """One row a label, in the order of the labels."""
        return [
            {
                "label": label,
                "precision": float(self.precision[i]),
                "recall": float(self.recall[i]),
                "f1": float(self.f1[i]),
                "support": int(self.gold[i]),
                "predicted": int(self.predicted[i]),
            }
            for i, label in enumerate(labels)
        ]


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else 0.0


class Calibration:
    """How often what was said with confidence p is right, over ten equal bins of p.

    The expected calibration error is the mean distance between confidence and share of right answers, weighted by the
    examples in a bin (Guo et al. 2017, *On Calibration of Modern Neural Networks*).
    """

    def __init__(self, bins: int = BINS) -> None:
        self.bins = bins
        self._count, self._confidence, self._right = np.zeros(bins), np.zeros(bins), np.zeros(bins)

    def add(self, confidence: Floats, right: NDArray[Any]) -> None:
        """Take confidences in [0, 1] and whether each came true, both of shape (n,)."""
        at = np.clip((confidence * self.bins).astype(np.int64), 0, self.bins - 1)
        self._count += np.bincount(at, minlength=self.bins)
        self._confidence += np.bincount(at, confidence, self.bins)
        self._right += np.bincount(at, right.astype(float), self.bins)

    def error(self) -> float:
        """Return the expected calibration error; 0.0 without examples."""
        return float(np.abs(self._right - self._confidence).sum() / max(self._count.sum(), 1))

    def table(self) -> list[dict[str, float]]:
        """One row a bin that holds examples: its bounds, examples, mean confidence, share right."""
        return [
            {
                "low": i / self.bins,
                "high": (i + 1) / self.bins,
                "examples": int(n),
                "confidence": float(self._confidence[i] / n),
                "right": float(self._right[i] / n),
            }
            for i, n in enumerate(self._count)
            if n
        ]


class _Rows(NamedTuple):
    """What `SingleLabelScorer` keeps, as arrays of shape (n,)."""

    gold: Ints
    predicted: Ints
    losses: Floats
    ranks: Ints  # of the second label's probability, dense; empty unless there are two labels

    def at(self, rows: NDArray[Any]) -> _Rows:
        ranks = self.ranks[rows] if len(self.ranks) else self.ranks
        return _Rows(self.gold[rows], self.predicted[rows], self.losses[rows], ranks)


class SingleLabelScorer:
    """Scores of one label an example. Keeps four numbers an example.

    Macro averages run over the labels that occur as gold or as prediction, as in scikit-learn.
    """

    def __init__(self, labels: Sequence[str], primary: str = "accuracy") -> None:
        self.labels, self.primary = list(labels), primary
        self._index = {label: i for i, label in enumerate(self.labels)}
        self._gold, self._predicted = array("i"), array("i")
        self._gold_probability, self._confidence = array("d"), array("d")
        self._positive = array("d")  # probability of the second label, where there are two
        self._seen: _Rows | None = None

    def add(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        """Take a batch: labelled examples and a prediction for each."""
        self._seen = None
        for example, prediction in zip(examples, predictions, strict=True):
            index = gold_index(self._index, example)
            probabilities = prediction["probabilities"]
            self._gold.append(index)
            self._predicted.append(self._index[prediction["label"]])
            self._gold_probability.append(probabilities[self.labels[index]])
            self._confidence.append(probabilities[prediction["label"]])
            if len(self.labels) == 2:
                self._positive.append(probabilities[self.labels[1]])

    def compute(self, rows: NDArray[Any] | None = None) -> dict[str, float]:
        """Return the scores on `rows` (repeats count as often as they stand), or on all; empty without examples."""
        seen = self._rows() if rows is None else self._rows().at(rows)
        if not len(seen.gold):
            return {}
        counts = self._counts(seen)
        averages = counts.averages(counts.occurs)
        scores = {"accuracy": averages.pop("micro_f1")}  # with one label an example they are the same number
        del averages["micro_precision"], averages["micro_recall"]
        scores |= {"macro_f1": averages.pop("macro_f1"), "micro_f1": scores["accuracy"], **averages}
        if len(self.labels) == 2:
            scores |= _binary(counts, seen)
        return {**scores, "log_loss": float(seen.losses.mean())}

    def scores(self) -> Scores:
        """Return all scores without intervals.

        Details: `labels`; `per_class`; `never_said`, of labels that are right somewhere and never predicted how often
        they are right; `confusion`, a nested list with a row a gold label (None above 300 labels); `confused`, the
        pairs of labels most often taken for each other; `ece` and `reliability`; `surest`, of the fifth of the
        examples that the model is surest of how many are right.
        """
        gold, predicted, *_ = self._rows()
        calibration = Calibration()
        calibration.add(np.array(self._confidence), gold == predicted)
        counts = self._counts(self._rows())
        details = {
            "kind": "single-label",
            "labels": self.labels,
            "confusion": self._confusion() if len(self.labels) <= _LARGEST_MATRIX else None,
            "confused": self._confused(),
            "per_class": counts.table(self.labels),
            "never_said": counts.never_said(self.labels),
            "ece": calibration.error(),
            "reliability": calibration.table(),
            "surest": self._surest(gold == predicted),
        }
        return _scores(self, details)

    def _surest(self, right: NDArray[Any]) -> dict[str, float] | None:
        """How often the fifth is right that the model is surest of."""
        count = len(right) // 5
        first = np.argsort(-np.array(self._confidence), kind="stable")[:count]
        return {"examples": count, "right": float(right[first].mean())} if count else None

    def outcomes(self) -> Floats:
        """Return 1.0 where the label is right, else 0.0; shape (n,)."""
        gold, predicted, *_ = self._rows()
        right: Floats = (gold == predicted).astype(float)
        return right

    def tell(self, example: Example, prediction: Prediction) -> Told:
        """Return the example with its label and the one it was given; `sure` is the latter's probability."""
        gold, said = label_names(example["label"])[0], prediction["label"]
        return Told(_given(example), [gold], [said], float(gold == said), float(prediction["probabilities"][said]))

    def _rows(self) -> _Rows:
        if self._seen is None:  # a bootstrap asks a thousand times for the same
            probabilities = np.clip(np.array(self._gold_probability), _EPSILON, 1 - _EPSILON)
            ranks = np.unique(np.array(self._positive), return_inverse=True)[1].astype(np.int64)
            gold, predicted = np.array(self._gold, np.int64), np.array(self._predicted, np.int64)
            self._seen = _Rows(gold, predicted, -np.log(probabilities), ranks)
        return self._seen

    def _confusion(self) -> list[list[int]]:
        gold, predicted, *_ = self._rows()
        size = len(self.labels)
        matrix = np.bincount(gold * size + predicted, minlength=size * size).reshape(size, size)
        return [[int(cell) for cell in row] for row in matrix]

    def _confused(self, limit: int = 30) -> list[dict[str, Any]]:
        gold, predicted, *_ = self._rows()
        wrong = gold != predicted
        pairs, times = np.unique(gold[wrong] * len(self.labels) + predicted[wrong], return_counts=True)
        most = np.argsort(-times, kind="stable")[:limit]
        support = np.bincount(gold, minlength=len(self.labels))
        found = []
        for pair, count in zip(pairs[most].tolist(), times[most].tolist(), strict=True):
            true, said = divmod(pair, len(self.labels))
            share = count / int(support[true])
            found.append({"gold": self.labels[true], "predicted": self.labels[said], "examples": count, "share": share})
        return found

    def _counts(self, seen: _Rows) -> _Counts:
        size = len(self.labels)
        hits = np.bincount(seen.gold[seen.gold == seen.predicted], minlength=size)
        counted = (hits, np.bincount(seen.predicted, minlength=size), np.bincount(seen.gold, minlength=size))
        return _Counts(*(each.astype(float) for each in counted))


def _binary(counts: _Counts, seen: _Rows) -> dict[str, float]:
    """Scores of the second label, taken as the positive one."""
    precision, recall, f1 = counts.precision[1], counts.recall[1], counts.f1[1]
    scores = {"precision": float(precision), "recall": float(recall), "f1": float(f1)}
    if counts.gold.all():  # undefined with one class
        scores["roc_auc"] = _roc_auc(seen.ranks, seen.gold)
    return scores


def _roc_auc(ranks: Ints, gold: Ints) -> float:
    """Share of (positive, negative) pairs in the right order, ties counted half (Mann-Whitney U); `ranks` are dense."""
    size = int(ranks.max()) + 1
    positive = np.bincount(ranks[gold == 1], minlength=size)
    negative = np.bincount(ranks[gold == 0], minlength=size)
    below = np.cumsum(negative) - negative
    pairs = float((positive * (below + negative / 2)).sum())
    return pairs / (float(positive.sum()) * float(negative.sum()))


class MultiLabelScorer:
    """Scores of any number of labels an example.

    Keeps which (example, label) pairs are gold and which predicted, and one log loss an example. Macro averages run
    over all labels, as in scikit-learn; in a bootstrap sample a label that only this sample misses is left out
    rather than counted as 0, which would pull the interval down.
    """

    def __init__(
        self, labels: Sequence[str], primary: str = "macro_f1", thresholds: Mapping[str, float] | None = None
    ) -> None:
        self.labels, self.primary = list(labels), primary
        self.thresholds = dict(thresholds) if thresholds is not None else None
        self._index = {label: i for i, label in enumerate(self.labels)}
        self._gold, self._predicted, self._hits = _Pairs(), _Pairs(), _Pairs()
        self._losses = array("d")
        self._calibration = Calibration()

    def add(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        """Take a batch: labelled examples and a prediction for each."""
        gold = gold_matrix(self._index, examples)
        probabilities = _matrix(self.labels, predictions)
        clipped = np.clip(probabilities, _EPSILON, 1 - _EPSILON)
        first = len(self._losses)
        for row, (truth, prediction) in enumerate(zip(gold, predictions, strict=True), start=first):
            right = set(np.flatnonzero(truth).tolist())
            said = {self._index[label] for label in prediction["labels"]}
            for pairs, found in ((self._gold, right), (self._predicted, said), (self._hits, right & said)):
                pairs.add(row, found)
        losses = -np.log(np.where(gold, clipped, 1 - clipped)).mean(axis=1)
        self._losses.extend(losses.tolist())
        self._calibration.add(probabilities.ravel(), gold.ravel())

    def compute(self, rows: NDArray[Any] | None = None) -> dict[str, float]:
        """Return the scores on `rows` (repeats count as often as they stand), or on all; empty without examples."""
        n, size = len(self._losses), len(self.labels)
        times = np.ones(n) if rows is None else np.bincount(rows, minlength=n).astype(float)
        total = times.sum()
        if not total:
            return {}
        counts = self._counts(times)
        averaged = np.ones(size, dtype=bool) if rows is None else counts.occurs | ~self._whole().occurs
        wrong = float((counts.gold + counts.predicted - 2 * counts.hits).sum())
        return {
            "subset_accuracy": float(times @ self._exact() / total),
            **counts.averages(averaged),
            "hamming_loss": wrong / float(total * size),
            "log_loss": float(times @ np.array(self._losses) / total),
        }

    def scores(self) -> Scores:
        """Return all scores without intervals; details hold `labels`, `per_class` (with thresholds), calibration."""
        table = self._whole().table(self.labels)
        if self.thresholds is not None:
            for row in table:
                row["threshold"] = self.thresholds[row["label"]]
        details = {
            "kind": "multi-label",
            "labels": self.labels,
            "per_class": table,
            "never_said": self._whole().never_said(self.labels),
            "thresholds": self.thresholds,
            "ece": self._calibration.error(),
            "reliability": self._calibration.table(),
        }
        return _scores(self, details)

    def outcomes(self) -> Floats:
        """Return one number an example, shape (n,): F1 between gold and predicted labels (1.0 where both are empty).

        Where the primary score is ``subset_accuracy``: 1.0 if all labels are right, else 0.0.
        """
        if self.primary == "subset_accuracy":
            return self._exact()
        n = len(self._losses)
        hits, whole = self._hits.of_rows(n), self._gold.of_rows(n) + self._predicted.of_rows(n)
        return np.where(whole > 0, _ratio(2 * hits, whole), 1.0)

    def tell(self, example: Example, prediction: Prediction) -> Told:
        """Return the example with its labels and those it was given.

        `sure` is about the label that is most wrong: ``p`` where it was given in error, ``1 - p`` where it was missed.
        """
        gold, said, probabilities = label_names(example["label"]), prediction["labels"], prediction["probabilities"]
        doubts = [probabilities[label] for label in set(said) - set(gold)]
        doubts += [1 - probabilities[label] for label in set(gold) - set(said)]
        whole = len(set(gold)) + len(said)
        right = 2 * len(set(gold) & set(said)) / whole if whole else 1.0
        return Told(_given(example), gold, list(said), right, float(max(doubts, default=0.0)))

    def _counts(self, times: Floats) -> _Counts:
        size = len(self.labels)
        return _Counts(*(pairs.of_labels(times, size) for pairs in (self._hits, self._predicted, self._gold)))

    def _whole(self) -> _Counts:
        return self._counts(np.ones(len(self._losses)))

    def _exact(self) -> Floats:
        n = len(self._losses)
        hits = self._hits.of_rows(n)
        exact: Floats = ((hits == self._gold.of_rows(n)) & (hits == self._predicted.of_rows(n))).astype(float)
        return exact


class _Pairs:
    """(example, label) pairs: what a sparse 0/1 matrix holds."""

    def __init__(self) -> None:
        self._rows, self._labels = array("q"), array("i")

    def add(self, row: int, labels: set[int]) -> None:
        self._rows.extend([row] * len(labels))
        self._labels.extend(labels)

    def of_labels(self, times: Floats, size: int) -> Floats:
        """Sum `times` (how often each example counts) over the examples of each label; shape (size,)."""
        return np.bincount(_view(self._labels, np.int32), times[_view(self._rows, np.int64)], size).astype(float)

    def of_rows(self, n: int) -> Floats:
        """Count the labels of each example; shape (n,)."""
        return np.bincount(_view(self._rows, np.int64), minlength=n).astype(float)


def _view(values: array[int], kind: Any) -> NDArray[Any]:
    return np.array(values, dtype=kind)


class ThresholdTuner:
    """Finds, for each label, the threshold on its probability that gives the best F1 on the examples seen.

    Keeps two histograms a label, never the probabilities. A label is predicted where ``probability >= threshold``;
    thresholds lie on the edges of the bins. Between equally good ones 0.5 is taken, else the middle of the stretch
    nearest to it; a label without positives keeps 0.5.
    """

    def __init__(self, labels: Sequence[str], bins: int = 1000) -> None:
        self.labels = list(labels)
        self.edges = np.arange(bins + 1) / bins
        self._positive = np.zeros((len(self.labels), bins), dtype=np.int64)
        self._negative = np.zeros_like(self._positive)

    def add(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        """Take a batch: labelled examples and a prediction with probabilities for each."""
        gold = gold_matrix({label: i for i, label in enumerate(self.labels)}, examples)
        bins = len(self.edges) - 1
        at = np.clip(np.searchsorted(self.edges, _matrix(self.labels, predictions), side="right") - 1, 0, bins - 1)
        for i in range(len(self.labels)):
            self._positive[i] += np.bincount(at[gold[:, i], i], minlength=bins)
            self._negative[i] += np.bincount(at[~gold[:, i], i], minlength=bins)

    def thresholds(self) -> dict[str, float]:
        """Return label -> threshold."""
        return {label: self._best(i) for i, label in enumerate(self.labels)}

    def _best(self, label: int) -> float:
        positives = int(self._positive[label].sum())
        if not positives:
            return 0.5
        hits = self._positive[label][::-1].cumsum()[::-1]  # at or above each edge
        said = hits + self._negative[label][::-1].cumsum()[::-1]
        f1 = _ratio(2.0 * hits, said + float(positives))[1:]  # an edge of 0 would always predict the label
        edges = self.edges[1:-1]
        good = np.flatnonzero(f1 >= f1.max() - 1e-12)
        nearest = good[np.abs(edges[good] - 0.5).argmin()]
        if f1[np.abs(edges - 0.5).argmin()] >= f1.max() - 1e-12:
            return 0.5
        stretches = np.split(good, np.flatnonzero(np.diff(good) > 1) + 1)
        stretch = next(s for s in stretches if nearest in s)
        return float(edges[stretch[len(stretch) // 2]])


def _matrix(labels: list[str], predictions: Sequence[Prediction]) -> Floats:
    """Return the probabilities as shape (n, labels), in the order of `labels`."""
    rows = [[prediction["probabilities"][label] for label in labels] for prediction in predictions]
    return np.array(rows, dtype=float).reshape(len(predictions), len(labels))


def _scores(scorer: SingleLabelScorer | MultiLabelScorer, details: dict[str, Any]) -> Scores:
    values = {name: Score(value) for name, value in scorer.compute().items()}
    examples = len(scorer.outcomes())
    return Scores(scorer.primary, values, examples, greater_is_better(scorer.primary), details)
