"""Probes and learning curves for real, on tiny models: what is measured, what is refused, what goes on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import weitiao
from tests.samples import reviews
from weitiao.errors import DataError, ModelError, RecipeError, RunError, WeitiaoWarning
from weitiao.evaluation.compared import Attempt, Row
from weitiao.evaluation.verdicts import Pair
from weitiao.plans import PLAN
from weitiao.preparation import as_recipe, prepare
from weitiao.probing.crossing import crossed
from weitiao.probing.frozen_features import can_be_probed, frozen_features
from weitiao.probing.learned import Ahead, LearningCurve, Point
from weitiao.probing.linear import Probe
from weitiao.probing.pages import render_curve, render_probe
from weitiao.probing.probe import _check_disk
from weitiao.probing.probed import Probed, Round, Standing, Transfer, advise
from weitiao.probing.readying import _shared, ready_for

Values = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture
def recipe(recipe_values: Values) -> Values:
    def build(**changes: Any) -> dict[str, Any]:
        values = recipe_values(**{"data__test_size": 0.2, "data__validation_size": 0.2, **changes})
        values["training"] = {k: v for k, v in values["training"].items() if k != "learning_rate"} | {"epochs": 1}
        values["evaluation"] = {"bootstrap": 50, "baselines": False, **values.get("evaluation", {})}
        return {**values, "output": None}

    return build


def label_count(ready: Any, label: str) -> int:
    return sum(each == label for each in ready.splits["train"]["label"])


def wheres(folder: Path) -> dict[str, float]:
    return {path.parent.name: path.stat().st_mtime for path in folder.glob("runs/*/scores.json")}


# --- a probe


def test_a_probe_of_two_models_and_two_methods(
    recipe: Values, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    models, folder = [str(tiny_model("encoder")), str(tiny_model("decoder"))], tmp_path / "p"
    found = weitiao.probe(recipe(), models, ["full", "head"], seeds=2, output=folder)
    assert len(found.standings) == 4
    assert found.ranking[0] in {each.name for each in found.standings if each.in_final}
    assert [len(each.entrants) for each in found.rounds] == [4, 2]
    assert found.rounds[-1].seeds == [7, 8]
    assert {each.model for each in found.models} == {"encoder", "decoder"}
    assert all(each.linear and each.log_me is not None and each.h_score is not None for each in found.models)
    assert found.recommended in found.ranking[:2]
    assert found.advice[0].startswith("Take ")
    assert any("weitiao train RECIPE --set method=" in sentence for sentence in found.advice)
    stored = json.loads((folder / "probe.json").read_text())
    assert stored["ranking"] == found.ranking
    runs = wheres(folder)
    assert len(runs) == 4 + 2 * 2
    for path in folder.glob("runs/*/scores.json"):
        assert set(json.loads(path.read_text())) == {"validation"}  # nothing looked at test
    assert not list(folder.glob("runs/*/artifact"))
    page = (folder / "probe.html").read_text()
    assert "Frozen features" in page
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)

    values = recipe()
    values["model"] |= {"source": models[1]}  # each candidate carries its own: the recipe may name another
    again = weitiao.probe(values, models, ["full", "head"], seeds=2, output=folder)
    assert wheres(folder) == runs  # no run is done twice
    assert again.ranking == found.ranking


def test_what_does_not_fit_is_left_out_and_said(recipe: Values, tmp_path: Path) -> None:
    methods = ["head", "bitfit", {"name": "lora", "targets": ["nowhere"]}]
    own = recipe()["model"]["source"]
    with pytest.warns(WeitiaoWarning, match="lora .* is left out"):
        found = weitiao.probe(recipe(), [own], methods, seeds=1, output=tmp_path / "p")
    assert found.standings[-1].name.startswith("lora")
    assert "nowhere" in found.standings[-1].row.why_not
    assert found.ranking[0] in ("head", "bitfit")


def test_nothing_to_choose_from_is_an_error(recipe: Values, tmp_path: Path, tiny_model: Callable[[str], Path]) -> None:
    own, folder = recipe()["model"]["source"], tmp_path / "p"
    with pytest.raises(RecipeError, match="one candidate"):
        weitiao.probe(recipe(), [own], ["full"], output=folder)
    with pytest.raises(ModelError, match="no candidate fits"):
        weitiao.probe(recipe(), [str(tmp_path / "nowhere"), str(tmp_path / "neither")], ["full"], output=folder)
    with pytest.raises(DataError, match="no validation split"):
        weitiao.probe(recipe(data__validation_size=0.0), [own], ["full", "head"], output=folder)
    with pytest.raises(RecipeError, match="found 'soon'") as caught:
        weitiao.probe(recipe(), [own], ["full", "head"], time="soon", output=folder)
    assert "30m" in caught.value.fix
    assert not folder.exists()


def test_a_time_too_short_says_what_is_needed_and_the_same_command_goes_on(recipe: Values, tmp_path: Path) -> None:
    own, folder = recipe()["model"]["source"], tmp_path / "p"
    with pytest.raises(RunError, match=r"0\.1 s is too little") as caught:
        weitiao.probe(recipe(), [own], ["full", "head"], time="0.1s", seeds=1, output=folder)
    assert caught.value.where == "time"
    assert "more time" in caught.value.fix
    found = weitiao.probe(recipe(), [own], ["full", "head"], time="1h", seeds=1, output=folder)
    assert found.advice[0].startswith("Within 1h: take ")
    assert any(" of 1h were used" in note for note in found.notes)
    with pytest.raises(RunError, match="another recipe"):
        weitiao.probe(recipe(training__batch_size=8), [own], ["full", "head"], output=folder)


def test_validation_is_made_large_enough_and_never_of_test(recipe: Values, tmp_path: Path) -> None:
    plain = as_recipe(recipe(data__validation_size=0.05))
    larger, own = _shared(plain)
    assert own.data.validation_size == 0.05
    assert larger.data.validation_size == pytest.approx(0.3)
    cut, ready = prepare(larger.resolved({"evaluation.test": (True, "")})).splits, prepare(plain).splits
    assert len(cut["validation"]) > len(ready["validation"])
    np.testing.assert_array_equal(np.sort(cut.text_keys["test"]), np.sort(ready.text_keys["test"]))
    given = tmp_path / "validation.csv"
    given.write_text("review,stars\n" + "".join(f'"{text} given",{label}\n' for text, label in reviews(12)))
    assert [each.data.validation_size for each in _shared(as_recipe(recipe(data__validation=str(given))))] == [0.2]


@pytest.mark.parametrize("count", [24, 100])
def test_where_groups_lose_their_texts_to_one_another_validation_is_as_the_recipe_has_it(
    recipe: Values, tmp_path: Path, count: int
) -> None:
    """A larger validation loses all its texts to test (100 rows), or takes all that were left to train on (24)."""
    if count == 24:
        rows = [("ok" if i < 16 else f"text {i}", f"author {i}") for i in range(count)]
    else:
        rows = [("ok", "A")] * 30 + [("ok", "B")] * 30
        rows += [("ok" if i < 10 else f"text {i}", f"author {i}") for i in range(40)]
    file, seen = tmp_path / "linked.csv", set()
    lines = (f"{text},{('good', 'bad')[number % 2]},{author}\n" for number, (text, author) in enumerate(rows))
    file.write_text("text,label,author\n" + "".join(lines))
    for seed in range(16):
        values = as_recipe({**recipe(), "data": {"train": str(file), "group": "author", "seed": seed}})
        try:
            has_validation = "validation" in prepare(values).splits
        except DataError:  # nothing to train on is left in the recipe's own cut
            continue
        if has_validation:
            seen.add(len(_shared(values)))
    assert 1 in seen


def test_a_class_keeps_its_examples_rather_than_go_to_validation(recipe: Values, tmp_path: Path) -> None:
    file = tmp_path / "rare.csv"
    rows = [*reviews(120), *((f"neither here nor there, {number}", "rare") for number in range(2))]
    file.write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in rows))
    values = as_recipe(recipe(data__train=str(file), data__validation_size=0.05, data__test_size=0.0))
    own = values.model.source
    assert _shared(values)[0].data.validation_size == pytest.approx(0.3)  # which would leave one of them
    shared, ready, _ = ready_for(crossed([own], ["full", "head"], values), values, tmp_path / "p")
    assert len(ready) == 2
    assert shared.data.validation_size == 0.05
    assert label_count(ready["full"], "rare") == 2


def test_test_is_cut_but_not_looked_at(recipe: Values) -> None:
    looked, blind = (prepare(as_recipe(recipe(evaluation={"test": value}))).splits for value in (True, False))
    assert set(looked) - set(blind) == {"test"}
    np.testing.assert_array_equal(looked.text_keys["train"], blind.text_keys["train"])


def test_frozen_features_are_kept_and_of_tokens_where_these_have_labels(
    recipe: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    ready = prepare(as_recipe(recipe()))
    made = frozen_features(ready, seed=0)
    assert can_be_probed(ready)
    assert made.vectors.shape == (len(ready.splits["train"]), 32)
    assert (made.targets.shape, made.of_tokens) == ((len(made.vectors),), False)
    with monkeypatch.context() as patch:
        patch.setattr("weitiao.probing.frozen_features._computed", lambda *_: pytest.fail("computed again"))
        np.testing.assert_array_equal(frozen_features(ready, seed=0).vectors, made.vectors)
    tagged = tmp_path / "tags.jsonl"
    words = [{"tokens": text.split(), "tags": ["B-X" if w in ("room", "bed") else "O" for w in text.split()]}
             for text, _ in reviews(40)]  # fmt: skip
    tagged.write_text("".join(json.dumps(each) + "\n" for each in words))
    tokens = prepare(as_recipe({**recipe(), "task": "token-classification", "data": str(tagged)}))
    found = frozen_features(tokens, seed=0)
    assert found.of_tokens
    assert len(found.vectors) == len(found.targets) == len(found.examples) > 100
    monkeypatch.setattr("weitiao.probing.frozen_features.TOKENS", 60)
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "other"))
    few = frozen_features(tokens, seed=0)
    assert len(few.vectors) == 60
    assert few.examples.max() > len(tokens.splits["train"]) // 2  # not those that are first in the file


def test_a_task_without_a_linear_head_has_no_frozen_numbers(recipe: Values, tmp_path: Path) -> None:
    text = tmp_path / "lines.txt"
    text.write_text("\n".join(text for text, _ in reviews(60)))
    masked = prepare(as_recipe({**recipe(), "task": {"name": "language-modeling"}, "data": str(text)}))
    assert not can_be_probed(masked)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "weitiao", *words], capture_output=True, text=True, cwd=folder,
                          check=False)  # fmt: skip


def test_bad_input_by_the_command_line(recipe: Values, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(recipe()))
    done = run(tmp_path, "probe", "recipe.json", "--time", "20m")
    assert (done.returncode, "one candidate" in done.stderr) == (2, True)
    done = run(tmp_path, "probe", "recipe.json", "--methods", "full,hed")
    assert (done.returncode, "Did you mean 'head'" in done.stderr) == (2, True)
    done = run(tmp_path, "curve", "recipe.json", "--sizes", "10,x")
    assert (done.returncode, "found '10,x'" in done.stderr) == (2, True)
    done = run(tmp_path, "curve", "recipe.json", "--sizes", "10,20,100000")
    assert (done.returncode, "from 1 to" in done.stderr) == (2, True)
    assert {path.name for path in tmp_path.iterdir()} <= {"recipe.json", "reviews.csv"}


# --- a learning curve


def test_a_learning_curve(recipe: Values, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    found = weitiao.learning_curve(recipe(), sizes=[10, 20, 40], seeds=2, output=folder)
    assert [point.rows for point in found.points] == [10, 20, 40]
    assert all(len(point.scores) == 2 for point in found.points)
    assert (found.split, [each.rows for each in found.ahead]) == ("test", [80, 160])
    assert {json.loads(path.read_text())[""]["which"] for path in folder.glob("runs/*/bootstrap.json")} == {
        json.loads((folder / "runs/10rows-seed7/bootstrap.json").read_text())[""]["which"]
    }
    runs = wheres(folder)
    assert len(runs) == 6
    assert not list(folder.glob("runs/*/artifact"))
    stored = json.loads((folder / "curve.json").read_text())
    assert stored["advice"] == found.advice
    assert (folder / "curve.html").exists()
    weitiao.learning_curve(recipe(), sizes=[10, 20, 40], seeds=2, output=folder)
    assert wheres(folder) == runs


def test_sizes_of_a_seed_are_nested_and_other_seeds_draw_other_rows(recipe: Values) -> None:
    def keys(size: int, seed: int) -> set[int]:
        values = recipe()
        values["data"] = {**values["data"], "max_examples": size, "sample_seed": seed, "seed": 7}
        splits = prepare(as_recipe(values)).splits
        assert len(splits["test"]) == len(prepare(as_recipe(recipe())).splits["test"])
        return set(splits.text_keys["train"].tolist())

    assert keys(10, 0) < keys(20, 0) < keys(40, 0)
    assert keys(20, 0) != keys(20, 1)


def test_too_little_data_for_a_curve_is_said(recipe: Values, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs 3"):
        weitiao.learning_curve(recipe(), sizes=[10, 20], output=tmp_path / "c")
    with pytest.raises(DataError, match="found 0, 20, 30"):
        weitiao.learning_curve(recipe(), sizes=[0, 20, 30], output=tmp_path / "c")
    with pytest.raises(DataError, match="neither a test nor a validation"):
        weitiao.learning_curve(recipe(data__test_size=0.0, data__validation_size=0.0), output=tmp_path / "c")
    assert not (tmp_path / "c").exists()


# --- pages and words


def standing(name: str, scores: list[float], *, final: bool = True, against: Pair | None = None) -> Standing:
    attempts = [Attempt(seed, "x", score, seconds=10.0, peak_memory=10**9) for seed, score in enumerate(scores)]
    row = Row(name, {"name": "full"}, attempts=attempts, trainable=10, parameters=100)
    mean = row.mean or 0.0
    return Standing(row, name, 400, 1.0, 1, mean - 0.02, mean + 0.02, against, in_final=final)


def pair(first: str, second: str, found: Any) -> Pair:
    return Pair(first, second, 0.02, -0.01, 0.05, 0.2, 0.2, 5.0, found, f"no measurable difference from {second}")


def test_a_probe_that_was_begun_goes_on_whatever_the_disk_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it takes is written by now."""
    ready: Any = {"a": SimpleNamespace(facts={"disk_needed": 10**9})}
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(RunError, match="may write"):
        _check_disk(tmp_path, ready)
    (tmp_path / PLAN).write_text("{}", encoding="utf-8")
    _check_disk(tmp_path, ready)


