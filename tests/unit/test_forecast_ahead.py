"""Epochs need not be alike: what is told, chosen and tried out before a run holds for all of its steps."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.samples import reviews, varied_reviews
from tests.task_samples import recipe_of, sample_of
from tests.watching import Stopper, Watcher, of
from weitiao import Recipe, check, models, resume, train
from weitiao.batching import micro_batches
from weitiao.consistency import with_unlabelled
from weitiao.errors import Interrupted, RecipeError
from weitiao.events import StepDone
from weitiao.forecast import budgets, measuring, steps, told, within_memory, within_time
from weitiao.forecast.ahead import alike, course, heavier_later
from weitiao.forecast.cost import Cost, telling
from weitiao.forecast.measuring import Measuring
from weitiao.forecast.steps import Steps, _Stepping, probed
from weitiao.forecast.told import Forecast, forecast
from weitiao.loading import load_for_training
from weitiao.models.memory import is_lack_of_memory
from weitiao.preparation import Preparation, prepare
from weitiao.tasks.generation import room_for
from weitiao.training import fit
from weitiao.training.by_label import ByLabel
from weitiao.training.curriculum import Curriculum, LossesAfter
from weitiao.training.loop import Training
from weitiao.training.micro_batches import MicroBatches, Rows
from weitiao.training.order import Order, Shuffled
from weitiao.training.penalty import Penalty
from weitiao.training.pruning import NewestLosses, Pruned
from weitiao.training.with_unlabelled import WithUnlabelled

Values = Callable[..., dict[str, Any]]
EASY_FIRST = {"curriculum": "length", "curriculum_start": 0.1}
A_TOKEN = 1e-3  # seconds, where a test says what a token takes
LENGTHS = np.random.default_rng(0).integers(3, 60, 300)


@pytest.fixture
def values(recipe_values: Values, tmp_path: Path) -> Values:
    """A recipe on reviews of many lengths that is measured on nothing."""
    file = varied_reviews(tmp_path / "varied.jsonl")

    def build(selection: dict[str, Any] | None = None, family: str = "encoder", **changes: Any) -> dict[str, Any]:
        training = {"epochs": 6, "learning_rate": 1e-3, "batch_size": 8, "seed": 7, "precision": "fp32",
                    "selection": selection or {}, **changes.pop("training", {})}  # fmt: skip
        data = {"train": str(file), "validation_size": 0, "test_size": 0}
        evaluation = {"bootstrap": 0, "baselines": False}
        return recipe_values(family, **{"data": data, "evaluation": evaluation, "training": training, **changes})

    return build


@pytest.fixture
def several(tmp_path: Path, tiny_model: Callable[[str], Path]) -> Values:
    """A recipe of two tasks whose examples differ in length and in how often they come."""

    def table(name: str, count: int, labels: int, times: int) -> str:
        with (tmp_path / name).open("w", newline="") as file:
            rows = [(" ".join([text] * times), label) for text, label in reviews(count, labels=labels)]
            csv.writer(file).writerows([("text", "label"), *rows])
        return str(tmp_path / name)

    def build(**changes: Any) -> dict[str, Any]:
        tasks = {
            "two": {"task": "text-classification", "data": table("two.csv", 80, 2, 1)},
            "three": {"task": "text-classification", "data": table("three.csv", 40, 3, 3)},
        }
        return {
            "task": {"name": "multi-task", "tasks": tasks}, "model": str(tiny_model("encoder")),
            "training": {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "precision": "fp32"},
            "evaluation": {"bootstrap": 0, "baselines": False}, "output": str(tmp_path / "run"), **changes,
        }  # fmt: skip

    return build


@pytest.fixture
def much(monkeypatch: pytest.MonkeyPatch) -> None:
    """More memory is free than any budget here."""
    monkeypatch.setattr(models, "free_memory", lambda *_: 64 << 30)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The rows of the largest part of each step that is tried out."""
    found: list[np.ndarray] = []
    real = _Stepping.step

    def step(self: _Stepping, parts: list[np.ndarray]) -> float:
        found.append(max(parts, key=len))
        return real(self, parts)

    monkeypatch.setattr(_Stepping, "step", step)
    return found


def made(values: dict[str, Any]) -> tuple[Preparation, Training]:
    ready = with_unlabelled(prepare(Recipe(**values)), silent=True)
    return ready, load_for_training(ready)[0]


def foretold(values: dict[str, Any]) -> tuple[Forecast, Training]:
    ready = prepare(Recipe(**values))
    training, inference = load_for_training(ready)
    return forecast(ready, training, inference, None), training


def cut(
    lengths: np.ndarray, tokens: int = 10**6, parts: np.ndarray | None = None, labels: np.ndarray | None = None
) -> MicroBatches:
    return MicroBatches([Rows(lengths, lambda _: None, parts, labels)], tokens)  # type: ignore[arg-type, return-value]


