"""A bar on standard error while a command of the workshop goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Tell = Callable[[str, int, int], None]  # (what is done, how many of it, of how many)


@contextmanager
def progress(*, shown: bool) -> Iterator[Tell | None]:
    """Give what a bar is told by; None where it is not to be shown, or there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda what, done, whole: bar.update(task, description=what, completed=done, total=whole)
