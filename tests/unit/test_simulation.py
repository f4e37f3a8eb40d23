"""Simulations of active learning: what is told of curves, and real rounds on tiny models."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import weitiao
from tests import trials_here
from tests.samples import reviews, write_reviews
from tests.tiny import tiny_bert
from weitiao.acquisition.curves import labels_needed, median, over_curve, weights
from weitiao.acquisition.simulated import Course, Point, Simulated, advise, needed_in_words, ordered
from weitiao.acquisition.simulation import called, slug
from weitiao.acquisition.simulation_page import render
from weitiao.artifacts.run_folder import find_run
from weitiao.cli.main import app
from weitiao.errors import DataError, ModelError, RecipeError, RunError, WeitiaoError
from weitiao.evaluation.by_seed import compare_by_seed
from weitiao.evaluation.verdicts import Drawn
from weitiao.preparation import prepare

Values = Callable[..., dict[str, Any]]


# --- curves


def drawn(value: float, samples: Any, score: str = "accuracy") -> Drawn:
    return Drawn(score, value, 200, list(samples), "same")


def test_the_mean_over_a_curve_is_the_area_below_it() -> None:
    assert weights([100, 200, 400]) == pytest.approx([50 / 300, 150 / 300, 100 / 300])
    curve = [drawn(0.5, [0.4, 0.6]), drawn(0.7, [0.6, 0.8]), drawn(0.8, [0.8, None])]
    found = over_curve([100, 200, 400], curve)
    assert found.value == pytest.approx(np.trapezoid([0.5, 0.7, 0.8], [100, 200, 400]) / 300)
    assert found.samples[0] == pytest.approx(np.trapezoid([0.4, 0.6, 0.8], [100, 200, 400]) / 300)
    assert found.samples[1] is None
    with pytest.raises(ValueError, match="same examples"):
        over_curve([1, 2], [drawn(0.5, []), Drawn("accuracy", 0.5, 200, [], "other")])


def test_labels_needed_by_a_curve() -> None:
    labels = [100, 200, 300, 400]
    assert labels_needed(labels, [0.5, 0.6, 0.8, 0.9], 0.7, "accuracy") == pytest.approx(250)
    assert labels_needed(labels, [0.5, 0.6, 0.8, 0.9], 0.4, "accuracy") == 100
    assert labels_needed(labels, [0.5, 0.6, 0.8, 0.9], 0.95, "accuracy") is None
    assert labels_needed(labels, [0.5, 0.8, 0.6, 0.9], 0.75, "accuracy") == pytest.approx(325)  # 200 was luck
    assert labels_needed(labels, [2.0, 1.0, 0.5, 0.4], 0.75, "loss") == pytest.approx(250)
    assert median([100.0, None, 300.0]) == 300
    assert median([100.0, None, None]) is None


def test_strategies_are_compared_by_seed() -> None:
    """What a seed's first labels do to both does not hide a small difference that every seed has."""
    random = np.random.default_rng(0)
    base, noise = [0.6, 0.7, 0.8], random.normal(0, 0.02, 500)
    other = [drawn(value, value + noise) for value in base]
    ours = [drawn(value + 0.03 + i / 1000, value + 0.03 + noise + random.normal(0, 0.004, 500))
            for i, value in enumerate(base)]  # fmt: skip
    same = [drawn(value, value + noise + random.normal(0, 0.004, 500)) for value in base]
    better, alike = compare_by_seed({"ours": ours, "same": same}, other, "random", 0.95)
    assert (better.finding, alike.finding) == ("better", "no difference")
    assert better.difference == pytest.approx(0.031)
    assert better.low is not None
    assert better.low > 0
    assert better.adjusted is not None
    assert better.p_value is not None
    assert better.adjusted == pytest.approx(2 * better.p_value)
    assert "better than random by 3.1 points" in better.verdict
    off = compare_by_seed({"ours": [drawn(0.8, [])]}, [drawn(0.7, [])], "random", 0.95)
    assert off[0].finding == "not tested"