def padded(batches: MicroBatches, order: Callable[[int], list[np.ndarray]], epochs: float) -> float:
    """Tokens of all steps of a training, padding included."""
    total, left = 0, epochs
    for epoch in range(math.ceil(epochs)):
        taken = order(epoch)
        for rows in taken[: math.ceil(round(len(taken) * min(left, 1), 6))]:
            total += sum(len(part) * int(batches.lengths[part].max()) for part in batches.cut(rows))
        left -= 1
    return total


def shapes(batches: MicroBatches, found: list[np.ndarray]) -> list[tuple[int, int]]:
    return [(len(rows), int(batches.lengths[rows].max())) for rows in found]


# --- looking ahead


def beside(labelled: Order, begin: Callable[[], None]) -> WithUnlabelled:
    return WithUnlabelled(labelled, 300, 16, np.arange(1, 90), 2, 3, first=300, seed=1, begin=begin)


@pytest.mark.parametrize("kind", ["shuffled", "curriculum", "by label", "with texts"])
def test_what_hangs_on_nothing_learned_is_told_as_it_comes(kind: str) -> None:
    plain = Shuffled(LENGTHS, 16, seed=1)
    order: Order = {
        "shuffled": plain,
        "curriculum": Curriculum(plain, lambda _: LENGTHS, 0.1, steps=60),
        "by label": ByLabel(np.arange(300) % 3, LENGTHS, 4, 16, seed=1),
        "with texts": beside(plain, lambda: None),
    }[kind]  # type: ignore[assignment]
    for epoch in (3, 0, 1):
        assert [rows.tolist() for rows in order.ahead(epoch)] == [rows.tolist() for rows in order(epoch)]


def test_looking_ahead_begins_nothing() -> None:
    losses = NewestLosses(300)
    losses.note([1, 2], torch.ones(2))
    pruned = Pruned(Shuffled(LENGTHS, 16, seed=1), losses, 0.5, until=5.0, examples=np.arange(300))
    order = beside(pruned, lambda: pytest.fail("an epoch began"))
    for epoch in range(6):
        order.ahead(epoch)
    assert losses.state(torch.nn.Identity())["epoch"] == -1
    assert (losses.weights == 1).all()
    losses.after_step(torch.nn.Identity(), 1, 9)
    assert losses.state(torch.nn.Identity())["newest"].isfinite().sum() == 2  # what was noted is still there


def test_as_many_rows_as_are_to_be_expected_are_left_out() -> None:
    losses = NewestLosses(300)
    order = Pruned(Shuffled(LENGTHS, 16, seed=1), losses, 0.5, until=4.5, examples=np.arange(300))
    counts = [sum(map(len, order.ahead(epoch))) for epoch in range(6)]
    assert counts[0] == counts[4] == counts[5] == 300  # no loss is known; over after `until`
    assert all(170 < count < 230 for count in counts[1:4])
    losses.note(list(range(300)), torch.from_numpy(np.random.default_rng(0).gamma(0.5, 1.0, 300)))
    losses.after_step(torch.nn.Identity(), 1, 9)
    order(0)
    real = sum(map(len, order(1)))
    assert real == pytest.approx(np.mean(counts[1:4]), rel=0.1)


# --- the course


@pytest.mark.parametrize("epochs", [0.3, 1, 2.5, 6])
def test_all_steps_of_a_curriculum_are_counted(epochs: float) -> None:
    order = Curriculum(Shuffled(LENGTHS, 16, seed=1), lambda _: LENGTHS, 0.1, steps=0.5 * 19 * epochs)
    batches = cut(LENGTHS, 256)
    ahead = course(batches, order, epochs)
    assert ahead.in_all(lambda found: sum(int(s.prod(axis=1).sum()) for s in found)) == padded(batches, order, epochs)
    assert math.ceil(round(ahead.in_all(len), 6)) == math.ceil(19 * epochs)


def test_some_epochs_stand_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weitiao.forecast.ahead.ROWS", 2000)  # of 300 an epoch
    order = Curriculum(Shuffled(LENGTHS, 16, seed=1), lambda _: LENGTHS, 0.05, steps=19 * 40)
    batches = cut(LENGTHS, 256)
    ahead = course(batches, order, 40)
    assert len(ahead.looked_at) == 6
    found = ahead.in_all(lambda found: sum(int(s.prod(axis=1).sum()) for s in found))
    assert found == pytest.approx(padded(batches, order, 40), rel=0.03)
    first = sum(int(s.prod(axis=1).sum()) for s in course(batches, order, 1).looked_at[0].shapes)
    assert 40 * first < 0.7 * found  # what the first epoch says


# --- the heaviest


