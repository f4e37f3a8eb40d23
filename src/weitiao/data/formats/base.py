"""The `Format` interface. A new format is one file that fulfils it and one line in the registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

Layout = Literal[
    "documents", "dialogue", "audio"
]  # what a task wants rows to be, where that is not plain: `open_table`


class Format(Protocol):
    """A way data lies on disk.

    A format may also have `told_by_content`, a tuple of suffixes: files with these are of this format, whatever other
    format the suffix belongs to, where `recognises` says so. And `notes(path)`, what a person may want to check.
    """

    suffixes: ClassVar[tuple[str, ...]]  # lower case with the dot; an empty tuple: chosen by `recognises` alone

    @staticmethod
    def recognises(path: Path) -> bool:
        """Whether this file or folder looks like this format."""

    @staticmethod
    def read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (line or row number from 1, record), streaming; a `DataError` names the line that cannot be read."""
