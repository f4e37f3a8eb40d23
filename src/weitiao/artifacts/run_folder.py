"""The run folder: one execution and all it leaves.

::

    runs/20261123-141503-lora-minilm/
      run.json         id, status, times, primary score
      recipe.yaml      resolved, each value with its origin; recipe.json is the same for machines
      events.jsonl     everything that happened
      checkpoints/     while it is training
      artifact/        what ships
      scores.json  report.json  report.html
"""

from __future__ import annotations

import difflib
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from weitiao.artifacts.artifact import write_json
from weitiao.errors import Interrupted, RunError
from weitiao.models import peak_memory
from weitiao.recipe import Recipe

RUNS = Path("runs")


@dataclass(frozen=True)
class Run:
    """A run on disk, as its `run.json` tells."""

    folder: Path
    id: str
    status: str  # running, finished, interrupted, failed
    started: float  # seconds since the epoch
    task: str
    model: str
    method: str
    digest: str  # of examples and base model: what it may be resumed on
    seconds: float | None = None
    primary: str | None = None
    score: float | None = None
    low: float | None = None
    high: float | None = None
    error: str | None = None
    peak_memory: int | None = None  # bytes, of the process that trained

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return Recipe.restore(self.folder / "recipe.json")

    @property
    def artifact(self) -> Path:
        """The folder that ships."""
        return self.folder / "artifact"

    @property
    def report(self) -> Path:
        """The report for people."""
        return self.folder / "report.html"

    @property
    def checkpoints(self) -> Path:
        """Where the run can go on from."""
        return self.folder / "checkpoints"

    @property
    def scores(self) -> dict[str, Any]:
        """All scores by split, as in `scores.json`; empty before the run is finished."""
        path = self.folder / "scores.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def note(self, **values: Any) -> Run:
        """Write values into `run.json` and return the run with them."""
        path = self.folder / "run.json"
        stored = json.loads(path.read_text(encoding="utf-8")) | values
        write_json(path, stored)
        return _opened(self.folder)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold the run for this process and keep its status; a `RunError` when another process holds it."""
        with holding(self.folder, "this run"):
            begun, before, peak = time.time(), self.seconds or 0.0, self.peak_memory or 0
            self.note(status="running", error=None)
            try:
                yield
            except BaseException as error:
                told = Interrupted("stopped at once") if isinstance(error, KeyboardInterrupt) else error
                stopped = isinstance(told, Interrupted)
                if isinstance(told, Interrupted):
                    told.fix = f"Go on with `weitiao train --resume {self.folder}`."
                with suppress(OSError):  # a full disk must not hide what went wrong
                    self.note(status="interrupted" if stopped else "failed", error=None if stopped else str(error),
                              seconds=before + time.time() - begun, peak_memory=most_memory(peak))  # fmt: skip
                if told is not error:
                    raise told from None
                raise
            self.note(status="finished", seconds=before + time.time() - begun, peak_memory=most_memory(peak))


@contextmanager
def holding(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder for this process; a `RunError` when another process holds it."""
    with (folder / "lock").open("w") as lock:
        try:
            _hold(lock)
        except BlockingIOError:
            raise RunError(f"another process is working on {what}", where=str(folder)) from None
        except OSError as error:
            raise RunError(f"cannot be locked: {error.strerror or error}", where=str(folder),
                           fix="Put it on a file system that has locks.") from None  # fmt: skip
        yield


def most_memory(before: int = 0) -> int | None:
    """Return the most memory that this process ever had at once, in bytes, or `before` where that is more."""
    peak = peak_memory()
    return peak if peak is None else max(peak, before)


def new_folder(recipe: Recipe, started: datetime) -> Path:
    """Where a run of this recipe goes: its `output`, else a folder of its own under ``runs/``.

    Raises `RunError` when `output` holds something already.
    """
    if recipe.output is not None:
        check_output(recipe)
        return output_folder(recipe.base, recipe.output)
    model = re.sub(r"[^a-z0-9]+", "-", recipe.model.source.rpartition("/")[2].rpartition(":")[2].lower()).strip("-")
    stem = f"{started:%Y%m%d-%H%M%S}-{recipe.method.name}-{model}"
    candidates = (RUNS / (stem + (f"-{n}" if n > 1 else "")) for n in range(1, 1000))
    return next(folder for folder in candidates if not folder.exists())


