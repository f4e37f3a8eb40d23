"""Baseline of extractive question answering: the sentence that has most in common with the question."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from typing import Any

import numpy as np

from weitiao.evaluation.baselines.base import Knows, tokens_in
from weitiao.evaluation.baselines.labels import TOKEN, grams
from weitiao.evaluation.evaluate import Inference, Labelled
from weitiao.metrics.answers import NoAnswerThreshold
from weitiao.records import Example, Prediction, SplitName
from weitiao.tasks.answers import texts_of_answers

MOST_SENTENCES = 100_000  # that the weights of words are learned from
LONGEST_SENTENCE = 400  # characters; what is longer is cut between words
SENTENCE = 25  # tokens, about
CHUNK = 256  # examples looked at together

_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+|(?<=[。！？；])[”’」』）]*|\s*\n\s*")


@lru_cache(maxsize=CHUNK)
def sentences(context: str) -> list[tuple[int, int]]:
    """Return where the sentences of a context begin and end, in characters, without white space around them."""
    cuts = [0, *(match.end() for match in _END.finditer(context)), len(context)]
    found: list[tuple[int, int]] = []
    for start, end in pairwise(cuts):
        part = context[start:end]
        begin = start + len(part) - len(part.lstrip())
        found += _shortened(context, begin, start + len(part.rstrip()))
    return found


def _shortened(context: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > LONGEST_SENTENCE:
        space = context.rfind(" ", start + 1, start + LONGEST_SENTENCE)
        cut = space if space > start else start + LONGEST_SENTENCE
        yield start, cut
        start = cut + (space == cut)
    if start < end:
        yield start, end


class BestSentence:
    """The sentence of the context nearest to the question by TF-IDF (`labels.grams`), whole.

    The probability of no answer is 1 - cosine; its threshold is chosen on validation, as for the model it stands
    beside.
    """

    knows: Knows = "nothing"

    def __init__(self, task: Any, *, seed: int = 0) -> None:
        self.name = "best-matching sentence"
        self.notes: list[str] = []
        self.unanswerable: bool = task.prepared.unanswerable
        self.options = task.options
        self.threshold = 1.0
        self._vectorizer: Any = None

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """Learn how telling words are from the first `MOST_SENTENCES` sentences of the training contexts."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        contexts = dict.fromkeys(example["context"] for example in chain.from_iterable(on["train"].chunks()))
        texts = list(_first(MOST_SENTENCES, contexts))
        if len(texts) == MOST_SENTENCES:
            self.notes.append(f"fitted on {MOST_SENTENCES:,} sentences")
        self._vectorizer = TfidfVectorizer(analyzer=grams, sublinear_tf=True).fit([*texts, "0"])
        if self.unanswerable and "validation" in on:
            tuner = NoAnswerThreshold(texts_of_answers, self.options.language, metric=self.options.metric)
            for examples in on["validation"].chunks(CHUNK):
                tuner.add(examples, self._answers(examples))
            self.threshold = tuner.threshold()

    def fit_seconds(self, train: Labelled) -> float:
        """TF-IDF of the sentences, each context taken for another one."""
        return min(tokens_in(train), MOST_SENTENCES * SENTENCE) * TOKEN

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield one sentence an example."""
        for examples in on.chunks(CHUNK):
            yield from self._answers(examples)

    def _answers(self, examples: Sequence[Example]) -> list[Prediction]:
        spans = [sentences(example["context"]) for example in examples]
        texts = [example["context"][start:end] for example, own in zip(examples, spans, strict=True)
                 for start, end in own]  # fmt: skip
        if not texts:
            return [self._prediction("", (0, 0), 0.0) for _ in examples]
        asked = self._vectorizer.transform([example["question"] for example in examples])
        of = np.repeat(np.arange(len(examples)), [len(own) for own in spans])
        nearness = np.asarray(self._vectorizer.transform(texts).multiply(asked[of]).sum(axis=1)).ravel()
        bounds = np.cumsum([0, *map(len, spans)])
        found = []
        for row, example in enumerate(examples):
            own = nearness[bounds[row] : bounds[row + 1]]
            span = spans[row][int(own.argmax())] if len(own) else (0, 0)
            found.append(self._prediction(example["context"], span, float(own.max(initial=0.0))))
        return found

    def _prediction(self, context: str, span: tuple[int, int], nearness: float) -> Prediction:
        start, end = span
        no_answer, best = 1 - min(nearness, 1.0), context[start:end]
        given = bool(best) and (not self.unanswerable or no_answer <= self.threshold)
        prediction: Prediction = {
            "answer": best if given else "", "score": 1 - no_answer if given else no_answer,
            "start": start if given else None, "end": end if given else None, "no_answer": no_answer,
        }  # fmt: skip
        return {**prediction, "best_answer": best} if self.unanswerable else prediction


def _first(most: int, contexts: Mapping[str, Any]) -> Iterator[str]:
    """The sentences of contexts, at most so many."""
    for context in contexts:
        for start, end in sentences(context):
            if most == 0:
                return
            most -= 1
            yield context[start:end]
