"""Personal data under placeholders: the same value has the same one in all rows, and no value is kept anywhere."""

from __future__ import annotations

from collections.abc import Sequence

from weitiao.workshop.augment.base import Edit
from weitiao.workshop.personal import WIDE, find

NAMES = {
    "email": "EMAIL", "phone": "PHONE", "id_card": "ID", "bank_card": "CARD", "iban": "IBAN", "ip": "IP",
    "us_ssn": "SSN",
}  # fmt: skip
COUNTRY = ("0086", "86")  # before a Chinese mobile number, which is the same without it
MOBILE = 11  # digits of such a number


class Placeholders:
    """Numbers the values of each kind in the order in which they are met: ``[EMAIL_1]``."""

    def __init__(self, kinds: Sequence[str]) -> None:
        self._kinds = frozenset(kinds)
        self._numbers: dict[tuple[str, str], int] = {}
        self._counts: dict[str, int] = {}

    def edits(self, text: str) -> list[Edit]:
        """Return the edits that put a placeholder in place of each value, in order."""
        return [
            Edit(span.start, span.end, self._placeholder(span.kind, text[span.start : span.end]))
            for span in find(text)
            if span.kind in self._kinds
        ]

    def held(self, text: str) -> list[str]:
        """Return which kinds a text holds."""
        return sorted({span.kind for span in find(text) if span.kind in self._kinds}) if self._kinds else []

    def _placeholder(self, kind: str, value: str) -> str:
        key = (kind, same(kind, value))
        if key not in self._numbers:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._numbers[key] = self._counts[kind]
        return f"[{NAMES[kind]}_{self._numbers[key]}]"


def same(kind: str, value: str) -> str:
    """Return what is equal where two ways of writing stand for one: ``+86 138-0013-8000``, ``13800138000``."""
    plain = value.translate(WIDE).casefold()
    if kind in ("email", "ip"):
        return plain
    letters = "".join(character for character in plain if character.isalnum())
    if kind == "phone":
        for country in COUNTRY:
            if letters.startswith(country) and len(letters) == len(country) + MOBILE:
                return letters.removeprefix(country)
    return letters
