"""Several tasks learned together: sampling, joined data, one shared body, wrong input."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.samples import reviews
from weitiao import data, load, train
from weitiao.data import in_length_order, length_bucketed
from weitiao.errors import DataError, RecipeError
from weitiao.loading import load_for_training
from weitiao.metrics.classification import SingleLabelScorer
from weitiao.metrics.several import SeveralScorer
from weitiao.preparation import disk_needed, prepare
from weitiao.recipe import Recipe
from weitiao.tasks.multi_task import MultiTask, MultiTaskOptions, _times
from weitiao.tasks.text_classification import TextClassification


def table(path: Path, count: int, labels: int, seed: int = 0) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *reviews(count, labels=labels, seed=seed)])
    return str(path)


@pytest.fixture
def values(tmp_path: Path, tiny_model: Callable[[str], Path]) -> dict[str, Any]:
    tasks = {
        "two": {"task": "text-classification", "data": table(tmp_path / "two.csv", 80, 2)},
        "three": {"task": "text-classification", "data": table(tmp_path / "three.csv", 40, 3, seed=1)},
    }
    return {
        "task": {"name": "multi-task", "tasks": tasks}, "model": str(tiny_model("encoder")),
        "training": {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3}, "evaluation": {"bootstrap": 20},
        "output": str(tmp_path / "run"),
    }  # fmt: skip


def options(**changes: Any) -> MultiTaskOptions:
    part = {"task": "text-classification", "data": {"train": "x.csv"}}
    return MultiTaskOptions.model_validate({"tasks": {"a": part, "b": {**part, **changes.pop("b", {})}}, **changes})


def test_how_often_each_task_comes() -> None:
    sizes = {"a": 300, "b": 100}
    assert _times(sizes, options(sampling="proportional")) == {"a": 1.0, "b": 1.0}
    equal = _times(sizes, options(sampling="equal"))
    assert equal["a"] * 300 == pytest.approx(200)
    assert equal["b"] * 100 == pytest.approx(200)
    mild = _times(sizes, options(sampling="temperature", temperature=2.0))
    assert mild["b"] * 100 == pytest.approx(400 * 10 / (10 + 300**0.5))
    weighted = _times(sizes, options(sampling="proportional", b={"weight": 3.0}))
    assert weighted["b"] * 100 == pytest.approx(200)


def test_an_epoch_has_batches_of_one_task_and_rows_as_often_as_said() -> None:
    lengths, parts = np.arange(1, 61), np.repeat([0, 1], [40, 20])
    times = np.where(parts == 0, 0.5, 2.25)
    seen: Counter[int] = Counter()
    for epoch in range(40):
        batches = length_bucketed(lengths, 8, seed=3, epoch=epoch, parts=parts, times=times)
        assert all(len(set(parts[batch])) == 1 for batch in batches)
        assert sum(map(len, batches)) == 20 + 45
        seen.update(np.concatenate(batches).tolist())
    assert 10 < min(seen[row] for row in range(40)) <= max(seen[row] for row in range(40)) < 30
    assert all(80 <= seen[row] <= 100 for row in range(40, 60))


def test_evaluation_batches_hold_one_task_and_whole_groups() -> None:
    lengths, groups, parts = np.array([5, 9, 5, 2, 7]), np.array([0, 0, 1, 2, 3]), np.array([0, 0, 0, 1, 1])
    batches = in_length_order(lengths, 2, groups=groups, parts=parts)
    assert [batch.tolist() for batch in batches] == [[0, 1], [2], [4, 3]]


def test_each_task_is_cut_by_its_own_label(values: dict[str, Any]) -> None:
    ready = prepare(Recipe(**values))
    for name, shares in (("two", [32, 32]), ("three", [11, 11, 10])):
        part = ready.splits.parts[name]
        assert "stratified" in part.origin["test"]
        assert sorted(Counter(part["train"]["label"][:]).values(), reverse=True) == shares
        test = Counter(part["test"]["label"][:])
        assert max(test.values()) - min(test.values()) <= 1


def test_a_run_may_be_resumed_where_only_the_way_of_reading_is_newer(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run keeps of its data stands for the rows: of each task, prepared, joined, cut."""
    two = values["task"]["tasks"]["two"]
    two["data"] = {"train": two["data"], "label_separator": "|"}  # its labels are written anew
    first = prepare(Recipe(**values))
    assert prepare(Recipe(**values)).digest == first.digest
    for module, name in ((data.table, "READER"), (data.labels, "VERSION"), (data.joined, "VERSION")):
        monkeypatch.setattr(module, name, "next")
        assert prepare(Recipe(**values)).digest == first.digest
    path = Path(two["data"]["train"])
    path.write_text(path.read_text().replace("visit 5", "visit five"))
    assert prepare(Recipe(**values)).digest != first.digest


