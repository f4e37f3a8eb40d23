"""Word and character error rates of transcripts."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

from weitiao.metrics.perplexity import Perplexity
from weitiao.metrics.sums import Floats, SummedScorer
from weitiao.metrics.texts import References, checked
from weitiao.metrics.tokens import UNSPACED
from weitiao.records import Example, Prediction, Scores

Unit = Literal["wer", "cer"]


def normalised(text: str, language: str = "en") -> str:
    """Return a transcript as it is compared: one form of each letter (NFKC), lower case, no punctuation or symbols.

    Apostrophes go without a gap (``don't`` -> ``dont``), other marks become a space, runs of spaces one. Languages
    that are written without spaces lose them all.
    """
    plain = _marks().sub(" ", _apostrophes().sub("", unicodedata.normalize("NFKC", text).lower()))
    return ("" if language in UNSPACED else " ").join(plain.split())


def error_counts(said: Sequence[str], reference: Sequence[str]) -> tuple[int, int, int]:
    """Return the substitutions, insertions and deletions of a shortest way from `reference` to `said` (Levenshtein)."""
    from rapidfuzz.distance import Levenshtein

    tags = [operation.tag for operation in Levenshtein.editops(reference, said)]
    return tags.count("replace"), tags.count("insert"), tags.count("delete")


class ErrorRate:
    """`wer` or `cer`: edits of all examples over the words (characters) of their references; can be over 1.

    Of several references the one with the lowest rate counts. Spaces count as characters, as in `jiwer`.
    """

    width = 4  # substitutions, insertions, deletions, length of the reference

    def __init__(self, references: References, name: Unit, prepare: Callable[[str], str]) -> None:
        self.names = (name,)
        self._references, self._name, self._prepare = references, name, prepare

    def row(self, example: Example, prediction: Prediction) -> Sequence[float]:
        """Return the edits and the length of the reference."""
        if prediction.get("text") is None:
            return [0.0] * self.width
        said = self._units(prediction["text"])
        references = [self._units(reference) for reference in checked(self._references, example)]
        rows = [(*error_counts(said, reference), len(reference)) for reference in references]
        return [float(number) for number in min(rows, key=_rate)]

    def scores(self, sums: Floats) -> dict[str, float]:
        """Return the rate; none where the references hold nothing."""
        return {self._name: float(sums[:3].sum() / sums[3])} if sums[3] else {}

    def outcome(self, name: str, row: Sequence[float]) -> float:
        """Return 1 - rate, at least 0."""
        return max(0.0, 1.0 - _rate(row))

    def details(self) -> dict[str, Any]:
        """Return nothing; `SpeechScorer` tells the edits."""
        return {}

    def _units(self, text: str) -> list[str]:
        prepared = self._prepare(text)
        return prepared.split() if self._name == "wer" else list(prepared)


def _rate(row: Sequence[float]) -> float:
    edits, length = sum(row[:3]), row[3]
    return edits / length if length else float(edits > 0)


class SpeechScorer(SummedScorer):
    """Scores of transcripts: `wer` (primary) and `cer`, or only `cer` where words are not spaced; perplexity and loss.

    `normalise` compares without case and punctuation (`normalised`); else as written. ``details["tables"]`` counts the
    substitutions, insertions and deletions of the primary score.
    """

    def __init__(
        self,
        references: References,
        language: str = "en",
        *,
        given: Callable[[Example], str],
        normalise: bool = True,
    ) -> None:
        names: tuple[Unit, ...] = ("cer",) if language in UNSPACED else ("wer", "cer")
        rates = [ErrorRate(references, name, lambda text: normalised(text, language) if normalise else text.strip())
                 for name in names]  # fmt: skip
        super().__init__([*rates, Perplexity()], names[0], kind="speech", given=given, expected=references)
        self.normalise = normalise

    def scores(self) -> Scores:
        """Return all scores without intervals, with the edits that the primary one counts."""
        scores = super().scores()
        sums = self._rows().sum(axis=0)[:4].astype(int).tolist()
        table = {"title": "Errors", "about": f"What {self.primary} counts, {self._compared()}.",
                 "columns": ["substitutions", "insertions", "deletions", "length of the references"],
                 "rows": [sums]}  # fmt: skip
        details = {**scores.details, "normalised": self.normalise, "tables": [table]}
        return dataclasses.replace(scores, details=details)

    def _compared(self) -> str:
        return "without case and punctuation" if self.normalise else "as written"


@cache
def _marks() -> Any:
    import regex

    return regex.compile(r"[\p{P}\p{S}]+")


@cache
def _apostrophes() -> Any:
    import regex

    return regex.compile(r"(?<=\p{L})['’](?=\p{L})")
