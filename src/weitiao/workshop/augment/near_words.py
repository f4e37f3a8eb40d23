"""Words replaced by near ones, and near ones put in (EDA: Wei & Zou 2019, arXiv:1901.11196)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from weitiao.errors import RecipeError
from weitiao.recipe.sections import Settings
from weitiao.tasks.segmenting import Chinese
from weitiao.workshop.augment.base import Edit, Span, Text, chosen, edited, outside, weighted
from weitiao.workshop.augment.neighbours import Candidates, Neighbours, TableNeighbours
from weitiao.workshop.augment.tidy import begins_sentence
from weitiao.workshop.augment.units import words
from weitiao.workshop.augment.words import with_articles


class NearOptions(Settings):
    """Options of the operators `replace-words` and `insert-words`."""

    rate: float = Field(0.1, gt=0, le=1)
    """So large a share of the words outside spans is replaced, or as many put in, on average (EDA's alpha); at least
    one, and no more replaced than have near words."""
    synonyms: str | None = None
    """File of words that mean the same, a set a line with tabs or commas between. Needed where nothing else gives
    near words."""
    chinese: Chinese = "jieba"
    """What a word is in Chinese: that of `jieba`, or a character."""


class ReplaceWords:
    """Puts near words in place of some: EDA's synonym replacement where they come from a table."""

    name: ClassVar[str] = "replace-words"
    Options: ClassVar[type[Settings]] = NearOptions
    partner: ClassVar[bool] = False

    def __init__(self, options: NearOptions, neighbours: Neighbours | None = None) -> None:
        self.options, self._neighbours = options, _given(self.name, options, neighbours)

    def __call__(self, text: Text, random: np.random.Generator, other: Text | None = None) -> Text | None:
        """Return the text with near words; None where none of its words has any."""
        known, total = _known(text, self._neighbours, self.options.chinese)
        count = min(len(chosen(total, self.options.rate, random)), len(known))
        drawn = [known[at] for at in random.choice(len(known), count, replace=False)] if known else []
        edits = [Edit(start, end, _drawn(near, random)) for (start, end), near in sorted(drawn)]
        changed = edited(text, edits)
        return changed and with_articles(changed, edits)


class InsertWords:
    """Puts near words of some of the text's words in at random places: EDA's random insertion.

    Where `Neighbours` have words for empty places, those stand there instead. Never at the beginning, which has its
    capital, nor inside a span.
    """

    name: ClassVar[str] = "insert-words"
    Options: ClassVar[type[Settings]] = NearOptions
    partner: ClassVar[bool] = False

    def __init__(self, options: NearOptions, neighbours: Neighbours | None = None) -> None:
        self.options, self._neighbours = options, _given(self.name, options, neighbours)

    def __call__(self, text: Text, random: np.random.Generator, other: Text | None = None) -> Text | None:
        """Return the text with more words; None where none of its words has near ones, or there is no place."""
        ends = [end for _, end in words(text.text, self.options.chinese) if not text.inside(end, end)]
        if not ends:
            return None
        if self._neighbours.fills:
            drawn = [ends[at] for at in chosen(len(ends), self.options.rate, random)]
            filled = self._neighbours.near(text.text, [(end, end) for end in drawn])
            edits = [
                _insertion(text.text, at, _drawn(near, random)) for at, near in zip(drawn, filled, strict=True) if near
            ]
        else:
            known, total = _known(text, self._neighbours, self.options.chinese)
            edits = []
            for _ in chosen(total, self.options.rate, random) if known else ():
                (start, _), near = known[int(random.integers(len(known)))]
                word = _drawn(near, random)
                if begins_sentence(text.text, start):
                    word = word[:1].lower() + word[1:]
                edits.append(_insertion(text.text, ends[int(random.integers(len(ends)))], word))
        changed = edited(text, edits)
        return changed and with_articles(changed, sorted(edits, key=lambda edit: edit.start))


def _given(name: str, options: NearOptions, neighbours: Neighbours | None) -> Neighbours:
    if neighbours is not None:
        return neighbours
    if options.synonyms is None:
        raise RecipeError(f"{name} has nothing that gives it near words", where="synonyms",
                          fix="Name a file of synonyms: a set of words a line, with commas between.")  # fmt: skip
    return TableNeighbours.read(Path(options.synonyms))


def _known(text: Text, neighbours: Neighbours, chinese: Chinese) -> tuple[list[tuple[Span, Candidates]], int]:
    """The words outside spans that have near ones other than themselves, with these; and how many words there are."""
    places = outside(text, words(text.text, chinese))
    found = zip(places, neighbours.near(text.text, places), strict=True)
    others = [(place, tuple(each for each in near if each[0] != text.text[slice(*place)])) for place, near in found]
    return [(place, near) for place, near in others if near], len(places)


def _drawn(near: Candidates, random: np.random.Generator) -> str:
    return near[weighted([weight for _, weight in near], random)][0]


def _insertion(whole: str, at: int, word: str) -> Edit:
    """Put a word behind the one that ends at `at`, with blanks where its script has them."""
    after = whole[at : at + 1]
    return Edit(
        at, at, " " * _spaced(word[0]) + word + " " * (_spaced(word[-1]) and after.isalnum() and _spaced(after))
    )


def _spaced(sign: str) -> bool:
    return sign < "\u2e80"
