"""Searches on tiny models, for real: what is trained, stopped early, answered from what is known, kept and told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import weitiao
from tests.samples import write_reviews
from weitiao import trials
from weitiao.errors import Interrupted, RecipeError, RunError, WeitiaoError
from weitiao.plans import check_folder, keep_plan, own_folder, read_plan
from weitiao.preparation import prepare
from weitiao.recipe import Pruning, Recipe
from weitiao.searching import finishing
from weitiao.searching import searched as records
from weitiao.searching.drawing import pruner_of
from weitiao.searching.ongoing import parts_of
from weitiao.searching.page import render
from weitiao.searching.searched import OnTest, Searched, Tried, advice_of, best_of, table
from weitiao.searching.space import Space
from weitiao.searching.trying import Cost, Ended, Tryout

Values = Callable[..., dict[str, Any]]


# --- from known numbers


def searched(**changes: Any) -> Searched:
    points = [{"training.learning_rate": 10.0**-power, "method": "lora" if power % 2 else "full",
               **({"method.rank": 4} if power % 2 else {})} for power in (5, 4, 3, 2)]  # fmt: skip
    trials = [
        Tried(0, points[0], "finished", 0.80, [0.8], [(1, 0.5), (2, 0.8)], 20, 20, 3.0, ["runs/0-seed0"]),
        Tried(1, points[1], "finished", 0.91, [0.91], [(1, 0.7), (2, 0.91)], 20, 20, 3.0, ["runs/1-seed0"]),
        Tried(2, points[2], "pruned", 0.30, [], [(1, 0.3)], 10, 20, 1.5, ["runs/2-seed0"]),
        Tried(3, points[1], "same", 0.91, same_as=1),
        Tried(4, points[3], "failed", problem="its <process> was killed"),
    ]
    test = OnTest(0.88, 0.84, 0.92, 200, [0.88])
    values: dict[str, Any] = {
        "task": "text-classification", "model": "m", "score": "accuracy", "strategy": "tpe",
        "pruning": {"name": "halving"}, "seeds": [0], "folds": None, "trials": trials, "best": 1, "validation": 0.91,
        "values": points[1], "test": test, "baselines": {"TF-IDF": 0.70},
        "importance": {"training.learning_rate": 0.8, "method": 0.2}, "importance_note": "a hint",
        "advice": advice_of("accuracy", trials[1], test, {"TF-IDF": 0.70}, "on validation"),
        "space": {"training.learning_rate": {"log": [1e-5, 1e-2]}, "method": {"choices": ["full", "lora"]},
                  "method.rank": {"int": [4, 8], "when": {"method": "lora"}}}, "folder": "searches/x",
    }  # fmt: skip
    return Searched(**{**values, **changes})


def test_the_winners_score_is_that_on_test_and_what_it_lost_is_said() -> None:
    found = searched()
    assert found.advice[0] == "Take learning rate 0.0001, method full."
    assert found.advice[1].startswith(
        "Chosen by 91.0% on validation; on test, looked at once, it is 88.0% (interval 84.0 to 92.0%): 3.0 points of "
        "accuracy worse, no more than the choice of test examples explains"
    )
    far = OnTest(0.80, 0.76, 0.84, 200, [0.8])
    assert "chosen in part for its luck" in far.verdict("accuracy", 0.91, "on validation")
    assert "better, by the luck" in OnTest(0.93, 0.9, 0.95, 200, [0.93]).verdict("accuracy", 0.91, "on validation")
    assert "nothing was lost" in OnTest(0.91, 0.9, 0.95, 200, [0.91]).verdict("accuracy", 0.91, "on validation")
    assert "worse" in OnTest(0.9, None, None, 200, [0.9]).verdict("log_loss", 0.5, "on validation")
    assert "too good" in " ".join(advice_of("accuracy", found.winner, None, {}, "over 5 folds"))
    ahead = advice_of("accuracy", found.winner, found.test, {"TF-IDF": 0.9}, "on validation")
    assert "But TF-IDF has 90.0% there" in ahead[-1]


def test_a_second_winner_on_test_is_said() -> None:
    assert "looked at 3 times" in OnTest(0.9, None, None, 200, [0.9], before=2).verdict(
        "accuracy", 0.9, "on validation"
    )


def test_trials_that_are_all_alike_have_no_importance() -> None:
    alike = [replace(searched().trials[0], number=number, score=1.0) for number in range(12)]
    alike = [replace(each, point={"a": each.number, "b": -each.number}) for each in alike]
    here: Any = SimpleNamespace(space=SimpleNamespace(dimensions={"a": None, "b": None}))
    assert finishing._importance(here, alike) == ({}, "not told: all trials have the same score")


def test_the_median_leaves_the_first_evaluations_alone() -> None:
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(pruner=pruner_of(Pruning(name="median", first=3, free=2)), direction="maximize")
    for _ in range(4):
        trial = study.ask()
        for evaluation in range(1, 6):
            trial.report(0.9, evaluation)
        study.tell(trial, 0.9)
    bad, stopped = study.ask(), []
    for evaluation in range(1, 6):
        bad.report(0.1, evaluation)
        stopped.append(bad.should_prune())
    assert stopped.index(True) == 2  # after the third


@pytest.fixture
def tried_out(recipe_values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """What a trial of one bad evaluation out of ten, whose run has not come to its end, ended by; `late`: when the time
    was up.
    """  # fmt: skip
    optuna = pytest.importorskip("optuna")

    def build(*, prunes: bool = False, late: str = "never", problem: str = "") -> Any:
        now = "before"

        def carry_out(_action: str, _path: Path, *, enough: Callable[[], bool], **_: Any) -> str:
            nonlocal now
            run = tmp_path / "runs" / "0-seed7"
            run.mkdir(parents=True)
            told = [{"event": "StepDone", "step": 1, "steps": 10},
                    {"event": "Evaluated", "split": "validation", "step": 1, "primary": "accuracy",
                     "scores": {"accuracy": 0.1}}]  # fmt: skip
            (run / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in told))
            for moment in ("meanwhile", "stopping"):
                now = moment
                enough()
            now = "after"
            return problem

        monkeypatch.setattr(trials, "carry_out", carry_out)
        pruner = optuna.pruners.ThresholdPruner(lower=0.5) if prunes else optuna.pruners.NopPruner()
        recipe = Recipe(**{**recipe_values(), "output": None, "search": {"space": {"training.epochs": [1, 2]}}})
        trial = optuna.create_study(pruner=pruner).ask()
        tried = Tryout(0, {"training.epochs": 1}, Space(recipe), tmp_path, trial, set(), "accuracy", parts_of(recipe))
        times = ["before", "meanwhile", "stopping", "after"]
        return tried.carry_out(
            say=lambda _: None, title="", stop=threading.Event(), show=False, threads=None,
            out_of_time=lambda: late != "never" and times.index(now) >= times.index(late),
        )  # fmt: skip

    return build


@pytest.mark.parametrize(
    ("happens", "ended"),
    [
        ({"late": "after", "problem": "it was killed"}, Ended(problem="it was killed")),
        ({"late": "stopping", "problem": "it was killed"}, Ended(problem="it was killed")),
        ({"prunes": True, "late": "after"}, Ended(pruned=True)),
        ({"prunes": True, "late": "stopping"}, Ended(pruned=True)),
        ({"prunes": True, "problem": "it was killed"}, Ended(problem="it was killed")),
        ({"late": "meanwhile"}, Ended(out_of_time=True)),
        ({"late": "before"}, Ended(out_of_time=True)),
        ({}, Ended(problem="did not come to its end")),
        ({"late": "after"}, Ended(problem="did not come to its end")),
    ],
)
def test_time_that_is_up_hides_neither_a_failure_nor_that_a_trial_was_bad(
    happens: dict[str, Any], ended: Ended, tried_out: Callable[..., Any]
) -> None:
    assert tried_out(**happens) == ended


def test_the_folder_of_a_search_is_no_other_commands(tmp_path: Path) -> None:
    recipe = Recipe(task="text-classification", model={"source": "m"}, data="x.csv",
                    search={"space": {"training.epochs": [1, 2]}})  # fmt: skip
    keep_plan(tmp_path, recipe, "d", "search", fixed=recipe.search.fixed, more={"study": "s"})
    assert read_plan(tmp_path)["study"] == "s"
    with pytest.raises(RunError, match="holds a search"):
        check_folder(tmp_path, recipe, "comparison", free=("method",))
    check_folder(tmp_path, recipe.changed({"search.trials": (9, "")}), "search", fixed=recipe.search.fixed)
    other = recipe.changed({"method": ("lora", "")})
    with pytest.raises(RunError, match=r"another recipe: method\.name was full and is lora"):
        check_folder(tmp_path, other, "search", fixed=recipe.search.fixed)
    with pytest.raises(RunError, match="is not what it was"):
        keep_plan(tmp_path, recipe, "e", "search", fixed=recipe.search.fixed)
    assert own_folder(tmp_path, recipe, "a") != own_folder(tmp_path, recipe, "b")
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / ".writing-plan.json").touch()
    check_folder(tmp_path / "killed", recipe, "search")


def test_the_best_recipe_finds_its_teacher(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    recipe = Recipe(task="text-classification", model={"source": "m"}, data="x.csv",
                    distillation={"teacher": ["first", "second"]})  # fmt: skip
    recipe._base = tmp_path
    moved = recipe.moved(tmp_path / "searches" / "x")
    assert moved.distillation.teachers == ["../../first", "../../second"]


def test_costs_are_counted() -> None:
    found = searched()
    assert (found.steps, round(found.spared, 3), found.seconds) == (50, round(10 / 60, 3), 7.5)
    assert found.so_far() == [(0, 0.8), (1, 0.91)]
    assert json.loads(json.dumps(found.to_dict()))["spared"] == pytest.approx(1 / 6)


def test_a_trial_takes_what_its_runs_take_and_steps_done_again_count_once(tmp_path: Path) -> None:
    def step(number: int) -> dict[str, Any]:
        return {"event": "StepDone", "step": number, "steps": 10, "seconds": 1.0}

    def measured(number: int, split: str) -> dict[str, Any]:
        return {"event": "Evaluated", "step": number, "split": split, "seconds": 0.5}

    stopped = [step(1), step(2), step(3), {"event": "Resumed", "step": 2}, step(3), measured(3, "validation")]
    for name, events in {"a": stopped, "b": [step(1), measured(1, "validation"), measured(1, "train")]}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events))
    folders = [tmp_path / name for name in ("a", "b", "not begun")]
    assert Cost.of(folders, worked=9.0) == Cost(steps=4, planned=20, seconds=5.0, worked=9.0)


def test_of_equal_trials_the_cheaper_one_is_the_best() -> None:
    trials = searched().trials
    same = replace(trials[1], number=9, steps=10)
    assert best_of([*trials, same], "accuracy") is same
    assert best_of(trials, "log_loss") is trials[0]
    assert best_of([trials[2]], "accuracy") is None


def test_several_seeds_have_one_interval_over_the_examples() -> None:
    runs = [
        {"scores": {"values": {"accuracy": {"value": value, "low": 0.0, "high": 1.0}}, "examples": 10},
         "drawn": {"": {"score": "accuracy", "which": "x", "samples": [value - 0.1, value, value + 0.1, None]}}}
        for value in (0.5, 0.7)
    ]  # fmt: skip
    found = records.tested_of(runs, "accuracy", 0.95, 0)
    assert found.value == pytest.approx(0.6)
    assert 0.5 <= found.low < 0.51
    assert 0.69 < found.high <= 0.7
    runs[1]["drawn"][""]["which"] = "y"
    assert records.tested_of(runs, "accuracy", 0.95, 0).low is None


def test_the_page_shows_everything_and_is_whole() -> None:
    page = render(searched(notes=["a <note>"]))
    for told in ("88.0%", "84.0 – 92.0", "91.0% on validation", "take this", "its &lt;process&gt; was killed",
                 "stopped after 1 evaluation", "the same as 1", "A &lt;note&gt;", "fANOVA", "17% of what was planned",
                 "parallel coordinates", "TF-IDF", "runs/1-seed0/report.html"):  # fmt: skip
        assert told in page, told
    assert page.count("<svg") == 1 + 1 + 1 + 3  # history, importance, parallel, a slice a dimension
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert "Not told" in render(searched(importance={}, importance_note="not told: 3 trials"))
    assert "91.0% over 5 folds" in render(searched(folds=5))
    render(searched(test=None, baselines={}))
    render(searched(trials=searched().trials[1:2]))


def test_the_table_of_the_terminal() -> None:
    rows, header = table(searched())
    assert header == ("  trial", "accuracy", "learning rate", "method", "rank", "steps", "")
    assert [row[0].strip() for row in rows] == ["* 1", "0", "3", "2", "4"]


# --- for real


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials in this process: one of their own takes seconds to start (`tests/crash` has those)."""
    alone = threading.Lock()

    def carry_out(action: str, path: Path, *, stop: threading.Event, enough: Any = None, **_: Any) -> str:
        def record(event: Any) -> None:
            if stop.is_set() or (enough is not None and event.name == "Evaluated" and enough()):
                raise Interrupted("enough")

        tracker = SimpleNamespace(record=record, close=lambda: None)
        alone.acquire()  # libraries patch themselves while a model is loaded: one at a time in a process
        try:
            if action == "train":
                weitiao.train(Recipe.restore(path), trackers=[tracker])
            elif action == "resume":
                weitiao.resume(path, trackers=[tracker])
            else:
                trials._measure_test(path)
        except Interrupted:
            return ""
        except RunError as error:
            return str(error)
        finally:
            alone.release()
        return ""

    monkeypatch.setattr(trials, "carry_out", carry_out)


