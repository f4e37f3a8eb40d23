"""Baselines of tasks that write texts: the source itself, its first sentence, the answer to the nearest question."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from weitiao.evaluation.baselines.base import Knows, tokens_in
from weitiao.evaluation.baselines.labels import LONGEST_TEXT, MOST_TEXTS, TOKEN, grams
from weitiao.evaluation.baselines.similar import Similar, drawn
from weitiao.evaluation.baselines.spans import sentences
from weitiao.evaluation.evaluate import Inference, Labelled
from weitiao.records import Prediction, SplitName

CHUNK = 256  # questions looked up together
# A full stop after one of these, or after a single letter, ends no sentence.
_NO_END = re.compile(r"(?:^|[\s(])(?:[A-Za-z]|al|cf|Dr|e\.g|Eq|Fig|i\.e|Jr|Mr|Mrs|Ms|No|Prof|resp|St|vs|viz)\.$")


def first_sentence(text: str) -> str:
    """Return the first sentence of an English or Chinese text; abbreviations such as ``e.g.`` do not end it."""
    start, end = 0, 0
    for place, (begin, end) in enumerate(sentences(text)):
        start = begin if place == 0 else start
        if not _NO_END.search(text[start:end]):
            break
    return text[start:end]


class Copy:
    """Writes what it read: the score of a translation, correction or rewriting that changes nothing."""

    knows: Knows = "nothing"

    def __init__(self, task: Any, *, seed: int = 0) -> None:
        self.name = "copy of the source"
        self.notes: list[str] = []
        self._source = task.source

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """Nothing is learned."""

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield each example's source."""
        for example in chain.from_iterable(on.chunks()):
            yield {"text": self._source(example)}


class Lead(Copy):
    """Writes the first sentence of the text (lead-1), hard to beat on news (Nenkova 2005)."""

    def __init__(self, task: Any, *, seed: int = 0) -> None:
        super().__init__(task, seed=seed)
        self.name = "first sentence"

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield each source's first sentence."""
        for prediction in super().predict(on):
            yield {"text": first_sentence(prediction["text"])}


class Nearest:
    """Gives the answer of the training example whose source is nearest by TF-IDF (`labels.grams`).

    Where nothing is in common with any, the most frequent answer of training.
    """

    knows: Knows = "examples"

    def __init__(self, task: Any, *, seed: int = 0) -> None:
        self.name = "answer to the nearest training question"
        self.notes: list[str] = []
        self._task, self._seed = task, seed
        self._answers: list[str] = []
        self._usual = ""

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """Index training sources, a sample where there are many; a note says so."""
        texts = []
        for example in chain.from_iterable(drawn(on["train"], self._seed, self.notes).chunks()):
            texts.append(self._text(example))
            self._answers.append(self._task.references(example)[0])
        self._usual = Counter(self._answers).most_common(1)[0][0]
        self._known = Similar(texts, grams)

    def fit_seconds(self, train: Labelled) -> float:
        """TF-IDF of the sources."""
        return tokens_in(train, most=MOST_TEXTS, letters=LONGEST_TEXT) * TOKEN

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield one answer an example."""
        for examples in on.chunks(CHUNK):
            places, near = self._known.nearest(list(map(self._text, examples)), 1)
            for place, likeness in zip(places[:, 0].tolist(), near[:, 0].tolist(), strict=True):
                yield {"text": self._answers[place] if likeness > 0 else self._usual}

    def _text(self, example: Mapping[str, Any]) -> str:
        return str(self._task.source(example))[:LONGEST_TEXT]
