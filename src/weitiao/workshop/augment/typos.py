"""Mistakes of typing: keys and letters in English, characters that sound or look alike in Chinese."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from weitiao.recipe.sections import Settings
from weitiao.workshop.augment.base import Edit, Span, Text, chosen, edited, outside, weighted
from weitiao.workshop.augment.homophones import homophones
from weitiao.workshop.augment.shapes import alike
from weitiao.workshop.augment.units import han, language, words

English = Literal["keyboard", "swap", "drop", "double"]
Chinese = Literal["sound", "shape"]

_ROWS = (("qwertyuiop", 0.0), ("asdfghjkl", 0.25), ("zxcvbnm", 0.75))  # a row's first key stands so far to the right
_KEYS = {key: (row, left + place) for row, (keys, left) in enumerate(_ROWS) for place, key in enumerate(keys)}
NEXT_TO = {
    key: "".join(k for k, (r, p) in _KEYS.items() if k != key and abs(r - row) <= 1 and abs(p - place) <= 1)
    for key, (row, place) in _KEYS.items()
}


class TyposOptions(Settings):
    """Options of the operator `typos`."""

    rate: float = Field(0.1, gt=0, le=1)
    """Probability that a word (English) or a character (Chinese) that can get a typo gets one; at least one does."""
    shortest: int = Field(4, ge=3)
    """English: letters of a word that gets one, at least; of the longest part where it has hyphens or an apostrophe."""
    english: list[English] = Field(["keyboard", "swap", "drop", "double"], min_length=1)
    """In words: a key next to the right one (QWERTY), two letters swapped, one left out, one doubled."""
    chinese: list[Chinese] = Field(["sound", "shape"], min_length=1)
    """In Chinese: a frequent character of the same syllable, as an input method offers it, or one that looks alike.
    `sound` needs the packages `pypinyin` and `jieba`."""


class Typos:
    """Types some words wrong, one mistake in each. In English the first and the last letter stay, and short words
    (Pruthi et al. 2019, arXiv:1905.11268); a Chinese text gets wrong characters.
    """  # fmt: skip

    name: ClassVar[str] = "typos"
    Options: ClassVar[type[Settings]] = TyposOptions
    partner: ClassVar[bool] = False

    def __init__(self, options: TyposOptions) -> None:
        self.options = options

    def __call__(self, text: Text, random: np.random.Generator, other: Text | None = None) -> Text | None:
        """Return the text with typos."""
        edits = self._characters(text, random) if language(text.text) == "zh" else self._words(text, random)
        return edited(text, edits)

    def _words(self, text: Text, random: np.random.Generator) -> list[Edit]:
        places = [place for place in outside(text, words(text.text, "characters")) if self._can(text.text, place)]
        edits: list[Edit] = []
        for index in chosen(len(places), self.options.rate, random):
            start, end = places[index]
            mistyped = [
                word for kind in self.options.english if (word := _mistyped(text.text[start:end], kind, random))
            ]
            if mistyped:
                edits.append(Edit(start, end, mistyped[int(random.integers(len(mistyped)))]))
        return edits

    def _can(self, whole: str, place: Span) -> bool:
        parts = whole[slice(*place)].replace("'", "-").split("-")
        return (
            all(part.isascii() and part.isalpha() for part in parts) and max(map(len, parts)) >= self.options.shortest
        )

    def _characters(self, text: Text, random: np.random.Generator) -> list[Edit]:
        kinds: dict[int, list[tuple[tuple[str, float], ...]]] = {}  # character -> what may stand for it, by kind
        for start, end in han(text.text):
            run = text.text[start:end]
            for kind in self.options.chinese:
                for at, others in enumerate(homophones(run) if kind == "sound" else map(_alike, run), start):
                    if others:
                        kinds.setdefault(at, []).append(others)
        places = [start for start, _ in outside(text, ((at, at + 1) for at in kinds))]
        edits: list[Edit] = []
        for index in chosen(len(places), self.options.rate, random):
            at = places[index]
            others = kinds[at][int(random.integers(len(kinds[at])))]
            edits.append(Edit(at, at + 1, others[weighted([weight for _, weight in others], random)][0]))
        return edits


def _alike(sign: str) -> tuple[tuple[str, float], ...]:
    return tuple((other, 1.0) for other in alike().get(sign, ""))


def _mistyped(word: str, kind: English, random: np.random.Generator) -> str:
    """The word with one mistake behind the first and before the last letter of a part; empty where it can have none."""
    inner = [at for at in range(1, len(word) - 1) if word[at - 1 : at + 2].isalpha()]
    if kind == "swap":
        inner = [at for at in inner if at + 1 in inner and word[at] != word[at + 1]]
    if not inner:
        return ""
    at = inner[int(random.integers(len(inner)))]
    letter = word[at]
    match kind:
        case "keyboard":
            keys = NEXT_TO[letter.lower()]
            key = keys[int(random.integers(len(keys)))]
            return word[:at] + (key.upper() if letter.isupper() else key) + word[at + 1 :]
        case "swap":
            return word[:at] + word[at + 1] + letter + word[at + 2 :]
        case "drop":
            return word[:at] + word[at + 1 :]
        case "double":
            return word[:at] + letter + word[at:]
