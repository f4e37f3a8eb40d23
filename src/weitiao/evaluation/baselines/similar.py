"""Which training examples are most like others, by TF-IDF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weitiao.evaluation.baselines.labels import MOST_TEXTS
from weitiao.evaluation.evaluate import Labelled


def drawn(train: Labelled, seed: int, notes: list[str]) -> Labelled:
    """Return at most `MOST_TEXTS` examples, a seeded sample of which a note tells."""
    kept = train.sample(MOST_TEXTS, seed)
    if len(kept.rows) < len(train.rows):
        notes.append(f"knows a random {len(kept.rows):,} of the {len(train.rows):,} training examples")
    return kept


class Similar:
    """Texts by their features, such as `labels.grams` makes them."""

    def __init__(self, texts: Sequence[Any], features: Callable[[Any], list[str]]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectorizer = TfidfVectorizer(analyzer=features, sublinear_tf=True, dtype=np.float32)
        some = [*texts, "0"]  # no vocabulary is empty
        self._known = self._vectorizer.fit_transform(some)[: len(texts)].T.tocsr()

    def nearest(self, texts: Sequence[Any], most: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return for each text the places of the `most` that are nearest, the nearest first and of equals what stands
        first, and how near each is, 0 where nothing is shared; shapes (texts, most), or as many as there are.
        """  # fmt: skip
        near = self._vectorizer.transform(texts) @ self._known
        most = min(most, near.shape[1])
        places, values = np.zeros((len(texts), most), np.int64), np.zeros((len(texts), most), np.float32)
        for number, row in enumerate(near):
            likeness = row.toarray()[0]
            least = np.partition(likeness, -most)[-most]
            some = np.flatnonzero(likeness >= least)
            places[number] = some[np.argsort(-likeness[some], kind="stable")[:most]]
            values[number] = likeness[places[number]]
        return places, values
