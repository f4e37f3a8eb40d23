"""Fenced code blocks of a Markdown page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"(?:<!-- *not run: *(?P<reason>[^>]*?) *-->\s*\n)?"
    r"^(?P<indent> *)```(?P<language>[\w-]+)(?: +(?P<file>\S+))?[^\n]*\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block. `file` is the name after the language: the block is that file's text."""

    page: str
    line: int  # of the opening fence, from 1
    language: str
    file: str | None
    text: str
    not_run: str | None  # the reason in a comment ``<!-- not run: reason -->`` before it


def blocks(path: Path) -> list[Block]:
    """Return the blocks of a page in order."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(
            path.name, text.count("\n", 0, found.start("language")) + 1, found["language"], found["file"],
            re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE), found["reason"],
        )
        for found in FENCE.finditer(text)
    ]  # fmt: skip
