"""Trackers for tests: one that keeps what happens in a run, and one that stops it as ctrl-C does."""

from __future__ import annotations

import signal
from typing import Any

from weitiao.events import Event, StepDone


class Watcher:
    """Keeps the events."""

    def __init__(self) -> None:
        self.seen: list[Event] = []

    def record(self, event: Event) -> None:
        self.seen.append(event)

    def close(self) -> None:
        pass


class Stopper(Watcher):
    """Stops the run after some steps, as ctrl-C does."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def record(self, event: Event) -> None:
        super().record(event)
        if isinstance(event, StepDone) and event.step == self.at:
            signal.raise_signal(signal.SIGINT)


def of(kind: type[Event], events: list[Event]) -> list[Any]:
    """The events of a kind."""
    return [event for event in events if isinstance(event, kind)]