def test_a_false_alarm_is_as_rare_as_promised() -> None:
    random, alarms = np.random.default_rng(1), 0
    for _ in range(400):
        other = [drawn(value, value + random.normal(0, 0.02, 100)) for value in random.normal(0.7, 0.05, 3)]
        ours = [drawn(each.value + random.normal(0, 0.02), np.array(each.samples) + random.normal(0, 0.01, 100))
                for each in other]  # fmt: skip
        alarms += compare_by_seed({"ours": ours}, other, "random", 0.95)[0].finding in ("better", "worse")
    assert alarms < 400 * 0.08


def simulated(**needed: list[float | None]) -> Simulated:
    pair = compare_by_seed({"margin": [drawn(0.8, [0.8] * 50)] * 3}, [drawn(0.7, [0.7] * 50)] * 3, "random", 0.95)[0]
    points = [Point(100, [0.5, 0.52, 0.51]), Point(200, [0.7, 0.71, 0.72])]
    courses = [
        Course(name, {"name": name}, [0, 1, 2], points, [0.6, 0.6, 0.6], list(each),
               None if name == "random" else pair, None if name == "random" else pair)
        for name, each in needed.items()
    ]  # fmt: skip
    return Simulated("text-classification", "m", "head", "accuracy", True, "test", 200, 900, 0.95, [100, 200],
                     [0, 1, 2], "random", 0.71, ordered(courses, "accuracy"))  # fmt: skip


def test_what_is_told_of_labels_needed() -> None:
    found = simulated(random=[190.0, 200.0, None], margin=[120.0, 110.0, 130.0], badge=[None, 150.0, None])
    assert [course.name for course in found.courses] == ["margin", "random", "badge"]
    assert needed_in_words(found, found["margin"]) == "120 (60%; 110 to 130)"
    assert needed_in_words(found, found["random"]) == "200 (100%; 190 to 200; 2 of 3 seeds)"
    assert needed_in_words(found, found["badge"]) == "not within 200 (1 of 3 seeds reached it)"
    assert found.share(found["margin"]) == pytest.approx(0.6)
    assert advise(found)[0].startswith(
        "Take margin: it reaches what random has with 200 labels (71.0% accuracy) with 120 labels (60%"
    )
    page = render(found)
    assert "60%" in page
    assert page.count("<svg") == 2
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    json.dumps(found.to_dict())


def test_names_of_strategies_tell_their_options() -> None:
    from weitiao.acquisition.choosing import named

    assert called(named({"name": "bald", "passes": 20})) == "bald (passes 20)"
    assert slug("bald (passes 20)") == "bald-passes-20"
    assert called(named("bald")) == "bald"


# --- real rounds


SMALL: dict[str, Any] = {"start": 20, "step": 10, "until": 35, "seeds": 1}


@pytest.fixture(scope="module", autouse=True)
def _in_process() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        trials_here.patch(patch)
        yield


def headed(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "method": {"name": "head"}, "evaluation": {"bootstrap": 50, "baselines": False}, "output": None}


@pytest.fixture
def recipe(recipe_values: Values) -> Values:
    return lambda **changes: headed(recipe_values(**{"training__epochs": 1, **changes}))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]) -> tuple[dict[str, Any], Path]:
    """A recipe, and the folder of its simulation with margin."""
    folder = tmp_path_factory.mktemp("simulated")
    values = headed({
        "task": "text-classification", "model": str(tiny_model("encoder")),
        "data": {"train": str(write_reviews(folder / "reviews.csv"))},
        "training": {"epochs": 1, "learning_rate": 3e-3, "batch_size": 16, "seed": 7, "precision": "fp32"},
    })  # fmt: skip
    weitiao.simulate_labelling(values, ["margin"], **SMALL, output=folder / "s")
    return values, folder / "s"


def times(folder: Path) -> dict[str, float]:
    return {path.parent.name: path.stat().st_mtime for path in folder.glob("runs/*/scores.json")}


def rows_of(folder: Path, name: str) -> list[int]:
    return json.loads((folder / "chosen" / f"{name}.json").read_text())["rows"]


