"""JSON: a list of objects, an object that holds one such list, or an object of objects by their ids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, TextIO

from weitiao.data.formats.encoding import detect_encoding, text_lines, undecodable, whole_text
from weitiao.data.formats.jsonl import Jsonl
from weitiao.errors import DataError

CHUNK = 1 << 20
SHAPES = 'It should be [{"text": ...}, ...] or {"data": [{"text": ...}, ...]}.'


class Json:
    """A list of objects is streamed, all else is read whole. Rows are counted from 1.

    In an object of objects a row's key is its `id`, where it has none of its own.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".json",)

    @staticmethod
    def recognises(path: Path) -> bool:
        """Whether the file starts a JSON list of objects."""
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(4096).lstrip(b"\xef\xbb\xbf").lstrip()
        return start[:1] == b"[" and start[1:].lstrip()[:1] == b"{"

    @staticmethod
    def notes(path: Path) -> list[str]:
        """What a person may want to check: an unusual encoding."""
        return Jsonl.notes(path)

    @staticmethod
    def read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (row, object); a `DataError` names the line or row that cannot be read."""
        encoding = detect_encoding(path).name
        if Jsonl.recognises(path) and _has_lines(path):  # many files called .json are JSON Lines
            yield from Jsonl.read(path)
            return
        try:
            with path.open(encoding=encoding) as file:
                start = _first_character(file)
                found = _elements(file, path.name) if start == "[" else iter(_held_list(path))
                for row, record in enumerate(found, 1):
                    if not isinstance(record, dict):
                        problem = f"found {type(record).__name__}, not an object: {str(record)[:60]!r}"
                        raise DataError(problem, where=f"{path.name} row {row}", fix=SHAPES)
                    yield row, record
        except UnicodeError:
            raise undecodable(path, encoding) from None


def _has_lines(path: Path) -> bool:
    """Whether there is a second line with something on it."""
    return len(list(islice((line for _, line in text_lines(path) if not line.isspace()), 2))) == 2


def _first_character(file: TextIO) -> str:
    while (character := file.read(1)).isspace():
        pass
    return character


def _elements(file: TextIO, name: str) -> Iterator[Any]:
    """Yield the elements of the list whose ``[`` was just read, holding one chunk and one element at a time."""
    decode = json.JSONDecoder().raw_decode
    text, lines = "", 1
    file.seek(0)
    text = file.read(CHUNK)
    at = text.index("[") + 1
    while True:
        at = _skip(text, at)
        try:
            if text[at] == "]":
                return
            element, end = decode(text, at)
            text[_skip(text, end)]  # the comma or bracket after it: a number could go on in the next chunk
        except (ValueError, IndexError) as error:
            more = file.read(max(CHUNK, len(text) - at))
            position = getattr(error, "pos", at)
            if not more or _surely_wrong(error, text):
                line = lines + text.count("\n", 0, position)
                raise DataError(getattr(error, "msg", "the list never ends"), where=f"{name}:{line}") from None
            lines += text.count("\n", 0, at)
            text, at = text[at:] + more, 0
            continue
        yield element
        at = end


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n,":
        at += 1
    return at


def _surely_wrong(error: Exception, text: str) -> bool:
    """Whether reading on cannot mend it: an error well before the end, and not of a string still open."""
    return isinstance(error, json.JSONDecodeError) and error.pos < len(text) - 16 and "Unterminated" not in error.msg


def _held_list(path: Path) -> list[Any]:
    try:
        value = json.loads(whole_text(path))
    except json.JSONDecodeError as error:
        raise DataError(error.msg, where=f"{path.name}:{error.lineno}") from None
    lists = {key: v for key, v in value.items() if isinstance(v, list)} if isinstance(value, dict) else {}
    if isinstance(lists.get("data"), list):
        return lists["data"]
    if len(lists) == 1:
        return next(iter(lists.values()))
    if isinstance(value, dict) and (rows := _rows_by_id(value)):
        return rows
    raise DataError(f"found no one list of examples but {', '.join(lists) or 'none'}", where=path.name, fix=SHAPES)


def _rows_by_id(value: dict[str, Any]) -> list[Any]:
    """Return the rows of ``{"7": {"text": ...}, "9": {"text": ...}}``; none where the objects have no key in common."""
    rows = list(value.values())
    if len(rows) < 2 or not all(isinstance(row, dict) for row in rows) or not set.intersection(*map(set, rows)):
        return []
    return [{"id": key, **row} for key, row in value.items()]
