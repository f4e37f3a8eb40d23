"""Two workers on one search, one of them killed: no point twice, no trial lost, the killed one's is gone on with."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.samples import write_reviews
from weitiao.errors import Interrupted


@pytest.fixture
def command(recipe_values: Callable[..., dict[str, Any]], tmp_path: Path) -> list[str]:
    training = {"epochs": 16, "patience": None, "precision": "fp32", "batch_size": 8, "checkpoint_every": 5}
    values = recipe_values(
        training=training, evaluation={"bootstrap": 20, "baselines": False}, output=None,
        data={"train": str(write_reviews(tmp_path / "reviews.csv", 120))},
        search={"space": {"training.learning_rate": {"log": [1e-4, 1e-2], "steps": 4}}, "strategy": "grid"},
    )  # fmt: skip
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    recipe, folder = str(tmp_path / "recipe.json"), str(tmp_path / "s")
    return [sys.executable, "-m", "weitiao", "search", recipe, "--json", "-o", folder]


def begun(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(what: Callable[[], bool], seconds: float = 200) -> None:
    end = time.time() + seconds
    while not what():
        assert time.time() < end
        time.sleep(0.02)


def events(run: Path) -> list[dict[str, Any]]:
    path = run / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]  # the last one may be half written


def steps(run: Path) -> list[int]:
    return [event["step"] for event in events(run) if event["event"] == "StepDone"]


def status(run: Path) -> str:
    return str(json.loads((run / "run.json").read_text())["status"]) if (run / "run.json").exists() else ""


def resumed(run: Path) -> bool:
    return any(event["event"] == "Resumed" for event in events(run))


def held(worker: subprocess.Popen[str]) -> list[psutil.Process]:
    """Stop the clock of a worker's trial, wherever it is."""
    children: list[psutil.Process] = psutil.Process(worker.pid).children()
    for child in children:
        child.suspend()
    return children


def test_two_workers_of_which_one_is_killed(command: list[str], tmp_path: Path) -> None:
    runs = tmp_path / "s/runs"

    def under_way() -> list[Path]:
        found = runs.iterdir() if runs.exists() else iter(())
        return [run for run in found if status(run) == "running" and len(steps(run)) > 3]

    first = begun(command)
    until(lambda: bool(under_way()))
    trials = held(first)
    [killed] = under_way()
    second = begun(command)
    until(lambda: len(under_way()) == 2)
    trials += held(second)
    assert len(under_way()) == len(trials) == 2
    first.kill()
    first.wait()
    for trial in trials:
        trial.resume()
    told, errors = second.communicate(timeout=500)
    assert second.returncode == 0, errors
    found = json.loads(told)
    assert [each["state"] for each in found["trials"]] == ["finished"] * 4
    points = Counter(each["point"]["training.learning_rate"] for each in found["trials"])
    assert len(points) == 4
    assert len(list(runs.iterdir())) == 4
    for run in runs.iterdir():  # each step of each run once: the killed one's is gone on with, not begun anew
        assert steps(run) == list(range(1, len(steps(run)) + 1))
        assert sum(event["event"] == "RunFinished" for event in events(run)) == 1
        assert status(run) == "finished"
    assert [run for run in runs.iterdir() if resumed(run)] == [killed]


@pytest.mark.slow
def test_killed_or_interrupted_it_goes_on_as_if_it_had_not_been(command: list[str], tmp_path: Path) -> None:
    alone = subprocess.run([*command[:-1], str(tmp_path / "whole")], capture_output=True, text=True, check=True)
    whole = json.loads(alone.stdout)
    runs = tmp_path / "s/runs"
    for how, trial in ((signal.SIGKILL, 1), (signal.SIGINT, 2)):
        process = begun(command)
        until(lambda trial=trial: (runs / f"{trial}-seed0").exists() and len(steps(runs / f"{trial}-seed0")) > 12)
        process.send_signal(how)
        _, errors = process.communicate(timeout=120)
        if how is signal.SIGINT:
            assert process.returncode == Interrupted.exit_code
            assert "2 of 4 trials done" in errors
            assert "same command again" in errors
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert [(each["point"], each["score"], each["curve"]) for each in found["trials"]] == [
        (each["point"], each["score"], each["curve"]) for each in whole["trials"]
    ]
    assert found["test"] == whole["test"]
    assert '"Resumed"' in (runs / "1-seed0/events.jsonl").read_text()
