"""All trackers of one run behind one function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from weitiao.events import Event
from weitiao.trackers import open_trackers
from weitiao.trackers.base import Tracker


@contextmanager
def recording(names: Iterable[str], folder: Path, others: Iterable[Tracker] = ()) -> Iterator[Callable[[Event], None]]:
    """Give a function that tells an event to `events.jsonl`, the named trackers and `others`, in that order."""
    with ExitStack() as stack:
        trackers = [*open_trackers(["jsonl", *names], folder), *others]
        for tracker in trackers:
            stack.callback(tracker.close)

        def record(event: Event) -> None:
            for tracker in trackers:
                tracker.record(event)

        yield record
