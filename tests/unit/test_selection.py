"""Which examples come, how often and when: resampling, curricula, pruning; each by its formula and through a run."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.same import same_weights_when_resumed
from tests.samples import reviews
from tests.watching import of
from weitiao import check
from weitiao.data import length_bucketed, rows_in_epoch
from weitiao.data.resampling import resampled
from weitiao.errors import Interrupted, RecipeError
from weitiao.events import Event, Resumed, RolledBack, StepDone, Stopped
from weitiao.loading import load_for_training
from weitiao.preparation import as_recipe, prepare
from weitiao.training.checkpoint import Checkpoints
from weitiao.training.curriculum import TOGETHER, Curriculum, LossesAfter, competence
from weitiao.training.fit import fit
from weitiao.training.loop import Training, train_steps
from weitiao.training.order import Shuffled
from weitiao.training.pruning import NewestLosses, Pruned, left_out

Values = Callable[..., dict[str, Any]]


@pytest.fixture
def selecting(recipe_values: Values, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A recipe on 90 reviews, 60 of them good and 30 bad, that selects its examples."""
    file = tmp_path / "many.jsonl"
    rows = [row for number, row in enumerate(reviews(120)) if row[1] == "good" or number % 4 == 1]
    file.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))

    def build(selection: dict[str, Any], training: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        settings = {"epochs": 4, "learning_rate": 3e-3, "batch_size": 8, "seed": 7, "precision": "fp32",
                    "checkpoint_every": 3, "selection": selection, **(training or {})}  # fmt: skip
        data = {"train": str(file), "validation_size": 0, "test_size": 0.1}
        return recipe_values(
            **{"data": data, "training": settings, "evaluation": {"bootstrap": 0, "baselines": False}, **changes}
        )

    return build


def made_of(values: dict[str, Any]) -> Training:
    return load_for_training(prepare(as_recipe(values)))[0]


def rows_of(training: Training, epoch: int) -> np.ndarray:
    return np.concatenate(training.order(epoch))


# --- how often


@given(st.lists(st.floats(0, 4), min_size=1, max_size=60), st.integers(0, 5))
def test_rows_come_as_often_as_said_give_or_take_one(times: list[float], epoch: int) -> None:
    often = np.array(times)
    batches = length_bucketed(np.ones(len(often), int), 8, seed=1, epoch=epoch, times=often)
    rows = np.concatenate(batches) if batches else np.array([], int)
    assert len(rows) == rows_in_epoch(often)
    if len(rows) == round(float(often.sum())):
        counts = np.bincount(rows, minlength=len(often))
        whole = np.floor(often)
        assert (counts >= whole).all()


def test_each_row_comes_as_often_as_said_on_average() -> None:
    """Not as with `choice` without replacement, where rows of high chances come too seldom."""
    often = np.repeat([0.1, 0.5, 0.95, 1.6], 20)
    epochs = 2000
    seen = np.zeros(80)
    for epoch in range(epochs):
        rows = np.concatenate(length_bucketed(np.ones(80, int), 16, seed=3, epoch=epoch, times=often))
        seen += np.bincount(rows, minlength=80)
    np.testing.assert_allclose(seen.reshape(4, 20).mean(1) / epochs, [0.1, 0.5, 0.95, 1.6], atol=0.003)
    assert np.abs(seen / epochs - often).max() < 5 * 0.5 / epochs**0.5


@pytest.mark.parametrize("power", [0.0, 0.3, 0.5, 0.9])
def test_a_number_is_the_power_that_shares_go_with(power: float) -> None:
    counts = np.array([900, 90, 10])
    codes = np.repeat([7, 2, 5], counts)
    times = resampled(codes, power)
    assert times.sum() == pytest.approx(1000)
    shares = np.array([times[codes == code].sum() for code in (7, 2, 5)]) / 1000
    np.testing.assert_allclose(shares, counts**power / (counts**power).sum())


def test_over_and_undersampling_make_all_labels_alike() -> None:
    codes = np.repeat([0, 1, 2], [900, 90, 10])
    for word, each in (("oversample", 900), ("undersample", 10)):
        times = resampled(codes, word)
        np.testing.assert_allclose([times[codes == code].sum() for code in range(3)], each)
        rows = np.concatenate(length_bucketed(np.ones(1000, int), 32, seed=0, epoch=1, times=times))
        assert Counter(codes[rows].tolist()) == {0: each, 1: each, 2: each}


@pytest.mark.parametrize("wanted", ["oversample", "undersample", 0])
def test_a_run_resamples_its_training_split_only(wanted: Any, selecting: Values) -> None:
    ready = prepare(as_recipe(selecting({"resample": wanted})))
    training, _ = load_for_training(ready)
    labels = np.array(ready.splits["train"]["label"])
    counts = Counter(labels.tolist())
    for epoch in range(2):
        found = Counter(labels[rows_of(training, epoch)].tolist())
        assert abs(found["good"] - found["bad"]) <= 1
        size = {"oversample": 2 * max(counts.values()), "undersample": 2 * min(counts.values()), 0: len(labels)}[wanted]
        assert sum(found.values()) == size
    again = np.array_equal(np.sort(rows_of(training, 0)), np.sort(rows_of(training, 1)))
    assert again == (wanted == "oversample")  # there are twice as many good as bad ones
    steps = len(training.order(0))
    assert training.steps == 4 * steps == ready.facts["steps"]
    assert ready.recipe.training.evaluate_every == steps
    assert len(ready.features["test"]) == len(ready.splits["test"])


def test_rows_of_several_labels_count_to_their_rarest(selecting: Values, tmp_path: Path) -> None:
    file = tmp_path / "several.jsonl"
    labels = [["a"]] * 40 + [["a", "b"]] * 10 + [["a", "b", "c"]] * 5 + [[]] * 5
    texts = [text for text, _ in reviews(len(labels))]
    file.write_text(
        "".join(json.dumps({"text": t, "label": found}) + "\n" for t, found in zip(texts, labels, strict=True))
    )
    data = {"train": str(file), "validation_size": 0, "test_size": 0}
    ready = prepare(as_recipe(selecting({"resample": "oversample"}, data=data)))
    training, _ = load_for_training(ready)
    rows = rows_of(training, 0)
    rarest = [found[-1] if found else "" for found in ready.splits["train"]["label"]]
    assert Counter(rarest[row] for row in rows.tolist()) == {"a": 40, "b": 40, "c": 40, "": 40}


# --- curricula


def test_competence_is_the_papers() -> None:
    assert competence(0, 100, 0.1) == pytest.approx(0.1)
    assert competence(100, 100, 0.1) == 1
    assert competence(500, 100, 0.1) == 1
    assert competence(25, 100, 0.01) == pytest.approx((0.25 * (1 - 0.01**2) + 0.01**2) ** 0.5)


@pytest.mark.parametrize("start", [0.02, 0.1, 0.5])
def test_no_step_draws_harder_rows_than_its_competence_allows(start: float) -> None:
    random = np.random.default_rng(0)
    lengths, difficulty = random.integers(3, 60, 400), random.permutation(400).astype(float)
    order = Curriculum(Shuffled(lengths, 16, seed=1), lambda _: difficulty, start, steps=60)
    steps, seen = 0, []
    for epoch in range(4):
        batches = order(epoch)
        assert len(batches) == 25
        assert [batch.tolist() for batch in order(epoch)] == [batch.tolist() for batch in batches]
        for batch in batches:
            allowed = max(16, 400 * competence(steps, 60, start) + 1)
            assert difficulty[batch].max() < allowed
            seen.append(difficulty[batch].max())
            steps += 1
    assert np.mean(seen[:10]) < np.mean(seen[20:40]) < np.mean(seen[70:])
    assert sorted(np.concatenate(order(3)).tolist()) == list(range(400))  # all may come: an ordinary epoch


def test_rows_drawn_together_do_not_repeat_and_share_steps_by_length() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 1000)
    batches = Curriculum(Shuffled(lengths, 10, seed=1), lambda _: lengths, 0.5, steps=200)(0)
    together = np.concatenate(batches[:TOGETHER])
    assert len(set(together.tolist())) == len(together) == 10 * TOGETHER
    spread = [np.ptp(lengths[batch]) for batch in batches]
    assert np.mean(spread) < 8


