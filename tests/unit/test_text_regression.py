"""Text regression: numbers in cells, the unit of the outputs, what plain transformers gives, baselines, bad input."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.samples import reviews
from weitiao import Recipe, load, train
from weitiao.errors import DataError, RecipeError, WeitiaoError
from weitiao.evaluation.baselines.numbers import Mean, TfidfRidge
from weitiao.evaluation.evaluate import Labelled
from weitiao.models import open_pretrained
from weitiao.preparation import prepare
from weitiao.recipe import ModelSettings
from weitiao.records import FILE, LINE
from weitiao.tasks.text_regression import Numbers, TextRegression, TextRegressionOptions, numbers

Values = Callable[..., dict[str, Any]]


def task(*targets: str, **options: Any) -> TextRegression:
    count = len(targets)
    known = Numbers(
        targets=list(targets), mean=[2.0, 50.0][:count], deviation=[0.5, 10.0][:count], lowest=[1.0, 20.0][:count],
        highest=[3.0, 80.0][:count], offset=[2.0, 50.0][:count], scale=[0.5, 10.0][:count],
    )  # fmt: skip
    return TextRegression(TextRegressionOptions(metric="spearman", **options), known)


def scored(path: Path, count: int = 80, **wrong: str) -> Path:
    """Reviews with a mood and a number of minutes; `wrong`: row -> cell of the mood."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "mood", "minutes"])
        for number, (text, label) in enumerate(reviews(count)):
            mood = wrong.get(f"row{number}", 3.5 if label == "good" else 1.25)
            writer.writerow([text, mood, 40 + len(text)])
    return path


# --- cells


@pytest.mark.parametrize(("cell", "value"), [("3.5", 3.5), (" -2 ", -2.0), ("1e3", 1000.0), ("7", 7.0)])
def test_cells_hold_numbers(cell: str, value: float) -> None:
    assert numbers(cell, ["score"], "x.csv:2") == [value]


