"""Runs compared: what is refused, what is told of real ones, what is kept; and `weitiao runs` in order."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import weitiao
from weitiao.artifacts.run_folder import find_run, list_runs
from weitiao.cli.main import app, main
from weitiao.errors import DataError, RunError
from weitiao.evaluation.compared import Attempt, Row
from weitiao.evaluation.leaderboard_page import render
from weitiao.evaluation.side_by_side import Apart, disagreements, duels, front
from weitiao.leaderboard import ANSWERS
from weitiao.metrics.classification import SingleLabelScorer
from weitiao.standings import standings

Values = Callable[..., dict[str, Any]]

# --- from known answers

LABELS = ["bad", "good"]


def scorer(said: np.ndarray, gold: np.ndarray) -> SingleLabelScorer:
    found = SingleLabelScorer(LABELS)
    add(found, said, gold)
    return found


def add(to: SingleLabelScorer, said: np.ndarray, gold: np.ndarray) -> None:
    predictions = [
        {"label": LABELS[s], "score": 0.9, "probabilities": {LABELS[s]: 0.9, LABELS[1 - s]: 0.1}} for s in said
    ]
    to.add([{"text": f"t{i}", "label": LABELS[g]} for i, g in enumerate(gold)], predictions)


def answers(random: np.random.Generator, *shares: float, examples: int = 200) -> tuple[np.ndarray, list[np.ndarray]]:
    gold = random.integers(0, 2, examples)
    return gold, [np.where(random.random(examples) < share, gold, 1 - gold) for share in shares]


@pytest.mark.parametrize(
    ("primary", "test"), [("accuracy", "exact McNemar"), ("macro_f1", "approximate randomisation")]
)
def test_what_is_better_is_told_with_its_size(primary: str, test: str) -> None:
    gold, said = answers(np.random.default_rng(0), 0.9, 0.89, 0.6)
    scorers = {name: scorer(each, gold) for name, each in zip("abc", said, strict=True)}
    together = SingleLabelScorer(LABELS)
    for each in said:
        add(together, each, gold)
    found, intervals = duels(scorers, together, primary, rounds=300, confidence=0.95, seed=0)
    assert [(duel.first, duel.second, duel.finding) for duel in found] == [
        ("a", "b", "no difference"), ("a", "c", "better"), ("b", "c", "better")
    ]  # fmt: skip
    assert {duel.test for duel in found} == {test}
    assert all(duel.adjusted >= duel.p_value for duel in found)
    one = found[1]
    assert one.low < one.difference < one.high
    assert one.verdict.startswith("better than c by ")
    assert "adjusted p < 0.001" in one.verdict or "adjusted p = " in one.verdict
    assert intervals["a"][0] < scorers["a"].compute()[primary] < intervals["a"][1]
    if primary == "accuracy":
        only = ((said[0] == gold) & (said[2] != gold)).sum(), ((said[0] != gold) & (said[2] == gold)).sum()
        assert (one.only_first_right, one.only_second_right) == only
        assert one.odds_ratio == pytest.approx((only[0] + 0.5) / (only[1] + 0.5))
        assert (one.effect, one.effect_size > 0.5) == ("Cohen's h", True)
    else:
        assert (one.effect, one.odds_ratio) == ("Cohen's d", None)


def test_two_copies_are_told_apart_no_more_often_than_the_level_says() -> None:
    random, found = np.random.default_rng(1), 0
    for trial in range(40):
        gold, said = answers(random, 0.8, 0.8, 0.8, examples=80)
        scorers = {name: scorer(each, gold) for name, each in zip("abc", said, strict=True)}
        together = SingleLabelScorer(LABELS)
        for each in said:
            add(together, each, gold)
        told, _ = duels(scorers, together, "macro_f1", rounds=100, confidence=0.95, seed=trial)
        found += any(duel.finding != "no difference" for duel in told)
    assert found <= 7  # more are seen once in 1000 times at a rate of 5%


def test_where_models_disagree() -> None:
    gold = np.array([0, 0, 0, 1, 1])
    said = {"a": [0, 0, 1, 0, 1], "b": [0, 1, 1, 0, 1], "c": [0, 1, 1, 1, 1]}
    scorers = {name: scorer(np.array(each), gold) for name, each in said.items()}
    apart, counts, alone = disagreements(scorers)
    assert apart == [1, 3]
    assert counts == {"all right": 2, "none right": 1, "apart": 2}
    assert alone == {"a": 1, "b": 0, "c": 1}


def test_the_front_holds_what_nothing_is_better_than() -> None:
    def row(name: str, score: float, seconds: float, memory: int | None) -> Row:
        return Row(name, {"name": name}, attempts=[Attempt(0, "x", score, seconds=seconds, peak_memory=memory)])

    rows = [row("best", 0.9, 100, 10), row("quick", 0.8, 10, 10), row("worse", 0.79, 20, 10), row("light", 0.7, 50, 5)]
    assert front(rows, greater=True) == ["best", "quick", "light"]
    assert front(rows, greater=False) == ["quick", "worse", "light"]
    assert front([*rows[:3], row("unknown", 0.7, 50, None)], greater=True) == ["best", "quick"]
    assert front([row("a", 0.9, 1, 1), row("b", 0.9, 1, 1)], greater=True) == ["a", "b"]


# --- real runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]) -> dict[str, Path]:
    """Three runs on the same data, one on a split of its own, one of another task."""
    from tests.samples import write_reviews

    folder = tmp_path_factory.mktemp("board")
    path, model = write_reviews(folder / "reviews.csv"), tiny_model("encoder")
    made = {}
    base: dict[str, Any] = {
        "task": "text-classification", "model": str(model), "data": {"train": str(path), "seed": 0, "test_size": 0.3},
        "evaluation": {"bootstrap": 100, "baselines": False},
    }  # fmt: skip
    training = {"epochs": 2, "learning_rate": 3e-3, "batch_size": 16, "precision": "fp32"}
    for name, method, seed, data in (("full", "full", 0, 0), ("again", "full", 1, 0), ("head", "head", 0, 0),
                                     ("other", "head", 0, 5)):  # fmt: skip
        made[name] = weitiao.train({
            **base, "method": method, "training": {**training, "seed": seed}, "data": {**base["data"], "seed": data},
            "output": str(folder / "runs" / name),
        }).folder  # fmt: skip
    with (folder / "numbers.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "score"), *((f"a film {i}", i / 7) for i in range(60))])
    made["numbers"] = weitiao.train({
        "task": "text-regression", "model": str(model), "data": str(folder / "numbers.csv"),
        "training": {**training, "epochs": 1}, "evaluation": base["evaluation"], "output": str(folder / "runs/numbers"),
    }).folder  # fmt: skip
    return made


def test_runs_are_compared_on_the_examples_they_share(runs: dict[str, Path], tmp_path: Path) -> None:
    names = [str(runs[name]) for name in ("head", "full", "again")]
    board = weitiao.compare_runs(names, output=tmp_path / "board")
    compared = board.compared
    stored = json.loads((tmp_path / "board/leaderboard.json").read_text(encoding="utf-8"))
    assert {row["name"] for row in stored["rows"]} == {"head", "full", "again"}
    for row in compared.rows:
        run = find_run(runs[row.name])
        assert row.mean == pytest.approx(run.score)  # the same as when it was trained
        assert (row.attempts[0].peak_memory, row.trainable > 0, row.saved > 0) == (run.peak_memory, True, True)
        assert (run.folder / ANSWERS).exists()
    assert [row.mean for row in compared.rows] == sorted((row.mean for row in compared.rows), reverse=True)
    assert len(stored["pairs"]) == 3
    assert stored["recommended"] == compared.recommended
    assert sum(stored["counts"].values()) == compared.examples
    assert len(stored["apart"]) == stored["counts"]["apart"]
    for each in stored["apart"]:
        assert 0 < sum(each["right"].values()) < 3
        assert each["where"].startswith("reviews.csv:")
    page = (tmp_path / "board/leaderboard.html").read_text(encoding="utf-8")
    for said in ("leaderboard", "Where they disagree", "exact McNemar", "front", "Every pair"):
        assert said in page, said
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)


def test_what_was_answered_is_kept_and_read(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(runs[name]) for name in ("head", "full")]
    first = weitiao.compare_runs(names, output=tmp_path / "board")

    def none(*_: Any, **__: Any) -> None:
        raise AssertionError("predicts again")

    monkeypatch.setattr("weitiao.leaderboard.Predictor", none)
    assert weitiao.compare_runs(names, output=tmp_path / "board").duels == first.duels
    kept = runs["head"] / ANSWERS
    whole = kept.read_text(encoding="utf-8")
    for damaged in (whole[: len(whole) // 2], "", whole.replace('"split": "test"', '"split": "train"')):
        kept.write_text(damaged, encoding="utf-8")
        with pytest.raises(AssertionError, match="predicts again"):
            weitiao.compare_runs(names, output=tmp_path / "board")
    kept.unlink()


def test_measured_anew_on_other_data(runs: dict[str, Path], tmp_path: Path) -> None:
    names = [str(runs[name]) for name in ("head", "other")]
    with pytest.raises(
        DataError, match=r"other was measured on \d+ examples and head on \d+, of which \d+ are the same"
    ):
        weitiao.compare_runs(names, output=tmp_path / "board")
    source = runs["head"].parents[1] / "reviews.csv"
    board = weitiao.compare_runs(names, on=str(source), output=tmp_path / "board")
    assert board.compared.split == "reviews.csv"
    assert any("stand in the run's training data" in note for note in board.compared.notes)


def test_bad_input_is_refused(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = tmp_path / "started"
    shutil.copytree(runs["head"], started)
    (started / "run.json").write_text(json.dumps(json.loads((started / "run.json").read_text()) | {"status": "failed"}))
    head, full = str(runs["head"]), str(runs["full"])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("task: text-classification\nmodel: m\ndata: d.csv\n")
    for words, said in (
        ([head], "there is one run to compare"),
        ([head, head], "is named twice"),
        ([head, str(Path(head) / ".")], "is named twice"),
        ([head, str(started)], "is failed, not finished"),
        ([head, str(runs["numbers"])], "is of text-regression, and head of text-classification"),
        ([head, "nowhere"], "there is no run 'nowhere'"),
        ([head, full, "--methods", "lora"], "--methods\n  is for comparing a recipe, and runs are given"),
        ([str(recipe), "--on", "x.csv", "--methods", "full"], "--on\n  is for comparing runs, and a recipe is given"),
        ([str(recipe), head], "is a recipe, and there are 2 arguments"),
    ):
        monkeypatch.setattr("sys.argv", ["weitiao", "compare", *words, "--output", str(tmp_path / "board")])
        assert main() == 2, words
        assert said in capsys.readouterr().err, words
    assert not (tmp_path / "board").exists()


def test_data_that_are_gone_are_told(runs: dict[str, Path], tmp_path: Path) -> None:
    source = runs["head"].parents[1] / "reviews.csv"
    text = source.read_text(encoding="utf-8")
    try:
        source.write_text(text + "one more,good\n", encoding="utf-8")
        with pytest.raises(RunError, match="its data is not at hand, or not what it was"):
            weitiao.compare_runs([runs["head"], runs["full"]], output=tmp_path / "board")
    finally:
        source.write_text(text, encoding="utf-8")


def test_the_command_tells(runs: dict[str, Path], tmp_path: Path) -> None:
    words = ["compare", str(runs["head"]), str(runs["full"]), "--output", str(tmp_path / "b"), "--quiet"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "against the best" in done.stdout
    assert "Take " in done.stdout
    assert re.search(r"Of \d+ examples of test all have \d+ right", done.stdout)
    done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert json.loads(done.stdout)["front"]


def test_texts_are_escaped(runs: dict[str, Path], tmp_path: Path) -> None:
    board = weitiao.compare_runs([runs["head"], runs["full"]], output=tmp_path / "board")
    names = [row.name for row in board.compared.rows]
    one = Apart("a<u>.csv:2", "<b>微调</b>", ["<s>"], {name: ["<i>"] for name in names}, dict.fromkeys(names, 0.0))
    part = render(replace(board, apart=[one])).split('id="apart"')[1].split("<footer>")[0]
    for text in ("a<u>.csv:2", "<b>微调</b>", "<s>", "<i>"):
        assert html.escape(text) in part
        assert text not in part


# --- weitiao runs


def test_runs_stand_by_data_and_score(runs: dict[str, Path]) -> None:
    known = list_runs(runs["head"].parent)
    groups = standings(known)
    assert sorted(len(group) for group in groups) == [1, 1, 3]
    group = max(groups, key=len)
    assert [each.run.id for each in group] == [
        run.id for run in sorted((each.run for each in group), key=lambda run: -run.score)
    ]
    assert [each.best for each in group] == [True, False, False]
    assert all(each.finding in ("no difference", "worse") for each in group[1:])
    quick = max(standings(known, "time"), key=len)
    assert [each.run.seconds for each in quick] == sorted(each.run.seconds for each in quick)


def test_the_command_lists_them(runs: dict[str, Path]) -> None:
    folder = str(runs["head"].parent)

    def said(*words: str) -> str:
        done = CliRunner().invoke(app, ["runs", "--folder", folder, *words], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    assert said("--by", "score").count("against the best") == 3
    only = said("--by", "memory", "--task", "text-regression")
    assert "numbers" in only
    assert "head" not in only
    assert len(json.loads(said("--json"))) == 5
    best = json.loads(said("--best", "--json"))
    assert all(each["best"] or each["finding"] == "no difference" for each in best)
    assert {each["data"] for each in best} == {each["data"] for each in json.loads(said("--by", "score", "--json"))}
    done = CliRunner().invoke(app, ["runs", "--task", "text-clasification"])
    assert "Did you mean 'text-classification'" in str(done.exception)
