"""Words left out and words that change places (EDA: Wei & Zou 2019, arXiv:1901.11196; SpanDrop: Qi et al. 2022)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from weitiao.recipe.sections import Settings
from weitiao.tasks.segmenting import Chinese
from weitiao.workshop.augment.base import Edit, Span, Text, chosen, edited, outside
from weitiao.workshop.augment.tidy import agreed, balanced, begins_sentence, removed
from weitiao.workshop.augment.units import is_negation, whole_sentences, words

TRIES = 20  # draws of a run or a pair before a text counts as one that cannot be changed


class DropWordsOptions(Settings):
    """Options of the operator `drop-words`."""

    rate: float = Field(0.1, gt=0, lt=1)
    """Probability that a word outside spans is left out (EDA's p); at least one is."""
    negations: bool = False
    """Leave out negations (`not`, `can't`, 不), too, which may turn a text into its opposite."""
    chinese: Chinese = "jieba"
    """What a word is in Chinese: that of `jieba`, or a character."""


class DropWords:
    """Leaves each word out with a probability: EDA's random deletion. A word is always left."""

    name: ClassVar[str] = "drop-words"
    Options: ClassVar[type[Settings]] = DropWordsOptions
    partner: ClassVar[bool] = False

    def __init__(self, options: DropWordsOptions) -> None:
        self.options = options

    def __call__(self, text: Text, random: np.random.Generator, other: Text | None = None) -> Text | None:
        """Return the text without these words."""
        places = words(text.text, self.options.chinese)
        loose = outside(text, places)
        if not self.options.negations:
            loose = [place for place in loose if not is_negation(text.text[slice(*place)])]
        drawn = chosen(len(loose), self.options.rate, random)
        if len(drawn) == len(places) and drawn:
            drawn.pop(int(random.integers(len(drawn))))
        changed: Text | None = None
        for index in reversed(drawn):  # so that the places before stay what they are
            changed = removed(changed or text, *loose[index]) or changed
        return changed


class SwapWordsOptions(Settings):
    """Options of the operator `swap-words`."""

    rate: float = Field(0.1, gt=0, le=1)
    """Swaps as a share of the words outside spans (EDA's alpha); at least one."""
    chinese: Chinese = "jieba"
    """What a word is in Chinese: that of `jieba`, or a character."""


class SwapWords:
    """Has two words change places, so often: EDA's random swap. A capital that begins a sentence stays where it is."""

    name: ClassVar[str] = "swap-words"
    Options: ClassVar[type[Settings]] = SwapWordsOptions
    partner: ClassVar[bool] = False

    def __init__(self, options: SwapWordsOptions) -> None:
        self.options = options

    def __call__(self, text: Text, random: np.random.Generator, other: Text | None = None) -> Text | None:
        """Return the text with these words in each other's places."""
        whole = text.text
        places = [place for place in outside(text, words(whole, self.options.chinese)) if _moves(whole, place)]
        order = [whole[start:end] for start, end in places]
        if len(set(order)) < 2:
            return None
        swaps = max(1, int(self.options.rate * len(places)))
        for _ in range(swaps):
            for _ in range(TRIES):
                one, two = random.choice(len(order), 2, replace=False).tolist()
                if order[one] != order[two]:
                    order[one], order[two] = order[two], order[one]
                    break
        edits = [Edit(*place, word) for place, word in zip(places, order, strict=True) if word != whole[slice(*place)]]
        changed = edited(text, edits)
        return None if changed is None else with_articles(changed, edits)


class DropSpanOptions(Settings):
    """Options of the operator `drop-span`."""

    words: int = Field(5, ge=1)
    """Words of the run at most; its length is drawn from 1 to this."""
    most: float = Field(0.5, gt=0, lt=1)
    """Share of the text's words that the run has at most."""
    negations: bool = False
    """Leave out negations (`not`, `can't`, 不), too, which may turn a text into its opposite."""
    chinese: Chinese = "jieba"
    """What a word is in Chinese: that of `jieba`, or a character."""


class DropSpan:
    """Leaves out a short run of words inside a sentence, outside spans."""

    name: ClassVar[str] = "drop-span"
    Options: ClassVar[type[Settings]] = DropSpanOptions
    partner: ClassVar[bool] = False

    def __init__(self, options: DropSpanOptions) -> None:
        self.options = options

    def __call__(self, text: Text, random: np.random.Generator, other: Text | None = None) -> Text | None:
        """Return the text without a run of its words."""
        places = words(text.text, self.options.chinese)
        longest = min(self.options.words, int(self.options.most * len(places)))
        borders = [end for _, end in whole_sentences(text)]
        for _ in range(TRIES if longest else 0):
            length = int(random.integers(1, longest + 1))
            first = int(random.integers(len(places) - length + 1))
            start, end = places[first][0], places[first + length - 1][1]
            crosses = any(start < border < end for border in borders)
            if crosses or text.inside(start, end) or not balanced(text.text[start:end]):
                continue
            run = (text.text[slice(*place)] for place in places[first : first + length])
            if not self.options.negations and any(map(is_negation, run)):
                continue
            return removed(text, start, end)
        return None


def _moves(whole: str, place: Span) -> bool:
    """Not what begins a sentence with a capital, nor a part of a word."""
    first = whole[place[0]]
    return first not in "'’" and not (first.isupper() and begins_sentence(whole, place[0]))


def with_articles(text: Text, edits: list[Edit]) -> Text:
    """Each edited word with the article it asks for; `edits` are as they were applied."""
    grown, places = 0, list[int]()
    for edit in edits:
        places.append(edit.start + grown)
        grown += len(edit.new) - (edit.end - edit.start)
        places.append(edit.end + grown)
    for at in reversed(places):
        text = agreed(text, at)
    return text