@pytest.fixture
def values(recipe_values: Values, tmp_path: Path, in_process: None) -> Values:
    """A recipe of a few quick steps with a search in it; keyword arguments change the search."""

    def build(space: dict[str, Any], **search: Any) -> dict[str, Any]:
        training = {"epochs": 2, "batch_size": 16, "seed": 7, "precision": "fp32", "patience": None}
        data = {"train": str(write_reviews(tmp_path / "reviews.csv", 160))}
        found = recipe_values(training=training, data=data, output=None, evaluation={"bootstrap": 50})
        return {**found, "search": {"space": space, **search}}

    return build


def test_a_grid_is_searched_the_best_measured_once_and_its_recipe_trains(values: Values, tmp_path: Path) -> None:
    given = values({"training.learning_rate": [1e-6, 5e-3], "training.regularization.r_drop": [0.0, 0.5]},
                   strategy="grid")  # fmt: skip
    folder = tmp_path / "s"
    found = weitiao.search(given, output=folder)
    assert [each.state for each in found.trials] == ["finished"] * 4
    assert len({json.dumps(each.point) for each in found.trials}) == 4
    assert found.values["training.learning_rate"] == 5e-3
    assert found.test is not None
    assert found.test.low <= found.test.value <= found.test.high
    assert set(found.baselines) == {"TF-IDF + logistic regression", "majority class"}
    assert found.validation == max(each.score for each in found.trials)
    for each in found.trials:  # no trial looked at test; only the best one's model is kept
        run = folder / each.runs[0]
        assert list(json.loads((run / "scores.json").read_text())) == ["validation"]
        assert "test" not in json.loads((run / "events.jsonl").read_text().splitlines()[0])["summary"]["splits"]
        assert (run / "test.json").exists() == (run / "artifact").exists() == (each.number == found.best)
    assert json.loads((folder / "search.json").read_text())["best"] == found.best
    best = Recipe.read(folder / "best.yaml", [f"output={tmp_path / 'again'}", "evaluation.baselines=false"])
    assert best.search is None
    assert "# the search's" in (folder / "best.yaml").read_text()
    run = weitiao.train(best)  # the same splits: what the trial had on validation, and the test score, again
    assert run.scores["validation"]["scores"]["values"]["accuracy"]["value"] == found.validation
    assert run.score == found.test.value

    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/run.json")}
    again = weitiao.search(given, output=folder)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/run.json")} == before
    assert again.trials == found.trials
    assert again.test == found.test
    given["search"]["space"]["training.learning_rate"] = [1e-6, 1e-3]
    with pytest.raises(RunError, match=r"a search of another recipe: search\.space\.training\.learning_rate"):
        weitiao.search(given, output=folder)


