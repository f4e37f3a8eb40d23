"""What a model that thinks aloud says in the end."""

from __future__ import annotations

OPEN, CLOSE = "<think>", "</think>"


def spoken(reply: str) -> str:
    """Return what stands behind the thoughts: nothing where they have no end. They may begin in the prompt."""
    return reply.rpartition(CLOSE)[2].partition(OPEN)[0]
