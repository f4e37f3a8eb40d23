"""Baselines of token classification: each word's most frequent tag, and a classifier of words by their letters."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weitiao.evaluation.baselines.base import Knows, tokens_in
from weitiao.evaluation.evaluate import Inference, Labelled
from weitiao.records import Example, Prediction, SplitName

Floats = NDArray[np.float64]

MOST_WORDS = 400_000  # words that the classifier is fitted on
BUCKETS = 2**20  # hashed features
SMALLEST, LONGEST = 2, 5  # letters of an n-gram of the word itself
WORD, TAG = 24e-6, 0.85e-6  # seconds, measured: the features of a token; its steps for each tag
SPREAD = 1e-6  # probability of tags that a word never had: what is left when its own make no legal sequence


class FrequentTag:
    """Gives each word the tag it has most often in training; a word not seen there, `O`.

    The tags of a sentence are chosen together as the model's are, each word's shares in training being probabilities.
    """

    knows: Knows = "examples"

    def __init__(self, task: Any, *, seed: int = 0) -> None:
        self.name = "most frequent tag of each word"
        self.notes: list[str] = []
        self._task = task
        self._shares: dict[str, Floats] = {}

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """Count the tags of each word, as it is written."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for example in _examples(on["train"]):
            for word, tag in zip(self._task.units(example).words, self._task.gold_tags(example), strict=True):
                counts[word][tag] += 1
        index = {tag: number for number, tag in enumerate(self._task.tags)}
        self._unknown = _shares({0: 1}, len(index))
        self._shares = {
            word: _shares({index[tag]: count for tag, count in own.items()}, len(index)) for word, own in counts.items()
        }

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield one prediction an example."""
        for example in _examples(on):
            units = self._task.units(example)
            shares = [self._shares.get(word, self._unknown) for word in units.words]
            yield self._task.answer(units, np.array(shares).reshape(len(shares), len(self._task.tags)))


class TokenLogistic:
    """Logistic regression on the letters of a word and of its neighbours: n-grams, endings, shape; no CRF.

    Features are hashed and weighed by TF-IDF; stochastic gradient descent, its steps averaged. The tags are chosen
    together as the model's are.
    """

    knows: Knows = "examples"

    def __init__(self, task: Any, *, seed: int = 0) -> None:
        self.name = "logistic regression on letters"
        self.notes: list[str] = []
        self._task, self._seed = task, seed

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """Fit on at most `MOST_WORDS` words, the sentences drawn by the seed; a note says so."""
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
        from sklearn.linear_model import SGDClassifier

        index = {tag: number for number, tag in enumerate(self._task.tags)}
        self._hasher = HashingVectorizer(analyzer=_same, n_features=BUCKETS, norm=None, alternate_sign=False)
        features, tags = self._sampled(on["train"])
        self._tfidf = TfidfTransformer(sublinear_tf=True)
        matrix = self._tfidf.fit_transform(self._hasher.transform(features))
        self._model = SGDClassifier(loss="log_loss", alpha=1e-6, max_iter=6, tol=None, average=True,
                                    random_state=self._seed)  # fmt: skip
        self._model.fit(matrix, np.array([index[tag] for tag in tags]))

    def fit_seconds(self, train: Labelled) -> float:
        """By words, for which tokens are taken, and tags."""
        return min(tokens_in(train), MOST_WORDS) * (WORD + TAG * len(self._task.tags))

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield one prediction an example."""
        for examples in on.chunks():
            cut = [self._task.units(example) for example in examples]
            features = [feature for units in cut for feature in features_of(units.words)]
            probabilities, at = self._probabilities(features), 0
            for units in cut:
                yield self._task.answer(units, probabilities[at : at + len(units.starts)])
                at += len(units.starts)

    def _sampled(self, train: Labelled) -> tuple[list[list[str]], list[str]]:
        features, tags = list[list[str]](), list[str]()
        order = np.random.default_rng(self._seed).permutation(train.rows)
        for examples in train.only(order).chunks():
            for example in examples:
                if len(tags) >= MOST_WORDS:
                    self.notes.append(f"fitted on the first {len(tags):,} words of the sentences, drawn at random")
                    return features, tags
                features += features_of(self._task.units(example).words)
                tags += self._task.gold_tags(example)
        return features, tags

    def _probabilities(self, features: list[list[str]]) -> Floats:
        """Return the tags' probabilities, shape (words, tags)."""
        found = np.full((len(features), len(self._task.tags)), SPREAD)
        if features:
            matrix = self._tfidf.transform(self._hasher.transform(features))
            found[:, self._model.classes_] += self._model.predict_proba(matrix)
        return found


def features_of(words: Sequence[str]) -> list[list[str]]:
    """Return what is known of each word of a sentence: itself, its letters and shape, and its neighbours."""
    lower = [word.lower() for word in words]
    shapes = [_shape(word) for word in words]
    found = []
    for at, word in enumerate(words):
        own = [f"w:{lower[at]}", f"W:{word}", f"s:{shapes[at]}", *(f"g:{gram}" for gram in _grams(lower[at]))]
        for away in (-2, -1, 1, 2):
            there = 0 <= at + away < len(words)
            own += [
                f"{away}:{lower[at + away]}" if there else f"{away}:",
                f"{away}s:{shapes[at + away] if there else ''}",
            ]
            if there and abs(away) == 1:
                own += [f"{away}g:{gram}" for gram in _edges(lower[at + away])]
        for first in (at - 1, at):
            if 0 <= first < len(words) - 1:
                own.append(f"{first - at}+:{lower[first]} {lower[first + 1]}")
        found.append(own)
    return found


def _grams(word: str) -> list[str]:
    marked = f"<{word}>"
    return [marked[i : i + n] for n in range(SMALLEST, LONGEST + 1) for i in range(len(marked) - n + 1)]


def _edges(word: str) -> list[str]:
    return [f"{word[:n]}_" for n in (2, 3, 4)] + [f"_{word[-n:]}" for n in (2, 3, 4)]


def _shape(word: str) -> str:
    """Return the kinds of letters, runs once: ``Mc-42`` is ``Aa-0``."""
    kinds = ["0" if c.isdigit() else "A" if c.isupper() else "a" if c.isalpha() else c for c in word]
    return "".join(kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind)


def _shares(counts: Mapping[int, int], tags: int) -> Floats:
    shares = np.full(tags, SPREAD)
    for tag, count in counts.items():
        shares[tag] += count / sum(counts.values())
    return shares


def _examples(on: Labelled) -> Iterator[Example]:
    return chain.from_iterable(on.chunks())


def _same(features: list[str]) -> list[str]:
    return features