def test_a_point_that_is_drawn_again_is_answered_and_a_small_space_ends(values: Values, tmp_path: Path) -> None:
    given = values({"training.learning_rate": [1e-3, 5e-3]}, strategy="random", trials=30)
    found = weitiao.search(given, output=tmp_path / "s")
    trained = [each for each in found.trials if each.state == "finished"]
    assert len(trained) == 2 == len(list((tmp_path / "s/runs").iterdir()))
    for each in found.trials:
        if each.state == "same":
            assert each.score == found[each.same_as].score
            assert each.point == found[each.same_as].point
    assert "all 2 points of the space were tried" in found.notes


def test_bad_trials_are_stopped_early_by_their_own_evaluations(values: Values, tmp_path: Path) -> None:
    given = values({"training.learning_rate": [5e-3, 4e-3, 1e-9, 2e-9, 3e-9]}, strategy="grid",
                   pruning={"name": "halving", "factor": 2})  # fmt: skip
    given["training"]["epochs"] = 12
    found = weitiao.search(given, output=tmp_path / "s")
    pruned = [each for each in found.trials if each.state == "pruned"]
    assert {each.point["training.learning_rate"] for each in pruned} >= {1e-9, 2e-9}
    for each in pruned:
        assert each.steps < each.planned
        assert len(each.curve) >= 1
        assert not (tmp_path / "s" / each.runs[0] / "checkpoints").exists()
    assert found.winner.point["training.learning_rate"] >= 4e-3
    assert found.spared > 0.2


