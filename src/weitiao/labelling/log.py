"""A file that only grows: each line is on the disk before its writer hears of it; several processes may write at once.

A line that was cut short as its writer was killed has no end. Nobody was told that it is kept, and it is cut off before
the next one is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from weitiao.errors import DataError, RunError
from weitiao.labelling.acts import Act

PIECE = 1 << 16


class Log:
    """The acts of a project, as this process has read them so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_to = 0  # bytes
        self._lines = 0

    def news(self) -> list[Act]:
        """Return the acts that were written since this was last asked, by this or another process, in their order."""
        try:
            if self.path.stat().st_size <= self._read_to:
                return []
            with self.path.open("rb") as file:
                return self._news(file)
        except FileNotFoundError:
            return []

    def append(self, make: Callable[[list[Act]], Sequence[Act]]) -> list[Act]:
        """Write the acts that `make` makes of what is new in the file; return both, in their order.

        Nobody else writes meanwhile. When it returns they are on the disk. Raises `RunError` where they cannot be
        written: then none of them counts.
        """
        with self._held() as file:
            news = self._news(file)
            acts = list(make(news))
            end = file.seek(0, os.SEEK_END)
            try:
                _write(file, "".join(act.line() for act in acts).encode("utf-8"))
            except OSError as error:
                with suppress(OSError):
                    file.truncate(end)
                raise RunError(f"cannot be written: {error.strerror or error}", where=str(self.path),
                               fix="Make room on the disk; what was kept before is not lost.") from None  # fmt: skip
            return news + self._news(file)

    def _news(self, file: BinaryIO) -> list[Act]:
        file.seek(self._read_to)
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        acts = []
        for number, line in enumerate(whole.split(b"\n")[:-1], self._lines + 1):
            where = f"{self.path.name}:{number}"
            try:
                acts.append(Act.read(line.decode("utf-8"), where))
            except UnicodeDecodeError:
                raise DataError("is not UTF-8", where=where, fix="Take the line out, or put it right.") from None
        self._read_to += len(whole)
        self._lines += len(acts)
        return acts

    @contextmanager
    def _held(self) -> Iterator[BinaryIO]:
        """Open the file for this process alone, what was cut short at its end taken off."""
        with _opened(self.path) as file:
            _lock(file)
            size = file.seek(0, os.SEEK_END)
            whole = _end_of_lines(file, size)
            if whole < size:
                file.truncate(whole)
            yield file


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("r+b", buffering=0)  # what a buffer held would be written again as the file is closed
    except FileNotFoundError:
        path.touch()
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            with suppress(OSError):  # a file system on which folders cannot be synced
                os.fsync(folder)
        finally:
            os.close(folder)
        return path.open("r+b", buffering=0)


def _write(file: BinaryIO, content: bytes) -> None:
    """Write all of it, and wait until it is on the disk."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]
    os.fsync(file.fileno())


def _end_of_lines(file: BinaryIO, size: int) -> int:
    """Where the last whole line ends."""
    end = size
    while end:
        start = max(0, end - PIECE)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _lock(file: BinaryIO) -> None:
    """Wait until the file is this process's, until it is closed. Windows has no such locks."""
    with suppress(ImportError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
