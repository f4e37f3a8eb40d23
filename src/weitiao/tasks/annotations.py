"""Annotated text as data holds it: tokens with tags, or a text with spans; read, checked, and cut into what is tagged.

What gets a tag is a *unit*: a token of the data, or a word, number, sign or Chinese character of a text.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

from weitiao.errors import DataError
from weitiao.metrics.tags import Span, untokenized

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
TYPE_KEYS = ("type", "label", "tag", "entity", "entity_group")
SPAN_FIX = 'A span is {"start": 0, "end": 5, "type": "PER"}: characters counted from 0, the end not included.'


class Units(NamedTuple):
    """What of an example gets tags. Unit i is ``text[starts[i]:ends[i]]``."""

    text: str  # as people read it
    starts: list[int]
    ends: list[int]
    as_tokens: bool  # whether answers count tokens; else characters of `text`

    @property
    def words(self) -> list[str]:
        """The units' texts."""
        return [self.text[start:end] for start, end in zip(self.starts, self.ends, strict=True)]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the place of the units `start` to `end` as answers count it."""
        return (start, end) if self.as_tokens else (self.starts[start], self.ends[end - 1])

    def covered(self, span: Span) -> Span | None:
        """Return a span of characters in units, those it covers in part included; None where it covers none."""
        first, end = bisect_right(self.ends, span.start), bisect_left(self.starts, span.end)
        return Span(first, end, span.type) if first < end else None


def units_of_tokens(tokens: Sequence[str]) -> Units:
    """Return a sentence's tokens as units of a text to read: no space between Chinese characters."""
    text, starts, ends = "", list[int](), list[int]()
    for token in tokens:
        if starts:
            before = tokens[len(starts) - 1]
            text += " " * (len(untokenized([before, token])) - len(before) - len(token))
        starts.append(len(text))
        text += token
        ends.append(len(text))
    return Units(text, starts, ends, as_tokens=True)


def units_of_text(text: str, joined: str | None = None) -> Units:
    """Cut a text into words, numbers, signs and characters of scripts without spaces.

    With `joined` letters and digits make one word, signs in it too: ``T-cell1`` is one unit where it holds ``-``.
    Without, a span may begin at either: ``mg`` in ``5mg``.
    """
    bounds = [match.span() for match in _pattern(joined).finditer(text)]
    return Units(text, [start for start, _ in bounds], [end for _, end in bounds], as_tokens=False)


@cache
def _pattern(joined: str | None) -> re.Pattern[str]:
    alone = f"[{UNSPACED}]"
    letter, word = rf"[^\W\d_{UNSPACED}]", rf"[^\W_{UNSPACED}]"
    if joined is None:
        return re.compile(rf"{alone}|{letter}+|\d+|\S")
    signs = "".join(re.escape(sign) for sign in joined)
    return re.compile(rf"{alone}|{word}+" + (rf"(?:[{signs}]{word}+)*" if signs else "") + r"|\S")


def is_unspaced(character: str) -> bool:
    """Whether it belongs to a script that is written without spaces."""
    return bool(_UNSPACED.fullmatch(character))


_UNSPACED = re.compile(f"[{UNSPACED}]")


class Joined:
    """Learns from tokens which signs stay inside words (``-`` in ``T-cell``), so that a text is cut as they were."""

    def __init__(self) -> None:
        self._inside: Counter[str] = Counter()
        self._apart: Counter[str] = Counter()

    def add(self, tokens: Iterable[str]) -> None:
        """Take a sentence."""
        for token in tokens:
            if len(token) == 1:
                self._apart[token] += 1
            elif not token.isalpha():
                self._inside.update(re.findall(r"(?<=[^\W_])([^\w\s]|_)(?=[^\W_])", token))

    @property
    def signs(self) -> str:
        """Signs found inside words more often than by themselves."""
        return "".join(sorted(sign for sign, count in self._inside.items() if count > self._apart[sign]))


# --- cells


def tokens_in(cell: Any, where: str) -> list[str]:
    """Return the tokens of a cell: a list, its JSON text, or tokens with spaces between.

    A `DataError` where there are none, or one that is empty.
    """
    tokens = _listed(cell)
    if not tokens:
        raise DataError("the field 'tokens' holds no tokens", where=where, fix="Take the row out.")
    empty = next((number for number, token in enumerate(tokens) if not token.strip()), None)
    if empty is not None:
        raise DataError(f"the field 'tokens' has nothing at {empty}: each token needs a character", where=where,
                        fix="Take the token and its tag out.")  # fmt: skip
    return tokens


