"""Plain text: a file with one example a line, or a folder whose subfolders or files are the labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from weitiao.data.formats.encoding import detect_encoding, encoding_notes, text_lines, whole_text
from weitiao.errors import DataError
from weitiao.records import FILE

ABOUT = ("readme", "license", "licence", "notice", "changelog", "requirements", "copying", "authors", "citation")


class Text:
    """`x.txt`: a line is an example (column `text`). A folder adds the column `label`:

    subfolders of `.txt` files are labels and a file is one example; with files alone the label is the file's name and
    a line is an example.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".txt",)

    @staticmethod
    def recognises(path: Path) -> bool:
        """Whether it is a text file, or a folder of them."""
        if path.is_dir():
            return bool(_labelled_folders(path) or _text_files(path))
        try:
            detect_encoding(path)
        except (DataError, OSError):
            return False
        return True

    @staticmethod
    def notes(path: Path) -> list[str]:
        """Unusual encodings, told once each, and where labels come from."""
        if path.is_file():
            note = detect_encoding(path).note
            return [note] if note else []
        folders, files = _labelled_folders(path), _text_files(path)
        told = f"labels are the names of its {len(folders)} folders, a file is one example"
        if not folders:
            told = f"labels are the names of its {len(files)} files, a line is one example"
        read = [file for folder in folders.values() for file in folder] or files
        return [told, *encoding_notes(read, path)]

    @staticmethod
    def read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (line, record); a whole file counts as line 1. A `DataError` names what is no text."""
        if path.is_file():
            for number, line in text_lines(path):
                if not line.isspace():
                    yield number, {"text": line}
        elif folders := _labelled_folders(path):
            for label, files in folders.items():
                for file in files:
                    yield 1, {"text": whole_text(file).strip(), "label": label, FILE: f"{label}/{file.name}"}
        else:
            for label, file in zip(_file_labels(_text_files(path)), _text_files(path), strict=True):
                for number, line in text_lines(file):
                    if not line.isspace():
                        yield number, {"text": line, "label": label, FILE: file.name}


def _labelled_folders(path: Path) -> dict[str, list[Path]]:
    folders = (folder for folder in sorted(path.iterdir()) if folder.is_dir() and not folder.name.startswith("."))
    return {folder.name: files for folder in folders if (files := sorted(folder.glob("*.txt")))}


def _text_files(path: Path) -> list[Path]:
    """Return the `.txt` files, else files without a known kind whose stems are the same (``x.pos``, ``x.neg``)."""
    files = [f for f in sorted(path.iterdir()) if f.is_file() and not f.name.lower().startswith((*ABOUT, "."))]
    plain = [file for file in files if file.suffix.lower() == ".txt"]
    if plain:
        return plain
    return files if len(files) > 1 and len({file.stem for file in files}) == 1 else []


def _file_labels(files: list[Path]) -> list[str]:
    stems = [file.stem for file in files]
    return stems if len(set(stems)) == len(stems) else [file.suffix.lstrip(".") for file in files]
