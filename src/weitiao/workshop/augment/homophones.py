"""Chinese characters that sound alike, as an input method offers them: the same syllable whatever its tone."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Mapping
from functools import cache

from weitiao.errors import WeitiaoError
from weitiao.workshop.augment.dictionary import chinese_words
from weitiao.workshop.augment.units import INSTALL

OFFERED = 10  # characters of a syllable, the most frequent first: what one page of an input method shows
Weighted = tuple[tuple[str, float], ...]


def homophones(run: str) -> list[Weighted]:
    """Return for each character of a run of Chinese ones those that sound alike, with their weights.

    Readings are those of `pypinyin` in the run's own words, frequencies those of jieba's dictionary, and weights their
    square roots: rare characters come, too. Characters outside GB 2312 (traditional ones) get none. Raises a
    `WeitiaoError` where one of the packages is not installed.
    """
    offered = _offered()
    return [
        tuple((other, weight) for other, weight in offered.get(syllable, ()) if other != sign)
        if _is_simplified(sign) else ()
        for sign, syllable in zip(run, _syllables(run), strict=True)
    ]  # fmt: skip


def sounds_are_there() -> bool:
    """Whether the packages `pypinyin` and `jieba` are installed."""
    return all(importlib.util.find_spec(package) for package in ("pypinyin", "jieba"))


@cache
def _offered() -> Mapping[str, Weighted]:
    """Syllable -> its most frequent characters; of one with several readings, the first."""
    if not sounds_are_there():
        raise WeitiaoError("characters that sound alike are those of the packages pypinyin and jieba, which are not "
                           "both installed", fix=INSTALL)  # fmt: skip
    from pypinyin.contrib.tone_convert import to_normal
    from pypinyin.pinyin_dict import pinyin_dict

    frequencies = _frequencies()
    found: dict[str, list[str]] = {}
    for sign in _frequent():
        reading = pinyin_dict.get(ord(sign), "").split(",")[0]
        if reading and frequencies[sign]:
            found.setdefault(to_normal(reading), []).append(sign)
    return {
        syllable: tuple((sign, frequencies[sign] ** 0.5) for sign in sorted(signs, key=lambda s: (-frequencies[s], s)))[
            :OFFERED
        ]
        for syllable, signs in found.items()
    }


def _syllables(run: str) -> list[str]:
    """Each character's syllable without its tone, empty where none is known."""
    from pypinyin import Style, lazy_pinyin

    found: list[str] = lazy_pinyin(run, style=Style.NORMAL, errors="ignore")
    if len(found) == len(run):
        return found
    return [(lazy_pinyin(sign, style=Style.NORMAL, errors="ignore") or [""])[0] for sign in run]


def _frequent() -> str:
    """The 3755 characters of level 1 of GB 2312, the more frequent half of simplified Chinese."""
    pairs = ((row, cell) for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF))
    return "".join(bytes(pair).decode("gb2312", errors="ignore") for pair in pairs)


def _is_simplified(sign: str) -> bool:
    try:
        return bool(sign.encode("gb2312"))
    except UnicodeEncodeError:
        return False


def _frequencies() -> Counter[str]:
    """How often each character stands in the words of jieba's dictionary, by the words' own counts."""
    counts: Counter[str] = Counter()
    for word, count in chinese_words():
        for sign in word:
            counts[sign] += count
    return counts
