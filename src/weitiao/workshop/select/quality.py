"""Rows of good quality by rules on the text alone, as Gopher's data was filtered (Rae et al. 2021, table A1)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from weitiao.metrics.repetition import DISTINCT, FREQUENT, REPEATED, REPEATED_LINES, repetitions
from weitiao.recipe import Settings
from weitiao.recipe.workshop import Script
from weitiao.workshop.looking import SCRIPTS, script_of
from weitiao.workshop.select.base import Asked, Choice, passing


class QualityOptions(Settings):
    """Options of the strategy `quality`. `null`: not looked at."""

    shortest: int | None = Field(None, ge=1)
    """Characters that a text has at least."""
    longest: int | None = Field(None, ge=1)
    """Characters that a text has at most."""
    letters: float | None = Field(0.6, ge=0, le=1)
    """Share of letters among the characters that are not white space, at least."""
    distinct: float | None = Field(DISTINCT, ge=0, le=1)
    """Share of distinct words among the first 200, at least; in Chinese of characters."""
    repeated_lines: float | None = Field(REPEATED_LINES, ge=0, le=1)
    """Share of lines that stood in the text before, at most."""
    frequent: dict[int, float] | None = Field(dict(FREQUENT))
    """Words of an n-gram -> the share of the text's characters that its most frequent n-gram may make up, where that
    occurs more than once (in a text of fewer than 50 words more than twice)."""
    repeated: dict[int, float] | None = Field(dict(REPEATED))
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
        yield from repetitions(
            text, distinct=options.distinct, repeated_lines=options.repeated_lines, frequent=options.frequent,
            repeated=options.repeated,
        )  # fmt: skip


def _letters(text: str) -> float:
    solid = "".join(text.split())
    return len(_letter_pattern().findall(solid)) / max(1, len(solid))


@cache
def _letter_pattern() -> Any:
    import regex

    return regex.compile(r"[\p{L}\p{M}]")  # marks: vowels of Hindi, Thai and Arabic among them
