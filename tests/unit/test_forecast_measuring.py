"""What measuring and saving are told to take: texts that are written, baselines, what stands above what is kept."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.samples import reviews, varied_reviews
from tests.task_samples import recipe_of
from tests.watching import Watcher, of
from weitiao import Recipe, registry, train
from weitiao.evaluation.baselines.base import TakesTime, tokens_in
from weitiao.evaluation.baselines.labels import TfidfLogistic
from weitiao.evaluation.baselines.several import EachOwn
from weitiao.evaluation.evaluate import Inference, Labelled
from weitiao.events import CheckpointSaved
from weitiao.forecast import measuring, told
from weitiao.forecast.cost import Cost
from weitiao.forecast.measuring import Measuring, _Replies, _Writing, disk_seconds, measured
from weitiao.forecast.steps import Steps
from weitiao.forecast.told import forecast
from weitiao.frozen import with_frozen_part
from weitiao.loading import load_for_training
from weitiao.preparation import Preparation, prepare
from weitiao.tasks import generation

Values = Callable[..., dict[str, Any]]
QUICK = {"bootstrap": 0, "baselines": False}


@pytest.fixture
def values(recipe_values: Values, tmp_path: Path) -> Values:
    """As `recipe_values`, with reviews of many lengths."""
    file = varied_reviews(tmp_path / "varied.jsonl")

    def build(data: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        return recipe_values(**({"data": {"train": str(file), **(data or {})}, "evaluation": QUICK} | changes))

    return build


# --- texts that are written


@pytest.fixture
def writing(tmp_path: Path, tiny_model: Callable[[str], Path]) -> Callable[..., tuple[Preparation, Inference]]:
    """A model of a family that writes the summaries of eight texts."""

    def build(family: str, **options: Any) -> tuple[Preparation, Inference]:
        ready = prepare(recipe_of(("summarization", "full", family), tmp_path, tiny_model))
        inference = load_for_training(ready)[1]
        task: Any = inference.task
        asked = task.options.generation.model_copy(update=options)
        task = type(task)(task.options.model_copy(update={"generation": asked}), task.prepared)
        return ready, replace(inference, task=task)

    return build


@pytest.mark.parametrize("family", ["decoder", "seq2seq"])
@pytest.mark.parametrize(("beams", "batches"), [(1, 1), (4, 4)])
def test_a_batch_that_is_read_is_written_in_several(
    family: str, beams: int, batches: int, writing: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 4 beams 2 texts are 8 sequences."""
    monkeypatch.setattr(generation, "BATCH", 8)
    ready, inference = writing(family, beams=beams, max_new_tokens=2)
    on, together, real = ready.labelled("validation"), list[int](), generation._written

    def written(model: Any, inputs: Any, config: Any) -> Any:
        together.append(len(inputs["input_ids"]))
        return real(model, inputs, config)

    monkeypatch.setattr(generation, "_written", written)
    assert len(list(inference.over(on))) == 1
    assert len(together) == batches
    assert measuring._together(inference, on).tolist() == together
    monkeypatch.setattr(measuring, "_written", lambda *_: _Writing(token=10.0, token_row=0.0))
    assert batches * 20 <= measured(ready, inference, known=None).evaluation < batches * 20 + 10


@pytest.mark.parametrize(
    ("family", "options", "early"),
    [("decoder", {}, True), ("decoder", {"beams": 2}, False), ("decoder", {"temperature": 1.0}, False),
     ("seq2seq", {}, False)],
)  # fmt: skip
def test_texts_that_have_ended_are_written_on_only_by_some(
    family: str, options: dict[str, Any], early: bool, writing: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "ROUND", 1)
    ready, inference = writing(family, **options)
    found = measuring._replies(inference, ready, True)
    mean = found.longest / measuring.LONG_REPLY
    assert found.each == (mean + 0.5 if early else found.longest)
    before = measuring._replies(inference, ready, False)
    assert before.each == before.longest == generation.room_for(inference.task.options.generation, ready.reader)
    assert _Writing(token=0.0, token_row=1.0).of(np.array([3, 2]), _Replies(9.0, 4.0)) == 5 * 4
    assert _Writing(token=1.0, token_row=0.0).of(np.array([3, 2]), _Replies(9.0, 4.0)) == 2 * 9


