"""Comparisons of methods: what is said and drawn of known numbers, what is refused, and small ones done for real."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weitiao
from weitiao.candidates import as_candidates
from weitiao.cli.compare import table
from weitiao.cli.options import parsed_list, parsed_seeds
from weitiao.errors import RecipeError, RunError, WeitiaoError, WeitiaoWarning
from weitiao.evaluation.compared import Attempt, Compared, Reference, Row, beside_baseline, ranked, recommend
from weitiao.evaluation.comparison_page import finding, render
from weitiao.evaluation.verdicts import Drawn, Pair, compare_pairs, compare_with
from weitiao.records import Score, Scores

EXAMPLES, ROUNDS = 400, 200

# --- from known numbers


def drawn(shares: list[float], *, seed: int = 0, score: str = "accuracy") -> list[Drawn]:
    """A method's models that have such shares of the same examples right, the easy ones first."""
    rows = np.random.default_rng(0).integers(0, EXAMPLES, (ROUNDS, EXAMPLES))
    order = np.random.default_rng(1).permutation(EXAMPLES)
    found = []
    for share in shares:
        right = (order < share * EXAMPLES).astype(float)
        scores = Scores(score, {score: Score(float(right.mean()))}, EXAMPLES)
        found.append(Drawn.of(scores, right[rows].mean(axis=1), order=range(EXAMPLES), seed=seed))
    return found


METHODS = {  # name -> scores of three seeds, seconds, memory
    "full": ([0.90, 0.91, 0.905], 100.0, 1_300_000_000),
    "lora": ([0.90, 0.90, 0.905], 60.0, 900_000_000),
    "head": ([0.70, 0.71, 0.705], 10.0, 600_000_000),
}


def compared(methods: dict[str, Any] = METHODS, score: str = "accuracy", **more: Any) -> Compared:
    known = {name: drawn(shares, score=score) for name, (shares, _, _) in methods.items()}
    rows = [
        Row(name, {"name": name}, learning_rate=2e-5, trainable=1_000, parameters=22_000_000, saved=90_000_000,
            attempts=[Attempt(i, f"runs/{name}-seed{i}", each.value, 0.8, 0.95, seconds, memory, 30)
                      for i, each in enumerate(known[name])])
        for name, (_, seconds, memory) in methods.items()
    ]  # fmt: skip
    rows = ranked(rows, greater_is_better=score != "loss")
    pairs = compare_pairs({row.name: known[row.name] for row in rows}, 0.95)
    taken, advice = recommend(rows, pairs, score)
    baselines = []
    if taken:
        other = drawn([0.6], score=score)[0]
        baselines = [
            Reference("TF-IDF", other.value, 0.55, 0.65, compare_with(taken, known[taken], other, "TF-IDF", 0.95))
        ]
    values: dict[str, Any] = {
        "task": "text-classification", "model": "m", "score": score, "split": "test", "examples": EXAMPLES,
        "greater_is_better": score != "loss", "confidence": 0.95, "seeds": [0, 1, 2], "rows": rows, "pairs": pairs,
        "baselines": baselines, "recommended": taken, "advice": advice, "folder": "comparisons/x",
    }  # fmt: skip
    return Compared(**{**values, **more})


def test_the_quickest_that_is_not_measurably_worse_is_taken() -> None:
    found = compared()
    assert found.recommended == "lora"
    assert re.match(
        r"Take lora \(90\.2% accuracy\): it is not measurably worse than the best, full \(0\.3 points of accuracy "
        r"behind, interval -\d.* to \d.* points\), and takes 60% of its time and 69% of its memory\.$", found.advice[0],
    )  # fmt: skip
    assert found.pair("full", "head").finding == "better"


def test_the_best_is_taken_where_nothing_comes_near_or_is_quicker() -> None:
    alone = compared({name: METHODS[name] for name in ("full", "head")})
    assert alone.recommended == "full"
    assert "measurably better than every other method here; the next, head, is 20.0 points" in alone.advice[0]
    slow = compared({**METHODS, "lora": (METHODS["lora"][0], 300.0, 700_000_000)})
    assert slow.recommended == "full"
    assert "it is no quicker to train" in slow.advice[0]
    assert slow.advice[1].startswith("Where memory is short, take lora: it needs 0.7 GB rather than 1.3 GB")


def test_a_baseline_that_does_as_well_is_named() -> None:
    same, worse = (compare_with("lora", drawn([0.7] * 3), drawn([share])[0], "TF-IDF", 0.95) for share in (0.7, 0.9))
    said = beside_baseline("lora", [Reference("TF-IDF", 0.7, None, None, same)], "accuracy")
    assert said[0].startswith(
        "But TF-IDF (70.0%) may do, and costs next to nothing: lora shows no measurable difference"
    )
    both = [Reference("TF-IDF", 0.9, None, None, worse), Reference("majority", 0.7, None, None, same)]
    said = beside_baseline("lora", both, "accuracy")
    assert len(said) == 1
    assert "TF-IDF (90.0%) does better" in said[0]
    assert beside_baseline("lora", compared().baselines, "accuracy") == []


