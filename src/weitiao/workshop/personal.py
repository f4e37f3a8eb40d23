"""Personal data in a text: e-mail addresses, phone numbers, identity numbers, bank cards and accounts, IP addresses.

What has a checksum is found only where that is right (Chinese identity numbers: GB 11643; cards: Luhn; IBAN: ISO 7064,
mod 97), so order numbers, dates, prices and versions are left alone. Full-width digits and signs count as their usual
forms.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import regex

WIDE = {0xFF00 + code: 0x20 + code for code in range(0x01, 0x5F)} | {0x3000: 0x20}  # full-width form -> ASCII
PROVINCES = "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 83"
REGIONS = frozenset(PROVINCES.split())  # the first two digits of an identity number
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


@dataclass(frozen=True, order=True)
class Span:
    """A stretch of a text, in characters, and what it is."""

    start: int
    end: int
    kind: str


def find(text: str) -> list[Span]:
    """Return the personal data in a text, in order and apart from each other; of two that overlap the surer one."""
    if not _WORTH.search(text):
        return []
    plain = text.translate(WIDE)
    found: list[Span] = []
    for kind, pattern, is_right in _KINDS:
        for match in pattern.finditer(plain):
            start, end = match.span()
            if is_right(match.group()) and all(end <= each.start or start >= each.end for each in found):
                found.append(Span(start, end, kind))
    return sorted(found)


# What may hold any: a sign, six digits near each other, or a colon as in an IPv6 address.
_WORTH = regex.compile(r"[@＠]|[0-9０-９](?:[^0-9０-９]{0,3}[0-9０-９]){5}|[0-9a-fA-F]:[0-9a-fA-F:]{2}")


# --- what is right


def _always(_: str) -> bool:
    return True


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())


def is_identity(number: str) -> bool:
    """Whether a number of 18 characters is a Chinese identity number: region, date of birth, checksum (GB 11643)."""
    if number[:2] not in REGIONS or not _is_date(number[6:14]):
        return False
    rest = sum(weight * int(digit) for weight, digit in zip(WEIGHTS, number, strict=False)) % 11
    return number[17].upper() == "10X98765432"[rest]


def _is_old_identity(number: str) -> bool:
    return number[:2] in REGIONS and _is_date("19" + number[6:12])


def _is_date(digits: str) -> bool:
    try:
        born = date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return False
    return date(1900, 1, 1) <= born <= date.today()


def passes_luhn(digits: str) -> bool:
    """Whether the last digit is the Luhn checksum of the others (ISO/IEC 7812-1)."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


_ISSUERS = regex.compile(  # first digits and lengths of the large networks (ISO/IEC 7812)
    r"4(?:\d{12}|\d{15}|\d{18})|[56]\d{12,18}|3[47]\d{13}|35\d{14}|3[068]\d{12}|2[2-7]\d{14}|(?:1800|2131)\d{11}"
)


def _is_card(text: str) -> bool:
    digits = _digits(text)
    return bool(_ISSUERS.fullmatch(digits)) and len(set(digits)) > 3 and passes_luhn(digits)