def test_texts_of_a_test_split_that_is_held_back_are_not_learned_without_labels(recipe: Values, tmp_path: Path) -> None:
    values = recipe(consistency={"unlabelled": str(tmp_path / "reviews.csv"),
                                 "operators": [{"name": "drop-words", "chinese": "characters"}]})  # fmt: skip
    test = {str(text) for text in prepare(weitiao.Recipe(**values)).splits["test"]["text"]}
    values["evaluation"]["test"] = False
    found = weitiao.simulate_labelling(values, ["margin"], **SMALL | {"until": 30}, output=tmp_path / "s")
    assert [len(point.scores) for point in found["margin"].points] == [1, 1]
    texts = [json.loads(line)["text"] for line in (tmp_path / "s/data/unlabelled.jsonl").read_text().splitlines()]
    assert len(texts) == 120 - len(test)
    assert not test & set(texts)


def test_a_simulation(whole: tuple[dict[str, Any], Path]) -> None:
    values, folder = whole
    runs = times(folder)
    assert set(runs) == {"first-seed7", *(f"{name}-seed7-{size}rows" for name in ("random", "margin")
                                          for size in (30, 35))}  # fmt: skip
    found = weitiao.simulate_labelling(values, ["margin"], **SMALL, output=folder)
    assert times(folder) == runs  # all of it was there
    assert found.sizes == [20, 30, 35]
    assert {course.name for course in found.courses} == {"random", "margin"}
    assert all(len(point.scores) == 1 for course in found.courses for point in course.points)
    firsts = {tuple(course.points[0].scores) for course in found.courses}
    assert len(firsts) == 1  # the first labels are the same for all
    assert found["random"].against is None
    assert found["margin"].against is not None
    assert not list(folder.glob("runs/*/artifact"))  # no model is kept
    first, second, last = (rows_of(folder, name) for name in ("first-seed7", "margin-seed7-30rows",
                                                                   "margin-seed7-35rows"))  # fmt: skip
    assert (len(set(last)), last[:30], second[:20]) == (35, second, first)
    labelled = [json.loads(line) for line in (folder / "data/margin-seed7-30rows.jsonl").read_text().splitlines()]
    assert len(labelled) == 30
    assert set(labelled[0]) == {"text", "label"}
    report = json.loads((folder / "runs/margin-seed7-30rows/report.json").read_text())
    assert report["scores"]["values"]["accuracy"]["value"] == found["margin"].points[1].scores[0]
    assert json.loads((folder / "simulation.json").read_text()) == json.loads(json.dumps(found.to_dict()))
    assert (folder / "simulation.html").read_text() == render(found)


