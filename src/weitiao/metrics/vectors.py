"""What vectors of texts are worth without any label: is a changed copy of a text nearest to the text it came from?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weitiao.records import Example, Prediction, Score, Scores, Told

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats = NDArray[np.float64]
Vector = Sequence[float] | Mapping[int, float]  # of length 1; a mapping holds what is not 0 of a long one

PRIMARY = "retrieval_accuracy"
ROOM = 1 << 19  # cosines of a matrix that is in memory at once


@dataclass(frozen=True)
class _Each:
    """Numbers of each text, shape (n,)."""

    right: Floats
    loss: Floats
    apart: Floats  # squared distance of the text and its copy
    crowded: Floats  # mean of exp(-2 d^2) over the other texts; nan where there are none


class VectorScorer:
    """Scores of predictions with ``vector`` and ``copy``, the vectors of a text and of its changed copy, of length 1,
    and ``text``, a number for the text.

    `retrieval_accuracy` (primary): share of the copies that are nearer to their own text than to any other of all that
    are measured. `contrastive_loss`: the loss of SimCSE between copies and texts, over all of them. `alignment`: mean
    ``|u - v|^2`` of a text and its copy; `uniformity`: ``log E exp(-2 |u - w|^2)`` over pairs of texts (Wang & Isola
    2020, arXiv:2005.10242; their alpha and t are 2). Less is better of these three. The same text twice is no other.

    Keeps both vectors of each text. Rows of a bootstrap sample are looked for among all texts.
    """

    def __init__(self, temperature: float, given: Callable[[Example], str]) -> None:
        self._temperature, self._given = temperature, given
        self._texts: list[int] = []
        self._vectors: list[Any] = []
        self._copies: list[Any] = []
        self._found: _Each | None = None

    def add(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        """Take a batch."""
        self._found = None
        for prediction in predictions:
            self._texts.append(prediction["text"])
            self._vectors.append(_kept(prediction["vector"]))
            self._copies.append(_kept(prediction["copy"]))

    def compute(self, rows: NDArray[Any] | None = None) -> dict[str, float]:
        """Return the scores on `rows`, or on all; no `uniformity` where all texts are the same."""
        each = self._each()
        rows = np.arange(len(self._texts)) if rows is None else rows
        found = {
            PRIMARY: float(each.right[rows].mean()), "contrastive_loss": float(each.loss[rows].mean()),
            "alignment": float(each.apart[rows].mean()),
        }  # fmt: skip
        crowded = each.crowded[rows]
        if np.isfinite(crowded).any() and np.nanmean(crowded) > 0:
            found["uniformity"] = float(np.log(np.nanmean(crowded)))
        return found

    def scores(self) -> Scores:
        """Return all scores without intervals; the details tell among how many texts was looked."""
        values = {name: Score(value) for name, value in self.compute().items()}
        details = {"kind": "vectors", "among": len(set(self._texts))}
        return Scores(PRIMARY, values, len(self._texts), greater_is_better=True, details=details)

    def outcomes(self) -> Floats:
        """Return 1.0 where the copy was found and 0.0 elsewhere, shape (n,)."""
        return self._each().right

    def tell(self, example: Example, prediction: Prediction) -> Told:
        """Return the text, and how near its copy is to it: which other text is nearer only all of them can tell."""
        near = _cosine(prediction["vector"], prediction["copy"])
        return Told(self._given(example), [], [f"{near:.3f}"], min(max(near, 0.0), 1.0), measure="cosine_of_copy")

    def _each(self) -> _Each:
        if self._found is None:
            self._found = _measured(_matrix(self._vectors), _matrix(self._copies), self._texts, self._temperature)
        return self._found


def _kept(vector: Vector) -> Any:
    return dict(vector) if isinstance(vector, Mapping) else np.asarray(vector, np.float32)


def _matrix(vectors: Sequence[Any]) -> NDArray[np.float32] | csr_matrix:
    """All vectors as rows."""
    if not any(isinstance(vector, dict) for vector in vectors):
        return np.stack(vectors)
    from scipy.sparse import csr_matrix

    ends = np.cumsum([0, *map(len, vectors)])
    columns = np.array([place for vector in vectors for place in vector], np.int64)
    values = np.array([value for vector in vectors for value in vector.values()], np.float32)
    return csr_matrix((values, columns, ends))


def _cosine(one: Vector, other: Vector) -> float:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return float(sum(value * other.get(place, 0.0) for place, value in one.items()))
    return float(np.dot(np.asarray(one), np.asarray(other)))


def _measured(vectors: Any, copies: Any, texts: Sequence[int], temperature: float) -> _Each:
    number, step = np.array(texts, np.uint64), max(1, ROOM // len(texts))
    width = max(vectors.shape[1], copies.shape[1])
    if not isinstance(vectors, np.ndarray):  # sparse rows may end with different columns
        vectors.resize(vectors.shape[0], width)
        copies.resize(copies.shape[0], width)
    parts = []
    for start in range(0, len(texts), step):
        rows = np.arange(start, min(start + step, len(texts)))
        others = number[rows][:, None] != number[None, :]
        parts.append(_of_rows(_products(copies[rows], vectors), _products(vectors[rows], vectors), rows, others,
                              temperature))  # fmt: skip
    return _Each(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _products(some: Any, all_: Any) -> Floats:
    found = some @ all_.T
    return np.asarray(found if isinstance(found, np.ndarray) else found.toarray(), np.float64)


def _of_rows(
    near: Floats, between: Floats, rows: NDArray[Any], others: NDArray[np.bool_], temperature: float
) -> tuple[Floats, ...]:
    """The numbers of some texts; `near` are cosines of copies and texts, `between` those of texts, (rows, texts)."""
    own = near[np.arange(len(rows)), rows]
    far = np.where(others, near, -np.inf)
    right = (own > far.max(axis=1)) & others.any(axis=1)
    logits = np.concatenate([own[:, None], far], axis=1) / temperature
    most = logits.max(axis=1, keepdims=True)
    loss = np.log(np.exp(logits - most).sum(axis=1)) + most[:, 0] - own / temperature
    count = others.sum(axis=1)
    crowded = np.where(others, np.exp(4 * between - 4), 0).sum(axis=1) / np.where(count, count, np.nan)
    return right.astype(np.float64), loss, np.maximum(2 - 2 * own, 0), crowded