def test_fewer_easy_rows_than_a_step_takes() -> None:
    lengths = np.arange(1, 21)
    batches = Curriculum(Shuffled(lengths, 8, seed=0), lambda _: lengths, 0.05, steps=100)(0)
    assert [len(batch) for batch in batches] == [8, 8, 8]
    assert set(batches[0].tolist()) == {0}


def test_short_texts_come_first(selecting: Values) -> None:
    training = made_of(selecting({"curriculum": "length", "curriculum_start": 0.2}))
    lengths = np.array([len(row) for row in prepare(as_recipe(selecting({}))).features["train"]["input_ids"]])
    first = np.concatenate(training.order(0)[:TOGETHER])
    assert lengths[first].max() <= np.sort(lengths)[int(0.2 * len(lengths)) + 1]
    plain = made_of(selecting({}))
    assert training.steps == plain.steps
    assert [row.tolist() for row in training.order(3)] == [row.tolist() for row in plain.order(3)]


def test_losses_after_the_first_epoch_are_those_of_the_model_without_dropout(selecting: Values) -> None:
    values = selecting({"curriculum": "loss"})
    ready = prepare(as_recipe(values))
    training, inference = load_for_training(ready)
    per_epoch = len(training.order(0))
    losses = [done.loss for _, done in zip(range(per_epoch), train_steps(training), strict=False)]
    plain = train_steps(made_of(selecting({})))
    assert losses == [done.loss for _, done in zip(range(per_epoch), plain, strict=False)]  # an ordinary epoch
    part: Any = training.parts["losses-after"]
    training.optimizer.settle_all()
    train_split = ready.labelled("train")
    for examples, rows, predictions in inference.over(train_split):
        for example, row, said in zip(examples, rows, predictions, strict=True):
            wanted = -np.log(said["probabilities"][example["label"]])
            assert part.losses[row] == pytest.approx(wanted, abs=1e-4)
    second = np.concatenate(training.order(1)[:TOGETHER])
    allowed = np.sort(part.losses)[int(np.ceil(0.1 * len(part.losses))) - 1]
    assert part.losses[second].max() <= allowed


