"""A run's folder: who works on it, and who only looks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

from weitiao.artifacts.run_folder import find_run, holding
from weitiao.errors import RunError

KNOWN = {"id": "r", "status": "running", "started": 0.0, "task": "text-classification", "model": "m", "method": "full",
         "digest": "d"}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run.json").write_text(json.dumps(KNOWN))
    (tmp_path / "lock").touch()
    return tmp_path


@contextmanager
def looking(folder: Path, at_once: int) -> Iterator[list[str]]:
    """Have that many look at the run again and again; yields what they see."""
    done, seen = Event(), []

    def look() -> None:
        while not done.is_set():
            seen.append(find_run(folder).status)

    with ThreadPoolExecutor(at_once) as several:
        each = [several.submit(look) for _ in range(at_once)]
        try:
            yield seen
        finally:
            done.set()
    for one in each:
        one.result()


def test_a_run_is_running_while_it_is_held(folder: Path) -> None:
    with holding(folder, "this run"):
        assert find_run(folder).status == "running"
        with pytest.raises(RunError, match="another process is working on this run"), holding(folder, "this run"):
            pass
    assert find_run(folder).status == "interrupted"


def test_who_looks_does_not_keep_a_run_from_beginning(folder: Path) -> None:
    """The other process of a launch looks at the run just when the first one takes it, and so may `weitiao runs`."""
    with looking(folder, 1) as seen:
        for _ in range(200):
            with holding(folder, "this run"):
                pass
    assert seen


def test_who_looks_does_not_look_like_who_works(folder: Path) -> None:
    with looking(folder, 4) as seen:
        while len(seen) < 2000:
            pass
    assert set(seen) == {"interrupted"}