# --- baselines


TASK = SimpleNamespace(
    prepared=SimpleNamespace(labels=["a", "b"], multi_label=False, unanswerable=False),
    known=SimpleNamespace(targets=["a"]), options=None, tags=("O", "B"), source=str,
)  # fmt: skip


def split(texts: int, tokens: int = 10, **columns: list[int]) -> Labelled:
    from datasets import Dataset

    features = Dataset.from_dict({"row": list(range(texts)), "length": [tokens] * texts} | columns)
    return Labelled("train", features, features)


@pytest.mark.parametrize(
    ("name", "module", "cap"),
    [("tfidf", "labels", "MOST_TEXTS"), ("tfidf", "labels", "MOST_BYTES"), ("tfidf-ridge", "numbers", "MOST_TEXTS"),
     ("nearest", "texts", "MOST_TEXTS"), ("token-logistic", "tags", "MOST_WORDS"),
     ("best-sentence", "spans", "MOST_SENTENCES")],
)  # fmt: skip
def test_a_baseline_takes_no_longer_for_more_than_it_is_fitted_on(
    name: str, module: str, cap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module(f"weitiao.evaluation.baselines.{module}"), cap, 400)
    baseline = registry.get("baseline", name)(TASK)
    assert isinstance(baseline, TakesTime)
    few, more, many, most = (baseline.fit_seconds(split(texts)) for texts in (4, 8, 2000, 50_000))
    assert more == pytest.approx(2 * few)
    assert more < many == pytest.approx(most)


def test_a_classifier_is_fitted_for_each_label() -> None:
    def made(labels: int) -> TfidfLogistic:
        return TfidfLogistic(SimpleNamespace(prepared=SimpleNamespace(labels=["a"] * labels, multi_label=False)))

    one, two, eleven = (made(labels).fit_seconds(split(10)) for labels in (1, 2, 11))
    assert eleven - one == pytest.approx(10 * (two - one))
    assert made(2).fit_seconds(split(9, 10**6)) == made(2).fit_seconds(split(9, 1000))  # so much of a text is read


def test_the_tokens_of_a_text_are_counted_once_and_whole() -> None:
    assert tokens_in(split(3)) == 30
    windows = split(3, row=[0, 0, 1], full_length=[18, 18, 5])
    assert tokens_in(windows) == 23
    assert tokens_in(windows, most=1) == 11.5
    assert tokens_in(windows, letters=40) == 15


@pytest.mark.parametrize("name", ["majority", "mean", "copy", "lead", "untouched"])
def test_what_counts_or_learns_nothing_takes_no_time(name: str) -> None:
    assert not isinstance(registry.get("baseline", name)(TASK), TakesTime)