# --- pruning


def test_what_is_left_out_is_below_the_mean_and_the_expected_sum_stays() -> None:
    random = np.random.default_rng(0)
    losses, values = random.gamma(0.5, 1.0, 301).astype(np.float32), random.normal(size=301)
    losses[:3] = np.nan
    mean, total, epochs = np.nanmean(losses), np.zeros(301), 4000
    for _ in range(epochs):
        out, weights = left_out(losses, 0.5, random)
        assert (losses[out] < mean).all()
        assert not out[:3].any()
        well = np.nansum(losses < mean)
        assert out.sum() == int(0.5 * well)
        np.testing.assert_allclose(weights[losses >= mean], 1)
        np.testing.assert_allclose(weights[losses < mean], well / (well - out.sum()))
        total += np.where(out, 0, weights)
    np.testing.assert_allclose(total / epochs, 1, atol=5 / epochs**0.5)  # each example's expected weight
    assert (total / epochs * values).sum() == pytest.approx(values.sum(), abs=5 * 301**0.5 / epochs**0.5)


def test_the_expected_gradient_of_an_epoch_is_that_of_all_examples() -> None:
    """Exactly: over all ways to leave out two of four easy examples."""
    from itertools import combinations

    losses = np.array([0.1, 0.2, 0.3, 0.2, 5.0, 9.0], np.float32)
    gradients = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    class Draw:
        def __init__(self, gone: tuple[int, ...]) -> None:
            self.gone = gone

        def choice(self, well: np.ndarray, count: int, replace: bool) -> np.ndarray:
            assert count == len(self.gone)
            assert not replace
            return np.array(self.gone)

    sums = []
    for gone in combinations(range(4), 2):
        out, weights = left_out(losses, 0.5, Draw(gone))  # type: ignore[arg-type]
        sums.append((gradients * torch.tensor(np.where(out, 0, weights))[:, None]).sum(0))
    torch.testing.assert_close(torch.stack(sums).mean(0), gradients.sum(0))


def test_nothing_is_left_out_without_losses_or_where_all_are_alike() -> None:
    random = np.random.default_rng(0)
    for losses in (np.full(9, np.nan), np.ones(9), np.array([1.0, np.nan])):
        out, weights = left_out(losses.astype(np.float32), 0.9, random)
        assert not out.any()
        assert (weights == 1).all()
    out, weights = left_out(np.array([0.1, 0.1, 9.0], np.float32), 0.99, random)
    assert out.sum() == 1  # never all of them
    assert np.isfinite(weights).all()