def test_components_with_options_seeds_and_another_score(values: Values, tmp_path: Path) -> None:
    given = values({"method": ["head", {"name": "lora", "rank": 2}],
                    "method.dropout": {"choices": [0.0, 0.1], "when": {"method": "lora"}}}, strategy="grid",
                   seeds=2, objective="log_loss", workers=2)  # fmt: skip
    found = weitiao.search(given, output=tmp_path / "s")
    assert len(found.trials) == 3
    assert all(len(each.scores) == len(each.runs) == 2 for each in found.trials)
    assert found.validation == min(each.score for each in found.trials)
    assert found.test is not None
    assert len(found.test.values) == 2
    assert found.test.low is None  # the interval is over the primary score's samples alone


def test_trials_can_be_cross_validated(values: Values, tmp_path: Path) -> None:
    """Each on all training examples, none of which the winner is tested on."""
    given = values({"training.learning_rate": [1e-9, 5e-3]}, strategy="grid", folds=3, workers=2)
    given["data"]["test_size"] = 0.2
    found = weitiao.search(given, output=tmp_path / "s")
    assert [len(each.runs) for each in found.trials] == [3, 3]
    assert found.winner.score == max(each.score for each in found.trials)
    assert found.winner.score == pytest.approx(sum(found.winner.scores) / 3)
    assert found.test is not None
    assert len(found.test.values) == 3
    runs = [weitiao.run.find_run(tmp_path / "s" / name) for name in found.winner.runs]
    tested_on = [prepare(run.recipe).splits.text_keys["test"] for run in runs]
    kept = prepare(Recipe(**{**given, "search": None})).splits.text_keys["test"]
    assert len(set().union(*tested_on)) == sum(map(len, tested_on))
    assert not set(kept) & set().union(*tested_on)
    assert found.test.examples == len(kept)
    assert "over 3 folds" in (tmp_path / "s" / "search.html").read_text()
    given["data"]["fold"] = {"number": 1, "of": 3}
    with pytest.raises(RecipeError, match="one fold is tested on already"):
        weitiao.search(given, output=tmp_path / "x")