@pytest.mark.parametrize(
    ("cell", "said", "fix"),
    [("n/a", "'n/a', which is no number", "3.5"), ("", "is empty", ""), (None, "is empty", ""),
     ("nan", "finite", ""), ("inf", "finite", ""), ("3,5", "no number", "after a point"), ("1_000", "finite", "")],
)  # fmt: skip
def test_cells_without_a_number_name_line_and_target(cell: Any, said: str, fix: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        numbers(["1", cell], ["a", "score"], "x.csv:2")
    assert caught.value.where == "x.csv:2"
    assert "'score'" in str(caught.value)
    assert fix in caught.value.fix


def test_a_row_with_another_count_of_numbers() -> None:
    with pytest.raises(DataError, match=r"2 numbers, not 3 \(a, b, c\)"):
        numbers(["1", "2"], ["a", "b", "c"], "x.csv:2")


def test_wrong_cells_are_findings_with_their_lines(recipe_values: Values, tmp_path: Path) -> None:
    file = scored(tmp_path / "s.csv", row3="good", row5="", **{f"row{n}": "?" for n in range(10, 20)})
    data = {"train": str(file), "columns": {"target": "mood"}, "validation_size": 0, "test_size": 0}
    with pytest.raises(WeitiaoError) as caught:
        prepare(Recipe(**recipe_values(task="text-regression", data=data)))
    said = str(caught.value)
    assert "s.csv:5: the target 'mood' holds 'good', which is no number" in said or "empty target" in said


def test_constant_and_far_targets(recipe_values: Values, tmp_path: Path) -> None:
    rows = {f"row{n}": "2" for n in range(300)}
    data = {"train": str(scored(tmp_path / "same.csv", 300, **rows)), "columns": {"target": "mood"}}
    with pytest.raises(WeitiaoError, match="is 2 in every example"):
        prepare(Recipe(**recipe_values(task="text-regression", data=data)))
    data = {"train": str(scored(tmp_path / "far.csv", 300, row7="999")), "columns": {"target": "mood"},
            "validation_size": 0, "test_size": 0}  # fmt: skip
    ready = prepare(Recipe(**recipe_values(task="text-regression", data=data)))
    far = next(finding for finding in ready.findings if "999" in finding.problem)
    assert far.level == "warning"
    assert "far.csv:9" in far.where
    assert "standard deviations" in far.problem


def test_names_of_targets(recipe_values: Values, tmp_path: Path) -> None:
    data = {"train": str(scored(tmp_path / "s.csv")), "columns": {"target": ["mood", "minutes"]}}
    assert prepare(Recipe(**recipe_values(task="text-regression", data=data))).task.prepared.targets == [
        "mood", "minutes",
    ]  # fmt: skip
    lists = tmp_path / "lists.jsonl"
    lines = [{"text": text, "score": [n, -n]} for n, (text, _) in enumerate(reviews(60))]
    lists.write_text("\n".join(map(json.dumps, lines)))
    values = recipe_values(task="text-regression", data={"train": str(lists)})
    assert prepare(Recipe(**values)).task.prepared.targets == ["score 1", "score 2"]
    values["task"] = {"name": "text-regression", "targets": ["up", "down"]}
    assert prepare(Recipe(**values)).task.prepared.targets == ["up", "down"]
    values["task"] = {"name": "text-regression", "targets": ["up"]}
    with pytest.raises(RecipeError, match="names 1 targets, the data has 2"):
        prepare(Recipe(**values))


# --- loss, unit, answers


@pytest.mark.parametrize("options", [{}, {"loss": "huber", "delta": 0.5}])
def test_loss_is_in_standard_deviations_and_a_sum(options: dict[str, Any]) -> None:
    made, logits = task("a", "b", **options), torch.randn(4, 2)
    labels = torch.tensor([[2.0, 50.0], [2.5, 60.0], [1.0, 20.0], [3.0, 80.0]])
    wanted = torch.tensor([[0.0, 0.0], [1.0, 1.0], [-2.0, -3.0], [2.0, 3.0]])
    how: Any = functional.mse_loss if not options else lambda x, y: functional.huber_loss(x, y, delta=0.5)
    found = made.loss(SimpleNamespace(logits=logits), SimpleNamespace(labels=labels)) / 8
    torch.testing.assert_close(found, how(logits, wanted))


def test_answers_and_clipping() -> None:
    assert task("a").answer([7.5]) == {"value": 7.5}
    assert task("a", clip=True).answer([7.5]) == {"value": 3.0}
    assert task("a", "b", clip=True).answer([0.0, 50.0]) == {"values": {"a": 1.0, "b": 50.0}}


def small_run(recipe_values: Values, tmp_path: Path, family: str, method: str = "full", **options: Any) -> Any:
    values = recipe_values(
        family, task={"name": "text-regression", **options}, method=method,
        data={"train": str(scored(tmp_path / "s.csv")), "columns": {"target": ["mood", "minutes"]}},
        training={"epochs": 2, "learning_rate": 3e-3, "batch_size": 16, "seed": 3},
    )  # fmt: skip
    return train(Recipe(**values))


@pytest.mark.parametrize(
    ("family", "method"),
    [("encoder", "full"), ("encoder", "lora"), ("encoder", "head"), ("seq2seq", "lora"), ("decoder", "lora")],
)
def test_plain_transformers_gives_the_same_numbers(
    family: str, method: str, recipe_values: Values, tmp_path: Path
) -> None:
    """Mean and deviation are in the saved model's last layer; where that has no bias, the card adds the mean."""
    from transformers import pipeline

    run = small_run(recipe_values, tmp_path, family, method)
    loaded = load(run.artifact)
    text = reviews(3)[2][0]
    here = loaded.predict([text])[0]["values"]
    assert loaded.inference.task.prepared.scale == [1.0, 1.0]
    left = loaded.inference.task.prepared.offset
    assert (left == [0.0, 0.0]) == (family != "decoder")
    found = {a["label"]: a["score"] for a in pipeline("text-classification", str(run.artifact))(text, top_k=None)}
    for (name, value), offset in zip(here.items(), left, strict=True):
        assert found[name] + offset == pytest.approx(value, rel=1e-5, abs=1e-4)
    assert 40 < here["minutes"] < 200
    assert ("no bias" in loaded.inference.task.usage(family)) == (family == "decoder")


def test_the_saved_model_scores_as_the_trained_one(recipe_values: Values, tmp_path: Path) -> None:
    from weitiao import evaluate

    run = small_run(recipe_values, tmp_path, "encoder", normalise=True)
    test = json.loads((run.artifact.parent / "scores.json").read_text())["test"]["scores"]["values"]
    again = evaluate(run.artifact, str(scored(tmp_path / "again.csv"))).scores
    assert again.values["rmse"].value < 5 * test["rmse"]["value"]  # in minutes, not in standard deviations of them
    assert again.primary == "spearman"


def test_pairs_and_one_target(recipe_values: Values, tmp_path: Path) -> None:
    rows = reviews(80)
    file = tmp_path / "pairs.jsonl"
    lines = [{"sentence1": a, "sentence2": b, "similarity": 1.0 if la == lb else 0.25}
             for (a, la), (b, lb) in zip(rows[:40], rows[38:78], strict=True)]  # fmt: skip
    lines += [{"sentence1": rows[0][0], "sentence2": text, "similarity": 0.5} for text, _ in rows[40:]]
    file.write_text("\n".join(map(json.dumps, lines)))
    run = train(Recipe(**recipe_values(task="text-regression", data={"train": str(file)})))
    answer = load(run.artifact).predict([{"text": rows[0][0], "text_pair": rows[1][0]}])[0]
    assert set(answer) == {"value"}


# --- baselines


def labelled(texts: list[str], values: list[float], name: str = "train") -> Labelled:
    from datasets import Dataset

    count = len(texts)
    cells = {"text": texts, "target": [str(value) for value in values], LINE: list(range(count)), FILE: ["x"] * count}
    return Labelled(name, Dataset.from_dict(cells), Dataset.from_dict({"row": list(range(count))}))


def test_the_mean_baseline() -> None:
    baseline = Mean(task("a"))
    on = labelled(["x", "y", "z"], [1.0, 2.0, 6.0])
    baseline.fit({"train": on}, lambda: None)  # type: ignore[arg-type, return-value]
    assert list(baseline.predict(on)) == [{"value": 3.0}] * 3


def test_the_ridge_baseline_beats_the_mean() -> None:
    rows = reviews(120)
    values = [4.0 if label == "good" else 1.0 for _, label in rows]
    on = labelled([text for text, _ in rows[:80]], values[:80])
    validation = labelled([text for text, _ in rows[80:]], values[80:], "validation")
    baseline = TfidfRidge(task("a"))
    baseline.fit({"train": on, "validation": validation}, lambda: None)  # type: ignore[arg-type, return-value]
    found = np.array([prediction["value"] for prediction in baseline.predict(validation)])
    assert np.abs(found - values[80:]).mean() < 0.5
    assert baseline.penalty in (0.3, 1.0, 3.0, 10.0)


def test_the_ridge_baseline_without_words_says_the_mean() -> None:
    on = labelled(["...", "!!", "?"], [1.0, 2.0, 6.0])
    baseline = TfidfRidge(task("a"))
    baseline.fit({"train": on}, lambda: None)  # type: ignore[arg-type, return-value]
    assert list(baseline.predict(on)) == [{"value": 3.0}] * 3
    assert "no text holds a word" in baseline.notes[0]


def test_a_decoder_says_that_its_head_has_no_bias(
    recipe_values: Values, tmp_path: Path, tiny_model: Callable[[str], Path]
) -> None:
    data = {"train": str(scored(tmp_path / "s.csv")), "columns": {"target": "mood"}}
    values = recipe_values("decoder", task="text-regression", data=data)
    assert any("no bias" in finding.problem for finding in prepare(Recipe(**values)).findings)
    assert open_pretrained(ModelSettings(source=str(tiny_model("decoder"))), base=Path()).family == "decoder"