def test_as_many_of_the_longest_as_go_through_together() -> None:
    lengths = np.array([5, 40, 8, 8, 30, 8, 8, 8, 8, 8])
    [group] = alike(cut(lengths, 100), Shuffled(lengths, 6, seed=0)(0))
    assert (group.most, group.longest) == (6, 40)
    assert shapes(cut(lengths), group.heaviest(100)) == [(2, 40), (3, 30)]
    assert shapes(cut(lengths), group.heaviest(30)) == [(1, 40)]
    assert shapes(cut(lengths), group.heaviest(10**6)) == [(6, 40)]


def test_a_longest_row_with_few_beside_it_is_not_the_heaviest() -> None:
    """A step's first part is padded to its longest row, and as full as it may be."""
    lengths = np.concatenate([np.full(40, 20), [90]])
    order = Shuffled(lengths, 16, seed=2)
    [group] = alike(cut(lengths, 320), order(0))
    found = shapes(cut(lengths), group.heaviest(320))
    assert found == [(3, 90), (16, 20)]
    steps = [rows for epoch in range(20) for rows in order(epoch)]
    real = [shape for rows in steps for shape in shapes(cut(lengths), cut(lengths, 320).cut(rows))]
    assert set(found) <= set(real)
    assert max(rows * tokens for rows, tokens in real) == 320


def test_rows_that_never_meet_are_told_apart() -> None:
    lengths, parts = np.array([9, 3, 7, 4, 5, 6]), np.array([1, 0, 1, 0, 0, 1])
    batches = cut(lengths, parts=parts)
    assert [rows.tolist() for rows in batches.longest()] == [[4, 3, 1], [0, 2, 5]]
    groups = alike(batches, Shuffled(lengths, 2, seed=0, parts=parts)(0))
    assert [(group.longest, group.most) for group in groups] == [(5, 2), (9, 2)]
    assert not any(group.behind for group in groups)


def test_a_micro_batch_takes_most_behind_others_of_its_step() -> None:
    lengths = np.full(10, 20)
    [group] = alike(cut(lengths), [np.arange(6), np.arange(6, 10)])
    rows = group.rows
    found = [[part.tolist() for part in group.step(rows[:count])] for count in (2, 4, 6)]
    assert found == [[[0, 1], [0, 1]], [[0, 1, 2, 3], [0, 1]], [[0, 1, 2, 3, 4, 5]]]
    both = MicroBatches([*cut(lengths).kinds, *cut(lengths).kinds], 10**6)
    first, second = alike(both, [np.array([0, 1, 12, 13]), np.array([2, 3])])
    assert (first.behind, second.behind) == (False, True)
    assert [part.tolist() for part in second.step(second.rows[:2])] == [[11], [10, 11]]


def test_of_rows_of_one_length_the_one_with_most_labels_is_the_heaviest() -> None:
    """An encoder-decoder's sources may all be cut alike, and its targets differ."""
    lengths, labels = np.array([30, *([50] * 40)]), np.array([5, *([4] * 39), 40])
    batches = cut(lengths, labels=labels)
    assert batches.longest()[0][[0, 1, -1]].tolist() == [40, 1, 0]
    assert cut(lengths).longest()[0].tolist() == [*range(1, 41), 0]  # as they come
    plain = Shuffled(lengths, 8, seed=1)
    [group] = alike(batches, plain(0))
    first = plain(0)[0]
    assert (40 in first) == (heavier_later(batches, plain) == [])
    late = Shuffled(lengths, 8, seed=next(seed for seed in range(99) if 40 not in Shuffled(lengths, 8, seed)(0)[0]))
    assert heavier_later(cut(lengths), late) == []
    [[rows]] = heavier_later(batches, late)
    assert rows.tolist() == group.rows[:8].tolist()


@pytest.mark.parametrize("family", ["decoder", "seq2seq"])
def test_the_labels_of_an_encoder_decoder_are_counted(
    family: str, tmp_path: Path, tiny_model: Callable[[str], Path]
) -> None:
    ready = prepare(recipe_of(("summarization", "full", family), tmp_path, tiny_model))
    counted = [len(labels) for labels in ready.features["train"]["labels"]]
    assert micro_batches(ready).labels.tolist() == (counted if family == "seq2seq" else [0] * len(counted))


def test_a_run_that_begins_with_the_heaviest_has_nothing_heavier_to_come() -> None:
    lengths = np.array([*([40] * 20), *range(3, 39)])
    plain = Shuffled(lengths, 8, seed=1)
    assert heavier_later(cut(lengths, 200), plain) == []
    late = Curriculum(plain, lambda _: lengths, 0.1, steps=30)
    [[five, three]] = heavier_later(cut(lengths, 200), late)
    assert shapes(cut(lengths), [five, three]) == [(5, 40), (3, 40)]  # a step has 8
    [step] = heavier_later(cut(lengths, 200), plain, all_move=False)
    assert [part.tolist() for part in step] == [five.tolist(), three.tolist()]
    pool = np.array([*([10] * 500), 90])
    texts = WithUnlabelled(plain, 56, 8, pool, 2, 3, first=56, seed=1)
    both = MicroBatches([*cut(lengths).kinds, *cut(pool.repeat(2)).kinds], 10**6)
    assert heavier_later(both, texts) == []  # the first step has the longest of both kinds
    late = WithUnlabelled(plain, 56, 8, pool, 2, 3, first=56, seed=1)
    late._latest[0] = np.sort(late._ordered(0))  # the longest last
    [[one, all_]] = heavier_later(both, late)
    assert shapes(both, [all_]) == [(24, 90)]
    assert len(one) == 1  # of the same kind, for its gradients