def test_each_baseline_says_how_long_it_is_fitted(values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the last split and beside other data anew."""
    monkeypatch.setattr(TfidfLogistic, "fit_seconds", lambda *_: 1000.0)
    given = values(evaluation={"bootstrap": 0, "baselines": True})
    for also, times in (({}, 1), ({"others": given["data"]["train"]}, 2)):
        ready = prepare(Recipe(**given | {"evaluation": {**given["evaluation"], "also": also}}))
        found = measured(ready, load_for_training(ready)[1], known=None)
        assert 1000 * times <= found.final < 1000 * times + 100


def test_of_several_tasks_each_has_its_own(tmp_path: Path, tiny_model: Callable[[str], Path]) -> None:
    def table(name: str, count: int, labels: int) -> str:
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *reviews(count, labels=labels)])
        return str(tmp_path / name)

    tasks = {
        "two": {"task": "text-classification", "data": table("two.csv", 80, 2)},
        "three": {"task": "text-classification", "data": table("three.csv", 40, 3)},
    }
    ready = prepare(Recipe(task={"name": "multi-task", "tasks": tasks}, model=str(tiny_model("encoder")),
                           evaluation=QUICK, output=str(tmp_path / "run")))  # fmt: skip
    whole, parts = ready.labelled("train"), np.asarray(ready.features["train"]["part"])
    alone = [
        TfidfLogistic(part.task).fit_seconds(replace(whole, features=whole.features.select(np.flatnonzero(parts == n))))
        for n, part in enumerate(ready.task.parts.values())
    ]
    assert alone[0] != alone[1]
    assert EachOwn(ready.task).fit_seconds(whole) == pytest.approx(sum(alone))


# --- what frozen layers give


@pytest.mark.parametrize("method", [{"name": "layers", "top": 1}, {"name": "head"}], ids=["layers", "head"])
def test_what_moves_is_run_at_each_evaluation(
    method: dict[str, Any], values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only that, for validation and for training examples."""
    monkeypatch.setattr(measuring, "BATCH", 4)
    given = values({"validation_size": 0.4, "test_size": 0}, method=method, training__cache_frozen="memory",
                   evaluation={**QUICK, "train_examples": 24})  # fmt: skip
    ready = prepare(Recipe(**given))
    training, inference = load_for_training(ready)
    ready, plan = with_frozen_part(ready, training)
    assert plan is not None
    linears = [module for module in training.model.modules() if isinstance(module, torch.nn.Linear)]
    above, below = 0.03, 0.2
    linears[-1].register_forward_pre_hook(lambda *_: time.sleep(above))
    linears[0].register_forward_pre_hook(lambda *_: time.sleep(below))
    both = [ready.labelled("validation"), ready.labelled("train").sample(24, ready.recipe.data_seed)]
    batches = sum(len(measuring._batches(on)) for on in both)
    assert batches >= 12
    found = measured(ready, inference, known=plan).evaluation
    assert 0.9 * above * batches < found < 0.7 * below * batches
    assert measured(ready, inference, known=None).evaluation > 0.9 * below * batches
    assert not [module for module in training.model.modules() if "forward" in vars(module)]


def test_a_forecast_times_what_stands_above_what_is_kept(values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(told, "measured", lambda *_, known, **__: seen.append(known) or Measuring(0, 0, 0, 0, 0, 0))
    ready = prepare(Recipe(**values(method={"name": "layers", "top": 1}, training__cache_frozen="memory")))
    training, inference = load_for_training(ready)
    ready, plan = with_frozen_part(ready, training)
    forecast(ready, training, inference, plan)
    forecast(ready, training, inference, None)
    assert seen == [plan, None]


# --- saving


@pytest.mark.parametrize("validation", [0.2, 0])
def test_as_many_checkpoints_are_counted_as_are_saved(
    validation: float, values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an evaluation is due, also without validation; a step is saved once."""
    settings = {"epochs": 2, "learning_rate": 1e-3, "batch_size": 8, "precision": "fp32", "patience": None,
                "evaluate_every": 3, "checkpoint_every": 2}  # fmt: skip
    given = values({"validation_size": validation, "test_size": 0}, training=settings)
    watcher = Watcher()
    train(given, trackers=[watcher])
    monkeypatch.setattr(told, "probed", lambda *_: Steps(Cost(0.0, 0.0), 0.0, None, None, None, 0))
    monkeypatch.setattr(told, "measured", lambda *_, **__: Measuring(0.0, 0.0, 0, 0, 0, 0.0))
    monkeypatch.setattr(told, "disk_seconds", lambda _: 1.0)
    ready = prepare(Recipe(**given))
    saved = of(CheckpointSaved, watcher.seen)
    assert len(saved) > 4
    assert forecast(ready, *load_for_training(ready), None).seconds == len(saved)


def test_a_checkpoint_is_read_again_for_its_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, read = 0.3, list[int]()

    def file_digest(file: Any, _: str) -> None:
        read.append(len(file.read()))
        time.sleep(slow)

    monkeypatch.setattr(measuring.hashlib, "file_digest", file_digest)
    assert disk_seconds(2 * measuring.WRITTEN) > 2 * slow
    assert read == [measuring.WRITTEN]