def test_ties_and_early_leavers_are_said() -> None:
    tie, early = pair("a", "b", "no difference"), pair("a", "c", "no difference")
    standings = [standing("a", [0.8, 0.82]), standing("b", [0.79, 0.79], against=tie),
                 standing("c", [0.6], final=False, against=early)]  # fmt: skip
    settings = {"a": {"method": {"name": "lora", "rank": 4}, "model.source": "m", "model.revision": None}, "b": {}}
    taken, said = advise(standings, [tie], "accuracy", time="1h", settings=settings)
    assert taken == "a"
    assert said[0].startswith("Within 1h: take a (81.0% accuracy)")
    assert "Not distinguishable from a: b." in said
    assert any(
        each.startswith("Left early without being measurably worse: c (after 400 rows, 2.0 points") for each in said
    )
    assert said[-1].endswith(
        """--set 'method={"name": "lora", "rank": 4}' --set model.source=m --set model.revision=null"""
    )


def test_the_pages_escape_and_hold_all() -> None:
    tie = pair("a<b>", "c", "no difference")
    standings = [standing("a<b>", [0.8, 0.82]), standing("c", [0.79, 0.79], against=tie),
                 Standing(Row("d", {}, problem="does not <fit>"), "d", None)]  # fmt: skip
    probed = Probed(
        "t", "accuracy", True, 400, 0.95, 1600, [Transfer("m<1>", "src", 32, 300, Probe("accuracy", 0.7, 0.6, 0.8, 300),
        0.31, 1.5), Transfer("n", "src2", problem="no linear head")], standings,
        [Round(400, 2.0, ["a<b>", "c"], [0], [0])], [tie], recommended="a<b>", advice=["Take it."],
        notes=["a note"], time="1h", seconds=90.0,
    )  # fmt: skip
    page = render_probe(probed)
    for told in ("a&lt;b&gt;", "m&lt;1&gt;", "does not &lt;fit&gt;", "no linear head", "0.310", "1.5 min of 1h", "× 2"):
        assert told in page, told
    assert "<b>" not in page.split("<main>")[1].split("</main>")[0]
    curve = LearningCurve(
        "t", "m", "full", "accuracy", True, "test", 400, 0.95,
        [Point(100, [0, 1], [0.5, 0.52]), Point(200, [0], [0.6])],
        {"a": 0.9, "b": 0.3, "c": 0.4, "N": 200.0}, [Ahead(2, 400, 0.65, 0.6, 0.7, 0.05, 0.01, 0.1)],
        [(100.0, 0.51, 0.5, 0.53), (200.0, 0.6, 0.58, 0.62), (400.0, 0.65, 0.6, 0.7)], ["More <data>."],
    )  # fmt: skip
    page = render_curve(curve)
    for told in ("More &lt;data&gt;.", 'class="band"', "0.9 − 0.3 · (n / 200)^−0.4", "+5.0", "65.0%"):
        assert told in page, told
