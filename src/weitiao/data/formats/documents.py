"""Raw text to learn language from: documents in a file or in a folder of ``.txt`` and ``.md`` files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from weitiao.data.formats.encoding import detect_encoding, encoding_notes, text_lines
from weitiao.data.formats.text import ABOUT
from weitiao.records import FILE

MARKDOWN = (".md", ".markdown")
PLAIN = (".txt", ".text")
PIECE = 2_000  # characters: a longer file is cut between paragraphs into pieces of about so many
BLANK_LINES = 20  # one blank line to so many written ones, or more: blank lines separate documents
NOT_READ = re.compile(rf"({'|'.join(ABOUT)})([._-].*)?")

Paragraph = list[tuple[int, str]]  # lines with their numbers


class Documents:
    """Column `text`; in a folder also `document`, the file's path in it, by which a split can keep files whole.

    ``.txt``: a document a line, or blank lines between documents where there are many. ``.md``, and each file of a
    folder however deep: one document, cut between paragraphs where it is long.
    """

    suffixes: ClassVar[tuple[str, ...]] = MARKDOWN

    @staticmethod
    def recognises(path: Path) -> bool:
        """Whether it is a ``.txt`` or ``.md`` file, or a folder that holds one."""
        return bool(document_files(path)) if path.is_dir() else path.suffix.lower() in (*MARKDOWN, *PLAIN)

    @staticmethod
    def notes(path: Path) -> list[str]:
        """How documents are told apart, what is left out, and unusual encodings."""
        if path.is_dir():
            return _folder_notes(path)
        note = detect_encoding(path).note
        if path.suffix.lower() in MARKDOWN:
            told = f"is cut between paragraphs into pieces of about {PIECE:,} characters"
        else:
            told = "blank lines separate documents" if has_blank_lines(path) else "each line is a document"
        return [told, *([note] if note else [])]

    @staticmethod
    def read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (first line, record) of each document or piece; a `DataError` names what is no text."""
        if path.is_dir():
            for file in document_files(path):
                name = file.relative_to(path).as_posix()
                for line, text in _pieces(file):
                    yield line, {"text": text, "document": name, FILE: name}
        elif path.suffix.lower() in MARKDOWN:
            yield from ((line, {"text": text}) for line, text in _pieces(path))
        elif has_blank_lines(path):
            yield from ((found[0][0], {"text": _joined(found)}) for found in _paragraphs(path))
        else:
            yield from ((line, {"text": text}) for line, text in text_lines(path) if not text.isspace())


def document_files(path: Path) -> list[Path]:
    """Return the text files of a folder, however deep, in order, without a readme, a licence, hidden or empty ones."""
    return [file for file in _texts(path) if not _is_left_out(file)]


def _texts(path: Path) -> list[Path]:
    found = (file for file in sorted(path.rglob("*")) if file.suffix.lower() in (*MARKDOWN, *PLAIN) and file.is_file())
    return [file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts)]


def _is_left_out(file: Path) -> bool:
    return bool(NOT_READ.fullmatch(file.stem.lower())) or not file.stat().st_size


def _folder_notes(path: Path) -> list[str]:
    files, left = document_files(path), [file.name for file in _texts(path) if _is_left_out(file)]
    each = "its file is a document" if len(files) == 1 else f"each of its {len(files):,} files is a document"
    told = f"{each}, cut between paragraphs where it is long"
    return [told, *([f"left out: {', '.join(left[:5])}"] if left else []), *encoding_notes(files, path)]


def has_blank_lines(path: Path) -> bool:
    """Whether blank lines stand between documents: at least one for every twenty lines that are written on."""
    written = breaks = last = 0
    for number, line in text_lines(path):
        if line.isspace():
            continue
        breaks += bool(last) and number > last + 1
        written, last = written + 1, number
    return breaks * BLANK_LINES >= written > 0


def _paragraphs(path: Path) -> Iterator[Paragraph]:
    """Yield the runs of lines between blank ones."""
    found: Paragraph = []
    for number, line in text_lines(path):
        if line.isspace():
            continue
        if found and number > found[-1][0] + 1:
            yield found
            found = []
        found.append((number, line))
    if found:
        yield found


def _pieces(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (first line, text): paragraphs together up to `PIECE` characters; one that is longer is cut at lines."""
    held: Paragraph = []
    for part in _parts(path):
        if held and _size(held) + _size(part) > PIECE:
            yield held[0][0], _joined(held)
            held = []
        held = [*held, *part]
    if held:
        yield held[0][0], _joined(held)


def _parts(path: Path) -> Iterator[Paragraph]:
    """Yield what stays together: paragraphs, the lines of those that are too long."""
    for paragraph in _paragraphs(path):
        yield from [paragraph] if _size(paragraph) <= PIECE else ([line] for line in paragraph)


def _size(lines: Paragraph) -> int:
    return sum(len(line) + 1 for _, line in lines)


def _joined(lines: Paragraph) -> str:
    """Put lines together as they stood, one empty line where there were blank ones."""
    text = lines[0][1]
    for (before, _), (number, line) in pairwise(lines):
        text += ("\n\n" if number > before + 1 else "\n") + line
    return text