def check_output(recipe: Recipe) -> None:
    """Raise `RunError` when the recipe's `output` holds something already."""
    if recipe.output is None:
        return
    folder = output_folder(recipe.base, recipe.output)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        held = "another run" if (folder / "run.json").exists() else "other files"
        raise RunError(f"{folder} holds {held}", where=f"{recipe.origin('output')} (output)",
                       fix="Name another folder, or go on with that run: `weitiao train --resume`.")  # fmt: skip


def output_folder(base: Path, output: str) -> Path:
    """Where an `output` lies, relative to the recipe's folder, written without detours."""
    return Path(os.path.normpath(base / Path(output).expanduser()))


def create_run(recipe: Recipe, digest: str) -> Run:
    """Make the folder of a new run and write its resolved recipe."""
    started = datetime.now()
    folder = new_folder(recipe, started)
    folder.mkdir(parents=True, exist_ok=recipe.output is not None)
    recipe.store(folder / "recipe.json")
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    values = {"id": folder.name, "status": "running", "started": started.timestamp(), "task": recipe.task.name,
              "model": recipe.model.source, "method": recipe.method.name, "digest": digest}  # fmt: skip
    write_json(folder / "run.json", values)
    return _opened(folder)


def _opened(folder: Path) -> Run:
    stored = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    known = {name: stored[name] for name in Run.__dataclass_fields__ if name in stored}
    if known["status"] == "running" and not _held(folder):
        known["status"] = "interrupted"  # its process was killed
    return Run(folder=folder, **known)


def _held(folder: Path) -> bool:
    """Whether a process works on the run. A second handle on the lock tells, even within one process."""
    try:
        with (folder / "lock").open("r") as lock:
            _lock(lock, "LOCK_SH")  # others who look do not make it look held
            return False
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _hold(lock: IO[str]) -> None:
    """Lock an open file until it is closed; `BlockingIOError` when another holds it, not when somebody looks."""
    for _ in range(40):  # who looks has the lock for some microseconds
        with suppress(BlockingIOError):
            return _lock(lock, "LOCK_EX")
        time.sleep(0.02)
    return _lock(lock, "LOCK_EX")


def _lock(lock: IO[str], kind: str) -> None:
    """Take a lock of that kind without waiting; `OSError` when it cannot be had. Windows has none: not held."""
    with suppress(ImportError):
        import fcntl

        fcntl.flock(lock, getattr(fcntl, kind) | fcntl.LOCK_NB)


def list_runs(folder: Path = RUNS) -> list[Run]:
    """The runs in a folder, newest first; what cannot be read is passed over."""
    runs = []
    for path in folder.glob("*/run.json"):
        try:
            runs.append(_opened(path.parent))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(runs, key=lambda run: run.started, reverse=True)


def find_run(name: str | Path, folder: Path = RUNS) -> Run:
    """The run with a folder, an id, or the unique beginning of one; `RunError` with the nearest id otherwise."""
    if (Path(name) / "run.json").exists():
        return _opened(Path(name))
    runs = {run.id: run for run in list_runs(folder)}
    if str(name) in runs:
        return runs[str(name)]
    found = [key for key in runs if key.startswith(str(name))]
    if len(found) == 1:
        return runs[found[0]]
    if found:
        raise RunError(f"'{name}' is the beginning of {len(found)} runs: {', '.join(found[:5])}", where="run")
    close = difflib.get_close_matches(str(name), runs, n=1, cutoff=0.4)
    fix = f"Did you mean '{close[0]}'?" if close else "`weitiao runs` lists the runs there are."
    raise RunError(f"there is no run '{name}'", where="run", fix=fix)


def is_trained(folder: Path) -> bool:
    """Whether a folder is a run's or an artifact, and not a model as it was pretrained."""
    return (folder / "weitiao/task.json").is_file() or (folder / "run.json").is_file()


def artifact_folder(run: str | Path) -> Path:
    """The artifact of a run id, a run folder, or an artifact folder itself."""
    path = Path(run)
    if (path / "weitiao" / "task.json").exists():
        return path
    found = find_run(run)
    if not found.artifact.exists():
        raise RunError(f"is {found.status} and has no model yet", where=f"run {found.id}",
                       fix=f"Go on with `weitiao train --resume {found.id}`.")  # fmt: skip
    return found.artifact
