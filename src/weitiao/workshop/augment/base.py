"""A text with spans that move with it, edits of it, and the `Operator` interface."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from weitiao.errors import DataError
from weitiao.recipe.sections import Settings

Span = tuple[int, int]  # first character, character behind the last
Language = Literal["en", "zh"]


@dataclass(frozen=True)
class Text:
    """A text and the spans in it that must stay as they are: entities, an answer.

    They may touch, overlap and nest, and stand in any order; ``spans[i]`` stays the same span through every operator,
    so that what is known of it (a type) is kept beside it. Raises `ValueError` for a span that is empty or not inside.
    """

    text: str
    spans: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        for start, end in self.spans:
            if not 0 <= start < end <= len(self.text):
                raise ValueError(f"span ({start}, {end}) is empty or outside a text of {len(self.text)} characters")

    def __add__(self, other: Text) -> Text:
        """Return both joined, the spans of `other` behind one's own."""
        return Text(self.text + other.text, self.spans + other.moved(len(self.text)))

    def moved(self, by: int) -> tuple[Span, ...]:
        """Return the spans so many characters further on."""
        return tuple((start + by, end + by) for start, end in self.spans)

    def inside(self, start: int, end: int) -> bool:
        """Whether ``text[start:end]`` touches a span; of an empty place, whether it is inside one."""
        return any(_touches(span, start, end) for span in self.spans)


@dataclass(frozen=True)
class Edit:
    """``text[start:end]`` becomes `new`; an insertion where both are the same."""

    start: int
    end: int
    new: str


def edited(text: Text, edits: Iterable[Edit]) -> Text | None:
    """Apply edits that do not overlap, in places of the text as it is; None where that changes nothing.

    What is inserted at a span's border goes outside it; several insertions at one place follow each other as given.
    Raises `ValueError` for edits that overlap, lie outside the text, or touch the inside of a span.
    """
    ordered = sorted(edits, key=lambda edit: (edit.start, edit.end))
    for before, after in pairwise(ordered):
        if after.start < before.end:
            raise ValueError(f"edits overlap: {before} and {after}")
    for edit in ordered:
        if not 0 <= edit.start <= edit.end <= len(text.text):
            raise ValueError(f"outside a text of {len(text.text)} characters: {edit}")
        if text.inside(edit.start, edit.end):
            raise ValueError(f"inside a span: {edit}")
    new = applied(text.text, ordered)
    return None if new == text.text else Text(new, tuple(_shifted(span, ordered) for span in text.spans))


def applied(text: str, edits: Iterable[Edit]) -> str:
    """Return a text with edits, in order and apart from each other, applied to it."""
    parts, at = list[str](), 0
    for edit in edits:
        parts += (text[at : edit.start], edit.new)
        at = edit.end
    return "".join([*parts, text[at:]])


def free(text: Text) -> list[Span]:
    """Return the regions outside all spans, in order, none of them empty."""
    found: list[Span] = []
    at = 0
    for start, end in sorted(text.spans):
        if at < start:
            found.append((at, start))
        at = max(at, end)
    return [*found, (at, len(text.text))] if at < len(text.text) else found


def outside(text: Text, places: Iterable[Span]) -> list[Span]:
    """Return those places that touch no span; both are read in order of their beginning."""
    regions, at, found = free(text), 0, list[Span]()
    for start, end in sorted(places):
        while at < len(regions) and regions[at][1] < end:
            at += 1
        if at < len(regions) and regions[at][0] <= start:
            found.append((start, end))
    return found


def chosen(count: int, rate: float, random: np.random.Generator) -> list[int]:
    """Draw each of ``0 .. count - 1`` with probability `rate`; where that draws none, one of them."""
    drawn = np.flatnonzero(random.random(count) < rate).tolist()
    return drawn or ([int(random.integers(count))] if count else [])


def weighted(weights: Sequence[float], random: np.random.Generator) -> int:
    """Draw a place in proportion to its weight, which is not negative and somewhere positive."""
    total = np.cumsum(np.asarray(weights, dtype=np.float64))
    return min(int(np.searchsorted(total, random.random() * total[-1], side="right")), len(weights) - 1)


class Operator(Protocol):
    """A change of an English or Chinese text that leaves its label and its spans what they are, made from `Options`."""

    name: ClassVar[str]
    Options: ClassVar[type[Settings]]
    partner: ClassVar[bool]  # needs `other`, a second text of the same label
    options: Any

    def __call__(self, text: Text, random: np.random.Generator, other: Text | None = None) -> Text | None:
        """Return the text changed, which hangs on arguments and options alone; None where nothing could be changed."""


@dataclass(frozen=True)
class Rewritten:
    """New texts for each of some texts."""

    texts: list[list[str]]  # in order; fewer than were wanted where no more could be made
    told: Mapping[str, float]  # what was made, what was dropped and why, what it took
    stopped: str = ""  # why it ended before all was tried


@runtime_checkable
class Rewriter(Protocol):
    """What makes new texts of whole ones, many at once, by a model: spans cannot be followed through it."""

    name: ClassVar[str]
    Options: ClassVar[type[Settings]]
    options: Any

    def rewrite(
        self, texts: Sequence[Text], counts: Sequence[int], *, labels: Sequence[str] | None = None, seed: int = 0,
        others: Sequence[str] = (),
    ) -> Rewritten:  # fmt: skip
        """Make ``counts[i]`` new texts of ``texts[i]``, none like one of `texts`, of `others` or of each other.

        `texts` are all there are, those of which no new one is wanted among them; `others` those of other splits.
        `labels` are what their labels are called. Raises a `DataError` for a text with spans.
        """


def whole_texts(name: str, texts: Sequence[Text]) -> list[str]:
    """Return texts without spans; a `DataError` where one has some, for `name` would lose them."""
    for number, text in enumerate(texts, 1):
        if text.spans:
            raise DataError(f"has spans, which {name} cannot follow into a new text", where=f"text {number}",
                            fix="Take an operator that changes words in their places.")  # fmt: skip
    return [text.text for text in texts]


def _touches(span: Span, start: int, end: int) -> bool:
    return span[0] < end and start < span[1] if start < end else span[0] < start < span[1]


def _shifted(span: Span, edits: Sequence[Edit]) -> Span:
    """An edit before the span's first character moves it; none is inside."""
    by = sum(len(edit.new) - (edit.end - edit.start) for edit in edits if edit.end <= span[0])
    return span[0] + by, span[1] + by
