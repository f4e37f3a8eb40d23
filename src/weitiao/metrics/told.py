"""How an example is told to people in a line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

BETWEEN = " ⏐ "  # the two texts of a pair


def joined(parts: Iterable[Any]) -> str:
    """Return the parts that are there as one text."""
    return BETWEEN.join(str(part) for part in parts if part)
