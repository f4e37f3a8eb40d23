"""CSV and TSV: delimiter, quoting, header and encoding are told from the file itself."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

from weitiao.data.formats.encoding import detect_encoding, text_lines, undecodable
from weitiao.errors import DataError

Quoting = Literal["doubled", "backslash", "none"]
SAMPLE = 1 << 22  # characters looked at
SAMPLE_ROWS = 1000
TOLD = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar", "\x1f": "none: one column"}
ONE_COLUMN = "\x1f"  # a delimiter that does not occur

USUAL_HEADER = re.compile(
    "texts?|sentences?|reviews?|comments?|content|body|message|question|answer|title|document|summary|source|input"
    "|output|prompt|response|query|premise|hypothesis|(text|sentence|question)_?[12ab]|labels?|label_id|category|class"
    "|target|sentiment|emotion|intent|topic|score|rating|stars?|id|index|idx|split"
    "|文本|内容|标签|类别|评论|句子|标题|正文|问题|答案|情感|编号"
)
NUMBER = re.compile(r"[-+]?(\d+([.,]\d+)*|\.\d+)([eE][-+]?\d+)?%?")
DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d{1,2}:\d{2}.*)?")
HEADER_LIKE = re.compile(r"[^\W\d][\w .:/()#&%-]{0,39}")


@dataclass(frozen=True)
class Layout:
    """How a csv file is written."""

    encoding: str
    delimiter: str
    quoting: Quoting
    header: bool
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


class Csv:
    """Comma-, tab-, semicolon- or bar-separated values; all cells are text."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".tab")
    told_by_content: ClassVar[tuple[str, ...]] = (".txt",)

    @staticmethod
    def recognises(path: Path) -> bool:
        """By suffix, or by the same number of tabs in all lines: much other text holds commas."""
        return path.is_file() and (path.suffix.lower() in Csv.suffixes or _has_tabs(path))

    @staticmethod
    def notes(path: Path) -> list[str]:
        """What was found out about the file and a person may want to check."""
        return list(layout_of(path).notes)

    @staticmethod
    def read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (line the record starts on, column -> cell); a `DataError` names the line of a broken row."""
        layout = layout_of(path)
        csv.field_size_limit(sys.maxsize)
        try:
            with path.open(encoding=layout.encoding, newline="") as file:
                yield from _records(file, layout, path.name)
        except UnicodeError:
            raise undecodable(path, layout.encoding) from None


def _has_tabs(path: Path) -> bool:
    try:
        lines = [line for _, line in islice(text_lines(path), SAMPLE_ROWS) if not line.isspace()]
    except (DataError, OSError):
        return False
    counts = {line.count("\t") for line in lines}
    return len(lines) > 1 and len(counts) == 1 and min(counts) > 0


def layout_of(path: Path) -> Layout:
    """Find out how the file is written, from its first 4 million characters."""
    state = path.stat()
    return _layout(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _layout(path: Path, _size: int, _changed: int) -> Layout:
    encoding = detect_encoding(path)
    csv.field_size_limit(sys.maxsize)
    try:
        with path.open(encoding=encoding.name, newline="") as file:
            sample = file.read(SAMPLE)
            cut = bool(file.read(1))
    except UnicodeError:
        raise undecodable(path, encoding.name) from None
    if not sample.strip():
        raise DataError("the file is empty", where=path.name, fix="It needs a header line and a row an example.")
    delimiter, quoting = _dialect(sample, cut, path.suffix.lower())
    rows, _ = _sample_rows(sample, delimiter, quoting, cut)
    header = not rows or _has_header(rows)
    first = rows[0] if rows else next(csv.reader([sample.splitlines()[0]], delimiter=delimiter), [])
    names, renamed = _names(first) if header else ([f"column{i}" for i in range(1, len(first) + 1)], [])
    notes = [encoding.note] if encoding.note else []
    if not header:
        notes.append(f"has no header line; its columns are called {', '.join(names)}")
    if quoting == "none" and '"' in sample:
        notes.append("quotes are read as part of the text: not all that open are closed")
    return Layout(encoding.name, delimiter, quoting, header, tuple(names), (*notes, *renamed))


def _records(file: io.TextIOWrapper, layout: Layout, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(file, **_options(layout.delimiter, layout.quoting))
    names, width = layout.names, len(layout.names)
    skip = layout.header
    line = 1
    try:
        for row in reader:
            if len(row) != width:
                if len(row) > 1 or (row and row[0].strip()):
                    raise _wrong_width(row, layout, f"{name}:{line}")
            elif skip:
                skip = False
            elif row != [""]:
                yield line, dict(zip(names, row, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise _wrong_quote(str(error), f"{name}:{line}") from None


def _options(delimiter: str, quoting: Quoting) -> dict[str, Any]:
    if quoting == "none":
        return {"delimiter": delimiter, "quoting": csv.QUOTE_NONE, "quotechar": None}
    escape = "\\" if quoting == "backslash" else None
    return {"delimiter": delimiter, "strict": True, "escapechar": escape}


def _wrong_width(row: list[str], layout: Layout, where: str) -> DataError:
    start = " ".join(layout.delimiter.join(row).split())
    told = TOLD.get(layout.delimiter, layout.delimiter)
    against = "the header has" if layout.header else "the first row has"
    return DataError(
        f"the row has {len(row)} cells, {against} {len(layout.names)} ({', '.join(layout.names[:8])}): {start[:60]!r}",
        where=where,
        fix=f"The delimiter is: {told}. Put a text that holds it in double quotes.",
    )


def _wrong_quote(problem: str, where: str) -> DataError:
    if "unexpected end" in problem:
        return DataError(
            "a quote opens in this row and never closes", where=where, fix='Write a quote in a cell as "".'
        )
    if "expected after" in problem:
        found = "a quote closes in this row, or in a row it runs into, before its cell ends"
        return DataError(
            found, where=where, fix='Close the quote at the end of the cell; write a quote in a cell as "".'
        )
    return DataError(problem, where=where)


# --- delimiter and quoting


def _sample_rows(sample: str, delimiter: str, quoting: Quoting, cut: bool) -> tuple[list[list[str]], bool]:
    """Return the sample's rows up to the first that cannot be read, and whether all could."""
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(sample, newline=""), **_options(delimiter, quoting))
    try:
        for row in reader:
            if row:
                rows.append(row)
    except csv.Error as error:
        return rows, cut and "unexpected end" in str(error)
    return (rows[:-1] if cut and len(rows) > 1 else rows), True