def _is_iban(text: str) -> bool:
    compact = "".join(text.split()).upper()
    if not 15 <= len(compact) <= 34:
        return False
    moved = compact[4:] + compact[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def _is_ip(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_unspecified or address.is_loopback)


def _is_ssn(text: str) -> bool:
    area, group, serial = text.split("-")
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def _is_phone(text: str) -> bool:
    """Seven to fifteen digits (ITU-T E.164), not all alike, and not a date."""
    digits = _digits(text)
    if not 7 <= len(digits) <= 15 or len(set(digits)) < 3:
        return False
    return not regex.fullmatch(r"(?:19|20)\d\d[-./ ]\d{1,2}[-./ ]\d{1,2}|\d{1,2}[-./ ]\d{1,2}[-./ ](?:19|20)\d\d", text)


# --- what is looked for

Right = Callable[[str], bool]
_BEFORE, _AFTER = r"(?<![\dA-Za-z])(?<!\d[.,-])", r"(?![\dA-Za-z])(?![.,-]\d)"  # no part of a longer number
_ALONE = r"(?<![\w.+-])", r"(?![\w-]|\.\d)"  # no part of a longer word
_EXTENSION = r"(?: ?x\d{1,6})?"
_INTERNATIONAL = r"(?:\+|00)[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,5}(?:[ .-]?\d{2,5}){1,4}"
_AMERICAN = r"(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[.-]|[2-9]\d{2} (?=\d{3}-))[2-9]\d{2}[ .-]\d{4}"
_BRITISH = r"0(?:\d{2} \d{4} \d{4}|\d{3} \d{3} \d{4}|\d{4} \d{6}|\d{4} \d{3} \d{3})"
_ANY_FORM = r"\(?\d{2,5}\)?(?: \d{2,5}){1,4}|\(?\d{2,4}\)?(?:[ .-]\d{2,4}){2,4}|\d{8,12}"
_CALLED = r"(?i:phone|call|tel|mobile|cell|fax|whatsapp|sms|text)|电话|手机|致电|联系"  # before a number of any form

# Kind, pattern, whether what matches is right; the surer ones first.
_PATTERNS: tuple[tuple[str, str, Right], ...] = (
    ("email", r"(?<![\w.+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![\w-])", _always),
    ("id_card", rf"{_BEFORE}\d{{17}}[\dXx]{_AFTER}", is_identity),
    ("iban", rf"{_ALONE[0]}[A-Z]{{2}}\d{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?{_ALONE[1]}", _is_iban),
    ("bank_card", rf"{_BEFORE}\d(?:[ -]?\d){{12,18}}{_AFTER}", _is_card),
    ("ip", rf"{_BEFORE}(?<!v)(?<!version )\d{{1,3}}(?:\.\d{{1,3}}){{3}}(?![\w]|\.\d)", _is_ip),
    ("ip", r"(?<![\w:.])(?=[0-9A-Fa-f:]*:[0-9A-Fa-f]*:)[0-9A-Fa-f:]{6,39}(?![\w:.])", _is_ip),
    ("us_ssn", rf"{_BEFORE}\d{{3}}-\d{{2}}-\d{{4}}{_AFTER}", _is_ssn),
    ("id_card", rf"{_BEFORE}\d{{15}}{_AFTER}", _is_old_identity),
    ("phone", rf"{_BEFORE}(?:(?:\+|00)86[ -]?)?1[3-9]\d[ -]?\d{{4}}[ -]?\d{{4}}{_AFTER}", _is_phone),  # Chinese, mobile
    (
        "phone",
        rf"{_BEFORE}(?:\(0\d{{2,3}}\) ?|0\d{{2,3}}-)[2-9]\d{{6,7}}(?:-\d{{1,5}})?{_AFTER}",
        _is_phone,
    ),  # landline
    ("phone", rf"(?<![\w.+-]){_INTERNATIONAL}{_EXTENSION}{_AFTER}", _is_phone),
    ("phone", rf"(?<![\w.+$€£-])(?<!\d ){_AMERICAN}{_EXTENSION}{_AFTER}", _is_phone),
    # \w and \D of all scripts here (?u), of ASCII elsewhere
    ("phone", rf"(?u)(?<=(?:{_CALLED})\D{{0,25}})(?<![\w.$€£-])(?:{_ANY_FORM}){_EXTENSION}{_AFTER}", _is_phone),
    ("phone", rf"{_BEFORE}{_BRITISH}{_AFTER}", _is_phone),
)
_KINDS = tuple(
    (kind, regex.compile(pattern, regex.UNICODE if pattern.startswith("(?u)") else regex.ASCII), is_right)
    for kind, pattern, is_right in _PATTERNS
)