# --- what is told


@pytest.mark.parametrize("selection", [{}, EASY_FIRST, {"prune": 0.5}, {"resample": 0.5}], ids=str)
def test_the_longest_examples_are_tried_out_whatever_comes_first(
    selection: dict[str, Any], values: Values, tried: list[np.ndarray]
) -> None:
    """Memory is told by them: a forecast by the first epoch of a curriculum would be too low."""
    ready, training = made(values(selection, training={"epochs": 8}))
    batches = micro_batches(ready)
    probed(ready, training, None, course(batches, training.order, 8), seconds=0.0)
    longest = int(batches.lengths.max())
    assert (8, longest) in shapes(batches, tried)
    if selection == EASY_FIRST:
        assert max(int(batches.lengths[rows].max()) for rows in training.order(0)) < longest


def test_the_longest_texts_without_labels_come_first_and_are_tried_out(
    values: Values, tmp_path: Path, tried: list[np.ndarray]
) -> None:
    pool = [f"{text} warm {number}" for number, (text, _) in enumerate(reviews(300, seed=5))]
    pool[170] += " street" * 40
    with (tmp_path / "pool.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text",), *((text,) for text in pool)])
    wanted = {"unlabelled": str(tmp_path / "pool.csv"), "ratio": 3, "operators": ["drop-words"]}
    ready, training = made(values(training={"epochs": 1}, consistency=wanted))
    batches = micro_batches(ready)
    shape = 24, int(batches.lengths[len(ready.features["train"]) :].max())
    assert shape in shapes(batches, batches.cut(training.order(0)[0]))
    probed(ready, training, None, course(batches, training.order, 1), seconds=0.0)
    assert shape in shapes(batches, tried)


