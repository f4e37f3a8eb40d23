"""The `Tracker` interface. A new tracker is one file that fulfils it and one line in the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from weitiao.events import Event


class Tracker(Protocol):
    """Is told each event of a run. Made with the run's folder: ``Tracker(folder)``."""

    def __init__(self, folder: Path) -> None: ...

    def record(self, event: Event) -> None:
        """Take one event; must not raise for events it does not know."""

    def close(self) -> None:
        """Write what is left."""
