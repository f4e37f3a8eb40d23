"""Splits with their features: which examples count, how they are drawn and predicted, and those left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from tests.samples import labelled
from weitiao import check, evaluate, train
from weitiao.errors import DataError
from weitiao.evaluation.evaluate import Inference, Labelled, score, tuned
from weitiao.records import Batch, Reader
from weitiao.tasks.text_classification import TextClassification

Values = Callable[..., dict[str, Any]]


def split(rows: int = 10, features: list[int] | None = None) -> Labelled:
    """Examples `example 0`, ...; `features` says which example each feature is of."""
    of = list(range(rows)) if features is None else features
    made = labelled({"text": f"example {i}"} for i in range(rows))
    lengths = [(7 * i) % 13 + 1 for i in range(len(of))]
    return Labelled("test", made.examples, Dataset.from_dict({"row": of, "length": lengths}))


def texts(on: Labelled, size: int = 3) -> list[str]:
    return [example["text"] for chunk in on.chunks(size) for example in chunk]


# --- which examples count


def test_examples_without_features_do_not_count() -> None:
    on = split(5, [0, 0, 2, 4, 4, 4])
    assert on.rows.tolist() == [0, 2, 4]
    assert texts(on, 2) == ["example 0", "example 2", "example 4"]


def test_only_keeps_the_order_it_is_given_and_all_features_of_each() -> None:
    on = split(5, [0, 0, 1, 2, 2, 4]).only(np.array([2, 0]))
    assert on.rows.tolist() == [2, 0]
    assert texts(on) == ["example 2", "example 0"]
    assert on.features["row"][:] == [0, 0, 2, 2]
    assert texts(on.only(np.array([0]))) == ["example 0"]


def test_chunks_hold_no_more_than_their_size() -> None:
    assert [len(chunk) for chunk in split(10).chunks(4)] == [4, 4, 2]
    assert list(split(3).only(np.array([], int)).chunks()) == []


def test_a_sample_is_drawn_by_the_seed_from_what_counts() -> None:
    on = split(200, [row for row in range(200) if row % 2])
    drawn = on.sample(20, seed=1)
    assert len(drawn.rows) == 20
    assert (np.diff(drawn.rows) > 0).all()
    assert set(drawn.rows.tolist()) <= set(range(1, 200, 2))
    assert drawn.rows.tolist() == on.sample(20, seed=1).rows.tolist()
    assert drawn.rows.tolist() != on.sample(20, seed=2).rows.tolist()
    assert on.sample(100, seed=1) is on
    assert on.sample(None, seed=1) is on


def test_of_several_tasks_each_is_sampled() -> None:
    """A task with few examples beside a large one would else have next to none."""
    on = split(200, [*range(200), 199])
    on = replace(on, features=on.features.add_column("part", [int(row >= 190) for row in on.features["row"]]))
    drawn = on.sample(20, seed=1).rows
    assert ((drawn < 190).sum(), (drawn >= 190).sum()) == (20, 10)
    drawn = on.sample(5, seed=1).rows
    assert ((drawn < 190).sum(), (drawn >= 190).sum()) == (5, 5)
    assert on.sample(190, seed=1) is on


# --- predicting


class Echo:
    """A task whose predictions say which features of an example came, to see what is batched with what."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.answers: list[bool] = []

    def collate(self, features: list[dict[str, Any]], reader: Reader, *, training: bool = False) -> Batch:
        assert not training
        return Batch({}, None, 1.0, 1, [f["row"] for f in features], features)

    def predict(self, model: Any, batch: Batch, reader: Reader, *, answers: bool = True) -> list[dict[str, Any]]:
        self.batches.append(batch.rows)
        self.answers.append(answers)
        return [{"row": row, "features": batch.rows.count(row)} for row in dict.fromkeys(batch.rows)]

    def scorer(self) -> Any:
        return Collected()

    def tune(self, seen: Any) -> Any:
        return SimpleNamespace(tuned=[(e["text"], p["row"]) for es, ps in seen for e, p in zip(es, ps, strict=True)])


class Collected:
    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []

    def add(self, examples: Any, predictions: Any) -> None:
        pairs = zip(examples, predictions, strict=True)
        self.seen += [(example["text"], said["row"], said["features"]) for example, said in pairs]


