"""Baselines of text regression: the mean, and TF-IDF with ridge regression."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weitiao.evaluation.baselines.base import Knows, tokens_in
from weitiao.evaluation.baselines.labels import LONGEST_TEXT, MOST_TEXTS, RARE, TOKEN, Text, features, text_of
from weitiao.evaluation.evaluate import Inference, Labelled
from weitiao.records import Example, Prediction, SplitName

STRENGTHS = (0.3, 1.0, 3.0, 10.0)  # of the penalty; tried on validation
USUAL = 3.0  # where there is no validation split
MOST_WORDS = 200_000  # n-grams, the most frequent ones
TARGET = 0.5e-6  # seconds, measured: the regressions of a token for each target


class Mean:
    """Always says the mean of each target in training: the best constant for squared error."""

    knows: Knows = "answers"

    def __init__(self, task: Any, *, seed: int = 0) -> None:
        self.name = "mean"
        self.notes: list[str] = []
        self._task = task
        self._answer: Prediction = {}

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """Take the mean of each target."""
        self._answer = self._task.answer(_gold(self._task, on["train"]).mean(axis=0).tolist())

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield the same prediction for each example."""
        yield from (self._answer for _ in on.rows)


class TfidfRidge:
    """TF-IDF of words and word pairs (character n-grams where a script has no spaces), then ridge regression.

    The features are those of `labels.TfidfLogistic`; targets are less their mean and over their standard deviation.
    The penalty is the one of `STRENGTHS` with the least squared error on validation.
    """

    knows: Knows = "examples"

    def __init__(self, task: Any, *, seed: int = 0) -> None:
        self.name = "TF-IDF + ridge regression"
        self.notes: list[str] = []
        self.penalty = USUAL
        self._task, self._seed = task, seed
        self._vectorizer: Any = None
        self._ridge: Any = None

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """Fit on at most `MOST_TEXTS` texts, a seeded sample; a note says so."""
        train = on["train"].sample(MOST_TEXTS, self._seed)
        if len(train.rows) < len(on["train"].rows):
            self.notes.append(f"fitted on {MOST_TEXTS:,} of {len(on['train'].rows):,} training texts")
        gold = _gold(self._task, train)
        self._mean, self._scale = gold.mean(axis=0), np.where(gold.std(axis=0) > 0, gold.std(axis=0), 1.0)
        matrix = self._vectorize([_cut(text_of(example)) for example in _examples(train)])
        if matrix is None:
            return
        wanted = (gold - self._mean) / self._scale
        if "validation" in on:
            self.penalty = self._best(matrix, wanted, on["validation"])
        self._ridge = _ridge(matrix, wanted, self.penalty, self._seed)

    def fit_seconds(self, train: Labelled) -> float:
        """TF-IDF once, and regressions for each target."""
        targets = len(self._task.known.targets)
        return tokens_in(train, most=MOST_TEXTS, letters=LONGEST_TEXT) * (TOKEN + TARGET * targets)

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield one prediction an example."""
        for examples in on.chunks():
            yield from map(self._task.answer, self._values(examples).tolist())

    def _best(self, matrix: Any, wanted: NDArray[np.float64], validation: Labelled) -> float:
        gold = (_gold(self._task, validation) - self._mean) / self._scale
        seen = self._vectorizer.transform([_cut(text_of(example)) for example in _examples(validation)])

        def error(penalty: float) -> float:
            found = _ridge(matrix, wanted, penalty, self._seed).predict(seen).reshape(gold.shape)
            return float(((found - gold) ** 2).mean())

        return min(STRENGTHS, key=error)

    def _values(self, examples: Sequence[Example]) -> NDArray[np.float64]:
        """Return the values, shape (examples, targets)."""
        if self._ridge is None:
            return np.tile(self._mean, (len(examples), 1))
        matrix = self._vectorizer.transform([_cut(text_of(example)) for example in examples])
        found: NDArray[np.float64] = self._ridge.predict(matrix).reshape(len(examples), -1)
        values: NDArray[np.float64] = self._mean + self._scale * found
        return values

    def _vectorize(self, texts: list[Text]) -> Any:
        """Return the TF-IDF matrix, or None where no text holds a word."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectorizer = TfidfVectorizer(
            analyzer=features, sublinear_tf=True, min_df=2 if len(texts) > RARE else 1, max_features=MOST_WORDS
        )
        try:
            return self._vectorizer.fit_transform(texts)
        except ValueError:  # scikit-learn's "empty vocabulary"
            self.notes.append("no text holds a word, so it can only say the mean")
            return None


def _examples(on: Labelled) -> Iterator[Example]:
    return chain.from_iterable(on.chunks())


def _gold(task: Any, on: Labelled) -> NDArray[np.float64]:
    """Return the numbers of a split, shape (examples, targets)."""
    return np.array([task.gold(example) for example in _examples(on)], dtype=float)


def _ridge(matrix: Any, wanted: NDArray[np.float64], penalty: float, seed: int) -> Any:
    from sklearn.linear_model import Ridge

    return Ridge(alpha=penalty, solver="sparse_cg", tol=1e-4, random_state=seed).fit(matrix, wanted)


def _cut(text: Text) -> Text:
    return text[:LONGEST_TEXT] if isinstance(text, str) else (text[0][:LONGEST_TEXT], text[1][:LONGEST_TEXT])