@pytest.mark.parametrize("epochs", [1.5, 6])
@pytest.mark.parametrize("selection", [{}, EASY_FIRST, {"resample": "undersample"}], ids=str)
def test_the_time_is_that_of_all_steps(
    selection: dict[str, Any], epochs: float, values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a machine on which a padded token takes as long as any other."""
    monkeypatch.setattr(told, "probed", lambda *_: Steps(Cost(0.0, A_TOKEN), 0.0, None, None, None, 0))
    monkeypatch.setattr(told, "measured", lambda *_, **__: Measuring(0.0, 0.0, 0, 0, 0, 0.0))
    monkeypatch.setattr(told, "disk_seconds", lambda _: 0.0)
    given = values(selection, training={"epochs": epochs})
    found, training = foretold(given)
    ready = prepare(Recipe(**given))
    assert found.seconds == pytest.approx(A_TOKEN * padded(micro_batches(ready), training.order, epochs))
    assert found.epoch * found.epochs == pytest.approx(found.seconds)


def test_the_steps_of_a_pruned_run_are_told_about(values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "probed", lambda *_: Steps(Cost(1.0, 0.0), 0.0, None, None, None, 0))
    monkeypatch.setattr(told, "measured", lambda *_, **__: Measuring(0.0, 0.0, 0, 0, 0, 0.0))
    monkeypatch.setattr(told, "disk_seconds", lambda _: 0.0)
    given = values({"prune": 0.5, "prune_until": 1.0}, training={"epochs": 10, "batch_size": 2})
    found, training = foretold(given)
    watcher = Watcher()
    train(given, trackers=[watcher])
    assert found.seconds < 0.85 * training.steps
    assert found.seconds == pytest.approx(len(of(StepDone, watcher.seen)), rel=0.15)


def test_penalties_count(values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a step, however it is cut."""
    slow, real = 0.2, Penalty.penalty

    def penalty(self: Penalty, model: Any) -> Any:
        time.sleep(slow)
        return real(self, model)

    monkeypatch.setattr(Penalty, "penalty", penalty)
    monkeypatch.setattr(steps, "MOST", 4)
    given = values(training={"epochs": 2, "micro_batch_tokens": 40, "regularization": {"l2": 0.1}})
    found, training = foretold(given)
    assert slow * training.steps < found.seconds < slow * training.steps + 30
    assert all(p.grad is None for p in training.model.parameters())
    two = [np.array([(4, 10), (2, 20), (1, 30)]), np.array([(3, 10), (5, 5)])]  # the micro-batches of two steps
    assert Steps(Cost(1.0, 0.0), slow, None, None, None, 0).seconds(two) == pytest.approx(5 * 1.0 + 2 * slow)


def test_a_pass_over_the_examples_counts(values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {}
    for kind in ("loss", None):
        monkeypatch.setattr(told, "probed", lambda *_: Steps(Cost(0.0, 0.0), 0.0, None, None, None, 0))
        monkeypatch.setattr("weitiao.forecast.measuring._reads", lambda *_: (Cost(0.0, A_TOKEN), []))
        monkeypatch.setattr(measuring, "disk_seconds", lambda _: 0.0)
        found, training = foretold(values({"curriculum": kind}))
        seconds[kind] = found.measuring
        assert [isinstance(part, LossesAfter) for part in training.parts.values()] == [True] * (kind == "loss")
    tokens = int(micro_batches(prepare(Recipe(**values()))).lengths.sum())
    assert seconds[None] == 0
    assert tokens * A_TOKEN <= seconds["loss"] < 3 * tokens * A_TOKEN


def test_the_head_of_few_shot_is_fitted_at_each_evaluation(values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    """On all examples, and once more at the end; of a machine on which a token is all that takes time."""
    a_token, real = 1e3, measuring._reads
    monkeypatch.setattr(told, "probed", lambda *_: Steps(Cost(0.0, 0.0), 0.0, None, None, None, 0))
    monkeypatch.setattr(told, "disk_seconds", lambda _: 0.0)
    monkeypatch.setattr(measuring, "_reads", lambda *given: (Cost(0.0, a_token), real(*given)[1]))
    data = {"train": values()["data"]["train"], "validation_size": 0.25, "test_size": 0}
    evaluation = {"bootstrap": 0, "baselines": False, "train_examples": 0}
    training = {"epochs": 4, "evaluate_every": 10}
    given = values(method="few-shot", data=data, evaluation=evaluation, training=training)
    found, trained = foretold(given)
    ready = prepare(Recipe(**given))
    examples, validation = (
        a_token * measuring._shapes(ready.labelled(split)).prod(axis=1).sum() for split in ("train", "validation")
    )
    evaluations = math.ceil(trained.steps / 10)
    assert evaluations > 2
    measured = (evaluations + 1) * validation + (evaluations + 1) * examples  # the last of both when it has ended
    assert found.measuring == pytest.approx(measured, rel=1e-4)
    assert found.last == pytest.approx(2 * validation + 2 * examples, rel=1e-4)


def test_looking_ahead_leaves_a_pruned_run_as_it_is(values: Values, tmp_path: Path) -> None:
    seen = []
    for name, budget in (("plain", {}), ("tried", {"time": "2h"})):
        watcher = Watcher()
        train(values({"prune": 0.5}, output=str(tmp_path / name), **budget), trackers=[watcher])
        seen.append([(step.loss, step.examples) for step in of(StepDone, watcher.seen)])
    assert seen[0] == seen[1]


# --- what is chosen


def test_each_kind_of_rows_goes_through_by_as_many_tokens_as_fit(
    values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, much: None
) -> None:
    """Texts without labels are shorter here, but a token of them takes more: a copy goes through beside its text."""
    with (tmp_path / "pool.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text",), *((f"{text} {n}",) for n, (text, _) in enumerate(reviews(60, seed=5)))])
    wanted = {"unlabelled": str(tmp_path / "pool.csv"), "ratio": 4, "operators": ["drop-words"]}
    ready, training = made(values(consistency=wanted, memory="6GB"))
    groups = alike(micro_batches(ready), training.order.ahead(0))
    longest, texts = (group.longest for group in groups)
    assert [group.most for group in groups] == [8, 32]
    assert texts < longest / 2
    a_row = {0: 0.1e9, 1: 1e9}  # bytes of one

    def peaks(_ready: Any, _training: Any, counts: list[list[int]], **_: Any) -> list[list[float]]:
        return [[1e9 + count * a_row[kind] for count in own] for kind, own in enumerate(counts)]

    monkeypatch.setattr(budgets, "peak_of", peaks)
    loaded = load_for_training(ready)
    ready, (training, _), _ = within_memory(ready, loaded, None)
    tokens = int(ready.recipe.training.micro_batch_tokens)
    assert tokens == 4 * texts  # 6 GB / 1.05 hold 1 + 4 x 1
    assert all(len(part) <= 4 for rows in training.order(0) for part in micro_batches(ready).cut(rows)
               if part[0] >= len(ready.features["train"]))  # fmt: skip


@pytest.mark.parametrize("recompute", ["auto", "always"])
def test_several_tasks_fit_into_memory_each_by_itself(
    recompute: str, several: Values, much: None, tried: list[np.ndarray]
) -> None:
    """Rows of two tasks are never padded together, not even to try them out."""
    training = {"epochs": 2, "batch_size": 8, "checkpoint_activations": recompute}
    checked = check(several(memory="32GB", training=training))
    parts = np.asarray(prepare(checked.recipe).features["train"]["part"])
    of_each = [set(parts[rows].tolist()) for rows in tried]
    assert of_each[:8] == [{0}] * 4 + [{1}] * 4  # one row twice, two, all: of the task with shorter texts, too
    assert all(len(of_one) == 1 for of_one in of_each)
    assert checked.facts["forecast"]["seconds"] > 0
    assert checked.recipe.origin("training.micro_batch_tokens").startswith("auto: ")


def test_an_example_that_only_fits_when_it_is_computed_again_is_tried(
    values: Values, monkeypatch: pytest.MonkeyPatch, much: None
) -> None:
    """The formula tells what is kept otherwise."""

    def peaks(ready: Preparation, _: Any, counts: list[list[int]], **_more: Any) -> list[list[float]]:
        assert ready.recipe.training.checkpoint_activations == "always"
        return [[1e9 + count * 1e9 for count in own] for own in counts]

    monkeypatch.setattr(budgets, "peak_of", peaks)
    monkeypatch.setattr(models, "activation_bytes", lambda *_, **__: 30 * 10**9)  # over two blocks, 15 each
    ready = prepare(Recipe(**values(memory="6GB")))
    ready, _, _ = within_memory(ready, load_for_training(ready), None)
    assert ready.recipe.training.checkpoint_activations == "always"
    assert "takes 30.00 GB without" in ready.recipe.origin("training.checkpoint_activations")


# --- what is tried out first


def test_a_run_that_begins_with_short_examples_tries_the_longest_out(values: Values, tried: list[np.ndarray]) -> None:
    given = values(EASY_FIRST)
    watcher = Watcher()
    train(given, trackers=[watcher])
    batches = micro_batches(prepare(Recipe(**given)))
    assert shapes(batches, tried) == [(8, int(batches.lengths.max()))]
    assert "forecast" not in watcher.seen[0].to_dict()["summary"]


@pytest.mark.parametrize("method", ["full", "gradual", "few-shot"])
def test_a_run_that_begins_with_them_tries_nothing_out(method: str, values: Values, tried: list[np.ndarray]) -> None:
    """But where later steps take more with more of the layers moving. The head of `few-shot` never does."""
    file = Path(values()["data"]["train"])
    long = [{"text": "the room was good " * 9 + str(n), "label": "good"} for n in range(12)]  # as where texts are cut
    file.write_text(file.read_text() + "".join(json.dumps(row) + "\n" for row in long))
    given = values(method=method)
    given["data"] = {**given["data"], "train": str(file.rename(file.with_name("longer.jsonl")))}
    train(given)
    batches = micro_batches(prepare(Recipe(**given)))
    assert shapes(batches, tried) == ([(8, int(batches.lengths.max()))] if method == "gradual" else [])


@pytest.mark.parametrize("method", ["head", "layers"])
def test_above_what_is_computed_once_they_are_tried_out_as_they_come(
    method: str, values: Values, tried: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with the whole model; and where it is a vector for each row, not at all."""
    served: list[int] = []
    real = steps.FixedStates.serving

    @contextmanager
    def serving(self: steps.FixedStates) -> Iterator[None]:
        with real(self):
            yield
            served.append(self.served)

    monkeypatch.setattr(steps.FixedStates, "serving", serving)
    wanted = {"name": "layers", "top": 1} if method == "layers" else "head"
    still = {"dropout": 0.0, "attention_dropout": 0.0}
    watcher = Watcher()
    train(
        values(EASY_FIRST, method=wanted, training={"cache_frozen": "memory", "regularization": still}),
        trackers=[watcher],
    )
    assert [event for event in watcher.seen if event.name == "FrozenCached"]
    assert len(tried) == (method == "layers")
    assert served[1:-1] == [1] * len(tried)  # between the search for what is fixed and the training


def test_several_tasks_are_tried_out_each(several: Values, tried: list[np.ndarray]) -> None:
    given = several()
    train(given)
    ready = prepare(Recipe(**given))
    parts = np.asarray(ready.features["train"]["part"])
    assert {int(parts[rows[0]]) for rows in tried} == {0}  # the first step has the longest of the other
    assert all(len(set(parts[rows].tolist())) == 1 for rows in tried)


def test_a_run_whose_longest_were_tried_out_has_the_losses_of_one_whose_were_not(
    values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for name in ("tried", "plain"):
        watcher = Watcher()
        train(values(EASY_FIRST, output=str(tmp_path / name)), trackers=[watcher])
        seen.append([step.loss for step in of(StepDone, watcher.seen)])
        monkeypatch.setattr(budgets, "try_heavier", lambda *_: None)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("error", [
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    torch.OutOfMemoryError("CUDA out of memory"),
], ids=["cpu", "gpu"])  # fmt: skip
@pytest.mark.parametrize("budget", [{}, {"time": "2h"}, {"memory": "6GB"}], ids=str)
def test_a_lack_of_memory_shows_before_anything_is_written(
    budget: dict[str, str], error: Exception, values: Values, monkeypatch: pytest.MonkeyPatch, much: None
) -> None:
    monkeypatch.setattr(steps, "train_steps", lambda _: raising(error))
    given = values(EASY_FIRST, **budget)
    told = r"not enough memory for \d examples? of \d+ tokens at once"
    for tries in (train, check):
        with pytest.raises(RecipeError, match="more memory than there is" if "memory" in budget else told) as found:
            tries(given)
        assert found.value.exit_code == 2
        assert found.value.where == ("python (memory)" if "memory" in budget else "memory")
        assert ("memory: 8GB" in found.value.fix) == ("memory" not in budget)
        assert "model.max_length below" in found.value.fix
    assert not Path(given["output"]).exists()


def raising(error: Exception) -> Iterator[Any]:
    raise error
    yield


def test_another_error_of_a_step_stays_what_it_is(values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_lack_of_memory(RuntimeError("size mismatch"))
    monkeypatch.setattr(steps, "train_steps", lambda _: raising(RuntimeError("size mismatch")))
    with pytest.raises(RuntimeError, match="size mismatch"):
        train(values(EASY_FIRST))


# --- a run that goes on


@pytest.mark.parametrize(("budget", "tight"), [({"memory": "6GB"}, False), ({}, True), ({}, False)])
def test_a_resumed_run_keeps_to_its_memory(
    budget: dict[str, Any], tight: bool, values: Values, monkeypatch: pytest.MonkeyPatch, much: None
) -> None:
    """To what the recipe says, or to what there is where that is scarce."""
    monkeypatch.setattr(budgets, "_tight", lambda *_: tight)
    monkeypatch.setattr(budgets, "room", lambda _: int(6e9))
    rooms: list[int | None] = []
    monkeypatch.setattr(fit, "_keep_within", lambda training: rooms.append(training.room))
    given = values(**budget)
    with pytest.raises(Interrupted):
        train(given, trackers=[Stopper(3)])
    before = set(rooms)
    rooms.clear()
    resume(given["output"])
    assert set(rooms) == before == {int(6e9) if budget or tight else None}


def test_time_is_cut_by_the_epochs_that_a_curriculum_has(values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer epochs its course is as much shorter: what was told of an epoch still holds."""
    monkeypatch.setattr(told, "probed", lambda *_: Steps(Cost(0.0, A_TOKEN), 0.0, None, None, None, 0))
    monkeypatch.setattr(told, "measured", lambda *_, **__: Measuring(0.0, 0.0, 0, 0, 0, 0.0))
    monkeypatch.setattr(told, "disk_seconds", lambda _: 0.0)
    whole = foretold(values(EASY_FIRST, training={"epochs": 12}))[0]
    given = values(EASY_FIRST, training={"epochs": 12}, time=f"{whole.seconds / 2:.1f}s")
    ready = prepare(Recipe(**given))
    ready, (training, _) = within_time(ready, load_for_training(ready), None, began=time.monotonic())
    epochs = float(ready.recipe.training.epochs)
    assert 4.5 < epochs < 6
    real = A_TOKEN * padded(micro_batches(ready), training.order, epochs)
    assert real == pytest.approx(ready.facts["forecast"]["seconds"], rel=0.06)
    assert replace(whole, epochs=12).of(6).seconds == pytest.approx(whole.seconds / 2)


# --- texts that are written


def test_a_model_without_attention_heads_keeps_no_keys_and_values(
    tmp_path: Path, tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer, MambaConfig, MambaForCausalLM

    folder, tokenizer = tmp_path / "mamba", AutoTokenizer.from_pretrained(tiny_model("decoder"))
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "vocab_size": len(tokenizer)}
    MambaForCausalLM(MambaConfig(**shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    monkeypatch.setattr(sample_of("summarization"), "model", lambda *_: folder)
    recipe = recipe_of(("summarization", "full", "decoder"), tmp_path, tiny_model)
    assert prepare(recipe).pretrained.config.model_type == "mamba"
    assert check(recipe).facts["forecast"]["seconds"] > 0
    assert models.cache_bytes(prepare(recipe).pretrained, 100) == 0


@pytest.mark.parametrize("family", ["decoder", "seq2seq"])
def test_keys_and_values_take_as_much_as_the_formula_says(
    family: str, tmp_path: Path, tiny_model: Callable[[str], Path]
) -> None:
    ready = prepare(recipe_of(("summarization", "full", family), tmp_path, tiny_model))
    model: Any = load_for_training(ready)[0].model
    read, written = torch.ones(3, 11, dtype=torch.long), torch.ones(3, 4, dtype=torch.long)
    more = {"decoder_input_ids": written} if family == "seq2seq" else {}
    cache = model(input_ids=read, use_cache=True, **more).past_key_values
    kept = [cache.self_attention_cache, cache.cross_attention_cache] if family == "seq2seq" else [cache]
    found = sum(layer.keys.nbytes + layer.values.nbytes for each in kept for layer in each.layers)
    tokens = 3 * (11 + (4 if family == "seq2seq" else 0))
    assert models.cache_bytes(ready.pretrained, tokens) == found
    assert 2 * models.cache_bytes(ready.pretrained, tokens, precision="bf16") == found


def test_memory_counts_what_is_kept_while_texts_are_written(
    tmp_path: Path, tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many texts at once as are written together, each at its longest."""
    monkeypatch.setattr(models, "cache_bytes", lambda _pretrained, tokens, **_: tokens * 10**9)
    ready = prepare(recipe_of(("summarization", "full", "seq2seq"), tmp_path, tiny_model))
    _, inference = load_for_training(ready)
    found = measuring.measured(ready, inference, known=None).added
    longest = int(np.asarray(ready.features["validation"]["length"]).max())
    room = room_for(ready.task.options.generation, ready.reader)
    assert found // 10**9 == 8 * (longest + room)
    plain = prepare(recipe_of(("text-classification", "full", "encoder"), tmp_path, tiny_model))
    assert measuring.measured(plain, load_for_training(plain)[1], known=None).added < 10**9


@pytest.mark.parametrize("where", ["also", "train"])
def test_memory_is_that_of_the_longest_that_is_measured_anywhere(
    where: str, values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In other data that is measured on at the end, or in training examples that are measured on the way."""
    file = Path(values()["data"]["train"])
    short = [json.dumps({"text": f"the room was good {n}", "label": ("good", "bad")[n % 2]}) + "\n" for n in range(20)]
    validation, long = tmp_path / "short.jsonl", tmp_path / "long.jsonl"
    validation.write_text("".join(short))
    long.write_text(json.dumps({"text": "the room was good " * 11, "label": "good"}) + "\n" + "".join(short))
    evaluation = {"bootstrap": 0, "baselines": False, "train_examples": 48 if where == "train" else 0}
    if where == "also":
        evaluation["also"] = {"others": str(long)}
    given = values(data={"train": str(file), "validation": str(validation), "test_size": 0}, evaluation=evaluation)
    ready = prepare(Recipe(**given))
    _, inference = load_for_training(ready)
    taken: list[int] = []
    real = measuring.take_rows

    def take_rows(features: Any, rows: Any) -> Any:
        found = real(features, rows)
        taken.extend(len(row["input_ids"]) for row in found if "input_ids" in row)
        return found

    monkeypatch.setattr(measuring, "take_rows", take_rows)
    measuring.measured(ready, inference, known=None)
    features = ready.also["others"].features if where == "also" else ready.features["train"]
    longest = max(map(len, features["input_ids"]))
    assert longest > max(map(len, ready.features["validation"]["input_ids"]))
    assert max(taken) == longest


def test_saving_counts_where_it_takes_more_than_measuring(values: Values) -> None:
    """A copy of the weights, and of their average."""
    ready, training = made(values(training={"ema": 0.9}))
    steps = Steps(Cost(0.0, 0.0), 0.0, None, peak=1000, rest=900, kept=0)
    little, much = (Measuring(0.0, 0.0, added, 0, 0, 0.0) for added in (10, 10**9))
    each, aside = 4 * int(ready.facts["trainable"]), told._set_aside(ready, training)
    assert aside == each
    assert told._memory(ready, None, steps, little, again=True, aside=aside) == 900 + 2 * each
    assert told._memory(ready, None, steps, much, again=True, aside=aside) == 900 + 10**9 + each


def test_the_batch_of_most_tokens_is_measured_beside_the_longest(
    values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One long text fills half of a batch, two that are a little shorter all of it."""
    ready, _ = made(values(data={"train": values()["data"]["train"], "validation_size": 0.3, "test_size": 0}))
    _, inference = load_for_training(ready)
    on = ready.labelled("validation")
    longest = int(np.asarray(on.features["length"]).max())
    for tokens in range(longest, 3 * longest):  # until the batch of the longest is not the one of most tokens
        monkeypatch.setattr(measuring, "TOKENS", tokens)
        shapes = measuring._shapes(on)
        fullest = int(shapes.prod(axis=1).argmax())
        if shapes[fullest, 1] < longest and fullest not in telling(shapes, 2):
            break
    else:
        pytest.fail("there is no such batch")
    monkeypatch.setattr(measuring, "SECONDS", 0.0)
    taken: list[list[int]] = []
    real = measuring.take_rows
    monkeypatch.setattr(measuring, "take_rows", lambda of, rows: taken.append(rows.tolist()) or real(of, rows))
    measuring._reads(inference, [on])
    assert measuring._batches(on)[fullest].tolist() in taken