def test_more_of_a_simulation(whole: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    values, folder = whole[0], shutil.copytree(whole[1], tmp_path / "s")
    given: dict[str, Any] = {**SMALL, "output": folder}
    runs, found = times(folder), weitiao.simulate_labelling(values, ["margin"], **given)
    more = weitiao.simulate_labelling(values, ["margin", "entropy"], **given)
    again = {name for name, when in times(folder).items() if name in runs and runs[name] != when}
    assert again == {"first-seed7"}  # its model is needed for the new strategy; no other run is done twice
    assert more["margin"].points == found["margin"].points
    assert more["random"].points == found["random"].points
    assert len(more["entropy"].points) == 3
    with pytest.raises(RunError, match=r"simulation\.step was 10 and is 5"):
        weitiao.simulate_labelling(values, ["margin"], **{**given, "step": 5})
    with pytest.raises(RunError, match="another recipe"):
        weitiao.simulate_labelling({**values, "training": {**values["training"], "epochs": 2}}, ["margin"], **given)


def test_each_round_cuts_validation_from_what_is_labelled(recipe: Values, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    weitiao.simulate_labelling(recipe(data__validation_size=0.2), ["margin"], start=20, step=10, until=30, seeds=1,
                               output=folder)  # fmt: skip
    for name, train, validation in (("first-seed7", 16, 4), ("margin-seed7-30rows", 24, 6)):
        splits = json.loads((folder / "runs" / name / "report.json").read_text())["splits"]
        assert {split["name"]: split["examples"] for split in splits} == {
            "train": train, "validation": validation, "test": 12}  # fmt: skip
    assert sorted(path.name for path in (folder / "data").glob("*")) == [
        "first-seed7.jsonl", "margin-seed7-30rows.jsonl", "random-seed7-30rows.jsonl", "test.jsonl"]  # fmt: skip


def test_each_round_cuts_validation_in_whole_groups_and_learns_none_of_theirs(recipe: Values, tmp_path: Path) -> None:
    rows = [(text, label, f"author {number % 40}") for number, (text, label) in enumerate(reviews(160))]
    with (tmp_path / "grouped.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("review", "stars", "author"), *rows])
    with (tmp_path / "pool.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("review", "author"), *((f"and {text}", author) for text, _, author in rows)])
    values = recipe(
        data={"train": str(tmp_path / "grouped.csv"), "group": "author", "validation_size": 0.2},
        consistency={"unlabelled": str(tmp_path / "pool.csv"),
                     "operators": [{"name": "drop-words", "chinese": "characters"}]},
    )  # fmt: skip
    weitiao.simulate_labelling(values, ["margin"], start=60, step=20, until=80, seeds=1, output=tmp_path / "s")
    test = [json.loads(line)["text"] for line in (tmp_path / "s/data/test.jsonl").read_text().splitlines()]
    authors = {text: author for text, _, author in rows}
    tested = {authors[text] for text in test}
    unlabelled = [json.loads(line) for line in (tmp_path / "s/data/unlabelled.jsonl").read_text().splitlines()]
    assert len(unlabelled) == 160 - 4 * len(tested)
    assert not tested & {authors[row["text"].removeprefix("and ")] for row in unlabelled}
    for name in ("first-seed7", "margin-seed7-80rows"):
        ready = prepare(find_run(tmp_path / "s" / "runs" / name).recipe)
        train, validation = ({authors[text] for text in ready.splits[split]["text"]}
                             for split in ("train", "validation"))  # fmt: skip
        assert len(validation) >= 2
        assert not train & validation
        assert not tested & (train | validation)
        assert ready.recipe.unlabelled is not None
        texts = ready.pool(ready.recipe.unlabelled[1], "unlabelled")[0]["text"]
        assert not {authors[text.removeprefix("and ")] for text in texts} & (validation | tested)


def test_labels_that_are_not_there_yet_do_not_stop_a_round(tmp_path: Path, tiny_model: Callable[[str], Path]) -> None:
    rows = [{"text": f"{text} {i}", "label": f"kind {i % 40}"} for i, (text, _) in enumerate(reviews(400))]
    (tmp_path / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {
        "task": "text-classification", "model": str(tiny_model("encoder")), "method": "head",
        "data": {"train": str(tmp_path / "many.jsonl"), "validation_size": 0.0},
        "training": {"epochs": 1, "learning_rate": 1e-3, "precision": "fp32"},
        "evaluation": {"bootstrap": 20, "baselines": False},
    }  # fmt: skip
    found = weitiao.simulate_labelling(values, ["badge"], start=10, step=10, until=20, seeds=1, output=tmp_path / "s")
    assert found["badge"].problem == ""
    assert found.examples == 40
    known = json.loads((tmp_path / "s/recipes/first-seed0.json").read_text())["recipe"]["task"]
    assert len(known["labels"]) == 40
    assert known["rare_labels"] == "allow"


def test_tags_are_simulated_too(tmp_path: Path) -> None:
    rows = [
        {"tokens": ["see", who, "in", where, day], "tags": ["O", "B-PER", "O", "B-LOC", "O"]}
        for who in ("Anna", "Bob", "Cleo", "Dan") for where in ("Rome", "Oslo", "Bonn")
        for day in ("today", "now", "soon")
    ]  # fmt: skip
    (tmp_path / "ner.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = tiny_bert(tmp_path / "model", [" ".join(row["tokens"]) for row in rows])
    values = {
        "task": "token-classification", "model": str(model), "data": {"train": str(tmp_path / "ner.jsonl")},
        "training": {"epochs": 1, "learning_rate": 1e-3, "precision": "fp32"},
        "evaluation": {"bootstrap": 20, "baselines": False},
    }  # fmt: skip
    found = weitiao.simulate_labelling(values, ["mnlp"], start=10, step=5, until=15, seeds=1, output=tmp_path / "s")
    assert [len(course.points) for course in found.courses] == [2, 2]


def test_what_cannot_be_simulated_is_told_before_the_first_run(
    recipe: Values, tmp_path: Path, tiny_model: Callable[[str], Path]
) -> None:
    folder = tmp_path / "s"

    def refused(
        kind: type[WeitiaoError], match: str, values: dict[str, Any] | None = None, **given: Any
    ) -> WeitiaoError:
        given = {"strategies": ["margin"], "start": 20, "step": 10, "until": 30, "output": folder, **given}
        with pytest.raises(kind, match=match) as caught:
            weitiao.simulate_labelling(values or recipe(), **given)
        assert not folder.exists()
        return caught.value

    assert "margin" in refused(RecipeError, "unknown strategy 'magrin'", strategies=["magrin"]).fix
    refused(RecipeError, "is for tasks that tag words", strategies=["mnlp"])
    refused(RecipeError, "stands there twice", strategies=["margin", "margin"])
    refused(RecipeError, "asks a trained model", first="margin")
    assert refused(RecipeError, "found 20", until=20).where == "until"
    assert refused(DataError, "different texts", until=5000).where == "until"
    refused(DataError, "neither a test nor a validation", recipe(data__test_size=0.0, data__validation_size=0.0))
    refused(RecipeError, "the folder of one run", {**recipe(), "output": "here"})
    plain = recipe(model={"source": str(tiny_model("decoder"))})
    refused(RecipeError, "needs a model with dropout", plain, strategies=["bald"])


def test_a_strategy_that_fails_does_not_stop_the_others(
    recipe: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weitiao.acquisition import simulation

    trained = simulation._Simulation._trained

    def fails(self: Any, name: str, seed: int, place: int) -> str:
        if name == "badge":
            raise ModelError("no luck either")
        return "out of luck" if name == "margin" else trained(self, name, seed, place)

    monkeypatch.setattr(simulation._Simulation, "_trained", fails)
    found = weitiao.simulate_labelling(recipe(), ["margin", "badge", "entropy"], **SMALL, output=tmp_path / "s")
    assert found["margin"].problem == "out of luck"
    assert found["badge"].problem == "no luck either"
    assert {"margin, seed 7: out of luck", "badge, seed 7: no luck either"} <= set(found.notes)
    assert found["margin"].points == found["badge"].points == []
    assert [len(found[name].points) for name in ("random", "entropy")] == [3, 3]
    assert found["entropy"].against is not None
    assert "out of luck" in render(found)


def test_without_a_curve_of_random_there_is_nothing_to_tell(
    recipe: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weitiao.acquisition.simulation._Simulation._trained", lambda *_: "out of luck")
    with pytest.raises(RunError, match="random, which all are compared with, has no curve: out of luck"):
        weitiao.simulate_labelling(recipe(), ["margin"], **SMALL, output=tmp_path / "s")


PROGRAM = """
import json, sys
import weitiao
weitiao.simulate_labelling(json.loads(sys.argv[1]), ["margin"], **json.loads(sys.argv[2]), output=sys.argv[3])
"""


def test_killed_and_called_again_it_goes_on(whole: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    values, folder = whole[0], tmp_path / "s"
    words = [sys.executable, "-c", PROGRAM, json.dumps(values), json.dumps(SMALL), str(folder)]
    child = subprocess.Popen(words)
    until = time.monotonic() + 240
    while not (folder / "chosen/margin-seed7-30rows.json").exists() and time.monotonic() < until:
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    before, chosen = times(folder), (folder / "chosen/margin-seed7-30rows.json").read_text()
    assert {"first-seed7", "random-seed7-30rows"} <= set(before) < set(times(whole[1]))
    found = weitiao.simulate_labelling(values, ["margin"], **SMALL, output=folder)
    assert before.items() <= times(folder).items()
    assert (folder / "chosen/margin-seed7-30rows.json").read_text() == chosen
    stored = json.loads((whole[1] / "simulation.json").read_text())["courses"]
    assert {course.name: [point.scores for point in course.points] for course in found.courses} == {
        course["name"]: [point["scores"] for point in course["points"]] for course in stored}  # fmt: skip


# --- the command


def test_the_command(recipe: Values, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe()))
    words = ["label", "--simulate", str(path), "--strategies", "{name: bald, passes: 2}", "--start", "20", "--step",
             "10", "--until", "30", "--seeds", "1", "--output", str(tmp_path / "s"), "--quiet"]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "bald (passes 2)" in done.output
    assert "labels needed" in done.output
    assert "simulation.html" in done.output
    done = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(done.output)["sizes"] == [20, 30]
