"""Answers to questions against the right ones: exact match and F1 as SQuAD and CMRC 2018 measure them.

English (SQuAD 1.1 and 2.0; Rajpurkar et al. 2016 and 2018): lower case, without punctuation, articles and double white
space. F1 is over the words both have in common, however ordered.

Chinese (CMRC 2018; Cui et al. 2019, *A Span-Extraction Dataset for Chinese Machine Reading Comprehension*): lower case,
without the punctuation that its script lists. F1 is over segments (`segments`: a Chinese character is one, what is
between them is cut into words) in the longest common *run* of segments: the script calls it the longest common string,
and it allows no gaps.

A `language` is ``zh`` for the Chinese rules; anything else is measured by the English ones.

Of several right answers the one counts that the given answer comes nearest to. A question without an answer is right
(1.0 in both) if none is given, and wrong otherwise.
"""

from __future__ import annotations

import re
import string
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weitiao.metrics.tokens import language_of
from weitiao.metrics.told import joined
from weitiao.metrics.words import greater_is_better
from weitiao.records import Example, Prediction, Score, Scores, Told

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NO_ANSWER = "(no answer)"  # how it is told
_LANGUAGE_READ = 1000  # characters are enough to know a text's language

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_ENGLISH_PUNCTUATION = str.maketrans("", "", string.punctuation)
# What CMRC's script takes out. It lists no half-width comma, full stop or bracket, and neither do we.
_CHINESE_PUNCTUATION = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_HAN = re.compile("[\u4e00-\u9fa5]")
_PIECES = re.compile("[\u4e00-\u9fa5]|[^\u4e00-\u9fa5]+")

# How English between Chinese characters is cut, after the Penn Treebank's rules: signs stand alone, but not the comma
# and the point within a number or an abbreviation; a full stop at the end and the endings of contractions are cut off.
_SIGNS = re.compile(r"""\.{2,}|[;@#$%&?!()\[\]{}<>"«»“”„–—]|,(?!\d)|(?<=[^.\s])\.(?=[\])}>"'»”’ ]*$)""")
_ENDINGS = re.compile(r"(?<=[^\s'])('(?:ll|re|ve|s|m|d)|n't|')(?=\s|$)")


def normalised(text: str, language: str) -> str:
    """Return what exact match compares."""
    if language == "zh":
        return text.lower().strip().translate(_CHINESE_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_ENGLISH_PUNCTUATION)).split())


def segments(text: str, language: str) -> list[str]:
    """Return the units that F1 counts: English words, or CMRC's mixed segmentation without punctuation."""
    text = normalised(text, language)
    if language != "zh":
        return text.split()
    return [segment for piece in _PIECES.findall(text) for segment in _words(piece)]


def _words(text: str) -> list[str]:
    """Cut a text between Chinese characters into words and signs; one character is left whole."""
    spaced = _SIGNS.sub(lambda match: f" {match[0]} ", text.strip())
    return _ENDINGS.sub(r" \1", spaced).split()


def exact_match(text: str, references: Sequence[str], language: str = "auto") -> float:
    """Return 1.0 where the normalised text is one of the normalised references, else 0.0.

    Without references, or where nothing is left of any, the right text is an empty one. `language` ``auto``: that of
    the references.
    """
    language = _language(language, references)
    rights = {normalised(right, language) for right in _references(references, language)}
    return float(normalised(text, language) in rights)


def token_f1(text: str, references: Sequence[str], language: str = "auto") -> float:
    """Return the F1 between the segments of a text and of its best reference, 0.0 to 1.0.

    Where either has no segments at all it is 1.0 if both have none, else 0.0. References and `language` are as in
    `exact_match`.
    """
    language = _language(language, references)
    said = segments(text, language)
    return max(_f1(said, segments(right, language), language) for right in _references(references, language))


def _language(language: str, texts: Sequence[str]) -> str:
    return language_of(texts) if language == "auto" else language


def _references(references: Sequence[str], language: str) -> Sequence[str]:
    """Return the references of which something is left, as SQuAD 2.0's script does; an empty one where none is."""
    return [right for right in references if normalised(right, language)] or [""]


def _f1(said: list[str], gold: list[str], language: str) -> float:
    if not said or not gold:
        return float(said == gold)
    common = _longest_run(said, gold) if language == "zh" else (Counter(said) & Counter(gold)).total()
    return 2 * common / (len(said) + len(gold))


def _longest_run(said: list[str], gold: list[str]) -> int:
    return SequenceMatcher(None, said, gold, autojunk=False).find_longest_match().size