def test_what_keeps_from_overfitting_can_be_searched(values: Values, tmp_path: Path) -> None:
    given = values({
        "training.regularization.dropout": {"uniform": [0.0, 0.3]},
        "training.regularization.l1": {"log": [1e-6, 1e-3]}, "training.regularization.l2": {"log": [1e-6, 1e-3]},
        "training.regularization.r_drop": [0.0, 1.0], "training.weight_decay": {"log": [1e-4, 1e-1]},
        "task.label_smoothing": {"uniform": [0.0, 0.2]},
        "method": ["full", {"name": "layers", "top": 1}, "gradual"],
    }, trials=3)  # fmt: skip
    given["training"]["epochs"] = 1
    found = weitiao.search(given, output=tmp_path / "s")
    assert [each.state for each in found.trials] == ["finished"] * 3
    assert found.importance == {}
    assert "3 trials came to their end" in found.importance_note


def test_trials_tokenise_once(values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("WEITIAO_CACHE", str(cache))
    given = values({"training.learning_rate": [1e-3, 2e-3, 5e-3]}, strategy="grid", trials=1)
    weitiao.search(given, output=tmp_path / "s")
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    weitiao.search(given, output=tmp_path / "s", trials=3)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()} == before


# --- what is refused


def test_a_budget_too_small_for_one_trial_and_more_time_goes_on(values: Values, tmp_path: Path) -> None:
    given = values({"training.learning_rate": [1e-3, 5e-3]}, trials=2)
    given["training"] |= {"epochs": 60, "patience": None}  # more than a second, wherever
    for _ in range(2):  # the time is that of all sessions together
        began = time.monotonic()
        with pytest.raises(RunError, match="1s is too little for one trial") as caught:
            weitiao.search(given, output=tmp_path / "s", time="1s")
        took = time.monotonic() - began
    runs = [json.loads(line)["event"] for path in (tmp_path / "s/runs").glob("*/events.jsonl")
            for line in path.read_text().splitlines()]  # fmt: skip
    assert runs.count("Resumed") == 0, took
    assert "goes on" in caught.value.fix
    found = weitiao.search(given, output=tmp_path / "s", time="10m")
    assert found.count("finished") >= 1


