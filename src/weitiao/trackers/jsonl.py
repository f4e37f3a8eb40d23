"""Events as JSON lines: `events.jsonl` in every run, and ``--json`` on standard output."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from weitiao.errors import RunError
from weitiao.events import Event

EVENTS = "events.jsonl"


def to_line(event: Event) -> str:
    """Return an event as one line of JSON with its newline; a number that is not finite becomes null."""
    return json.dumps(_finite(event.to_dict()), ensure_ascii=False, allow_nan=False, default=str) + "\n"


class JsonLines:
    """Appends every event to ``<folder>/events.jsonl``.

    A line is one `write` to an unbuffered file, so a process killed at any moment leaves whole lines. What a crash
    of the machine tore at the end is cut off when the file is opened again.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / EVENTS
        folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            _cut_torn_end(file)
        self._file = self.path.open("ab", buffering=0)

    def record(self, event: Event) -> None:
        """Append the event; a `RunError` when the disk refuses."""
        line = to_line(event).encode()
        try:
            written = self._file.write(line)
            if written is not None and written < len(line):
                self._file.write(line[written:])  # a nearly full disk takes a part, then says why
        except OSError as error:
            raise RunError(f"cannot be written: {error.strerror}", where=str(self.path)) from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JsonStream:
    """Writes every event as a JSON line to an open text stream, flushed each time."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def record(self, event: Event) -> None:
        """Write the event."""
        self._stream.write(to_line(event))
        self._stream.flush()

    def close(self) -> None:
        """Nothing is held back, and the stream is not ours to close."""


def read_events(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a run in order, without the steps that were done again after a resume.

    A run killed at step 15 and resumed from its checkpoint at step 10 has steps 11 to 15 twice in the file; the first
    ones never happened as far as the model is concerned. A torn last line is passed over.
    """
    kept: list[dict[str, Any]] = []
    for event in _lines(folder / EVENTS):
        if event["event"] == "Resumed":
            kept = [e for e in kept if e.get("step", 0) <= event["step"]]
        kept.append(event)
    yield from kept


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            event = _parsed(line)
            if event is not None:
                yield event


def _parsed(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _cut_torn_end(file: BinaryIO) -> None:
    """Cut what follows the last whole line; look back in blocks, for the file may be long."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = _line_start(file, end)
        file.seek(start)
        if _parsed(file.read(end - start)) is not None:
            break
        end = start
    file.truncate(end)


def _line_start(file: BinaryIO, end: int, block: int = 65536) -> int:
    """Return where the line that ends at `end` begins; its own newline, if it has one, does not count."""
    position = end - 1
    while position > 0:
        start = max(0, position - block)
        file.seek(start)
        found = file.read(position - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value