def _dialect(sample: str, cut: bool, suffix: str) -> tuple[str, Quoting]:
    """Choose the pair whose rows most often have as many cells as the first; broken quoting counts against it."""
    best, chosen = (0.0, False, 0.0), None
    usual = "\t,;|" if suffix in (".tsv", ".tab") else ",\t;|"
    for delimiter in usual:
        for quoting in _quotings(sample, delimiter):
            rows, clean = _sample_rows(sample, delimiter, quoting, cut)
            share = _agreement(rows)
            if (found := (round(share, 1), clean, share)) > best and share > 0:
                best, chosen = found, (delimiter, quoting)
    if chosen:
        return chosen
    first = sample.lstrip("\r\n").splitlines()[0]
    return max(usual, key=first.count) if any(d in first for d in usual) and '"' in first else ONE_COLUMN, "doubled"


def _quotings(sample: str, delimiter: str) -> list[Quoting]:
    found: list[Quoting] = ["doubled"]
    if '\\"' in sample:
        found.append("backslash")
    if delimiter == "\t" and '"' in sample:  # TSV is often written without quoting at all; CSV cannot be
        found.append("none")
    return found


def _agreement(rows: list[list[str]]) -> float:
    """Share of the rows with the first row's number of cells; 0 when that is 1 or when most rows have another."""
    if not rows or len(rows[0]) < 2:
        return 0.0
    widths = Counter(map(len, rows))
    return widths[len(rows[0])] / len(rows)


# --- header


def _has_header(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns: told from its cells and from how they differ from those below."""
    first = [cell.strip() for cell in rows[0]]
    if any(USUAL_HEADER.fullmatch(cell.casefold()) for cell in first):
        return True
    body = [row for row in rows[1:SAMPLE_ROWS] if len(row) == len(first)]
    columns = [[row[i].strip() for row in body] for i in range(len(first))]
    if first == [str(i) for i in range(len(first))]:  # pandas writes 0,1,2 above columns without names
        return not all(_is_value(cell) for column in columns for cell in column)
    if len(set(first)) < len(first) or any(_is_value(cell) for cell in first) or not all(first[1:]):
        return False
    if any(cell in column for cell, column in zip(first, columns, strict=True) if cell):
        return False
    if body and any(all(map(_is_value, column)) or _few(column) for column in columns):
        return True
    sentences = all(cell.endswith((".", "!", "?")) for cell in first)
    return not sentences and all(HEADER_LIKE.fullmatch(cell) and len(cell.split()) < 5 for cell in first if cell)


def _is_value(cell: str) -> bool:
    return bool(NUMBER.fullmatch(cell) or DATE.fullmatch(cell))


def _few(column: list[str]) -> bool:
    """Whether a column's values recur so much that a cell above which is none of them must be its name."""
    return len(column) >= 10 and len(set(column)) <= len(column) // 5


def _names(first: list[str]) -> tuple[list[str], list[str]]:
    names: list[str] = []
    notes = []
    for position, cell in enumerate(first, 1):
        name = cell.strip() or f"column{position}"
        if name in names:
            notes.append(f"the column name '{name}' stands twice; column {position} is called '{name}_{position}'")
            name = f"{name}_{position}"
        names.append(name)
    return names, notes