def test_a_search_whose_trials_all_fail_ends_soon(values: Values, tmp_path: Path) -> None:
    given = values({"training.learning_rate": {"log": [1e10, 1e12]}}, trials=20)
    given["training"]["recovery"] = {"non_finite": "stop"}
    given["training"]["clip_norm"] = None
    with pytest.raises(RunError, match="no trial comes to its end"):
        weitiao.search(given, output=tmp_path / "s")
    assert len(list((tmp_path / "s/runs").iterdir())) == 3


def test_an_objective_that_there_is_not(values: Values, tmp_path: Path) -> None:
    given = values({"training.learning_rate": [1e-3, 5e-3]}, objective="macro_f2")
    with pytest.raises(RecipeError, match="Did you mean 'macro_f1'"):
        weitiao.search(given, output=tmp_path / "s")


def test_before_the_first_trial(values: Values, tmp_path: Path) -> None:
    given, folder = values({"training.learning_rate": [1e-3, 5e-3]}), tmp_path / "s"
    with pytest.raises(RecipeError, match="does not say what to search"):
        weitiao.search({**given, "search": None}, output=folder)
    with pytest.raises(RecipeError, match="the folder of one run"):
        weitiao.search({**given, "output": "x"}, output=folder)
    with pytest.raises(RecipeError, match=r"a grid needs to know which values\nSay how many: .*steps: 5"):
        weitiao.search(values({"training.learning_rate": {"log": [1e-5, 1e-3]}}, strategy="grid"), output=folder)
    with pytest.raises(WeitiaoError, match="no validation split"):
        weitiao.search({**given, "data": {**given["data"], "validation_size": 0}}, output=folder)
    with pytest.raises(WeitiaoError, match="nowhere"):
        weitiao.search(values({"method": ["full", {"name": "lora", "targets": ["nowhere"]}]}), output=folder)
    other = write_reviews(tmp_path / "other.csv", 80)
    with pytest.raises(WeitiaoError, match="other validation examples"):
        weitiao.search(values({"data.train": [given["data"]["train"], str(other)]}), output=folder)
    assert not folder.exists()
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds other files"):
        weitiao.search(given, output=folder)


@pytest.mark.parametrize(
    ("lengths", "search"), [([64, 32], {}), ({"int": [32, 64]}, {}), ({"int": [32, 64]}, {"folds": 3})]
)
def test_trials_are_measured_on_the_same_examples(
    lengths: Any, search: dict[str, Any], values: Values, tmp_path: Path
) -> None:
    """A question that is too long for one of them would be left out of its scores alone."""
    given = values({"model.max_length": lengths}, **search)
    rows = [{"question": " ".join(["good"] * (7 if number % 2 else 1)), "context": f"the film {number} was good",
             "answers": str(number)} for number in range(60)]  # fmt: skip
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given |= {"task": "question-answering", "data": {"train": str(tmp_path / "asked.jsonl")}}
    with pytest.raises(WeitiaoError, match=r"max length (32|64) there are other validation examples"):
        weitiao.search(given, output=tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ("search: {space: {}}", "it is empty"),
        ("search:\n  space: {training.lerning_rate: {log: [1e-5, 1e-3]}}", "Did you mean 'learning_rate'"),
        ("search:\n  space: {training.learning_rate: {log: [1e-5, 1e-3]}}\n  strategy: grid", "steps: 5"),
        ("search:\n  space: {training.epochs: [1, 2]}\n  trails: 3", "Did you mean 'trials'"),
        ("search:\n  space: {training.epochs: [1, 2]}\n  trials: 0", "search.trials"),
        ("", "does not say what to search"),
    ],
)
def test_bad_input_by_the_command_line(search: str, said: str, recipe_values: Values, tmp_path: Path) -> None:
    values = recipe_values()
    (tmp_path / "recipe.yaml").write_text(
        f"task: text-classification\nmodel: {values['model']['source']}\ndata: {values['data']['train']}\n{search}\n"
    )
    done = subprocess.run([sys.executable, "-m", "weitiao", "search", "recipe.yaml", "-o", "s"], cwd=tmp_path,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "s").exists()
