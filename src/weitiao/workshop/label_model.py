"""A simple model of labels: good enough to doubt a label by, and fitted in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from weitiao.data.fold import held_out
from weitiao.metrics.tokens import language_of

FOLDS = 5
DIMENSIONS = 300  # that TF-IDF is brought down to

Features = Sequence[str] | np.ndarray  # texts, or a vector for each, float32 of shape (rows, width)


class LabelModel:
    """Logistic regression on vectors, standardised, or on texts: TF-IDF of words and pairs of words (in Chinese of one
    to three characters) in 300 dimensions.
    """  # fmt: skip

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._words: Any = None

    def fit(self, features: Features, labels: np.ndarray) -> LabelModel:
        """Learn labels, numbers from 0 to their count less one, each of which is there; shape (rows,)."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import Normalizer, StandardScaler

        if isinstance(features, np.ndarray):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=100))
            self._model = model.fit(features, labels)
            return self
        self._words = words_of(features)
        weights = self._words.fit_transform(features)
        reduce = TruncatedSVD(min(DIMENSIONS, weights.shape[1] - 1), random_state=self._seed)
        model = make_pipeline(reduce, Normalizer(), LogisticRegression(C=10, max_iter=100))
        self._model = model.fit(weights, labels)
        return self

    def probabilities(self, features: Features) -> np.ndarray:
        """Return the probability of each label for each row, shape (rows, labels)."""
        return np.asarray(
            self._model.predict_proba(features if self._words is None else self._words.transform(features))
        )


def words_of(texts: Sequence[str]) -> Any:
    """Return what turns texts into TF-IDF, to be fitted: of words, in Chinese of characters."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    chinese = language_of(" ".join(texts[:: max(1, len(texts) // 200)])) == "zh"
    analyzer, grams = ("char", (1, 3)) if chinese else ("word", (1, 2))
    return TfidfVectorizer(analyzer=analyzer, ngram_range=grams, sublinear_tf=True, min_df=2)


def out_of_fold(features: Features, labels: np.ndarray, texts: np.ndarray, seed: int) -> np.ndarray:
    """Return the probabilities of all labels for each row, shape (rows, labels), by a model that was not fitted on it,
    nor on another row of the same text (`texts`: see `data.keys.input_keys`). A label that it was not fitted on has 0.
    """  # fmt: skip
    found = np.zeros((len(labels), int(labels.max()) + 1))
    for fit, held in held_out(texts, None, labels, of=FOLDS, seed=seed):
        known, own = np.unique(labels[fit], return_inverse=True)
        if len(known) == 1:
            found[held, known[0]] = 1.0
        else:
            model = LabelModel(seed).fit(_of(features, fit), own)
            found[np.ix_(held, known)] = model.probabilities(_of(features, held))
    return found


def _of(features: Features, rows: np.ndarray) -> Features:
    return features[rows] if isinstance(features, np.ndarray) else [features[row] for row in rows]