def inference(task: Any) -> Inference:
    return Inference(torch.nn.Identity(), task, None, torch.device("cpu"), "fp32")  # type: ignore[arg-type]


def test_all_features_of_an_example_are_predicted_in_one_batch_and_with_its_example() -> None:
    of = [row for row in range(60) for _ in range(row % 4)]
    task = Echo()
    seen: list[int] = []
    scorer = score(inference(task), split(60, of), lambda rows, *_: seen.extend(rows), answers=False)
    assert sorted(scorer.seen) == sorted((f"example {row}", row, row % 4) for row in range(60) if row % 4)  # type: ignore[attr-defined]
    assert seen == [row for _, row, _ in scorer.seen]  # type: ignore[attr-defined]
    assert set(task.answers) == {False}
    assert len(task.batches) > 1


def test_tuning_sees_every_example_with_its_own_prediction() -> None:
    task = tuned(inference(Echo()), split(9)).task
    assert sorted(task.tuned) == [(f"example {row}", row) for row in range(9)]  # type: ignore[attr-defined]


# --- a sample, and what is left out, told


@pytest.fixture
def quick(recipe_values: Values) -> Values:
    def build(**changes: Any) -> dict[str, Any]:
        training = {"epochs": 1, "learning_rate": 1e-3, "batch_size": 16, "seed": 7}
        return recipe_values(**{"training": training, "evaluation": {"bootstrap": 0, "baselines": False}, **changes})

    return build


def test_measured_on_a_sample_says_so(quick: Values) -> None:
    values = quick(evaluation={"examples": 5, "bootstrap": 0})
    run = train(values)
    test = run.scores["test"]
    assert test["scores"]["examples"] == 5
    assert {scores["examples"] for scores in test["baselines"].values()} == {5}
    assert "measured on 5 of 12 test examples: a seeded sample (evaluation.examples)" in test["notes"]
    again = evaluate(run.folder, values["data"]["train"])
    assert again.scores.examples == 5
    assert any("measured on 5 of 120" in note for note in again.notes)


def test_all_examples_are_the_default_and_no_note(quick: Values) -> None:
    run = train(quick())
    assert run.scores["test"]["scores"]["examples"] == 12
    assert run.scores["test"]["notes"] == []
    assert run.recipe.to_dict()["evaluation"]["examples"] == "all"


@pytest.fixture
def dropping(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Make the task leave out every example that holds a word."""
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))  # features are cached by what the task is
    encode = TextClassification.encode

    def without(word: str) -> None:
        def encoded(self: Any, examples: Any, reader: Reader) -> dict[str, list[Any]]:
            rows = [row for row, text in enumerate(examples["text"]) if word not in text]
            features = encode(self, examples, reader)
            return {**{name: [values[row] for row in rows] for name, values in features.items()}, "row": rows}

        monkeypatch.setattr(TextClassification, "encode", encoded)

    return without


def test_examples_that_are_left_out_are_told_with_their_lines(
    quick: Values, dropping: Callable[[str], None], tmp_path: Path
) -> None:
    dropping("staff")
    values = quick()
    lines = Path(values["data"]["train"]).read_text().splitlines()
    found = [f for f in check(values).findings if "left out" in f.problem]
    assert {f.level for f in found} == {"warning"}
    assert sum(int(f.problem.split()[0]) for f in found) == sum("staff" in line for line in lines)
    assert all("staff" in lines[int(f.where.rpartition(":")[2].split(",")[0]) - 1] for f in found)
    run = train(values)
    assert run.scores["test"]["scores"]["examples"] < 12
    count = run.scores["test"]["scores"]["examples"]
    told = f"measured on {count} of 12 test examples: {12 - count} are left out as too long"
    assert run.scores["test"]["notes"] == [told]
    run = train(quick(output=str(tmp_path / "sampled"), evaluation={"examples": 3, "bootstrap": 0, "baselines": False}))
    why = f"a seeded sample (evaluation.examples); {12 - count} are left out as too long"
    assert run.scores["test"]["notes"] == [f"measured on 3 of 12 test examples: {why}"]


def test_a_split_of_which_nothing_is_left_stops_before_training(quick: Values, dropping: Callable[[str], None]) -> None:
    dropping("the")
    with pytest.raises(DataError, match=r"data\.train.*no example is left"):
        check(quick())
