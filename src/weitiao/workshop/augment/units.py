"""What a text is cut into: its words, its sentences, and the language it is in."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from weitiao.errors import WeitiaoError
from weitiao.metrics.tokens import language_of
from weitiao.tasks.segmenting import UNSPACED, Chinese, jieba_is_there, word_spans
from weitiao.workshop.augment.base import Language, Span, Text

INSTALL = "pip install 'weitiao[chinese]'"
FINAL = ".!?。！？…"  # end a sentence
CLOSING = "\"'”’)]」』）】》"

_NEGATIONS = frozenset({
    "no", "not", "never", "none", "nobody", "nothing", "nowhere", "neither", "nor", "without", "cannot", "cant", "dont",
    "doesnt", "didnt", "isnt", "wont",
})  # fmt: skip
_NO = tuple("不没无未非别勿莫")
_AROUND = tuple(tuple(pair) for pair in ("“”", "「」", "『』", "（）", "()", "《》"))
_LETTER = rf"[\p{{L}}\p{{N}}--[{UNSPACED}]]"
_LATER = rf"[\p{{L}}\p{{N}}\p{{M}}--[{UNSPACED}]]"
# A run of Chinese characters; a character of another such script; what is written together: it's, well-made, 3.5%, $20,
# u.s., a@b.com; a part that some corpora write apart: 's, n't.
_WORDS = (
    rf"(?V1)(?P<han>\p{{Han}}+)|[{UNSPACED}]\p{{M}}*"
    r"|(?<![\p{L}\p{N}])['’](?:s|re|ve|ll|d|m|t)(?![\p{L}\p{N}])"
    rf"|(?:[$£€#@]+)?{_LETTER}{_LATER}*(?:(?:['’./:,&@_+\-]|://){_LATER}+)*"
    r"(?:%|(?<=(?:^|[^\p{L}])\p{L}(?:\.\p{L})+)\.)?"
)
# After these a full stop ends no sentence; nor after a single letter, but I. Some corpora write it apart.
_SHORT = (
    r"(?:^|[\s(\"“])(?:[A-HJ-Za-z]|(?i:(?:[A-Za-z]\.)+[A-Za-z]|al|approx|ca|cf|Co|Corp|Dr|Eq|Fig|Gen|Inc|Jr|Lt|Ltd|Mr|"
    r"Mrs|Ms|Mt|No|Prof|resp|Rev|Sen|Sr|St|vol|vs|viz))\s?\.$"
)
# Blanks behind a full stop; the place behind a Chinese one; that behind a Latin one in Chinese; a line break.
_ENDS = (
    r"(?<=[.!?…](?:\s?[\"'”’)\]])*)\s+(?=\S)"
    r"|(?<=[。！？][”’」』）]*)(?![。！？”’」』）])\s*(?=\S)"
    r"|(?<=(?:[\p{Han}%)）\]\"”]|[A-Za-z]{2})[.!?])(?=\p{Han})"
    r"|\s*\n\s*(?=\S)"
)


def language(text: str) -> Language:
    """Return ``zh`` where at least half of the words are Chinese characters, else ``en``."""
    return "zh" if language_of([text]) == "zh" else "en"


def words(text: str, chinese: Chinese = "jieba") -> list[Span]:
    """Return where each word stands, punctuation marks left out.

    Chinese is cut into the words of `jieba` or into characters; a `WeitiaoError` where it is not installed and there
    is Chinese to cut.
    """
    found: list[Span] = []
    for match in _pattern(_WORDS).finditer(text):
        start, end = match.span()
        if match["han"]:
            found += ((start + first, start + last) for first, last in _han_words(match["han"], chinese))
        else:
            found.append((start, end))
    return found


def is_negation(word: str) -> bool:
    """Whether a word says no: ``not``, ``can't``, ``never``, a Chinese word that begins with 不 or the like."""
    word = word.lower().replace("’", "'")
    return word in _NEGATIONS or word.endswith("n't") or word.startswith(_NO)


def han(text: str) -> list[Span]:
    """Return where each run of Chinese characters stands."""
    return [match.span() for match in _pattern(r"\p{Han}+").finditer(text)]


def sentences(text: str) -> list[Span]:
    """Return where each sentence stands, in order, without the blanks between them; a line break ends one, too.

    Not after abbreviations (``Dr.``, ``e.g.``), nor before a small letter in a text that has capitals, nor after dots
    or a closing quote before a small letter, nor between quotes or brackets. What has no letter or digit goes with the
    sentence before.
    """
    cased = any(sign.isupper() for sign in text)
    ends = [
        match.span() for match in _pattern(_ENDS).finditer(text) if _is_end(text, match.start(), match.end(), cased)
    ]
    found: list[Span] = []
    for (_, start), (end, _) in pairwise([(0, 0), *ends, (len(text), len(text))]):
        part = text[start:end]
        start, end = start + len(part) - len(part.lstrip()), start + len(part.rstrip())
        if found and start < end and not (_says(part) and _says(text[slice(*found[-1])])):
            found[-1] = (found[-1][0], end)
        elif start < end:
            found.append((start, end))
    return found


def whole_sentences(text: Text) -> list[Span]:
    """Return the sentences; those between which a span reaches are one, so that each span lies in one of them."""
    found: list[Span] = []
    for start, end in sentences(text.text):
        gap = found[-1][1] if found else 0
        if text.inside(gap, start):
            start = found.pop()[0] if found else 0
        found.append((start, end))
    if found and text.inside(found[-1][1], len(text.text)):
        found[-1] = (found[-1][0], len(text.text))
    return found


def is_final(sentence: str) -> bool:
    """Whether a sentence ends as one."""
    return sentence.rstrip(CLOSING + " ")[-1:] in tuple(FINAL)


def _is_end(text: str, start: int, end: int, cased: bool) -> bool:
    """Whether the blanks at ``start .. end``, behind what may end a sentence, stand between two."""
    if "\n" in text[start:end]:
        return True
    follows = text[end] in FINAL + ",;:，；：、)]”’」』）】》" or (
        text[end] == "'" and text[end + 1 : end + 2].isspace()
    )
    if follows or any(
        text.count(opening, 0, start) > text.count(closing, 0, start) and text.count(opening) == text.count(closing)
        for opening, closing in _AROUND
    ):
        return False
    if text.count('"', 0, start) % 2 and text.count('"') % 2 == 0:
        return False
    if start == end:
        return True
    before = text[max(start - 40, 0) : start]
    if text[end].islower() and (cased or _pattern(r"(?:\.\s*\.|…|[\"'”’)\]])$").search(before)):
        return False
    return not _pattern(_SHORT).search(before) and not (text[end].isdigit() and _pattern(r"\d\s\.$").search(before))


def _says(part: str) -> bool:
    return any(sign.isalnum() for sign in part)


@cache
def _pattern(pattern: str) -> Any:
    import regex

    return regex.compile(pattern)


def _han_words(run: str, chinese: Chinese) -> Iterator[Span]:
    if chinese == "jieba" and not jieba_is_there():
        raise WeitiaoError("Chinese words are those of the package jieba, which is not installed", fix=INSTALL)
    return word_spans(run, chinese)
