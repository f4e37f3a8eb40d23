"""Trackers: who is told what happens in a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from weitiao import registry
from weitiao.events import Event
from weitiao.trackers.base import Tracker

ALWAYS = "jsonl"  # every run has its events.jsonl


def require(names: Iterable[str]) -> None:
    """Raise `RecipeError` when a named tracker is unknown or its library is not installed; opens and writes nothing."""
    for name in names:
        tracker = registry.get("tracker", name)
        if hasattr(tracker, "require"):
            tracker.require()


def open_trackers(names: Iterable[str], folder: Path) -> list[Tracker]:
    """Open the named trackers on a run's folder, each once, in the order given; raises as `require` does."""
    names = list(dict.fromkeys(names))
    require(names)
    return [registry.get("tracker", name)(folder) for name in names]


@contextmanager
def recording(names: Iterable[str], folder: Path, others: Iterable[Tracker] = ()) -> Iterator[Callable[[Event], None]]:
    """Open `events.jsonl` and the named trackers, and yield the function that tells them and the `others` an event.

    All are closed at the end, whatever happened. `events.jsonl` is told first: what others show is already on disk.
    """
    with ExitStack() as stack:
        told = [*open_trackers([ALWAYS, *names], folder), *others]
        for tracker in told:
            stack.callback(tracker.close)

        def record(event: Event) -> None:
            for tracker in told:
                tracker.record(event)

        yield record
