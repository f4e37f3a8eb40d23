"""Rules that change a text: pure functions of it, each the other half of a rule in `rules.py` that finds."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Callable

import regex

from weitiao.recipe import CleanSettings
from weitiao.workshop.rules import COMMENT, CONTROL, ENTITY, MARKUP, WIDE, mended_encoding, unescaped

Mend = Callable[[str], str]

_UNSEEN = regex.compile(r"<(script|style|head)\b[^>]*>.*?</\1\s*>", regex.IGNORECASE | regex.DOTALL)
_BREAK = regex.compile(
    r"<br\s*/?>|</(?:p|div|li|tr|h[1-6]|blockquote|ul|ol|table|article|section)\s*>", regex.IGNORECASE
)
_CELL = regex.compile(r"</t[dh]\s*>", regex.IGNORECASE)
_ODD_BLANKS = regex.compile(r"[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_LINE_BREAKS = regex.compile(r"\r\n?|\u2028|\u2029")
_RUNS = regex.compile(r"(?<=\S)[ \t]{2,}(?=\S)")
_LINE_ENDS = regex.compile(r"[ \t]+$", regex.MULTILINE)
_EMPTY_LINES = regex.compile(r"\n{3,}")


def mends(settings: CleanSettings) -> dict[str, Mend]:
    """Return the rules that are switched on, by name, in their order."""
    on: dict[str, Mend | None] = {
        "encoding": encoding if settings.encoding else None,
        "markup": markup if settings.markup else None,  # before control: entities may stand for what nobody sees
        "escapes": unescaped if settings.escapes else None,
        "control": control if settings.control else None,
        "unicode": _UNICODE.get(settings.unicode),
        "simplified": _simplified() if settings.simplified else None,
        "spaces": spaces if settings.spaces else None,
    }
    return {name: mend for name, mend in on.items() if mend is not None}


def encoding(text: str) -> str:
    """Decode again what was decoded wrongly."""
    return mended_encoding(text) or text


def control(text: str) -> str:
    """Take out characters that nobody sees."""
    return str(CONTROL.sub("", text))


def markup(text: str) -> str:
    """Strip tags that HTML knows, comments, and what no browser shows; decode entities. Blocks end a line."""
    if "<" in text and MARKUP.search(text):
        text = COMMENT.sub("", _UNSEEN.sub("", text))
        text = MARKUP.sub("", _CELL.sub(" ", _BREAK.sub("\n", text)))
    return str(ENTITY.sub(lambda found: html.unescape(found.group()), text)) if "&" in text else text


def width(text: str) -> str:
    """Write full-width letters and digits as usual ones."""
    if text.isascii():
        return text
    return str(WIDE.sub(lambda found: unicodedata.normalize("NFKC", found.group()), text))


def nfc(text: str) -> str:
    """Return Unicode's composed form."""
    return unicodedata.normalize("NFC", text)


def nfkc(text: str) -> str:
    """Return Unicode's compatible form."""
    return unicodedata.normalize("NFKC", text)


_UNICODE: dict[str, Mend] = {"width": width, "nfc": nfc, "nfkc": nfkc}


def spaces(text: str) -> str:
    """Write blanks and line breaks in one way. Blanks that begin a line stay, unless it is the text's only one."""
    text = _LINE_BREAKS.sub("\n", _ODD_BLANKS.sub(" ", text))
    text = _EMPTY_LINES.sub("\n\n", _LINE_ENDS.sub("", _RUNS.sub(" ", text))).strip("\n").rstrip()
    return text if "\n" in text else text.lstrip()


def _simplified() -> Mend:
    from weitiao.workshop.variants import to_simplified

    return to_simplified
