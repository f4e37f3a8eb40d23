"""JSON Lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from weitiao.data.formats.encoding import detect_encoding, text_lines
from weitiao.errors import DataError


class Jsonl:
    """One JSON object a line; empty lines are skipped."""

    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson", ".jl")

    @staticmethod
    def recognises(path: Path) -> bool:
        """Whether the first line is a whole JSON object."""
        if not path.is_file():
            return False
        with path.open("rb") as file:
            first = file.readline(1 << 20).lstrip(b"\xef\xbb\xbf").strip()
        try:
            return isinstance(json.loads(first), dict)
        except ValueError:
            return False

    @staticmethod
    def notes(path: Path) -> list[str]:
        """What a person may want to check: an unusual encoding."""
        note = detect_encoding(path).note
        return [note] if note else []

    @staticmethod
    def read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (line, object); a `DataError` names the line that is no object."""
        for number, line in text_lines(path):
            if line.isspace():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                problem = f"{getattr(error, 'msg', error)}: {line.strip()[:60]!r}"
                raise DataError(problem, where=f"{path.name}:{number}", fix="Each line is a JSON object.") from None
            if not isinstance(record, dict):
                found = f"found {type(record).__name__}, not an object: {line.strip()[:60]!r}"
                raise DataError(found, where=f"{path.name}:{number}", fix='For example {"text": "...", "label": "..."}')
            yield number, record