def test_what_is_not_tested_is_not_called_equal() -> None:
    base = compared()
    off = {row.name: [Drawn("accuracy", value, EXAMPLES, [], "x") for value in row.scores] for row in base.rows}
    taken, advice = recommend(base.rows, compare_pairs(off, 0.95), "accuracy")
    assert taken == "full"
    assert "not tested against all others" in advice[0]
    assert "lora and head" in advice[1]


def test_what_is_clear_only_by_itself_is_not_clear() -> None:
    by_itself = Pair("a", "b", 0.05, 0.01, 0.09, 0.03, 0.06, 3.0, "no difference", "")
    assert finding(by_itself, turned=False) == finding(by_itself, turned=True) == "not clear"
    assert finding(replace(by_itself, low=-0.01), turned=True) == "no difference"
    assert finding(replace(by_itself, finding="better"), turned=True) == "worse"


def test_nothing_trained_is_said() -> None:
    assert recommend([Row("full", {"name": "full"})], [], "accuracy")[0] is None


def test_of_a_loss_the_least_is_the_best() -> None:
    found = compared({"a": ([0.5, 0.51, 0.5], 10.0, 1), "b": ([0.8, 0.81, 0.8], 10.0, 1)}, score="loss")
    assert [row.name for row in found.rows] == ["a", "b"]
    assert found.recommended == "a"


def test_the_page_shows_methods_pairs_and_why_one_is_left_out() -> None:
    out = Row("soft <prompt>", {"name": "prompt"}, problem="does not fit")
    broken = Row("bitfit", {"name": "bitfit"}, attempts=[Attempt(0, "runs/x", problem="killed (signal 9)")])
    base = compared()
    page = render(compared(rows=[*base.rows, out, broken], notes=["only <one> note"]))
    for told in ("take this", "soft &lt;prompt&gt;", "does not fit", "seed 0: killed (signal 9)", "90.2% ± 0.3",
                 "only &lt;one&gt; note".capitalize(), "TF-IDF", "1.30 GB", "Holm"):  # fmt: skip
        assert told in page, told
    assert "<prompt>" not in page
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert "content=\"default-src 'none'" in page


def test_the_page_of_one_seed_and_of_no_baseline() -> None:
    one = compared({name: (shares[:1], s, m) for name, (shares, s, m) in METHODS.items()}, seeds=[0], baselines=[])
    page = render(one)
    assert "±" not in page.split("<main>")[1].split("</table>")[0]
    assert "With one seed there is no spread" in page


def test_the_table_of_the_terminal() -> None:
    rows, header = table(compared())
    assert len(header) == len(rows[0])
    assert [row[0] for row in rows] == ["  full", "* lora", "  head", "  TF-IDF"]
    assert rows[0][-1] == "the best mean"
    assert rows[2][-1] == "worse (−20.0)"


# --- what is given


def test_methods_are_read_with_options() -> None:
    assert parsed_list(["full,{name: lora, rank: 4}", "[head]"], "--methods", "full,head") == [
        "full",
        {"name": "lora", "rank": 4},
        "head",
    ]
    names = [(each.name, each.slug) for each in as_candidates(
        ["lora", {"name": "lora", "rank": 4, "training": {"learning_rate": 1e-3}}]
    )]  # fmt: skip
    assert names == [("lora", "lora"), ("lora (rank 4, learning rate 0.001)", "lora-rank-4-learning-rate-0.001")]
    [called] = as_candidates([{"name": "full", "as": "more data", "data": {"train": "b.csv"}, "task": {"x": 1}}])
    assert (called.name, called.slug) == ("more data", "full-more-data")
    assert called.differs == {"data": {"train": "b.csv"}, "task": {"x": 1}}
    assert (parsed_seeds("3"), parsed_seeds("5,7")) == (3, [5, 7])