def tags_in(cell: Any, names: Sequence[str] | None, tokens: int, where: str) -> list[str]:
    """Return the tags of a cell, one for each of `tokens`; `names` are those of tags that are numbers."""
    tags = _listed(cell)
    if len(tags) != tokens:
        held = f"{len(tags)} tag{'s' * (len(tags) != 1)} for {tokens} token{'s' * (tokens != 1)}"
        raise DataError(f"the field 'tags' holds {held}", where=where,
                        fix="Each token has one tag.")  # fmt: skip
    return tags if names is None else [_named(tag, names, where) for tag in tags]


def _named(tag: str, names: Sequence[str], where: str) -> str:
    if tag in names:
        return tag
    if tag.isdigit() and int(tag) < len(names):
        return names[int(tag)]
    raise DataError(f"the field 'tags' holds '{tag}', no number from 0 to {len(names) - 1}", where=where,
                    fix="task.tag_names names the tags by number.")  # fmt: skip


def _listed(cell: Any) -> list[str]:
    if isinstance(cell, str):
        stripped = cell.strip()
        if stripped.startswith("[") and stripped.endswith("]"):
            try:
                cell = json.loads(stripped)
            except ValueError:
                cell = None
        if not isinstance(cell, list):
            return stripped.split()
    return ["" if value is None else str(value) for value in cell or []]


def spans_in(cell: Any, text: str, where: str) -> list[Span]:
    """Return the spans of a cell in their order, white space at their edges left off.

    A cell holds a list of ``{"start", "end", "type"}`` (or `label`), or of ``[start, end, type]``, as such or as JSON
    text. A `DataError` names a span that is empty, outside the text, overlaps another, or says another text.
    """
    spans = sorted(_span(value, number, text, where) for number, value in enumerate(_values(cell, where)))
    for first, second in pairwise(spans):
        if second.start < first.end:
            raise DataError(
                f"the field 'entities' has spans that overlap: {_told(first, text)} and {_told(second, text)}",
                where=where, fix="Each character belongs to one entity at most: keep one of them.",
            )  # fmt: skip
    return spans


def _values(cell: Any, where: str) -> list[Any]:
    if cell is None or cell == "":
        return []
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except ValueError as error:
            raise DataError(f"the field 'entities' holds no JSON ({error})", where=where, fix=SPAN_FIX) from None
    if isinstance(cell, Mapping):
        cell = cell.get("entities") or cell.get("spans") or [cell]
    if not isinstance(cell, list):
        raise DataError(f"the field 'entities' holds no list but {cell!r}", where=where, fix=SPAN_FIX)
    return [json.loads(value) if isinstance(value, str) and value[:1] in ("{", "[") else value for value in cell]


def _span(value: Any, number: int, text: str, where: str) -> Span:
    start, end, type, said = _fields(value, number, where)
    field = f"the field 'entities[{number}]'"
    if end <= start:
        raise DataError(f"{field} is empty: from {start} to {end}", where=where, fix=SPAN_FIX)
    if start < 0 or end > len(text):
        raise DataError(f"{field} goes from {start} to {end}, the text has {len(text)} characters", where=where,
                        fix=SPAN_FIX)  # fmt: skip
    found = text[start:end]
    if said is not None and said != found:
        raise DataError(f"{field} says {said[:40]!r}, but from {start} to {end} the text has {found[:40]!r}",
                        where=where, fix="Offsets count characters, not bytes, in the text as it stands.")  # fmt: skip
    if not found.strip():
        raise DataError(f"{field} holds nothing but white space", where=where, fix=SPAN_FIX)
    return Span(start + len(found) - len(found.lstrip()), end - len(found) + len(found.rstrip()), type)


def _fields(value: Any, number: int, where: str) -> tuple[int, int, str, str | None]:
    """Return start, end, type, and the text that the span says it has."""
    try:
        if isinstance(value, Mapping):
            type = next((value[key] for key in TYPE_KEYS if value.get(key)), None)
            start, end, said = value["start"], value["end"], value.get("text")
        else:
            (start, end, type), said = value[:3], None
        if isinstance(start, bool) or float(start) != int(start) or float(end) != int(end):
            raise ValueError
        if not (isinstance(type, str) and type.strip()):
            raise KeyError
        return int(start), int(end), type.strip(), said if isinstance(said, str) else None
    except (KeyError, TypeError, ValueError):
        raise DataError(f"the field 'entities[{number}]' is no span: {json.dumps(value, ensure_ascii=False)[:80]}",
                        where=where, fix=SPAN_FIX) from None  # fmt: skip


def _told(span: Span, text: str) -> str:
    return f"'{text[span.start : span.end][:40]}' ({span.start} to {span.end}, {span.type})"