class _Rows(NamedTuple):
    """What is kept of the examples, each of shape (n,)."""

    f1: Floats
    exact: Floats
    answerable: Bools
    silent: Bools  # no answer was given

    def at(self, rows: NDArray[Any]) -> _Rows:
        return _Rows(*(column[rows] for column in self))


class AnswerScorer:
    """Exact match and F1 of answers, and how well it is known that there is none. Keeps four numbers an example.

    ``f1`` and ``exact_match`` are means over all questions. Where some have no answer, as in SQuAD 2.0:
    ``has_answer_f1`` and ``has_answer_exact_match`` over those that have one; ``no_answer_accuracy``, the share of the
    others that got none (SQuAD's NoAns_f1 and NoAns_exact); ``no_answer_f1``, the F1 of saying that there is none,
    which also falls where an answer is withheld.

    `gold` returns the right answers of an example; none, or empty ones only, for a question without an answer.
    `language` ``auto`` is settled for each example by `source`, what its answer is taken from: by itself the context,
    else the question, else the right answers. `asked` returns what is shown of an example.
    """

    def __init__(
        self,
        gold: Callable[[Example], Sequence[str]],
        language: str = "auto",
        *,
        primary: Literal["f1", "exact_match"] = "f1",
        asked: Callable[[Example], str] | None = None,
        source: Callable[[Example], str] | None = None,
    ) -> None:
        self.gold, self.language, self.primary = gold, language, primary
        self.asked, self.source = asked or _asked, source or _source
        self._f1, self._exact = array("d"), array("b")
        self._answerable, self._silent, self._chinese = array("b"), array("b"), array("b")
        self._seen: _Rows | None = None

    def add(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        """Take a batch: examples with their answers and a prediction with an ``answer`` (or ``text``) for each."""
        self._seen = None
        for example, prediction in zip(examples, predictions, strict=True):
            gold, said, language = self.gold(example), _said(prediction), self._language(example)
            self._f1.append(token_f1(said, gold, language))
            self._exact.append(int(exact_match(said, gold, language)))
            self._answerable.append(_answerable(gold))
            self._silent.append(not normalised(said, language))
            self._chinese.append(language == "zh")

    def compute(self, rows: NDArray[Any] | None = None) -> dict[str, float]:
        """Return the scores on `rows` (repeats count as often as they stand), or on all; empty without examples."""
        whole = self._rows()
        seen = whole if rows is None else whole.at(rows)
        if not len(seen.f1):
            return {}
        scores = {"f1": float(seen.f1.mean()), "exact_match": float(seen.exact.mean())}
        return scores if whole.answerable.all() else {**scores, **_of_no_answer(seen)}

    def scores(self) -> Scores:
        """Return all scores without intervals; details hold `tables` of the questions with and without an answer."""
        values = {name: Score(value) for name, value in self.compute().items()}
        details = {"kind": "answers", "languages": self._languages(), "tables": self._tables() if values else []}
        return Scores(self.primary, values, len(self._f1), greater_is_better(self.primary), details)

    def outcomes(self) -> Floats:
        """Return the primary score of each example, shape (n,): its F1, or 1.0 and 0.0 for exact match."""
        seen = self._rows()
        return (seen.f1 if self.primary == "f1" else seen.exact).copy()

    def tell(self, example: Example, prediction: Prediction) -> Told:
        """Return the question with its right answers and the given one.

        `sure`: the prediction's ``score`` where it is a probability; of no answer, that there is none (``no_answer``).
        """
        gold, said = self.gold(example), _said(prediction)
        measure = token_f1 if self.primary == "f1" else exact_match
        right = measure(said, gold, self._language(example))
        sure = prediction.get("score" if said.strip() else "no_answer")
        expected = list(dict.fromkeys(answer for answer in gold if answer.strip())) or [NO_ANSWER]
        probability = float(sure) if sure is not None and 0 <= sure <= 1 else None
        return Told(self.asked(example), expected, [said if said.strip() else NO_ANSWER], right, probability)

    def _language(self, example: Example) -> str:
        return _language_of(self.language, self.source(example), self.gold(example))

    def _rows(self) -> _Rows:
        if self._seen is None:  # a bootstrap asks a thousand times for the same
            self._seen = _Rows(np.array(self._f1), np.array(self._exact, float),
                               np.array(self._answerable, bool), np.array(self._silent, bool))  # fmt: skip
        return self._seen

    def _languages(self) -> dict[str, int]:
        """Return how many examples were measured by the Chinese rules, and by the English ones (``other``)."""
        chinese = sum(self._chinese)
        return {name: n for name, n in (("other", len(self._chinese) - chinese), ("zh", chinese)) if n}

    def _tables(self) -> list[dict[str, Any]]:
        seen, chinese = self._rows(), np.array(self._chinese, bool)
        parts = [("with an answer", seen.answerable), ("without an answer", ~seen.answerable)]
        if 0 < chinese.sum() < len(chinese):
            parts += [("by the English rules", ~chinese), ("by the Chinese rules", chinese)]
        columns = (seen.f1, seen.exact, seen.silent)
        table = {
            "title": "Kinds of questions",
            "about": "F1 and exact match as in SQuAD (English) and CMRC 2018 (Chinese).",
            "columns": ["questions", "number", "F1", "exact match", "no answer given"],
            "rows": [[name, int(part.sum()), *(float(column[part].mean()) for column in columns)]
                     for name, part in parts if part.any()],
        }  # fmt: skip
        return [table]


def _of_no_answer(seen: _Rows) -> dict[str, float]:
    """Return the scores of data in which some questions have no answer; those of a kind not seen here are missing."""
    scores = {}
    if seen.answerable.any():
        scores = {"has_answer_f1": float(seen.f1[seen.answerable].mean()),
                  "has_answer_exact_match": float(seen.exact[seen.answerable].mean())}  # fmt: skip
    none = ~seen.answerable
    if none.any():
        scores["no_answer_accuracy"] = float(seen.silent[none].mean())
    whole = int(none.sum() + seen.silent.sum())
    scores["no_answer_f1"] = 2 * int((none & seen.silent).sum()) / whole if whole else 0.0
    return scores


class NoAnswerThreshold:
    """Finds the threshold on the probability of no answer that gives the best mean F1 (or exact match).

    As in SQuAD 2.0's script (its best_f1): an answer is given where ``no_answer <= threshold``, and withheld above.
    Two things differ: equal probabilities are never torn apart, and the threshold lies midway between the two
    probabilities that it separates (0 and 1 being the outermost).

    Predictions must hold the best answer that is not none, under ``best_answer`` or, where nothing was withheld,
    ``answer``. Keeps two numbers an example.
    """

    def __init__(
        self,
        gold: Callable[[Example], Sequence[str]],
        language: str = "auto",
        *,
        metric: Literal["f1", "exact_match"] = "f1",
        source: Callable[[Example], str] | None = None,
    ) -> None:
        self.gold, self.language, self.source = gold, language, source or _source
        self._measure = token_f1 if metric == "f1" else exact_match
        self._probability, self._gain = array("d"), array("d")
        self._unanswerable = 0

    def add(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        """Take a batch: examples with their answers and a prediction for each."""
        for example, prediction in zip(examples, predictions, strict=True):
            gold = self.gold(example)
            said = str(prediction["best_answer"] if "best_answer" in prediction else prediction["answer"])
            language = _language_of(self.language, self.source(example), gold)
            # What the sum of scores gains where the answer is given instead of none.
            gain = self._measure(said, gold, language) - (not _answerable(gold))
            self._unanswerable += not _answerable(gold)
            self._probability.append(prediction["no_answer"])
            self._gain.append(gain)

    def best(self) -> tuple[float, float]:
        """Return the threshold and the mean score with it; 1.0 (always answer) where every question has an answer."""
        probability, gain = np.array(self._probability), np.array(self._gain)
        n = len(gain)
        if not n:
            return 1.0, 0.0
        if not self._unanswerable:
            return 1.0, float(gain.mean())
        values, places = np.unique(probability, return_inverse=True)
        totals = self._unanswerable + np.bincount(places, gain).cumsum()
        edges = np.append(values, max(1.0, values[-1]))
        if values[0] > 0:  # else an answer is given even at a threshold of 0
            totals, edges = np.append(self._unanswerable, totals), np.append(0.0, edges)
        at = int((totals >= totals.max() - 1e-9).argmax())  # between equally good ones the one that withholds more
        return float((edges[at] + edges[at + 1]) / 2), float(totals[at] / n)

    def threshold(self) -> float:
        """Return the threshold alone."""
        return self.best()[0]


def _answerable(gold: Sequence[str]) -> bool:
    return any(answer.strip() for answer in gold)


def _said(prediction: Prediction) -> str:
    answer = prediction.get("answer")
    return str(prediction.get("text") or "" if answer is None else answer)


def _asked(example: Example) -> str:
    return joined(example.get(role) for role in ("question", "context"))


def _source(example: Example) -> str:
    return str(example.get("context") or example.get("question") or "")[:_LANGUAGE_READ]


def _language_of(language: str, source: str, gold: Sequence[str]) -> str:
    """Settle ``auto`` for an example; answers may be numbers alone, and questions in another language."""
    return _language(language, [source] if source else gold)
