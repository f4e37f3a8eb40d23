"""Baselines of text classification: the most frequent label, and TF-IDF with logistic regression."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weitiao.evaluation.baselines.base import LETTERS, Knows, tokens_in
from weitiao.evaluation.evaluate import Inference, Labelled
from weitiao.metrics.classification import ThresholdTuner, gold_index, gold_matrix
from weitiao.records import Example, Prediction, SplitName

Text = str | tuple[str, str]  # one text, or a pair of texts


def text_of(example: Example) -> Text:
    """Return the text of an example, or both of a pair."""
    return (example["text"], example["text_pair"]) if "text_pair" in example else example["text"]


def _gold(labels: Sequence[str], on: Labelled, multi_label: bool) -> NDArray[Any]:
    """Return class indices, shape (n,), or which labels each example has, shape (n, labels)."""
    index = {label: i for i, label in enumerate(labels)}
    if not multi_label:
        return np.array([gold_index(index, example) for chunk in on.chunks() for example in chunk], np.int64)
    return np.concatenate([gold_matrix(index, chunk) for chunk in on.chunks()])


def _texts(on: Labelled) -> Iterator[Text]:
    return map(text_of, chain.from_iterable(on.chunks()))


def prediction(
    names: Sequence[str], probabilities: NDArray[np.float64], chosen: NDArray[np.bool_] | None = None
) -> Prediction:
    """Write one example's probabilities as a prediction; `chosen` labels make it a multi-label one."""
    known = dict(zip(names, probabilities.tolist(), strict=True))
    if chosen is not None:
        return {"labels": [name for name, said in zip(names, chosen, strict=True) if said], "probabilities": known}
    best = names[int(probabilities.argmax())]
    return {"label": best, "score": known[best], "probabilities": known}