@pytest.mark.parametrize(
    ("methods", "told"),
    [(["ful"], "Did you mean 'full'"), ([], "no method"), (["full", "full"], "twice"),
     (["lora", {"name": "lora", "rank": 16}], "twice"), ([{"name": "lora", "rnk": 4}], "Did you mean 'rank'"),
     ([{"rank": 4}], "without a name"), ([{"name": "full", "training": {"seed": 3}}], "not the seed"),
     (["full", {"name": "head", "as": "full"}], "twice"), ([{"name": "full", "data": "a.csv"}], "found data")],
)  # fmt: skip
def test_bad_methods_are_refused(methods: list[Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told) as caught:
        as_candidates(methods)
    assert caught.value.where == "methods"


@pytest.mark.parametrize("text", ["0", "-1", "x", "1,y"])
def test_bad_seeds_are_refused(text: str, recipe: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(WeitiaoError, match="found"):
        weitiao.compare(recipe(), ["full"], parsed_seeds(text), output=tmp_path / "c")


@pytest.fixture
def recipe(recipe_values: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def build(**changes: Any) -> dict[str, Any]:
        values = recipe_values(**{"data__test_size": 0.2, **changes})
        values["training"] = {k: v for k, v in values["training"].items() if k != "learning_rate"} | {"epochs": 1}
        return {**values, "output": None}

    return build


def test_what_stands_in_the_way_is_told_before_the_first_run(
    recipe: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "c"
    with pytest.raises(RecipeError, match="many"):
        weitiao.compare({**recipe(), "output": "x"}, ["full"], output=folder)
    with pytest.raises(RecipeError, match=r"unknown key\. Did you mean 'learning_rate'"):
        weitiao.compare(recipe(), [{"name": "full", "training": {"learning_rat": 1}}], output=folder)
    other = {"name": "full", "as": "other", "data": {"test_size": 0.4}}
    with pytest.raises(WeitiaoError, match="other has other validation examples than full"):
        weitiao.compare(recipe(), ["full", other], output=folder)
    with pytest.raises(WeitiaoError, match="neither a test nor a validation split"):
        weitiao.compare(recipe(data__test_size=0.0, data__validation_size=0.0), ["full"], output=folder)
    with pytest.raises(RecipeError, match="lora") as caught:
        weitiao.compare(recipe(), ["full", {"name": "lora", "targets": ["nowhere"]}], output=folder)
    assert "--skip-unfit" in caught.value.fix
    assert not folder.exists()
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds other files"):
        weitiao.compare(recipe(), ["full"], output=folder)


def test_a_rate_for_all_methods_is_warned_of(recipe: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    values = recipe()
    values["training"]["learning_rate"] = 1e-3
    with pytest.warns(WeitiaoWarning, match="orders of magnitude"), pytest.raises(RecipeError):
        weitiao.compare(values, ["head", {"name": "lora", "targets": ["nowhere"]}], output=tmp_path / "c")


# --- for real


def test_two_methods_with_two_seeds(
    recipe: Callable[..., dict[str, Any]], tmp_path: Path, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compared, gone on with, refused on another recipe; a run that dies is a row that says why."""
    folder = tmp_path / "c"
    unfit = {"name": "lora", "targets": ["nowhere"]}
    found = weitiao.compare(recipe(), ["full", "head", unfit], [0, 1], output=folder, skip_unfit=True)
    stored = json.loads((folder / "comparison.json").read_text())
    assert (folder / "comparison.html").exists()
    assert [row["name"] for row in stored["rows"]][2].startswith("lora")
    assert stored["rows"][2]["problem"]
    assert stored["recommended"] == found.recommended
    assert {each["name"] for each in stored["baselines"]} == {"TF-IDF + logistic regression", "majority class"}
    for row in found.rows[:2]:
        assert len(row.scores) == 2
        assert all(each.peak_memory > 1e8 and each.seconds > 0 for each in row.attempts)
    examples = {
        json.loads((folder / each.folder / "bootstrap.json").read_text())[""]["which"]
        for row in found.rows for each in row.attempts
    }  # fmt: skip
    assert len(examples) == 1  # the same splits and examples for every seed
    splits = {json.loads((folder / each.folder / "run.json").read_text())["digest"] for each in found["full"].attempts}
    assert len(splits) == 1
    # another seed trained another model
    weights = {(folder / each.folder / "artifact/model.safetensors").read_bytes() for each in found["full"].attempts}
    assert len(weights) == 2

    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/run.json")}
    again = weitiao.compare(recipe(), ["full", "head"], [0, 1], output=folder)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/run.json")} == before
    assert again["full"] == found["full"]

    changed = recipe()
    changed["training"]["epochs"] = 2
    with pytest.raises(RunError, match=r"training.epochs was 1(\.0)? and is 2"):
        weitiao.compare(changed, ["full", "head"], [0, 1], output=folder)

    monkeypatch.undo()
    dying = tmp_path / "dying"
    dying.mkdir()
    (dying / "sitecustomize.py").write_text(
        "import os, sys\nif 'head-seed2' in ' '.join(sys.argv) or any('head-seed2' in a for a in sys.orig_argv):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(dying), os.environ.get("PYTHONPATH", "")]))
    third = weitiao.compare(recipe(), ["head"], [0, 1, 2], output=folder)
    assert len(third["head"].scores) == 2
    assert "killed (signal 9" in third["head"].why_not
