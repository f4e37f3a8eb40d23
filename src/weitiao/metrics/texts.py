"""Scores of generated texts against references: ROUGE, BLEU, chrF, exact match and token F1, and perplexity.

ROUGE, exact match and F1 lie between 0 and 1, BLEU and chrF between 0 and 100 as sacreBLEU gives them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

from weitiao.errors import DataError
from weitiao.metrics.answers import exact_match, token_f1
from weitiao.metrics.perplexity import Perplexity
from weitiao.metrics.sums import Floats, Measure, SummedScorer
from weitiao.metrics.tokens import UNSPACED, language_of, words
from weitiao.records import FILE, LINE, Example, Prediction

References = Callable[[Example], list[str]]  # what would be right, best first; at least one

TEXT_SCORES = ("rouge1", "rouge2", "rougeL", "bleu", "chrf", "exact_match", "f1")

_ANSWERS = {"exact_match": exact_match, "f1": token_f1}
_MODEL = ("perplexity", "loss")


class TextScorer(SummedScorer):
    """Scores of generated texts, those `wanted`, the primary one first; perplexity and loss come with predictions
    that carry ``loss`` and ``tokens``.

    A prediction without ``text`` has no part in the text scores. `language` is that of the references (``en``,
    ``zh`` ...); with ``auto`` it is told from each example's references. Raises `ValueError` for a score it does not
    know, `DataError` for an example without a reference.
    """  # fmt: skip

    def __init__(
        self,
        references: References,
        wanted: Sequence[str],
        language: str = "auto",
        *,
        given: Callable[[Example], str],
    ) -> None:
        unknown = [name for name in wanted if name not in (*TEXT_SCORES, *_MODEL)]
        if unknown:
            raise ValueError(f"no text score is called {unknown[0]}; there is {', '.join(TEXT_SCORES + _MODEL)}")
        measures = _measures(references, wanted, language)
        super().__init__(measures, wanted[0], kind="text", given=given, expected=references)


def checked(references: References, example: Example) -> list[str]:
    """Return an example's references; a `DataError` names the row where there is none."""
    found = references(example)
    if not found:
        where = f"{example[FILE]}:{example[LINE]}" if LINE in example else ""
        raise DataError("there is no reference text to score against", where=where, fix="Give the row a target text.")
    return found


def _measures(references: References, wanted: Sequence[str], language: str) -> list[Measure]:
    rouge = tuple(name for name in wanted if name in _ROUGE)
    answers = tuple(name for name in wanted if name in _ANSWERS)
    measures: list[Measure] = [Rouge(references, rouge)] if rouge else []
    measures += [Sacre(references, name, language) for name in wanted if name in ("bleu", "chrf")]
    measures += [Answers(references, answers, language)] if answers else []
    return [*measures, Perplexity()]


def chrf_of(text: str, references: Sequence[str]) -> float:
    """Return the chrF of one text, 0 to 1, against the nearest reference."""
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().sentence_score(text, list(references)).score) / 100


class _Means:
    """Scores that are means over examples: a row is their values and 1 for the example itself."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.width = len(self.names) + 1

    def scores(self, sums: Floats) -> dict[str, float]:
        """Return the means; none where nothing was counted."""
        counted = sums[-1]
        return {name: float(sums[i] / counted) for i, name in enumerate(self.names)} if counted else {}

    def outcome(self, name: str, row: Sequence[float]) -> float:
        """Return the example's own value."""
        return float(row[self.names.index(name)])


def rouge_n(said: Sequence[str], right: Sequence[str], n: int) -> float:
    """Return the F-measure of the n-grams that both have, as often as both have them."""
    ours, theirs = (Counter(zip(*(text[i:] for i in range(n)), strict=False)) for text in (said, right))
    return _f_measure((ours & theirs).total(), ours.total(), theirs.total())


def rouge_l(said: Sequence[str], right: Sequence[str]) -> float:
    """Return the F-measure of the longest common subsequence."""
    from rapidfuzz.distance import LCSseq

    return _f_measure(LCSseq.similarity(said, right), len(said), len(right))


def _f_measure(common: int, ours: int, theirs: int) -> float:
    precision, recall = common / max(ours, 1), common / max(theirs, 1)
    return 2 * precision * recall / (precision + recall) if common else 0.0


_ROUGE: dict[str, Callable[[Sequence[str], Sequence[str]], float]] = {
    "rouge1": partial(rouge_n, n=1),
    "rouge2": partial(rouge_n, n=2),
    "rougeL": rouge_l,
}


