"""Sentences left out, put in another order, and texts put together."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from weitiao.recipe.sections import Settings
from weitiao.workshop.augment.base import Span, Text
from weitiao.workshop.augment.units import is_final, language, whole_sentences


class TruncateOptions(Settings):
    """Options of the operator `truncate`."""

    keep: Literal["head", "tail", "window"] = "head"
    """What stays: the first sentences, the last ones, or some in a row anywhere."""
    share: float = Field(0.5, gt=0, lt=1)
    """Share of the sentences that stays at least; how many do is drawn between that and all but one."""


class Truncate:
    """Keeps the beginning, the end or a window of a text, whole sentences and all spans."""

    name: ClassVar[str] = "truncate"
    Options: ClassVar[type[Settings]] = TruncateOptions
    partner: ClassVar[bool] = False

    def __init__(self, options: TruncateOptions) -> None:
        self.options = options

    def __call__(self, text: Text, random: np.random.Generator, other: Text | None = None) -> Text | None:
        """Return the part of the text; None where it has one sentence, or spans in its first and its last."""
        found = whole_sentences(text)
        count = len(found)
        held = [index for index, (start, end) in enumerate(found) if any(start <= s < end for s, _ in text.spans)]
        first, last = (held[0], held[-1]) if held else (count, -1)
        starts: dict[int, range] = {}  # of so many sentences: where they may begin, so that they hold all spans
        for kept in range(max(int(np.ceil(self.options.share * count)), 1), count):
            where = self._starts(count, kept)
            starts[kept] = range(max(where.start, last - kept + 1), min(where.stop, first + 1))
        possible = [kept for kept, places in starts.items() if places]
        if not possible:
            return None
        kept = possible[int(random.integers(len(possible)))]
        at = starts[kept][int(random.integers(len(starts[kept])))]
        return _part(text, found[at][0], found[at + kept - 1][1])

    def _starts(self, count: int, kept: int) -> range:
        match self.options.keep:
            case "head":
                return range(1)
            case "tail":
                return range(count - kept, count - kept + 1)
            case "window":
                return range(count - kept + 1)


class ShuffleSentencesOptions(Settings):
    """Options of the operator `shuffle-sentences`; it has none."""


class ShuffleSentences:
    """Puts the sentences in another order, spans with them; blanks and line breaks between them stay.

    A last sentence without a full stop stays the last. Spans in it keep their place in ``spans``, so that these may
    stand in another order than in the text.
    """

    name: ClassVar[str] = "shuffle-sentences"
    Options: ClassVar[type[Settings]] = ShuffleSentencesOptions
    partner: ClassVar[bool] = False

    def __init__(self, options: ShuffleSentencesOptions) -> None:
        self.options = options

    def __call__(self, text: Text, random: np.random.Generator, other: Text | None = None) -> Text | None:
        """Return the sentences in another order; None where there are not two that differ."""
        found, whole = whole_sentences(text), text.text
        lines = all("\n" in whole[end:start] for (_, end), (start, _) in pairwise(found))
        movable = [i for i, (start, end) in enumerate(found) if lines or is_final(whole[start:end])]
        if len({whole[slice(*found[i])] for i in movable}) < 2:
            return None
        drawn = random.permutation(len(movable)).tolist()
        for _ in movable:
            order = list(range(len(found)))
            for place, index in zip(movable, drawn, strict=True):
                order[place] = movable[index]
            changed = _ordered(text, found, order)
            if changed.text != whole:
                return changed
            drawn = [*drawn[1:], drawn[0]]
        return None


class ConcatenateOptions(Settings):
    """Options of the operator `concatenate`."""

    separator: str | None = None
    """What stands between the two. By default a blank in English and nothing in Chinese, after a full stop where the
    first text ends with a word."""


class Concatenate:
    """Puts a second text of the same label behind the first; its spans come behind, too."""

    name: ClassVar[str] = "concatenate"
    Options: ClassVar[type[Settings]] = ConcatenateOptions
    partner: ClassVar[bool] = True

    def __init__(self, options: ConcatenateOptions) -> None:
        self.options = options

    def __call__(self, text: Text, random: np.random.Generator, other: Text | None = None) -> Text | None:
        """Return both; None without a second text, or where it is empty."""
        if other is None or not other.text.strip():
            return None
        if self.options.separator is not None:
            return text + Text(self.options.separator) + other
        first, second = _trimmed(text, left=False), _trimmed(other, right=False)
        word = first.text[-1:].isalnum()
        if language(first.text) == "zh":
            return first + Text("。" if word else "") + second
        return first + Text((". " if word else " ") if first.text else "") + second


def _part(text: Text, start: int, end: int) -> Text:
    """``text[start:end]``, which holds all spans."""
    return Text(text.text[start:end], text.moved(-start))


def _trimmed(text: Text, *, left: bool = True, right: bool = True) -> Text:
    """Without the blanks at an end, as far as they are not in a span."""
    whole = text.text
    start = len(whole) - len(whole.lstrip()) if left else 0
    end = len(whole.rstrip()) if right else len(whole)
    start = min([start, *(first for first, _ in text.spans)])
    return _part(text, start, max([end, start, *(last for _, last in text.spans)]))


def _ordered(text: Text, found: list[Span], order: list[int]) -> Text:
    """The sentences `found` in that order, with what stands between them where it is."""
    whole, spans = text.text, list(text.spans)
    new, at = "", 0
    for place, index in enumerate(order):
        new += whole[at : found[place][0]]
        start, end = found[index]
        for number, (first, last) in enumerate(text.spans):
            if start <= first < end:
                spans[number] = (first - start + len(new), last - start + len(new))
        new += whole[start:end]
        at = found[place][1]
    return Text(new + whole[at:], tuple(spans))