def test_what_is_told_of_the_data_names_the_task(values: dict[str, Any]) -> None:
    two = values["task"]["tasks"]["two"]
    two["data"] = {"train": two["data"], "max_examples": 20}
    wheres = [finding.where for finding in prepare(Recipe(**values)).findings if "training on" in finding.problem]
    assert wheres == ["two: data.max_examples"]


def test_a_text_that_one_task_is_measured_on_is_not_learned_by_another(values: dict[str, Any]) -> None:
    """The same texts with labels of two kinds: each task is cut by its own labels, so in its own way."""
    tasks = values["task"]["tasks"]
    path = Path(tasks["two"]["data"])
    rows = [(text, f"kind {number % 3}") for number, (text, _) in enumerate(reviews(80, labels=2))]
    with path.with_name("kinds.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    tasks["three"]["data"] = str(path.with_name("kinds.csv"))
    ready = prepare(Recipe(**values))
    parts = ready.splits.parts
    for own, other in (("two", "three"), ("three", "two")):
        measured = {text for name in ("validation", "test") for text in parts[other][name]["text"]}
        learned = set(parts[own]["train"]["text"])
        assert len(measured) == 16
        assert not learned & measured
        assert len(learned) == len(parts[own].text_keys["train"])
        dropped = 64 - len(learned)
        told = [finding for finding in ready.findings if finding.where.startswith(f"{own}: data.train")]
        assert sum(int(each.problem.split()[0]) for each in told if "is measured on" in each.problem) == dropped > 0
        assert len(parts[own]["test"]) == 8
    joined = [json.loads(row)["text"] for row in ready.splits["train"]["example"]]
    assert len(joined) == sum(len(part["train"]) for part in parts.values())
    for task in tasks.values():
        task["data"] = {"train": task["data"], "duplicates": "anywhere"}
    assert sum(len(part["train"]) for part in prepare(Recipe(**values)).splits.parts.values()) == 128


def test_a_task_of_which_no_text_is_left_is_refused(values: dict[str, Any]) -> None:
    tasks = values["task"]["tasks"]
    tasks["three"]["data"] = {"train": tasks["three"]["data"], "test": tasks["two"]["data"]}
    with pytest.raises(DataError, match=r"two: data\.train: no text is left to train on"):
        prepare(Recipe(**values))


def test_heads_share_one_body(values: dict[str, Any]) -> None:
    training, _ = load_for_training(prepare(Recipe(**values)))
    two, three = (training.model.heads[name] for name in ("two", "three"))
    assert two.bert is three.bert is training.model.body
    assert two.classifier.out_features, three.classifier.out_features == (2, 3)
    names = [name for name, _ in training.model.named_parameters()]
    assert len(names) == len(set(names)) == len({id(p) for p in training.model.parameters()})


def test_a_step_of_one_task_leaves_the_other_head_alone(values: dict[str, Any]) -> None:
    from weitiao.training.loop import train_steps

    ready = prepare(Recipe(**values))
    training, _ = load_for_training(ready)
    before = {name: p.detach().clone() for name, p in training.model.named_parameters()}
    part = ready.features["train"][int(training.order(0)[0][0])]["part"]
    next(train_steps(training))
    moved = {name for name, p in training.model.named_parameters() if not torch.equal(p, before[name])}
    ours, other = ("two", "three") if part == 0 else ("three", "two")
    assert any(name.startswith(f"heads.{ours}.") for name in moved)
    assert not any(name.startswith(f"heads.{other}.") for name in moved)
    assert any(name.startswith("body.") for name in moved)


@pytest.mark.parametrize("method", ["full", "lora", "head"])
def test_train_predict_and_take_one_task_out(method: str, values: dict[str, Any]) -> None:
    run = train(Recipe(**{**values, "method": method}))
    scores = json.loads((run.folder / "scores.json").read_text())["test"]
    assert set(scores["scores"]["values"]) >= {"mean", "two.accuracy", "three.macro_f1"}
    assert {name: each["knows"] for name, each in scores["baselines"].items()} == {
        "each task's own baseline": "examples"
    }
    text = "the room was great and the coffee lovely"
    both = load(run.artifact).predict([{"task": name, "example": {"text": text}} for name in ("three", "two")])
    for name, prediction in zip(("three", "two"), both, strict=True):
        assert load(run.artifact / name).predict([text])[0]["probabilities"] == pytest.approx(
            prediction["probabilities"]
        )
    assert set(both[0]["probabilities"]) == {"bad", "good", "mixed"}


def test_a_resumed_recipe_reads_back(values: dict[str, Any]) -> None:
    recipe = prepare(Recipe(**values)).recipe
    again = Recipe(**recipe.to_dict())
    assert again.to_dict() == recipe.to_dict()
    assert recipe.to_dict()["task"]["tasks"]["two"]["data"]["columns"] == {"text": "text", "label": "label"}


def test_scores_of_drawn_rows_are_each_tasks_own() -> None:
    scorer = SeveralScorer({name: SingleLabelScorer(["x", "y"]) for name in ("a", "b")})
    gold = [("a", "x", "x"), ("b", "x", "y"), ("a", "y", "x"), ("b", "y", "y")]
    examples = [{"task": task, "example": json.dumps({"label": true})} for task, true, _ in gold]
    predictions = [{"label": said, "probabilities": {"x": 0.6, "y": 0.4}} for *_, said in gold]
    scorer.add(examples[:3], predictions[:3])
    scorer.add(examples[3:], predictions[3:])
    assert scorer.compute()["mean"] == 0.5
    drawn = scorer.compute(np.array([0, 0, 3]))
    assert (drawn["a.accuracy"], drawn["b.accuracy"], drawn["mean"]) == (1.0, 1.0, 1.0)
    assert scorer.compute(np.array([1]))["mean"] == 0.0
    assert scorer.outcomes().tolist() == [1.0, 0.0, 0.0, 1.0]


def test_wrong_recipes_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="own data"):
        Recipe(**{**values, "data": "other.csv"})
    tasks = values["task"]["tasks"]
    with pytest.raises(RecipeError, match="two"):
        Recipe(**{**values, "task": {"name": "multi-task", "tasks": {"two": tasks["two"]}}})
    with pytest.raises(RecipeError, match="text-clasification"):
        wrong = {**tasks, "two": {**tasks["two"], "task": "text-clasification"}}
        Recipe(**{**values, "task": {"name": "multi-task", "tasks": wrong}})
    nested = {**tasks, "both": {"task": values["task"], "data": tasks["two"]["data"]}}
    with pytest.raises(RecipeError, match="beside other tasks"):
        prepare(Recipe(**{**values, "task": {"name": "multi-task", "tasks": nested}}))


