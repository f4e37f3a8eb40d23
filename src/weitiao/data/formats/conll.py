"""CoNLL-type files: a token and its tag a line, an empty line after each sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, ClassVar

from weitiao.data.formats.encoding import detect_encoding, text_lines
from weitiao.errors import DataError

SAMPLE_LINES = 2_000
MOSTLY = 0.9  # share of lines that must agree: one that is wrong is named when it is read, not here
TAG = re.compile(r"[BIOESLUM]([-_]\S.*)?")  # BIO, BIOES, BILOU; BMES of word segmentation
COMMENT = re.compile(r"#( |\t|(begin|end) document|newdoc|newpar|sent_id|text)")
DOCUMENT = "-DOCSTART-"


@dataclass(frozen=True)
class Lines:
    """How the lines of a file are written."""

    tabs: bool  # columns are separated by tabs, else by any spaces
    width: int  # columns
    ends: bool  # whether an empty line ends a sentence somewhere in what was looked at
    tagged: float  # share of lines whose last column looks like a BIO tag
    alike: float  # share of lines with `width` columns

    def cut(self, line: str) -> list[str]:
        """Return the columns of a line."""
        return line.rstrip().split("\t") if self.tabs else re.split(r"[ \t]+", line.strip(" \t"))


class Conll:
    """The first column is the token, the last one the tag; `-DOCSTART-` and comment lines are left out, and white space
    that is tagged O.

    A sentence is one record, ``{"tokens": [...], "tags": [...]}``, under its first line; without tags where a line
    holds a token alone.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".conll", ".conll2003", ".bio", ".iob", ".iob2", ".bioes", ".bmes")
    told_by_content: ClassVar[tuple[str, ...]] = (".txt", ".tsv", ".tab")

    @staticmethod
    def recognises(path: Path) -> bool:
        """Whether lines have the same number of columns, BIO-like tags in the last, and empty lines between them."""
        if not path.is_file():
            return False
        try:
            lines = lines_of(path)
        except (DataError, OSError):
            return False
        return lines.width > 1 and lines.ends and min(lines.alike, lines.tagged) >= MOSTLY

    @staticmethod
    def notes(path: Path) -> list[str]:
        """An unusual encoding, which columns are taken where there are more than two, and lines that are left out."""
        lines, note = lines_of(path), detect_encoding(path).note
        taken = f"of its {lines.width} columns the first is taken for the token and the last for the tag"
        bare = sum(not line.isspace() and not lines.cut(line)[0].strip() for _, line in text_lines(path))
        left = f"{bare:,} line{'s' * (bare != 1)} without a token left out"
        return [*([note] if note else []), *([taken] if lines.width > 2 else []), *([left] if bare else [])]

    @staticmethod
    def read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (line the sentence starts on, record); a `DataError` names a line with other columns than the rest."""
        lines, sentence, start, last = lines_of(path), list[list[str]](), 0, 0
        for number, line in text_lines(path):
            ended = number > last + 1 or line.isspace() or line.startswith(DOCUMENT)  # empty lines are not yielded
            last = number
            if ended and sentence:
                yield start, _record(sentence, lines.width)
                sentence = []
            if line.isspace() or line.startswith(DOCUMENT) or _is_comment(line, lines):
                continue
            if columns := _columns(line, lines, f"{path.name}:{number}"):
                start = start if sentence else number
                sentence.append(columns)
        if sentence:
            yield start, _record(sentence, lines.width)


def lines_of(path: Path) -> Lines:
    """Find out how lines are written, from the first few thousand."""
    sample = list(islice(text_lines(path), SAMPLE_LINES))
    numbers = [number for number, line in sample if not line.isspace()]
    texts = [line for _, line in sample if not line.isspace() and not line.startswith(DOCUMENT)]
    tabs = 2 * sum("\t" in line.rstrip() for line in texts) > len(texts)
    plain = Lines(tabs, 0, False, 0.0, 0.0)
    rows = [plain.cut(line) for line in texts if not (COMMENT.match(line) and len(plain.cut(line)) != 2)]
    if not rows:
        return plain
    width, count = Counter(map(len, rows)).most_common(1)[0]
    tagged = sum(bool(TAG.fullmatch(row[-1])) for row in rows)
    ends = any(later > number + 1 for number, later in pairwise(numbers))
    return Lines(tabs, width, ends, tagged / len(rows), count / len(rows))


def _is_comment(line: str, lines: Lines) -> bool:
    return bool(COMMENT.match(line)) and len(lines.cut(line)) != lines.width


def _columns(line: str, lines: Lines, where: str) -> list[str] | None:
    """Return the columns of a line; None where there is no token, tagged O."""
    columns = lines.cut(line)
    if len(columns) != lines.width:
        by = "tabs" if lines.tabs else "spaces"
        raise DataError(
            f"the line has {len(columns)} column{'s' * (len(columns) != 1)}, the others have {lines.width}, "
            f"separated by {by}: {line.strip()[:60]!r}",
            where=where,
            fix="Each line holds a token and its tag; an empty line ends a sentence.",
        )
    if columns[0].strip():
        return columns
    if columns[-1] == "O":
        return None
    raise DataError(f"there is no token before the tag '{columns[-1]}'", where=where, fix="Take the line out.")


def _record(sentence: list[list[str]], width: int) -> dict[str, Any]:
    tokens = {"tokens": [columns[0] for columns in sentence]}
    return tokens if width == 1 else tokens | {"tags": [columns[-1] for columns in sentence]}
