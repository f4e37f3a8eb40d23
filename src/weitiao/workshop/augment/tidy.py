"""What a change of words brings with it: blanks, punctuation left alone, capitals, ``a`` and ``an``."""

from __future__ import annotations

import re

from weitiao.workshop.augment.base import Edit, Text, edited
from weitiao.workshop.augment.units import FINAL

_BLANK = " \t\u3000\xa0"
_SOFT = ",;:、，；：—–"
_PAIRS = {
    "(": ")",
    "[": "]",
    "“": "”",
    "‘": "’",
    "「": "」",
    "『": "』",
    "（": "）",
    "【": "】",
    "《": "》",
    "〈": "〉",
}
_STRAIGHT = "\"'"
_ARTICLE = re.compile(r"(?<![\w'’.-])(an?)\s+[\"“(]?\s*$", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]+")
_SOUNDS_A = re.compile(r"(?:one|once|uni(?!n|mp|mag)|use|usu|uti|eu|ewe|ubi)", re.IGNORECASE)
_SOUNDS_AN = re.compile(r"(?:hour|honest|honou?r|heir)", re.IGNORECASE)


def removed(text: Text, start: int, end: int) -> Text | None:
    """Return the text without ``text[start:end]``, words outside spans, and without what they leave alone.

    That is a pair of quotes or brackets around nothing, a comma at the beginning or before the end of a clause, a
    second blank. A sentence goes on to begin with a capital. None where no word would be left.
    """
    whole, first = text.text, start
    begins = begins_sentence(whole, start) and whole[start].isupper()
    start, end = _without_blanks(text, *_widened(text, start, end))
    if not any(sign.isalnum() for sign in whole[:start] + whole[end:]):
        return None
    latin = [sign.isalnum() and sign < "\u2e80" for sign in (whole[start - 1 : start], whole[end : end + 1]) if sign]
    edits = [Edit(start, end, " " if len(latin) == 2 and all(latin) else "")]
    following = next((at for at in range(end, len(whole)) if whole[at].isalnum()), None)
    if begins and following is not None and whole[following].islower() and not text.inside(following, following + 1):
        between = whole[end:following]
        if first == start and not any(sign in FINAL + "\n" for sign in between):
            edits.append(Edit(following, following + 1, whole[following].upper()))
    changed = edited(text, edits)
    return changed and agreed(changed, start)


def agreed(text: Text, at: int) -> Text:
    """Return the text with ``a`` or ``an``, whichever the word that begins at `at` asks for, before it."""
    while at < len(text.text) and text.text[at] in _BLANK:
        at += 1
    window = max(at - 12, 0)
    article, word = _ARTICLE.search(text.text, window, at), _WORD.match(text.text, at)
    if article is None or word is None or (word[0].isupper() and len(word[0]) < 6):
        return text  # letters that are spelled: an NBA game, a NATO one
    if article[1].isupper() and len(article[1]) == 1 and not begins_sentence(text.text, article.start()):
        return text  # the letter A: plan A is
    needs = (word[0][0].lower() in "aeiou" and not _SOUNDS_A.match(word[0])) or bool(_SOUNDS_AN.match(word[0]))
    start, end = article.span(1)
    if needs == (end - start == 2) or text.inside(start, end):
        return text
    return edited(text, [Edit(start, end, article[1][0] + ("n" if needs else ""))]) or text


def begins_sentence(whole: str, at: int) -> bool:
    """Whether what stands at `at` is the first of its sentence."""
    before = whole[:at].rstrip(_BLANK + _STRAIGHT + "".join(_PAIRS))
    return not before or before[-1] in FINAL + "\n"


def balanced(part: str) -> bool:
    """Whether quotes and brackets that open in a part of a text also close in it."""
    closing: list[str] = []
    for sign in part:
        if sign in _PAIRS:
            closing.append(_PAIRS[sign])
        elif sign in _PAIRS.values() and sign != "’" and (not closing or closing.pop() != sign):
            return False
    return part.count('"') % 2 == 0 and not [sign for sign in closing if sign != "’"]