class Rouge(_Means):
    """ROUGE-1, -2 and -L: F-measures, the mean over examples, of several references the best (Lin 2004).

    The numbers of the package `rouge_score` on our own `words`, so that Chinese counts by characters and mixed text
    works; no stemming.
    """

    def __init__(self, references: References, names: Sequence[str]) -> None:
        super().__init__(names)
        self._references = references

    def row(self, example: Example, prediction: Prediction) -> Sequence[float]:
        """Return the F-measures."""
        if prediction.get("text") is None:
            return [0.0] * self.width
        said = words(prediction["text"])
        right = [words(text) for text in checked(self._references, example)]
        return [*(max(_ROUGE[name](said, each) for each in right) for name in self.names), 1.0]

    def details(self) -> dict[str, Any]:
        """Return how it was computed, as a signature."""
        how = "tok:words, characters of unspaced scripts|case:lc|stem:no|refs:best|version:weitiao."
        return {"signatures": {"rouge": how + version("weitiao")}}


class Sacre:
    """`bleu` or `chrf` of a corpus, 0 to 100, by sacreBLEU (Papineni et al. 2002; Popović 2015; Post 2018).

    BLEU's tokenizer follows the references' language: ``zh`` for Chinese, ``char`` for other scripts without spaces
    (sacreBLEU's own for Japanese needs MeCab), else ``13a``. `details` has the signatures, one for each tokenizer.
    """

    def __init__(self, references: References, name: str, language: str = "auto") -> None:
        self.names, self.width = (name,), 10 if name == "bleu" else 18
        self._references, self._name, self._language = references, name, language
        self._metrics: dict[str, Any] = {}  # tokenizer -> a metric of sacrebleu
        self._counts: dict[str, set[int]] = {}  # tokenizer -> how many references examples had

    def row(self, example: Example, prediction: Prediction) -> Sequence[float]:
        """Return sacreBLEU's statistics of a sentence: lengths and n-gram counts."""
        if prediction.get("text") is None:
            return [0.0] * self.width
        references = checked(self._references, example)
        tokenizer = self._tokenizer(references)
        self._counts.setdefault(tokenizer, set()).add(len(references))
        # private, but what sacrebleu's own significance tests draw from; a parity test watches it
        statistics = self._metric(tokenizer)._extract_corpus_statistics([prediction["text"]], [[r] for r in references])
        return [float(number) for number in statistics[0]]

    def scores(self, sums: Floats) -> dict[str, float]:
        """Return the corpus score; none where there was neither text nor reference."""
        return {self._name: self._score("13a", sums)} if sums.any() else {}

    def outcome(self, name: str, row: Sequence[float]) -> float:
        """Return the sentence's own score / 100; BLEU's only up to the n-grams it is long enough for."""
        return min(self._score("sentence", row) / 100, 1.0)

    def details(self) -> dict[str, Any]:
        """Return sacreBLEU's signatures."""
        signatures = []
        for tokenizer, counts in sorted(self._counts.items()):
            metric = self._metric(tokenizer)
            metric.num_refs = next(iter(counts)) if len(counts) == 1 else -1
            signatures.append(str(metric.get_signature()))
        return {"signatures": {self._name: " and ".join(signatures)}} if signatures else {}

    def _tokenizer(self, references: list[str]) -> str:
        if self._name == "chrf":
            return ""
        language = language_of(references) if self._language == "auto" else self._language
        return "zh" if language == "zh" else "char" if language in UNSPACED else "13a"

    def _score(self, tokenizer: str, sums: Sequence[float] | Floats) -> float:
        return float(self._metric(tokenizer)._compute_score_from_stats([int(number) for number in sums]).score)

    def _metric(self, tokenizer: str) -> Any:
        if tokenizer not in self._metrics:
            self._metrics[tokenizer] = self._new(tokenizer)
        return self._metrics[tokenizer]

    def _new(self, tokenizer: str) -> Any:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        if self._name == "chrf":
            return CHRF()
        return BLEU(effective_order=True) if tokenizer == "sentence" else BLEU(tokenize=tokenizer)


class Answers(_Means):
    """Exact match and token F1 of short answers, normalised as in SQuAD and CMRC; of several references the best."""

    def __init__(self, references: References, names: Sequence[str] = tuple(_ANSWERS), language: str = "auto") -> None:
        super().__init__(names)
        self._references, self._language = references, language

    def row(self, example: Example, prediction: Prediction) -> Sequence[float]:
        """Return whether the answer matches, and its F1."""
        if prediction.get("text") is None:
            return [0.0] * self.width
        references = checked(self._references, example)
        values = [_ANSWERS[name](prediction["text"], references, self._language) for name in self.names]
        return [*values, 1.0]

    def details(self) -> dict[str, Any]:
        """Return nothing: the normalisation is fixed."""
        return {}
