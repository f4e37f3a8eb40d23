"""What a run took, and what a finished one leaves to be kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from weitiao.artifacts.run_folder import Run
from weitiao.evaluation.compared import Attempt
from weitiao.trackers.jsonl import EVENTS, read_events


class Spent(NamedTuple):
    """What a run took so far."""

    steps: int  # done
    planned: int
    seconds: float  # of training, evaluations on validation included


def spent(folder: Path) -> Spent:
    """Read what a run took from its events; nothing where there are none yet."""
    steps, planned, seconds = 0, 0, 0.0
    for event in read_events(folder) if (folder / EVENTS).exists() else ():
        if event["event"] == "StepDone":
            planned = event["steps"]
        elif event["event"] != "Evaluated" or event["split"] != "validation":
            continue
        steps, seconds = max(steps, event["step"]), seconds + (event["seconds"] or 0.0)
    return Spent(steps, planned, seconds)


def attempt(run: Run, seed: int, folder: str, *, name: str = "") -> Attempt:
    """Return a run's score, steps, and what it took; `folder` is where it is said to lie."""
    took = spent(run.folder)
    return Attempt(seed, folder, run.score, run.low, run.high, took.seconds, run.peak_memory, took.steps, name=name)


def kept(run: Run) -> dict[str, Any]:
    """The rate that was used, and what has to be kept on disk: the adapter where there is one, else the model."""
    adapter = run.artifact / "adapter"
    files = adapter.rglob("*") if adapter.is_dir() else run.artifact.rglob("*.safetensors")
    saved = sum(path.stat().st_size for path in files if path.is_file())
    rate = run.recipe.training.learning_rate
    return {"saved": saved, "keeps": "adapter" if adapter.is_dir() else "model",
            "learning_rate": rate if isinstance(rate, float) else None}  # fmt: skip


def parameters(run: Run) -> dict[str, Any]:
    """How many parameters it has and trained, as its first event tells."""
    started = next((event for event in read_events(run.folder) if event["event"] == "RunStarted"), {})
    facts = started.get("summary", {})
    return {"trainable": facts.get("trainable"), "parameters": facts.get("parameters")}
