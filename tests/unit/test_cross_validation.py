"""Cross-validation: what is refused before the first run, small ones done for real, and what their page shows."""

from __future__ import annotations

import csv
import json
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

import weitiao
from weitiao.candidates import as_candidates
from weitiao.cli.main import app, main
from weitiao.cross_validating import plain as plain_folds
from weitiao.cross_validating.plain import Plain
from weitiao.errors import Interrupted, RecipeError, RunError, WeitiaoError
from weitiao.evaluation.cross_validated import render
from weitiao.evaluation.resampling import interval
from weitiao.trials import at_once

Values = Callable[..., dict[str, Any]]


@pytest.fixture
def recipe(recipe_values: Values) -> Values:
    def build(**changes: Any) -> dict[str, Any]:
        values = recipe_values(**changes)
        values["training"] = {k: v for k, v in values["training"].items() if k != "learning_rate"} | {"epochs": 1}
        return {**values, "output": None}

    return build


@pytest.fixture
def told(recipe: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command on the recipe; return its exit code and what it says on standard error."""

    def run(*words: str, **changes: Any) -> tuple[int, str]:
        path = tmp_path / "recipe.yaml"
        with path.open("w", encoding="utf-8") as file:
            YAML().dump(recipe(**changes), file)
        monkeypatch.setattr("sys.argv", ["weitiao", "cv", str(path), "--output", str(tmp_path / "cv"), *words])
        code = main()
        return code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--folds", "1"], "folds\n  found 1\n  Give a number from 2 up."), (["--repeats", "0"], "repeats"),
     (["--jobs", "none"], "--jobs\n  found 'none'"), (["--rope", "-1"], "rope\n  found -1"),
     (["--methods", "ful"], "Did you mean 'full'"), (["--folds", "200"], "no example of 'bad', which 60 rows have")],
)  # fmt: skip
def test_bad_input_is_refused_before_anything_is_written(
    told: Any, tmp_path: Path, words: list[str], said: str
) -> None:
    code, error = told(*words)
    assert code == 2
    assert said in error
    assert not (tmp_path / "cv").exists()


def rows_of(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def test_a_fold_without_a_class_and_a_group_that_fills_everything(told: Any, tmp_path: Path) -> None:
    rare = [(f"text {i}", "good" if i % 2 else "bad") for i in range(40)] + [(f"rare {i}", "fair") for i in range(3)]
    code, error = told(data__train=rows_of(tmp_path / "a.csv", rare, ("text", "label")))
    assert code == 2
    assert re.search(
        r"data\.fold\n  fold \d of 5 has no example of 'fair', which 3 rows have: too few.*\n  Take fewer folds", error
    )
    one = [(f"text {i}", "good" if i % 2 else "bad", "ann") for i in range(40)]
    data = {"train": rows_of(tmp_path / "b.csv", one, ("text", "label", "author")), "group": "author"}
    code, error = told(data=data)
    assert code == 2
    assert "too many of them have to stay together" in error
    assert not (tmp_path / "cv").exists()


def test_other_things_in_the_way(recipe: Values, tmp_path: Path) -> None:
    folder = tmp_path / "cv"
    with pytest.raises(RecipeError, match="many"):
        weitiao.cross_validate({**recipe(), "output": "x"}, output=folder)
    part = {"task": {"name": "text-classification"}, "data": recipe()["data"]}
    several = {**recipe(), "task": {"name": "multi-task", "tasks": {"a": part, "b": part}}}
    del several["data"]
    with pytest.raises(WeitiaoError, match="several tasks"):
        weitiao.cross_validate(several, output=folder)
    assert not folder.exists()
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds other files"):
        weitiao.cross_validate(recipe(), output=folder)


def test_two_methods_in_two_folds_at_once(recipe: Values, tmp_path: Path) -> None:
    """Done, gone on with, and refused on other folds; each fold is an ordinary run that can be made again."""
    folder = tmp_path / "cv"
    found = weitiao.cross_validate(recipe(), 2, methods=["full", "head"], jobs=2, output=folder)
    stored = json.loads((folder / "cv.json").read_text(encoding="utf-8"))
    assert (folder / "cv.html").exists()
    assert [len(row.scores) for row in found.compared.rows] == [2, 2]
    assert stored["mean"] == pytest.approx(sum(found.best.scores) / 2) == found.mean
    assert found.interval[0] < found.mean < found.interval[1]
    assert {each["first"] for each in stored["chances"]} <= {"full", "head"}
    assert sum(fold.test for fold in found.folds) == found.compared.examples
    assert all(fold.validation for fold in found.folds)
    trained = sum(fold.train for fold in found.folds)  # without what early stopping looked at
    known = {"score": "accuracy", "examples": found.compared.examples}
    assert found.interval == interval(found.best.scores, found.compared.examples / trained, 0.95, **known)
    assert {each.name for each in found.compared.baselines} == {"TF-IDF + logistic regression", "majority class"}
    assert all("corrected t, adjusted" in pair.verdict for pair in found.compared.pairs)

    runs = sorted((folder / "runs").iterdir())
    digests = {path.name: json.loads((path / "run.json").read_text())["digest"] for path in runs}
    assert len(digests) == 4
    assert digests["full-repeat0-fold1"] == digests["head-repeat0-fold1"] != digests["full-repeat0-fold2"]
    again = weitiao.Recipe.restore(folder / "recipes" / "head-repeat0-fold2.json")
    own = weitiao.train(again.changed({"output": (str(tmp_path / "again"), "python")}))
    assert own.score == found.score_of(found.compared["head"], found.folds[1]).score

    page = render(found)
    for said in ("cross-validation", "fold 2", "Nadeau", "Practically the same", "runs/full-repeat0-fold1/report.html"):
        assert said in page, said
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)

    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/run.json")}
    path, words = tmp_path / "recipe.json", ["--folds", "2", "--quiet", "--output", str(folder)]
    path.write_text(json.dumps({key: value for key, value in recipe().items() if value is not None}))
    done = CliRunner().invoke(app, ["cv", str(path), *words], catch_exceptions=False)
    assert done.exit_code == 0
    assert "each fold" in done.stdout
    assert re.search(r"^full has .*% accuracy on examples it was not trained on", done.stdout, re.MULTILINE)
    assert done.stdout.strip().endswith("cv.html")
    done = CliRunner().invoke(app, ["cv", str(path), *words, "--json"], catch_exceptions=False)
    assert json.loads(done.stdout)["rows"][0]["mean"] == pytest.approx(found.compared["full"].mean)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/run.json")} == before
    with pytest.raises(RunError, match=r"data.fold.of was 2 and is 3"):
        weitiao.cross_validate(recipe(), 3, methods=["full"], output=folder)


@pytest.mark.parametrize(
    ("wanted", "left", "free", "needs", "jobs"),
    [("auto", 6, 10e9, [2e9, 3e9], 3), ("auto", 2, 100e9, [1e9, 1e9], 2), ("auto", 20, 100e9, [1e9, 1e9], 4),
     ("auto", 6, 1e9, [2e9, 3e9], 1), ("auto", 6, 10e9, [2e9, 0], 1), ("auto", 1, 100e9, [1e9, 1e9], 1),
     (3, 6, 1e9, [2e9, 3e9], 3), (3, 2, 1e9, [2e9, 3e9], 2)],
)  # fmt: skip
def test_as_many_runs_go_on_at_once_as_fit(
    monkeypatch: pytest.MonkeyPatch, wanted: Any, left: int, free: float, needs: list[float], jobs: int
) -> None:
    """On four processors: of two methods the larger one counts, and one that nothing is known of goes alone."""
    candidates, said = as_candidates(["full", "head"]), []
    monkeypatch.setattr(plain_folds, "cores", lambda: 4)
    monkeypatch.setattr(plain_folds.models, "free_memory", lambda: free)
    monkeypatch.setattr(Plain, "_needs", lambda _, candidate, __: needs[candidates.index(candidate)])
    plan: Any = SimpleNamespace(ready=SimpleNamespace(device=SimpleNamespace(type="cpu")), say=said.append)
    plain = Plain(plan, candidates, dict.fromkeys((each.name for each in candidates), plan.ready), {})
    entries: Any = SimpleNamespace(work=[None] * (left + 1), runs=lambda: [None])  # one is finished
    assert plain._jobs(wanted, entries) == jobs
    assert bool(said) == (wanted == "auto" and jobs > 1)
    plan.ready.device.type = "cuda"
    assert plain._jobs("auto", entries) == 1


@pytest.mark.parametrize(
    ("search", "methods", "said"),
    [(None, None, "nothing to search in each fold"),
     ({"space": {"training.learning_rate": [1e-3, 3e-3]}}, ["full"], "the search chooses in each fold")],
)  # fmt: skip
def test_what_cannot_be_nested(recipe: Values, tmp_path: Path, search: Any, methods: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        weitiao.cross_validate(recipe(search=search), 2, methods=methods, nested=True, output=tmp_path / "cv")
    assert not (tmp_path / "cv").exists()


@pytest.mark.slow
def test_a_search_inside_each_fold(recipe: Values, tmp_path: Path) -> None:
    """It chooses on what is trained on alone, is looked at once on the fold, and is gone on with."""
    search = {"space": {"training.learning_rate": [1e-5, 3e-3]}, "strategy": "grid"}
    given, folder = recipe(search=search), tmp_path / "cv"
    found = weitiao.cross_validate(given, 2, nested=True, output=folder)
    assert len(found.best.scores) == 2
    assert set(found.chosen) == {"fold 1", "fold 2"}
    assert all(set(each.values) == {"training.learning_rate"} for each in found.chosen.values())
    for fold, each in zip(found.folds, found.best.attempts, strict=True):
        stored = json.loads((folder / each.folder / "search.json").read_text(encoding="utf-8"))
        assert (stored["test"]["value"], stored["test"]["examples"]) == (each.score, fold.test)
        for run in (folder / each.folder / "runs").iterdir():
            assert "test" not in json.loads((run / "scores.json").read_text(encoding="utf-8"))
    assert {each.name for each in found.compared.baselines} == {"TF-IDF + logistic regression", "majority class"}
    page = (folder / "cv.html").read_text(encoding="utf-8")
    assert "chosen by the search" in page
    assert all(each.told in page for each in found.chosen.values())
    assert "searches/repeat0-fold1/search.html" in page
    before = {path: path.stat().st_mtime_ns for path in folder.glob("searches/*/runs/*/run.json")}
    assert weitiao.cross_validate(given, 2, nested=True, output=folder).mean == found.mean
    assert {path: path.stat().st_mtime_ns for path in folder.glob("searches/*/runs/*/run.json")} == before
    with pytest.raises(RunError, match="holds a nested cross-validation"):
        weitiao.cross_validate(given, 2, output=folder)


def test_a_run_that_dies_is_told_and_the_others_count(
    recipe: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "dying"
    dying.mkdir()
    (dying / "sitecustomize.py").write_text(
        "import os, sys\nif any('fold2' in a for a in sys.orig_argv):\n    os.kill(os.getpid(), 9)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(dying), os.environ.get("PYTHONPATH", "")]))
    found = weitiao.cross_validate(recipe(), 2, jobs=1, output=tmp_path / "cv")
    assert len(found.best.scores) == 1
    assert found.interval is None
    assert "fold 2: its process was killed (signal 9" in found.best.why_not
    assert found.compared.baselines == []


def test_what_is_under_way_is_stopped_where_one_goes_wrong() -> None:
    stop, done = threading.Event(), []

    def do(number: int) -> None:
        if number == 1:
            raise Interrupted("stopped")
        for _ in range(100):
            if stop.is_set():
                return
            time.sleep(0.02)
        done.append(number)

    with pytest.raises(Interrupted):
        at_once(do, range(6), 2, stop)
    assert stop.is_set()
    assert done == []