def test_an_epochs_order_hangs_on_what_was_known_before_it() -> None:
    losses = NewestLosses(40)
    order = Pruned(Shuffled(np.ones(40, int), 8, seed=0), losses, 0.5, until=3.0, examples=np.arange(40))
    assert len(np.concatenate(order(0))) == 40
    losses.note(list(range(40)), torch.cat([torch.zeros(30), torch.ones(10)]))
    losses.after_step(torch.nn.Identity(), 1, 9)
    assert len(np.concatenate(order(0))) == 40  # still the same epoch
    first = [batch.tolist() for batch in order(1)]
    assert sum(map(len, first)) == 25
    assert set(losses.weights[:30]) == {2.0}
    assert set(losses.weights[30:]) == {1.0}
    losses.note([0], torch.tensor([7.0]))
    losses.note([1], torch.tensor([float("nan")]))  # of a step that went wrong
    losses.after_step(torch.nn.Identity(), 2, 9)
    assert [batch.tolist() for batch in order(1)] == first
    kept = losses.state(torch.nn.Identity())
    other = NewestLosses(40)
    other.restore(torch.nn.Identity(), kept)
    again = Pruned(order.shuffled, other, 0.5, until=3.0, examples=np.arange(40))
    assert [batch.tolist() for batch in again(1)] == first
    assert 0 in np.concatenate(again(2))
    assert len(np.concatenate(order(3))) == 40  # the last epochs are whole
    assert (losses.weights == 1).all()


def test_a_pruned_run_takes_fewer_steps_and_goes_through_the_whole_schedule(selecting: Values, tmp_path: Path) -> None:
    training = made_of(selecting({"prune": 0.5}, {"epochs": 5, "warmup": 0.1}))
    planned, per_epoch = training.steps, len(training.order(0))
    events: list[Event] = list(fit(training, Checkpoints(tmp_path), None, threading.Event()))
    done = of(StepDone, events)
    assert len(done) < planned
    assert done[-1].step == done[-1].steps == training.steps
    assert done[-1].epoch == 5
    examples = Counter(int(step.epoch - 1e-9) for step in done for _ in range(step.examples))
    whole = sum(map(len, training.order(9)))
    assert examples[0] == examples[4] == whole
    assert all(examples[epoch] < whole for epoch in (1, 2, 3))
    rates = [step.learning_rate for step in done]
    peak = len(rates) - 1 - rates[::-1].index(max(rates))
    assert all(a > b for a, b in zip(rates[peak:], rates[peak + 1 :], strict=False))
    falls = np.diff(rates[peak:])
    last = falls[-(per_epoch - 2) :]
    np.testing.assert_allclose(last, last[0], rtol=1e-6)  # a whole epoch
    assert rates[-1] == pytest.approx(-last[0], rel=1e-6)  # one update before 0


def test_a_pruned_run_that_was_done_takes_no_step_more(selecting: Values, tmp_path: Path) -> None:
    def course() -> list[Event]:
        training = made_of(selecting({"prune": 0.5}, {"epochs": 3.5}))
        return list(fit(training, Checkpoints(tmp_path), None, threading.Event()))

    first, again = course(), course()
    assert of(Stopped, first)[0].reason == of(Stopped, again)[0].reason == "all steps are done"
    assert of(Resumed, again)[0].step == of(StepDone, first)[-1].step
    assert not of(StepDone, again)


def test_steps_that_were_tried_out_are_not_remembered(selecting: Values) -> None:
    training = made_of(selecting({"prune": 0.5}))
    losses: Any = training.parts["newest-losses"]
    batch = training.collate(training.order(0)[1])[0]
    training.loss(training.forward(training.model, batch), batch)
    next(train_steps(training))
    known = losses.state(training.model)["newest"]
    assert torch.nonzero(known.isfinite()).flatten().tolist() == sorted(training.order(0)[0].tolist())


def test_the_loss_of_a_pruned_step_is_the_weighted_sum(selecting: Values) -> None:
    ready = prepare(as_recipe(selecting({"prune": 0.5})))
    training, _ = load_for_training(ready)
    losses: Any = training.parts["newest-losses"]
    batch = training.collate(training.order(0)[0])[0]
    losses.weights[batch.rows[0]] = 3.0
    outputs = training.forward(training.model.eval(), batch)
    each = ready.task.losses(outputs, batch)  # type: ignore[attr-defined]
    torch.testing.assert_close(training.loss(outputs, batch), each.sum() + 2 * each[0])
    losses.after_step(training.model, 1, 9)
    np.testing.assert_allclose(losses.state(training.model)["newest"][batch.rows], each.detach(), rtol=1e-6)


# --- through stops and roll-backs

SELECTIONS: list[dict[str, Any]] = [
    {"resample": 0.5}, {"resample": "oversample"}, {"curriculum": "length"}, {"curriculum": "loss"}, {"prune": 0.5},
    {"prune": 0.5, "resample": 0.0},
]  # fmt: skip


@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_stopped_and_resumed_is_bit_identical(selection: dict[str, Any], selecting: Values, tmp_path: Path) -> None:
    values = selecting(selection)
    per_epoch = len(made_of(values).order(0))
    same_weights_when_resumed(values, tmp_path, per_epoch, per_epoch + 2, 2 * per_epoch + 1)


