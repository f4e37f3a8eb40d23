"""What a simple model makes of the labels that a part has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from weitiao.data.kept import Kept
from weitiao.data.labels import label_codes
from weitiao.data.units import frequent
from weitiao.workshop.embeddings import Embedder
from weitiao.workshop.label_model import FOLDS, Features, out_of_fold
from weitiao.workshop.reading import Part


@dataclass(frozen=True, eq=False)
class KnownLabels:
    """The rows of labels that are frequent enough, and what a model makes of them that was not fitted on them."""

    rows: np.ndarray  # int64 of shape (n,)
    labels: np.ndarray  # int64 of shape (n,), places in `names`
    names: list[str]
    probabilities: np.ndarray  # float64 of shape (n, labels)


def can_learn(part: Part, rows: np.ndarray | None = None) -> bool:
    """Whether a part, or some rows of it, have one label each, and two labels of `FOLDS` different texts or more."""
    if part.label is None or not pa.types.is_string(part.dataset.data.schema.field("label").type):
        return False
    rows = np.arange(len(part)) if rows is None else rows
    codes, names = label_codes(part.dataset)
    return int(np.sum(frequent(codes[rows], part.keys[rows], FOLDS) < len(names))) > 1


def known_labels(
    part: Part, keep: Kept, *, seed: int, embedder: Embedder | None = None, most: int | None = None
) -> KnownLabels:
    """Have the labels of at most `most` rows told by a model that was not fitted on them, nor on another row of their
    text: by embeddings, or without `embedder` by words. Labels of fewer than `FOLDS` different texts are left out.
    """  # fmt: skip
    codes, names = label_codes(part.dataset)
    rows = np.arange(len(part)) if most is None else part.sample(most, seed)
    known = frequent(codes[rows], part.keys[rows], FOLDS)
    known = known[known < len(names)]  # the last number: no label
    rows = rows[np.isin(codes[rows], known)]
    labels = np.searchsorted(known, codes[rows])
    by = "words" if embedder is None else embedder.name
    made = keep(f"labels-{part.name}-{by}-{seed}-{len(rows)}", lambda: {
        "probabilities": out_of_fold(features_of(part, rows, keep, embedder), labels, part.keys[rows], seed)
    })  # fmt: skip
    return KnownLabels(rows, labels, [names[code] for code in known], made["probabilities"])


def features_of(part: Part, rows: np.ndarray, keep: Kept, embedder: Embedder | None) -> Features:
    """Return what a simple model learns labels from: embeddings, or without `embedder` the texts."""
    return part.read(rows) if embedder is None else embedder.embed(part, rows, keep)
