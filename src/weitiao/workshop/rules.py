"""What can be wrong with one text by itself: encoding damage, control characters, markup, nothing in it, mixed scripts.

A rule is a pure function of the text that says what it found, in a few words, or None. It is quick on a clean text: a
pattern that nothing matches, and no more.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import regex

Level = Literal["error", "warning", "note"]
SHOWN = 24  # characters of what was found

Look = Callable[[str], str | None]


@dataclass(frozen=True)
class Rule:
    """One thing to look for in a text."""

    name: str
    level: Level
    problem: str  # what is said of rows, after their number: ``12 rows with markup``
    fix: str
    look: Look


# --- encoding

_LOST = regex.compile("\ufffd|锟斤拷|烫烫烫|屯屯屯|[\ud800-\udfff]")  # what decoders and compilers leave of lost bytes
_HAN = regex.compile(r"\p{Han}")
_MEANT = regex.compile(r"[\p{Han}\p{Common}]+\Z")


def encoding(text: str) -> str | None:
    """Characters that were lost, or text that was decoded by another encoding than it had been encoded by: UTF-8 as
    Windows-1252 and the like (`ftfy` finds these), UTF-8 as GBK, GBK as Latin-1.
    """  # fmt: skip
    if text.isascii():
        return None
    if lost := _LOST.search(text):
        return f"lost characters: {_around(text, lost.start(), lost.end())}"
    if mended := mended_encoding(text):
        return _difference(text, mended)
    return None


def _difference(text: str, mended: str) -> str:
    """Where the two begin to differ, some characters of both."""
    same = next((i for i, (a, b) in enumerate(zip(text, mended, strict=False)) if a != b), 0)
    start = max(0, text.rfind(" ", 0, same) + 1 if same else 0, same - 8)
    return f"'{_cut(text[start:])}' for '{_cut(mended[start:])}'"


def mended_encoding(text: str) -> str | None:
    """Return the text as it was before it was decoded wrongly; None where nothing tells that it was."""
    from ftfy import fix_encoding
    from ftfy.badness import is_bad

    if text.isascii():
        return None
    if (mended := _utf8_as_gbk(text) or _gbk_as_latin(text)) is not None:
        return mended
    if is_bad(text) and (mended := fix_encoding(text)) != text:
        return mended
    return None


def _utf8_as_gbk(text: str) -> str | None:
    """``浣犲ソ`` for 你好. By chance three characters of GBK are the bytes of two Han characters in UTF-8 once in
    thousands of times; all characters of a text that are not ASCII have to be.
    """  # fmt: skip
    if len(_HAN.findall(text)) < 3:
        return None
    try:
        mended = text.encode("gb18030").decode("utf-8")
    except UnicodeError:
        return None
    return mended if len(_HAN.findall(mended)) > 1 and _plain(mended) else None


def _gbk_as_latin(text: str) -> str | None:
    """``ÄãºÃ`` for 你好: pairs of Latin-1 letters only, which no language writes."""
    try:
        raw = text.encode("latin-1")
    except UnicodeError:
        return None
    high = sum(byte > 127 for byte in raw)
    if high < 4 or not regex.fullmatch(rb"(?:[\x00-\x7f]|[\xb0-\xf7][\xa1-\xfe]|[\xa1-\xa9][\xa1-\xfe])*+", raw):
        return None
    mended = raw.decode("gb18030", "replace")
    return mended if "\ufffd" not in mended and 2 * len(_HAN.findall(mended)) > high / 2 else None


def _plain(text: str) -> bool:
    letters = [c for c in text if c.isalpha() and not c.isascii()]
    return bool(letters) and all(_MEANT.match(c) for c in letters)


# --- characters

CONTROL = regex.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]"
    r"|\p{Co}"
)
_NAMES = {
    "\u00ad": "soft hyphen", "\u200b": "zero-width space", "\ufeff": "byte order mark", "\u200e": "left-to-right mark",
    "\u200f": "right-to-left mark", "\u2060": "word joiner", "\x7f": "delete", "\x00": "null", "\x1b": "escape",
}  # fmt: skip


def control(text: str) -> str | None:
    """Characters that nobody sees, or that belong to no text; line breaks and tabs are none of them."""
    if not (found := CONTROL.search(text)):
        return None
    character = found.group()
    name = _NAMES.get(character) or ("private use" if regex.match(r"\p{Co}", character) else "control character")
    return f"{name} (U+{ord(character):04X})"


_TAGS = "|".join((
    "a|abbr|article|b|blockquote|body|br|button|center|code|div|em|font|footer|form|h[1-6]|head|header|hr|html|i|iframe",
    "img|input|label|li|link|meta|nav|ol|option|p|pre|s|script|section|select|small|span|strike|strong|style|sub|sup|svg",
    "table|tbody|td|textarea|th|thead|title|tr|u|ul|video",
))  # fmt: skip
MARKUP = regex.compile(
    rf"</?(?:{_TAGS})(?:\s[^<>=]{{1,40}}=[^<>]{{0,500}})?\s*/?>|<!--|<!doctype\b[^>]*>?", regex.IGNORECASE
)
COMMENT = regex.compile(r"<!--.*?-->", regex.DOTALL)
ENTITY = regex.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});", regex.IGNORECASE)


def markup(text: str) -> str | None:
    """HTML tags that are known as such, comments, and entities that stand for a character."""
    if "<" in text and (found := MARKUP.search(text)):
        return _cut(found.group())
    if "&" in text:
        for found in ENTITY.finditer(text):
            entity: str = found.group()
            if html.unescape(entity) != entity:
                return entity
    return None


_WORDY = regex.compile(r"[\p{L}\p{N}]")


def empty(text: str) -> str | None:
    """Nothing but white space and characters that are not seen."""
    return None if _WORDY.search(text) or CONTROL.sub("", text).strip() else "nothing in it"


def wordless(text: str) -> str | None:
    """Something, but neither letter nor digit nor, as in a chat, a symbol such as an emoji."""
    stripped = text.strip()
    if not stripped or _WORDY.search(stripped) or regex.search(r"\p{So}", stripped):
        return None
    return _cut(stripped)


_CYRILLIC = regex.compile(r"\p{Cyrillic}")
_TWO_SCRIPTS = regex.compile(
    r"[\p{Latin}\p{Greek}\p{Cyrillic}]*(?:\p{Latin}\p{Cyrillic}|\p{Cyrillic}\p{Latin})[\p{Latin}\p{Cyrillic}]*"
)


def scripts(text: str) -> str | None:
    """A word of Latin and Cyrillic letters at once: look-alikes, or a broken conversion. Greek ones stand beside Latin
    ones in every formula (``μm``) and are not looked for.
    """  # fmt: skip
    if text.isascii() or not _CYRILLIC.search(text) or not (word := _TWO_SCRIPTS.search(text)):
        return None
    letters = dict.fromkeys(_CYRILLIC.findall(word.group()))
    return f"{_cut(word.group())} ({', '.join(f'{c} is U+{ord(c):04X}' for c in list(letters)[:3])})"


WIDE = regex.compile(r"[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]+")


def full_width(text: str) -> str | None:
    """Full-width letters and digits, which a tokenizer knows as other ones; punctuation of Chinese is none of it."""
    if text.isascii() or not (found := WIDE.search(text)):
        return None
    return _cut(found.group())


# What JSON or a program's source writes for a character. `\n` before a small letter may as well begin a command of TeX
# (`\nabla`) or a folder's name (`C:\new`), `\"` before a vowel be TeX's umlaut: they tell nothing.
_ESCAPE = regex.compile(
    r"""\\{1,2}(?:[nrt](?![a-z{])|u[0-9a-fA-F]{4}(?![a-z])|x[0-9a-f]{2}(?![a-z])"""
    r"""|"(?![a-zA-Z{])|'(?=(?:s|t|re|ve|ll|d|m)\b))"""
)
_PATH = regex.compile(r"""(?<!\w)(?:[A-Za-z]:|\\\\[A-Za-z0-9_.$-]{2,})\\[^\s"'<>|]*""")
_QUOTED = regex.compile(r"""`[^`]*`|(?<!\w)(["'])(?:\\{1,2}(?:.|u\w{4}|x\w\w)){1,3}\1""")  # "\r\n": spoken of
_CODE = regex.compile(
    r"(?m)```|^\s*(?:def|class|import|from|return|for|while|if|else|elif|try|#include|public|private|function|var|let|const"
    r"|SELECT|INSERT)\b.*[:;{(]\s*$|\b(?:print\w*|printf|println|split|join|replace|echo|compile|search|match|sub)\s*\("
)


def escapes(text: str) -> str | None:
    """Escapes that stand for a character, as characters: ``\\n`` for a line break, ``\\u4f60`` for 你. Not in code, in
    Windows' paths, in TeX, or where they are quoted.
    """  # fmt: skip
    if "\\" not in text or not _ESCAPE.search(text) or _CODE.search(text):
        return None
    bare = _QUOTED.sub(" ", _PATH.sub(" ", text))
    return _around(bare, *found.span()) if (found := _ESCAPE.search(bare)) else None


def unescaped(text: str) -> str:
    """Return a text in which `escapes` finds something with the characters that its escapes stand for."""
    if escapes(text) is None:
        return text
    left = [found.span() for pattern in (_PATH, _QUOTED) for found in pattern.finditer(text)]

    def meant(found: regex.Match[str]) -> str:
        start, end = found.span()
        escape: str = found.group().lstrip("\\")
        if any(first < end and start < last for first, last in left):
            return str(found.group())
        return _MEANS.get(escape[0]) or (chr(int(escape[1:], 16)) if escape[0] in "ux" else escape)

    new = _ESCAPE.sub(meant, text)
    return str(new.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))  # two halves make one character


_MEANS = {"n": "\n", "r": "\n", "t": "\t"}

RULES: tuple[Rule, ...] = (
    Rule("empty", "warning", "with nothing in the text", "Take them out.", empty),
    Rule("wordless", "warning", "without a letter or a digit", "Take them out, or tell what they stand for.", wordless),
    Rule("encoding", "warning", "with damaged encoding", "Read the source in its own encoding, or mend it.", encoding),
    Rule("control", "warning", "with characters that nobody sees", "Take these characters out.", control),
    Rule("escapes", "warning", r"with escapes such as \n as characters", "Put what they stand for in their place.",
         escapes),
    Rule("markup", "warning", "with HTML", "Strip tags and decode entities, unless the model is to read HTML.", markup),
    Rule("scripts", "warning", "with a word in two scripts", "Write each word in one script.", scripts),
    Rule("full-width", "note", "with full-width letters or digits", "Normalise by Unicode's NFKC.", full_width),
)  # fmt: skip


def _around(text: str, start: int, end: int) -> str:
    return ("…" if start > 8 else "") + _cut(text[max(0, start - 8) : end + 8])


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
