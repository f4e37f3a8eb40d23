"""A run's folder: who works on it, and who only looks."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Timer

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


def test_a_run_is_running_while_it_is_held(folder: Path) -> None:
    with holding(folder, "this run"):
        assert find_run(folder).status == "running"
        with pytest.raises(RunError, match="another process is working on this run"), holding(folder, "this run"):
            pass
    assert find_run(folder).status == "interrupted"


def test_who_looks_does_not_keep_a_run_from_beginning(folder: Path) -> None:
    """The other process of a launch looks at the run just when the first one takes it, and so may `weitiao runs`."""
    fcntl = pytest.importorskip("fcntl")  # Windows has no such locks
    with (folder / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        begun = Timer(0.1, fcntl.flock, (lock, fcntl.LOCK_UN))
        begun.start()
        with holding(folder, "this run"):
            assert find_run(folder).status == "running"
        begun.join()


def test_who_looks_does_not_look_like_who_works(folder: Path) -> None:
    done, seen = Event(), []

    def look() -> None:
        while not done.is_set():
            seen.append(find_run(folder).status)

    with ThreadPoolExecutor(4) as several:
        each = [several.submit(look) for _ in range(4)]
        while len(seen) < 2000 and not any(one.done() for one in each):
            done.wait(0.01)
        done.set()
    assert [one.result() for one in each] == [None] * 4
    assert set(seen) == {"interrupted"}