def test_wrong_examples_are_refused(values: dict[str, Any]) -> None:
    predictor = load(train(Recipe(**values)).artifact)
    for example, said in (
        ({"task": "twoo", "example": {"text": "x"}}, "Did you mean 'two'"),
        ({"task": "two", "example": "x"}, "no JSON object"),
        ({"task": "two", "example": {"txt": "x"}}, "has no text"),
    ):
        with pytest.raises(DataError, match=said):
            predictor.predict([example])


def test_only_a_task_that_decides_reads_what_was_seen(values: dict[str, Any]) -> None:
    task = prepare(Recipe(**values)).task

    def never() -> Any:
        raise AssertionError("nothing is to be decided")
        yield

    assert task.tune(never()).prepared == task.prepared


def test_one_that_writes_has_fewer_examples_measured(values: dict[str, Any], tmp_path: Path) -> None:
    assert MultiTask(MultiTaskOptions.model_validate({"tasks": values["task"]["tasks"]})).examples_scored is None
    writing = {"task": "summarization", "data": "x.csv"}
    both = MultiTaskOptions.model_validate({"tasks": {**values["task"]["tasks"], "short": writing}})
    assert MultiTask(both).examples_scored == 200


def test_the_disk_must_hold_a_model_for_each_head(values: dict[str, Any]) -> None:
    facts = prepare(Recipe(**values)).facts
    alone = disk_needed(facts["parameters"], facts["trainable"])
    assert facts["disk_needed"] == alone + 4 * facts["parameters"]


def test_each_task_may_look_at_its_own_model(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(TextClassification, "examine", lambda self, model: seen.append(model), raising=False)
    training, _ = load_for_training(prepare(Recipe(**values)))
    assert seen == list(training.model.heads.values())