class Majority:
    """Always says what is most frequent in training; its probabilities are the shares there."""

    knows: Knows = "answers"

    def __init__(self, task: Any, *, seed: int = 0) -> None:
        self.labels: list[str] = task.prepared.labels
        self.multi_label: bool = task.prepared.multi_label
        self.name = "most frequent label set" if self.multi_label else "majority class"
        self.notes: list[str] = []
        self._answer: Prediction = {}

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """Count the labels; multi-label: take the most frequent set of labels."""
        gold = _gold(self.labels, on["train"], self.multi_label)
        if not self.multi_label:
            shares = np.bincount(gold, minlength=len(self.labels)) / max(len(gold), 1)
            self._answer = prediction(self.labels, shares)
            return
        sets, times = np.unique(gold, axis=0, return_counts=True)
        self._answer = prediction(self.labels, gold.mean(axis=0), sets[times.argmax()])

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield the same prediction for each example."""
        yield from (self._answer for _ in on.rows)


# Scripts written without spaces between words: Thai, Lao, Burmese, Khmer, Chinese, Japanese.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_PIECES = re.compile(rf"[{_UNSPACED}]+|[^\W{_UNSPACED}]+")
_FIRST_UNSPACED = re.compile(rf"[{_UNSPACED}]")


def grams(text: str) -> list[str]:
    """Cut a text into words and pairs of neighbouring words; where a script has no spaces, into 1 to 3 characters."""
    found: list[str] = []
    before = ""
    for piece in _PIECES.findall(text.lower()):
        if _FIRST_UNSPACED.match(piece):
            found += (piece[i : i + n] for n in (1, 2, 3) for i in range(len(piece) - n + 1))
            before = ""
            continue
        found += (piece, f"{before} {piece}") if before else (piece,)
        before = piece
    return found


def features(text: Text) -> list[str]:
    """Return the `grams` of a text; of a pair, those of each side apart and once more those that both sides share."""
    text = _cut(text)
    if isinstance(text, str):
        return grams(text)
    left, right = grams(text[0]), grams(text[1])
    shared = set(left) & set(right)
    return [f"1:{g}" for g in left] + [f"2:{g}" for g in right] + [f"=:{g}" for g in left if g in shared]


LONGEST_TEXT = 4000  # characters read of a text; more than most models take
MOST_TEXTS = 100_000
MOST_DECISIONS = 20_000_000  # texts x labels
MOST_BYTES = 20_000_000  # of all texts together, as UTF-8; bounds the memory of the fit
MOST_WEIGHTS = 50_000_000  # labels x n-grams
RARE = 20_000  # from so many texts on, n-grams that stand in one text only are dropped
TOKEN, LABEL = 1.3e-6, 0.15e-6  # seconds, measured: TF-IDF of a token; the regression of a token for each label


class TfidfLogistic:
    """TF-IDF of words and word pairs (character n-grams where a script has no spaces), then logistic regression.

    Sublinear term counts and C = 10 are a strong fixed choice: 0.897 accuracy on banking77, and within 0.014 of the
    best C on every set tried. The solver is liblinear, each label against the rest: there both faster and better than
    multinomial lbfgs (0.894) and saga (0.891).
    """

    knows: Knows = "examples"

    def __init__(self, task: Any, *, seed: int = 0) -> None:
        self.labels: list[str] = task.prepared.labels
        self.seed = seed
        self.name = "TF-IDF + logistic regression"
        self.notes: list[str] = []
        self.thresholds: dict[str, float] = dict.fromkeys(self.labels, 0.5)
        self._multi: bool = task.prepared.multi_label
        self._vectorizer: Any = None

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """Fit on at most `MOST_TEXTS` texts and `MOST_BYTES` of text, a seeded sample; a note says so.

        Multi-label: each label's threshold is chosen by F1 on validation, as for the model it stands beside.
        """
        gold = _gold(self.labels, on["train"], self._multi)
        rows, kept = self._sample(_texts(on["train"]), len(gold))
        gold = gold[rows]
        truths = gold if self._multi else gold[:, None] == np.arange(len(self.labels))
        matrix = self._vectorize(kept)
        width = 0 if matrix is None else matrix.shape[1]
        self._weights = np.zeros((len(self.labels), width), dtype=np.float32)
        self._bias = np.zeros(len(self.labels))
        for i, truth in enumerate(truths.T):
            self._weights[i], self._bias[i] = self._fit_one(matrix, truth)
        if self._multi and "validation" in on:
            tuner = ThresholdTuner(self.labels)
            for examples in on["validation"].chunks():
                tuner.add(examples, self._answers(examples))
            self.thresholds = tuner.thresholds()

    def fit_seconds(self, train: Labelled) -> float:
        """TF-IDF once, and a regression for each label."""
        tokens = min(tokens_in(train, most=self._most, letters=LONGEST_TEXT), MOST_BYTES / LETTERS)
        return tokens * (TOKEN + LABEL * len(self.labels))

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield one prediction an example; single-label probabilities are scaled to sum to 1."""
        for examples in on.chunks():
            yield from self._answers(examples)

    def _answers(self, examples: Sequence[Example]) -> list[Prediction]:
        probabilities = self._probabilities([text_of(example) for example in examples])
        if not self._multi:
            probabilities /= probabilities.sum(axis=1, keepdims=True)
            return [prediction(self.labels, row) for row in probabilities]
        limits = np.array([self.thresholds[label] for label in self.labels])
        return [prediction(self.labels, row, row >= limits) for row in probabilities]

    @property
    def _most(self) -> int:
        """Texts that it is fitted on at most, by their number."""
        return min(MOST_TEXTS, max(MOST_DECISIONS // max(len(self.labels), 1), 1000))

    def _sample(self, texts: Iterable[Text], count: int) -> tuple[NDArray[np.int64], list[Text]]:
        """Read the texts once; return the row numbers kept, ascending, and their texts."""
        random = np.random.default_rng(self.seed)
        rows = np.arange(count) if count <= self._most else np.sort(random.choice(count, self._most, replace=False))
        wanted = iter(rows.tolist())
        kept, following = [], next(wanted, -1)
        for row, text in enumerate(texts):
            if row == following:
                kept.append(_cut(text))
                following = next(wanted, -1)
        sizes = np.array([_bytes(text) for text in kept])
        if sizes.sum() > MOST_BYTES:
            order = random.permutation(len(kept))
            order = np.sort(order[np.cumsum(sizes[order]) <= MOST_BYTES])
            rows, kept = rows[order], [kept[i] for i in order]
        if len(kept) < count:
            self.notes.append(f"fitted on a random {len(kept):,} of the {count:,} training texts")
        return rows, kept

    def _vectorize(self, texts: list[Text]) -> Any:
        """Return the TF-IDF matrix, or None where no text holds a word."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectorizer = TfidfVectorizer(
            analyzer=features,
            sublinear_tf=True,
            dtype=np.float32,
            min_df=2 if len(texts) > RARE else 1,
            max_features=max(MOST_WEIGHTS // max(len(self.labels), 1), 20_000),
        )
        try:
            return self._vectorizer.fit_transform(texts)
        except ValueError:  # scikit-learn's "empty vocabulary"
            self.notes.append("no text holds a word, so it can only say what is frequent")
            self._vectorizer = None
            return None

    def _fit_one(self, matrix: Any, truth: NDArray[np.bool_]) -> tuple[Any, float]:
        """Return weights and bias for one label; for one that is always or never there, its smoothed log odds."""
        from sklearn.linear_model import LogisticRegression

        present = int(truth.sum())
        if matrix is None or present in (0, len(truth)):
            return 0.0, float(np.log((present + 0.5) / (len(truth) - present + 0.5)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the last digits not converging
            model = LogisticRegression(C=10, solver="liblinear", random_state=self.seed).fit(matrix, truth)
        return model.coef_[0], float(model.intercept_[0])

    def _probabilities(self, texts: list[Text]) -> NDArray[np.float64]:
        """Return each label's own probability, shape (texts, labels)."""
        from scipy.special import expit

        logits = np.tile(self._bias, (len(texts), 1))
        if self._vectorizer is not None and texts:
            logits += self._vectorizer.transform(texts) @ self._weights.T
        probabilities: NDArray[np.float64] = expit(logits)
        return probabilities


def _cut(text: Text) -> Text:
    return text[:LONGEST_TEXT] if isinstance(text, str) else (text[0][:LONGEST_TEXT], text[1][:LONGEST_TEXT])


def _bytes(text: Text) -> int:
    return sum(len(side.encode("utf-8", "replace")) for side in ((text,) if isinstance(text, str) else text))