@pytest.mark.parametrize("selection", [{"prune": 0.5}, {"curriculum": "loss"}], ids=str)
@pytest.mark.parametrize("at", [3, 12, 22])
def test_a_roll_back_brings_back_what_was_known(
    selection: dict[str, Any], at: int, selecting: Values, tmp_path: Path
) -> None:
    """A run that was rolled back is the same whether it is then stopped or not."""

    def course(folder: Path, stop_at: int | None) -> tuple[list[Event], Training]:
        events: list[Event] = []
        for _ in range(2):
            recovery = {"skips": 0}
            training = made_of(selecting(selection, {"recovery": recovery, "checkpoint_every": 5}))
            loss, broken = training.loss, [any(isinstance(event, RolledBack) for event in events)]

            def wrong(outputs: Any, batch: Any, training: Training = training, loss: Any = loss,
                      broken: list[bool] = broken) -> torch.Tensor:  # fmt: skip
                found = loss(outputs, batch)
                if training.step == at and not broken[0]:
                    broken[0] = True
                    return found * float("nan")
                return found

            training.loss = wrong
            stop = threading.Event()
            try:
                for event in fit(training, Checkpoints(folder), None, stop):
                    events.append(event)
                    if isinstance(event, StepDone) and event.step == stop_at:
                        stop.set()
                break
            except Interrupted:
                stop_at = None
        return events, training

    events, whole = course(tmp_path / "whole", None)
    assert len(of(RolledBack, events)) == 1
    events, cut = course(tmp_path / "cut", at + 2)
    assert of(Resumed, events)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, cut.model.state_dict()[name]), name


# --- what does not go together


@pytest.mark.parametrize(
    ("selection", "training", "key", "problem"),
    [
        ({"curriculum": "length", "resample": 0.5}, {}, "curriculum", "so does resample"),
        ({"curriculum": "loss", "prune": 0.5}, {}, "curriculum", "so does prune"),
        ({"prune": 0.5}, {"regularization": {"r_drop": 1.0}}, "prune", "r_drop has no loss of single examples"),
        ({"prune": 0.5}, {"regularization": {"mixup": 1.0}}, "prune", "mixup has no loss of single examples"),
    ],
)
def test_what_does_not_go_together_is_told(
    selection: dict[str, Any], training: dict[str, Any], key: str, problem: str, selecting: Values
) -> None:
    with pytest.raises(RecipeError, match=problem) as caught:
        check(selecting(selection, training))
    assert f"training.selection.{key}" in caught.value.where
    assert caught.value.fix


@pytest.mark.parametrize("selection", [{"resample": 0}, {"prune": 0.5}, {"curriculum": "loss"}], ids=str)
def test_a_task_that_cannot_is_told(
    selection: dict[str, Any], tmp_path: Path, tiny_model: Callable[[str], Path]
) -> None:
    from tests.task_samples import recipe_of
    from weitiao.recipe import Recipe

    for task, family in (("token-classification", "encoder"), ("multi-task", "encoder"), ("summarization", "seq2seq")):
        values = recipe_of((task, "full", family), tmp_path, tiny_model).to_dict()
        values["training"]["selection"] = selection
        with pytest.raises(RecipeError, match=f"'{task}'"):
            prepare(Recipe(**values))


def test_numbers_are_pruned_too(selecting: Values, tmp_path: Path) -> None:
    file = tmp_path / "stars.jsonl"
    rows = [{"text": text, "target": 5.0 if label == "good" else 1.0} for text, label in reviews(60)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"train": str(file), "validation_size": 0, "test_size": 0.1}
    training = made_of(selecting({"prune": 0.5}, {"epochs": 5}, task={"name": "text-regression"}, data=data))
    planned = training.steps
    assert len(list(train_steps(training))) < planned


def test_the_losses_after_a_step_are_measured_once() -> None:
    calls = []

    def measure(model: torch.nn.Module) -> np.ndarray:
        calls.append(model)
        return np.ones(3, np.float32)

    part, model = LossesAfter(2, measure), torch.nn.Identity()
    assert part.state(model) == {}
    for step in (1, 3, 4):  # 2 is skipped
        part.after_step(model, step, 4)
    assert len(calls) == 1
    assert part.known_at(2) is None  # nor for an epoch that began before, when a run goes on in it
    assert part.known_at(3) is part.losses is not None
    other = LossesAfter(2, measure)
    other.restore(model, part.state(model))
    assert other.known_at(2) is None
    np.testing.assert_array_equal(other.known_at(3), part.losses)
    part.restore(model, {})
    assert part.losses is None
