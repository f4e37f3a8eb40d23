"""The scores of found entities: whole ones, by type, and by kind of mistake."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weitiao.metrics.tags import Span, untokenized
from weitiao.metrics.words import greater_is_better
from weitiao.records import Example, Prediction, Score, Scores, Told

Floats = NDArray[np.float64]


class Agreement(NamedTuple):
    """How found entities of one type agree with the right ones, in one example."""

    right: int  # same start, end and type
    partial: int  # beside them: pairs of one type that overlap
    gold: int
    said: int


def agreement(gold: set[Span], said: set[Span]) -> Agreement:
    """Compare entities of one type.

    Each takes part in one pair at most: first those that are the same, then, from the left, each found entity with the
    first right one that it overlaps and that is still free (Chinchor & Sundheim 1993, *MUC-5 Evaluation Metrics*;
    nervaluate's ``partial``).
    """
    right = gold & said
    free, partial = sorted(gold - right), 0
    for span in sorted(said - right):
        overlapped = next((other for other in free if other.start < span.end and span.start < other.end), None)
        if overlapped is not None:
            free.remove(overlapped)
            partial += 1
    return Agreement(len(right), partial, len(gold), len(said))


_KINDS = ("right", "other type", "other bounds", "other bounds and type", "invented")


def _kinds(gold: set[Span], said: set[Span]) -> Counter[str]:
    """Count found entities by how they differ from the right ones, and right ones nobody overlaps as ``missed``."""
    bounds = {(span.start, span.end) for span in gold}
    kinds: Counter[str] = Counter()
    for span in said:
        over = [other for other in gold if other.start < span.end and span.start < other.end]
        if span in gold:
            kinds["right"] += 1
        elif (span.start, span.end) in bounds:
            kinds["other type"] += 1
        elif over:
            kinds["other bounds" if any(o.type == span.type for o in over) else "other bounds and type"] += 1
        else:
            kinds["invented"] += 1
    kinds["missed"] = sum(not any(o.start < s.end and s.start < o.end for s in said) for o in gold)
    return kinds


def _ratio(part: Floats, whole: Floats) -> Floats:
    result: Floats = np.divide(part, whole, out=np.zeros_like(part, dtype=float), where=whole > 0)
    return result


class _Table(NamedTuple):
    """One row for each example and type that occurs in it; all of shape (rows,)."""

    example: NDArray[np.int64]
    type: NDArray[np.int64]
    counts: Floats  # shape (rows, 4): the fields of `Agreement`

    def of_types(self, times: Floats, types: int) -> Floats:
        """Sum the counts over examples, the example i counting `times[i]`; shape (4, types)."""
        weight = times[self.example]
        return np.array([np.bincount(self.type, weight * column, types) for column in self.counts.T])

    def of_examples(self, n: int) -> Floats:
        """Sum the counts over types; shape (4, n)."""
        return np.array([np.bincount(self.example, column, n) for column in self.counts.T])


class EntityScorer:
    """Scores of entities; keeps a few numbers for each type that occurs in an example.

    ``f1``, ``precision`` and ``recall`` are strict and micro: an entity is right if start, end and type are, and all
    entities count alike. ``macro_f1`` is the mean over the types that occur as gold or as prediction. ``partial_f1``
    counts half an entity for a pair that overlaps and has the right type (`agreement`), summed over types: ``precision
    = (right + partial / 2) / found``, ``recall = (right + partial / 2) / gold``. ``token_accuracy`` is there where
    `gold_tags` is given and predictions hold ``tags``: the share of right tags, a token without one counting as wrong.
    What divides by nothing is 0. Values are those of seqeval and, for ``partial_f1``, of nervaluate, type by type.

    `gold` returns an example's entities, in tokens or characters as the predictions are. `types` sets the order of the
    table; others are added as they are met. `units` returns what starts and ends count: an example's tokens or text.
    """

    def __init__(
        self,
        gold: Callable[[Example], Iterable[Span]],
        types: Sequence[str] = (),
        *,
        primary: str = "f1",
        gold_tags: Callable[[Example], Sequence[str] | None] | None = None,
        units: Callable[[Example], Sequence[str]] | None = None,
    ) -> None:
        self.gold, self.gold_tags, self.primary = gold, gold_tags, primary
        self.units = units or _units
        self._types = {type: index for index, type in enumerate(types)}
        self._examples, self._of_example, self._of_type, self._counts = 0, array("q"), array("i"), array("i")
        self._right_tags, self._tags = array("i"), array("i")
        self._kinds: Counter[str] = Counter()
        self._seen: _Table | None = None

    @property
    def types(self) -> list[str]:
        """The types known or met."""
        return list(self._types)

    def add(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        """Take a batch: examples with their entities and a prediction for each."""
        self._seen = None
        for example, prediction in zip(examples, predictions, strict=True):
            gold, said = set(self.gold(example)), _said(prediction)
            self._kinds += _kinds(gold, said)
            for type in sorted({span.type for span in gold | said}):
                counts = agreement(*({span for span in spans if span.type == type} for spans in (gold, said)))
                self._of_example.append(self._examples)
                self._of_type.append(self._types.setdefault(type, len(self._types)))
                self._counts.extend(counts)
            right, tags = self._compared(example, prediction)
            self._right_tags.append(right)
            self._tags.append(tags)
            self._examples += 1

    def compute(self, rows: NDArray[Any] | None = None) -> dict[str, float]:
        """Return the scores on `rows` (repeats count as often as they stand), or on all; empty without examples."""
        n = self._examples
        times = np.ones(n) if rows is None else np.bincount(rows, minlength=n).astype(float)
        if not times.any():
            return {}
        counts = self._table().of_types(times, len(self._types))
        scores = _scores_of(counts)
        tags = np.array(self._tags, float)
        if tags.any():
            whole = float(times @ tags)
            scores["token_accuracy"] = float(times @ np.array(self._right_tags, float)) / whole if whole else 0.0
        return scores

    def scores(self) -> Scores:
        """Return all scores without intervals; details hold `types`, `never_said` and `tables`: by type,
        and by kind of mistake."""
        values = {name: Score(value) for name, value in self.compute().items()}
        tables = [self._by_type(), self._by_kind()] if values else []
        details = {"kind": "entities", "types": self.types, "tables": tables, "never_said": self._never_said()}
        return Scores(self.primary, values, self._examples, greater_is_better(self.primary), details)

    def outcomes(self) -> Floats:
        """Return each example's strict F1, shape (n,); 1.0 where it has no entity and none was found."""
        right, _, gold, said = self._table().of_examples(self._examples)
        return np.where(gold + said > 0, _ratio(2 * right, gold + said), 1.0)

    def tell(self, example: Example, prediction: Prediction) -> Told:
        """Return the example with its entities and those found, as ``Disease: breast cancer``.

        `sure` is the highest score of an entity that is not right; None where entities were only missed, or have none.
        """
        units = self.units(example)
        gold, said = set(self.gold(example)), _said(prediction)
        wrong = [e["score"] for e in prediction["entities"] if e.get("score") is not None and Span.of(e) not in gold]
        right = 2 * len(gold & said) / (len(gold) + len(said)) if gold or said else 1.0
        expected, answered = _words(gold, units), _words(said, units)
        return Told(_text(units), expected, answered, right, float(max(wrong)) if wrong else None)

    def _compared(self, example: Example, prediction: Prediction) -> tuple[int, int]:
        """Return how many tags are right and how many there are; 0 and 0 where there are none to compare."""
        gold = self.gold_tags(example) if self.gold_tags else None
        said = prediction.get("tags")
        if gold is None or said is None:
            return 0, 0
        return sum(a == b for a, b in zip(gold, said, strict=False)), len(gold)

    def _table(self) -> _Table:
        if self._seen is None:  # a bootstrap asks a thousand times for the same
            counts = np.array(self._counts, float).reshape(-1, 4)
            self._seen = _Table(np.array(self._of_example, np.int64), np.array(self._of_type, np.int64), counts)
        return self._seen

    def _by_type(self) -> dict[str, Any]:
        right, partial, gold, said = self._table().of_types(np.ones(self._examples), len(self._types))
        halves = right + partial / 2
        columns = (_ratio(right, said), _ratio(right, gold), _ratio(2 * right, gold + said),
                   _ratio(2 * halves, gold + said))  # fmt: skip
        counted = zip(self._types, *(column.tolist() for column in columns), gold, said, strict=True)
        return {
            "title": "Each type of entity",
            "about": "Strict: start, end and type are right. Partial F1 gives half for an overlap with the right type.",
            "columns": ["type", "precision", "recall", "F1", "partial F1", "gold", "found"],
            "rows": [[*row, int(gold), int(said)] for *row, gold, said in counted],
        }

    def _never_said(self) -> dict[str, int]:
        """Type -> how many entities of it are right, of those that are right somewhere and never found."""
        *_, gold, said = self._table().of_types(np.ones(self._examples), len(self._types))
        return {kind: int(n) for kind, n, found in zip(self._types, gold, said, strict=True) if n and not found}

    def _by_kind(self) -> dict[str, Any]:
        found = sum(self._kinds[kind] for kind in _KINDS)
        rows: list[list[Any]] = [[kind, n, n / found if found else 0.0] for kind in _KINDS for n in [self._kinds[kind]]]
        return {
            "title": "How found entities differ from the right ones",
            "about": f"{self._kinds['missed']:,} right entities are missed: nothing found overlaps them.",
            "columns": ["a found entity is", "entities", "share of found"],
            "rows": rows,
        }


def _scores_of(counts: Floats) -> dict[str, float]:
    """Return the scores from right, partial, gold and found counts of each type, shape (4, types)."""
    right, partial, gold, said = counts.sum(axis=1)
    whole = gold + said
    of_type = _ratio(2 * counts[0], counts[2] + counts[3])[counts[2] + counts[3] > 0]
    return {
        "f1": float(2 * right / whole) if whole else 0.0,
        "precision": float(right / said) if said else 0.0,
        "recall": float(right / gold) if gold else 0.0,
        "macro_f1": float(of_type.mean()) if len(of_type) else 0.0,
        "partial_f1": float((2 * right + partial) / whole) if whole else 0.0,
    }


def _said(prediction: Prediction) -> set[Span]:
    return {Span.of(entity) for entity in prediction["entities"]}


def _units(example: Example) -> Sequence[str]:
    tokens = example.get("tokens")
    units: Sequence[str] = example["text"] if tokens is None else tokens
    return units


def _words(spans: Iterable[Span], units: Sequence[str]) -> list[str]:
    return [f"{type}: {_text(units[start:end])}" for start, end, type in sorted(spans)]


def _text(units: Sequence[str]) -> str:
    return units if isinstance(units, str) else untokenized(units)
