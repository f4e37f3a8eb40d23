"""A comparison that is stopped or killed goes on: its run from the last checkpoint, the rest as planned."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import weitiao
from weitiao.artifacts.run_folder import find_run
from weitiao.errors import Interrupted, WeitiaoWarning


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_and_started_again_it_goes_on(
    how: signal.Signals, recipe_values: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    training = {"epochs": 300, "patience": None, "evaluate_every": 100, "checkpoint_every": 50, "precision": "fp32"}
    values = recipe_values(evaluation={"bootstrap": 20, "baselines": False}, training=training, output=None)
    recipe, folder = tmp_path / "recipe.json", tmp_path / "c"
    recipe.write_text(json.dumps(values))
    words = [sys.executable, "-m", "weitiao", "compare", str(recipe), "--methods", "full", "--seeds", "4,5",
             "--output", str(folder), "-q"]  # fmt: skip
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    run, until = folder / "runs/full-seed4", time.time() + 200
    events = run / "events.jsonl"
    while time.time() < until and not (events.exists() and "StepDone" in events.read_text()):
        time.sleep(0.02)
    process.send_signal(how)
    _, errors = process.communicate(timeout=120)
    if how is signal.SIGINT:
        assert process.returncode == Interrupted.exit_code, errors
        assert "0 of 2 runs finished" in errors
        assert "same command again" in errors
    while time.time() < until and find_run(run).status == "running":
        time.sleep(0.05)  # the child of a killed comparison stops by itself
    assert find_run(run).status == "interrupted"
    assert list((run / "checkpoints").glob("step-*"))
    with pytest.warns(WeitiaoWarning, match="one seed"):
        found = weitiao.compare(recipe, ["full"], [4], output=folder)
    assert '"Resumed"' in events.read_text()
    assert len(found["full"].scores) == 1
