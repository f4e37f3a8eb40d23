"""Personal data under placeholders: the same value has the same one in all rows, and no value is kept anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from weitiao.workshop.augment.base import Edit
from weitiao.workshop.personal import WIDE, find

NAMES = {
    "email": "EMAIL", "phone": "PHONE", "id_card": "ID", "bank_card": "CARD", "iban": "IBAN", "ip": "IP",
    "us_ssn": "SSN", "name": "NAME",
}  # fmt: skip
COUNTRY = ("0086", "86")  # before a Chinese mobile number, which is the same without it
MOBILE = 11  # digits of such a number


@dataclass(frozen=True)
class _Value:
    """Personal data in a text."""

    start: int
    end: int
    kind: str
    same: str  # equal where two ways of writing stand for one


class Placeholders:
    """Numbers the values of each kind in the order in which they are met: ``[EMAIL_1]``."""

    def __init__(self, kinds: Sequence[str]) -> None:
        self._kinds = frozenset(kinds)
        self._numbers: dict[tuple[str, str], int] = {}
        self._counts: dict[str, int] = {}

    def edits(self, text: str, people: Sequence[str] = ()) -> list[Edit]:
        """Return the edits that put a placeholder in place of each value, in order. `people`: names in the text."""
        return [Edit(value.start, value.end, self._placeholder(value)) for value in self._values(text, people)]

    def held(self, text: str, people: Sequence[str] = ()) -> list[str]:
        """Return which kinds a text holds."""
        return sorted({value.kind for value in self._values(text, people)}) if self._kinds or people else []

    def _values(self, text: str, people: Sequence[str]) -> list[_Value]:
        found = [
            _Value(span.start, span.end, span.kind, same(span.kind, text[span.start : span.end]))
            for span in find(text)
            if span.kind in self._kinds
        ]
        for name in _named(text, people):
            if all(name.end <= other.start or other.end <= name.start for other in found):
                found.append(name)
        return sorted(found, key=lambda value: value.start)

    def _placeholder(self, value: _Value) -> str:
        key = (value.kind, value.same)
        if key not in self._numbers:
            self._counts[value.kind] = self._counts.get(value.kind, 0) + 1
            self._numbers[key] = self._counts[value.kind]
        return f"[{NAMES[value.kind]}_{self._numbers[key]}]"


def _named(text: str, people: Sequence[str]) -> Iterator[_Value]:
    """The places of names, longer ones first. One that is part of a longer one is taken for the same person."""
    whole = sorted({name.strip() for name in people} - {""}, key=len, reverse=True)
    for name in whole:
        person = next((longer for longer in whole if _within(name, longer)), name)
        edges = [r"(?<!\w)" if _cased(name[0]) else "", r"(?!\w)" if _cased(name[-1]) else ""]
        for found in re.finditer(re.escape(name).join(edges), text):
            yield _Value(found.start(), found.end(), "name", same("name", person))


def _within(name: str, longer: str) -> bool:
    words, more = name.casefold().split(), longer.casefold().split()
    return any(more[at : at + len(words)] == words for at in range(len(more) - len(words) + 1))


def _cased(letter: str) -> bool:
    """Whether words are told by their borders, as they are not in Chinese."""
    return letter.isalnum() and letter.lower() != letter.upper()


def same(kind: str, value: str) -> str:
    """Return what is equal where two ways of writing stand for one: ``+86 138-0013-8000``, ``13800138000``."""
    plain = value.translate(WIDE).casefold()
    if kind in ("email", "ip"):
        return plain
    if kind == "name":
        return " ".join(plain.split())
    letters = "".join(character for character in plain if character.isalnum())
    if kind == "phone":
        for country in COUNTRY:
            if letters.startswith(country) and len(letters) == len(country) + MOBILE:
                return letters.removeprefix(country)
    return letters
