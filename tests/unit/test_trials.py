"""A run in a process of its own: to its end, stopped early on purpose, gone on with, and with so many threads."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weitiao import train
from weitiao.artifacts.run_folder import find_run
from weitiao.errors import Interrupted
from weitiao.preparation import as_recipe
from weitiao.trackers.jsonl import read_events
from weitiao.trials import Trial


@pytest.fixture
def trial(recipe_values: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Trial]:
    def build(**changes: Any) -> Trial:
        recipe = as_recipe(recipe_values(**changes))
        return Trial(lambda: recipe, tmp_path / "run", tmp_path / "recipes" / "run.json", "a run")

    return build


def steps(folder: Path) -> int:
    if not (folder / "events.jsonl").exists():
        return 0
    return sum(event["event"] == "StepDone" for event in read_events(folder))


def test_it_is_stopped_when_it_is_enough_and_goes_on_to_the_same_end(trial: Callable[..., Trial]) -> None:
    one, said, stop = trial(training__epochs=60, training__patience=None), [], threading.Event()
    assert one.to_its_end(say=said.append, stop=stop, enough=lambda: steps(one.folder) >= 1) == ""
    assert find_run(one.folder).status == "interrupted"
    stopped = steps(one.folder)
    assert one.to_its_end(say=said.append, stop=stop) == ""
    assert said == ["a run", "a run: goes on"]
    whole = train(one.recipe().changed({"output": (str(one.folder.parent / "whole"), "python")}))
    assert stopped < steps(one.folder) == steps(whole.folder)
    assert find_run(one.folder).scores == whole.scores


@pytest.mark.parametrize("threads", [1, 2])
def test_the_child_computes_with_so_many_threads(threads: int, trial: Callable[..., Trial]) -> None:
    one = trial(training__epochs=1)
    assert one.to_its_end(say=str, stop=threading.Event(), threads=threads) == ""
    told = json.loads((one.folder / "report.json").read_text(encoding="utf-8"))
    assert told["environment"]["threads"] == str(threads)


def test_a_finished_one_is_left_alone_and_a_failed_one_says_why(trial: Callable[..., Trial]) -> None:
    one, said, stop = trial(training__epochs=1), [], threading.Event()
    assert one.to_its_end(say=said.append, stop=stop, enough=lambda: False) == ""
    assert find_run(one.folder).status == "finished"
    assert one.to_its_end(say=said.append, stop=stop) == ""
    assert said == ["a run", "a run: is finished"]
    other = trial(data__train="not-there.csv", output=str(one.folder.parent / "other"))
    failed = Trial(other.recipe, one.folder.parent / "other", other.stored, "other")
    assert "not-there.csv" in failed.to_its_end(say=said.append, stop=stop)


def test_all_are_stopped_by_the_event(trial: Callable[..., Trial]) -> None:
    one, stop = trial(training__epochs=200, training__patience=None), threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        one.to_its_end(say=str, stop=stop)
