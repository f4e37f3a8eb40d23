"""Rows of good quality by rules on the text alone, as Gopher's data was filtered (Rae et al. 2021, table A1)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from weitiao.metrics.tokens import words
from weitiao.recipe import Settings
from weitiao.recipe.workshop import Script
from weitiao.workshop.looking import SCRIPTS, script_of
from weitiao.workshop.select.base import Asked, Choice, passing

SHORT = 50  # words: Gopher's limits are for longer texts; in a shorter one a run may come twice
FIRST = 200  # words that distinct ones are counted among: a longer text repeats more of them by itself

_LINES = re.compile(r"\n+")


class QualityOptions(Settings):
    """Options of the strategy `quality`. `null`: not looked at."""

    shortest: int | None = Field(None, ge=1)
    """Characters that a text has at least."""
    longest: int | None = Field(None, ge=1)
    """Characters that a text has at most."""
    letters: float | None = Field(0.6, ge=0, le=1)
    """Share of letters among the characters that are not white space, at least."""
    distinct: float | None = Field(0.2, ge=0, le=1)
    """Share of distinct words among the first 200, at least; in Chinese of characters."""
    repeated_lines: float | None = Field(0.3, ge=0, le=1)
    """Share of lines that stood in the text before, at most."""
    frequent: dict[int, float] | None = Field({2: 0.20, 3: 0.18, 4: 0.16})
    """Words of an n-gram -> the share of the text's characters that its most frequent n-gram may make up, where that
    occurs more than once (in a text of fewer than 50 words more than twice)."""
    repeated: dict[int, float] | None = Field({5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10})
    """Words of an n-gram -> the share of the text's characters that may stand in n-grams that occur as often."""
    scripts: list[Script] | None = None
    """Scripts that most letters of a text may be of."""


class Quality:
    """Rows that no rule finds a fault in. Scores: the number of faults."""

    name: ClassVar[str] = "quality"
    Options: ClassVar[type[Settings]] = QualityOptions

    def __init__(self, options: QualityOptions) -> None:
        self.options = options

    def choose(self, asked: Asked) -> Choice:
        """Keep the rows without a fault, or so many of them at random."""
        told: dict[int, str] = {}
        scores = np.zeros(len(asked.pool))
        row = 0
        for batch in asked.pool.batches():
            for text in batch:
                if found := list(self.faults(text)):
                    told[row], scores[row] = "; ".join(found), len(found)
                row += 1
        return passing(scores == 0, scores, asked, told.__getitem__)

    def faults(self, text: str) -> Iterator[str]:
        """Yield what is wrong with a text, in a few words each."""
        options = self.options
        if not text.strip():
            yield "has no text"
            return
        if options.shortest is not None and len(text) < options.shortest:
            yield f"has {len(text):,} characters, fewer than {options.shortest:,}"
        if options.longest is not None and len(text) > options.longest:
            yield f"has {len(text):,} characters, more than {options.longest:,}"
        if options.letters is not None and (share := _letters(text)) < options.letters:
            yield f"{share:.0%} of its characters are letters, {options.letters:.0%} are asked for"
        if options.scripts is not None and (script := SCRIPTS[script_of(text)]) not in options.scripts:
            yield f"is mostly in {script} script" if script != "none" else "has no letters"
        if options.repeated_lines is not None and (share := _repeated_lines(text)) > options.repeated_lines:
            yield f"{share:.0%} of its lines repeat one before"
        yield from self._repetition(words(text))

    def _repetition(self, found: Sequence[str]) -> Iterator[str]:
        options, first = self.options, found[:FIRST]
        if options.distinct is not None and first and (share := len(set(first)) / len(first)) < options.distinct:
            yield f"{share:.0%} of its first words are distinct"
        if len(set(found)) == len(found):
            return  # no n-gram can occur twice
        lengths, times = [len(word) for word in found], 2 if len(found) >= SHORT else 3
        for size, most in (options.frequent or {}).items():
            if (share := _most_frequent(found, lengths, size, times)) > most:
                yield f"one run of {size} words makes up {share:.0%} of it"
        for size, most in (options.repeated or {}).items():
            if (share := _in_repeated(found, lengths, size, times)) > most:
                yield f"{share:.0%} of it stands in repeated runs of {size} words"


def _letters(text: str) -> float:
    solid = "".join(text.split())
    return len(_letter_pattern().findall(solid)) / max(1, len(solid))


@cache
def _letter_pattern() -> Any:
    import regex

    return regex.compile(r"[\p{L}\p{M}]")  # marks: vowels of Hindi, Thai and Arabic among them


def _repeated_lines(text: str) -> float:
    lines = [line.strip() for line in _LINES.split(text) if line.strip()]
    return 1 - len(set(lines)) / max(1, len(lines))


def _runs(found: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return list(zip(*(found[start:] for start in range(size)), strict=False))


def _most_frequent(found: Sequence[str], lengths: Sequence[int], size: int, times: int) -> float:
    """Share of the characters in all occurrences of the n-gram that takes the most, of those that occur so often."""
    counts = Counter(_runs(found, size))
    most = max((sum(map(len, run)) * count for run, count in counts.items() if count >= times), default=0)
    return min(1.0, most / sum(lengths))


def _in_repeated(found: Sequence[str], lengths: Sequence[int], size: int, times: int) -> float:
    """Share of the words' characters that stand in an n-gram that occurs `times` times, each counted once."""
    runs = _runs(found, size)
    counts = Counter(runs)
    if max(counts.values(), default=0) < times:
        return 0.0
    inside = np.zeros(len(found) + 1, np.int64)
    again = np.array([counts[run] >= times for run in runs])
    np.add.at(inside, np.flatnonzero(again), 1)
    np.add.at(inside, np.flatnonzero(again) + size, -1)
    return float(np.asarray(lengths)[np.cumsum(inside[:-1]) > 0].sum() / sum(lengths))