def like(word: str, pattern: str) -> str:
    """Return a word with the capitals of another: of its first letter, or of all."""
    if len(pattern) > 1 and pattern.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if pattern[:1].isupper() else word


def _widened(text: Text, start: int, end: int) -> tuple[int, int]:
    """Take in the punctuation that would be left without its words."""
    whole = text.text
    while True:
        left, right = _last(whole, start), _first(whole, end)
        before, after = whole[left:start].strip(_BLANK), whole[end:right].strip(_BLANK)
        soft, final = _is_soft(whole, end, right), after == "" or after in FINAL or _closes(whole, right - 1)
        wide = start, end
        if before and after and _pair(whole, left, right - 1):
            wide = left, right
        elif soft and (not before or before in FINAL or before in _PAIRS or _is_soft(whole, left, start)):
            wide = start, right
        elif final and _is_soft(whole, left, start):
            wide = left, end
        elif after and after in FINAL and (not before or before in FINAL):
            wide = start, right
        if wide == (start, end) or text.inside(*wide):
            return start, end
        start, end = wide


def _last(whole: str, start: int) -> int:
    """Where the last sign before `start` begins, blanks passed over."""
    at = len(whole[:start].rstrip(_BLANK))
    dash = len(whole[:at].rstrip("-"))
    return dash if at - dash > 1 or (at > dash and whole[dash - 1 : dash] in _BLANK) else max(at - 1, 0)


def _first(whole: str, end: int) -> int:
    """Where the first sign behind `end` ends, blanks passed over."""
    at = len(whole) - len(whole[end:].lstrip(_BLANK))
    dash = len(whole) - len(whole[at:].lstrip("-"))
    return dash if dash - at > 1 or (dash > at and whole[dash : dash + 1] in _BLANK) else min(at + 1, len(whole))


def _is_soft(whole: str, start: int, end: int) -> bool:
    """Whether a sign is a comma or the like; hyphens where there are two, or blanks around one."""
    part = whole[start:end]
    sign = part.strip(_BLANK)
    if sign == "-":
        at = start + part.index("-")
        return whole[max(at - 1, 0) : at] in _BLANK and whole[at + 1 : at + 2] in _BLANK
    return sign != "" and (sign in _SOFT or not sign.strip("-"))


def _pair(whole: str, left: int, right: int) -> bool:
    opening, closing = whole[left], whole[right]
    if opening in _STRAIGHT:
        return opening == closing and _opens(whole, left)
    return _PAIRS.get(opening) == closing


def _opens(whole: str, at: int) -> bool:
    """Whether a straight quote opens: a double one after an even number of them, a single one after no letter."""
    if whole[at] == '"':
        return whole.count('"', 0, at) % 2 == 0
    return at == 0 or not whole[at - 1].isalnum()


def _closes(whole: str, at: int) -> bool:
    sign = whole[at : at + 1]
    return sign != "" and (sign in _PAIRS.values() or (sign == '"' and not _opens(whole, at)))


def _without_blanks(text: Text, start: int, end: int) -> tuple[int, int]:
    """Take in blanks, so that one is left where there were two, and none before a sign that had none."""
    whole = text.text
    before, after = whole[start - 1 : start], whole[end : end + 1]
    attached = after != "" and not after.isspace() and not after.isalnum() and after not in _PAIRS
    if attached and after in _STRAIGHT:
        attached = not _opens(whole, end)
    wide_start, wide_end = start, end
    if after == "" or (attached and before in _BLANK):
        wide_start = len(whole[:start].rstrip(_BLANK))
    elif before == "" or before.isspace() or before in _PAIRS or (before in _STRAIGHT and _opens(whole, start - 1)):
        wide_end = len(whole) - len(whole[end:].lstrip(_BLANK))
    return (start, end) if text.inside(wide_start, wide_end) else (wide_start, wide_end)
