"""What `weitiao predict` reads: a text, a file, or standard input as csv, tsv, JSON lines or plain lines. Streaming."""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weitiao.errors import DataError, nearest

Record = dict[str, Any]
STDIN_FORMS = ("csv", "tsv", "jsonl", "text")
FILE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".txt")
LONGEST_NAME = 255  # characters a file name may have: what is longer is a text


@dataclass(frozen=True)
class Rows:
    """Rows to predict for: (line counted from 1, record), in the order they came."""

    name: str  # for messages
    form: str  # csv, tsv, jsonl, text, or another format's name
    rows: Iterator[tuple[int, Record]]


def is_file(given: str) -> bool:
    """Whether the input names a file or folder; a `DataError` for what looks like one and is not there."""
    if len(given) > LONGEST_NAME or "\n" in given:
        return False
    path = Path(given)
    if path.is_file() or (path.is_dir() and (path / "dataset_info.json").exists()):
        return True
    one_word = not any(character.isspace() for character in given)
    if path.suffix.lower() in FILE_SUFFIXES and (one_word or "/" in given or "\\" in given):
        raise DataError("no such file", where=given, fix="For a text that ends so: echo TEXT | weitiao predict RUN -")
    return False


def is_table(given: str) -> bool:
    """Whether the name of a file or folder is that of rows, not of one sound."""
    return Path(given).is_dir() or Path(given).suffix.lower() in FILE_SUFFIXES


def read_file(path: Path, form: str | None = None) -> Rows:
    """Open a file in the format `form`, or the one its suffix or content says."""
    from weitiao import registry
    from weitiao.data.formats.detect import format_of

    known = registry.get("format", {"tsv": "csv"}.get(form, form)) if form else format_of(path)
    told = form or {".tsv": "tsv", ".ndjson": "jsonl"}.get(path.suffix.lower(), path.suffix.lower().lstrip("."))
    return Rows(str(path), told, iter(known.read(path)))


def read_stdin(form: str | None, columns: Iterable[str]) -> Rows:
    """Read standard input; without `form` its first line decides, `columns` being names that a header may hold."""
    lines = _lines(io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline=""))
    first = next(lines, None)
    if first is None:
        raise DataError("is empty", where="standard input")
    lines = itertools.chain([first], lines)
    form = form or guess_form(first, columns)
    if form not in STDIN_FORMS:
        raise DataError(f"unknown format '{form}'", where="--input-format", fix=nearest(form, STDIN_FORMS))
    readers = {"csv": lambda: _delimited(lines, ","), "tsv": lambda: _delimited(lines, "\t")}
    readers |= {"jsonl": lambda: _json_lines(lines), "text": lambda: _plain(lines)}
    return Rows("standard input", form, readers[form]())


def guess_form(first: str, columns: Iterable[str]) -> str:
    """Return what a first line looks like: a JSON object, a header with a known column, or plain text."""
    if first.lstrip().startswith("{"):
        try:
            json.loads(first)
        except ValueError:
            return "text"
        return "jsonl"
    known = {column.casefold() for column in columns}
    form, delimiter = ("tsv", "\t") if "\t" in first else ("csv", ",")
    cells = next(csv.reader([first], delimiter=delimiter), [])
    return form if known & {cell.strip().casefold() for cell in cells} else "text"


def _lines(stream: io.TextIOWrapper) -> Iterator[str]:
    try:
        yield from stream
    except UnicodeDecodeError:
        raise DataError(
            "is not UTF-8", where="standard input", fix="Give the file's name instead: its encoding is detected."
        ) from None


def _delimited(lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, Record]]:
    csv.field_size_limit(2**30)  # the library's 128 KiB is less than a long document
    reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
    names = [name for name in reader.fieldnames or [] if (reader.fieldnames or []).count(name) > 1]
    if names:
        raise DataError(f"the column '{names[0]}' stands twice in the header", where="standard input:1")
    try:
        for record in reader:
            if None in record or None in record.values():
                cells = f"has more or fewer cells than the header's {len(reader.fieldnames or [])}"
                raise DataError(cells, where=f"standard input:{reader.line_num}")
            yield reader.line_num, record
    except csv.Error as error:
        raise DataError(str(error), where=f"standard input:{reader.line_num}") from None


def _json_lines(lines: Iterator[str]) -> Iterator[tuple[int, Record]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(f"is not JSON: {error}", where=f"standard input:{number}") from None
        if not isinstance(record, dict):
            raise DataError("is not a JSON object", where=f"standard input:{number}", fix='Write {"text": "..."}.')
        yield number, record


def _plain(lines: Iterator[str]) -> Iterator[tuple[int, Record]]:
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if text.strip():
            yield number, {"text": text}
