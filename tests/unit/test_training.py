"""The loop's parts: groups and schedules, stopping in time, keeping the best, divergence."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from weitiao.errors import Interrupted, RunError
from weitiao.events import CheckpointSaved, Evaluated, StepDone, Stopped
from weitiao.recipe import TrainingSettings
from weitiao.records import Batch, Score, Scores
from weitiao.training.checkpoint import Checkpoints
from weitiao.training.fit import Progress, fit
from weitiao.training.loop import Training, planned_steps, train_steps
from weitiao.training.optimizer import make_optimizer, rate_factor


class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.line = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(self.norm(x)).squeeze(-1)


def settings(**values: Any) -> TrainingSettings:
    usual = {"epochs": 4, "learning_rate": 0.05, "batch_size": 8, "evaluate_every": 4, "checkpoint_every": 100}
    return TrainingSettings(**{**usual, **values})


def training(**values: Any) -> Training:
    torch.manual_seed(0)
    x = torch.randn(32, 4)
    y = x @ torch.tensor([1.0, -1.0, 0.5, 0.0])

    def collate(rows: np.ndarray) -> list[Batch]:
        return [Batch({"x": x[rows]}, y[rows], float(len(rows)), len(rows), rows.tolist())]

    return Training(
        model=Regression(), settings=settings(**values), collate=collate, autocast=nullcontext,
        order=lambda epoch: np.split(np.random.default_rng(epoch).permutation(32), 4),
        loss=lambda outputs, batch: ((outputs - batch.labels) ** 2).sum(), device=torch.device("cpu"),
    )  # fmt: skip


def scripted(*values: float) -> Callable[[], Scores]:
    """An evaluation that gives these scores, one after the other."""
    left = iter(values)
    return lambda: Scores("accuracy", {"accuracy": Score(next(left))}, examples=1)


def test_no_decay_on_norms_and_biases() -> None:
    model = Regression()
    decayed, plain = make_optimizer(model, settings(weight_decay=0.1)).param_groups
    assert decayed["weight_decay"] == 0.1
    assert [p is model.line.weight for p in decayed["params"]] == [True]
    assert plain["weight_decay"] == 0
    assert {id(p) for p in plain["params"]} == {id(model.norm.weight), id(model.norm.bias), id(model.line.bias)}


def test_a_method_that_trains_nothing_is_refused() -> None:
    with pytest.raises(RunError, match="no weight"):
        make_optimizer(Regression().requires_grad_(False), settings())


def test_schedules() -> None:
    linear = [rate_factor(step, 10, settings(warmup=0.2)) for step in range(10)]
    assert linear[:3] == [0.5, 1.0, 1.0]
    assert linear == pytest.approx([0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    cosine = [rate_factor(step, 10, settings(warmup=0, schedule="cosine")) for step in range(10)]
    assert cosine[0] == 1
    assert cosine[5] == pytest.approx(0.5)
    assert all(a > b for a, b in itertools.pairwise(cosine))
    assert {rate_factor(step, 10, settings(warmup=0, schedule="constant")) for step in range(10)} == {1.0}


def test_epochs_may_be_a_fraction() -> None:
    assert planned_steps(4, settings(epochs=2.5)) == 10
    done = list(train_steps(training(epochs=2.5)))
    assert len(done) == 10
    assert done[3].epoch == 1.0
    assert done[-1].epoch == 2.5


def test_stops_when_not_better_and_keeps_the_best(tmp_path: Path) -> None:
    run = training(epochs=20, patience=2)
    seen: dict[int, torch.Tensor] = {}
    events = []
    for event in fit(run, Checkpoints(tmp_path), scripted(0.1, 0.7, 0.6, 0.65, 0.9), threading.Event()):
        events.append(event)
        if isinstance(event, Evaluated):
            seen[event.step] = run.model.line.weight.detach().clone()
    assert [e.best for e in events if isinstance(e, Evaluated)] == [True, True, False, False]
    stopped = events[-1]
    assert isinstance(stopped, Stopped)
    assert (stopped.step, stopped.best_step) == (16, 8)
    assert "no better score in 2" in stopped.reason
    assert torch.equal(run.model.line.weight, seen[8])
    assert not torch.equal(run.model.line.weight, seen[16])


@pytest.mark.parametrize(
    ("accuracies", "losses", "best"),
    [
        ([0.0, 0.0, 0.0], [None, None, None], 3),  # the latest, where nothing else tells
        ([0.5, 0.5, 0.5], [0.3, 0.2, 0.4], 2),
        ([0.5, 0.5, 0.5], [0.3, 0.2, 0.2], 3),
        ([0.5, 0.7, 0.5], [0.3, 0.9, 0.1], 2),  # the score comes first
        ([0.7, 0.5, 0.7], [0.2, 0.1, 0.3], 1),
    ],
)
@pytest.mark.parametrize("name", ["loss", "log_loss"])
def test_of_equal_scores_the_lowest_loss_is_kept_and_none_counts_as_better(
    accuracies: list[float], losses: list[float | None], best: int, name: str
) -> None:
    progress = Progress()
    for step, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), 1):
        values = {"accuracy": Score(accuracy)} | ({} if loss is None else {name: Score(loss)})
        taken = progress.take(Scores("accuracy", values, 1), step)
        assert taken == (progress.best_step == step)
    assert progress.best_step == best
    assert progress.not_better == 3 - 1 - accuracies.index(max(accuracies))


def test_lower_is_better_where_the_score_says_so(tmp_path: Path) -> None:
    values = iter([0.9, 0.5, 0.6])

    def evaluate() -> Scores:
        return Scores("log_loss", {"log_loss": Score(next(values))}, examples=1, greater_is_better=False)

    events = list(fit(training(epochs=3), Checkpoints(tmp_path), evaluate, threading.Event()))
    assert [e.best for e in events if isinstance(e, Evaluated)] == [True, True, False]
    assert isinstance(events[-1], Stopped)
    assert events[-1].best_step == 8


def test_always_evaluates_the_last_step(tmp_path: Path) -> None:
    run = training(epochs=2.5, evaluate_every=4)
    events = list(fit(run, Checkpoints(tmp_path), scripted(0.1, 0.2, 0.3), threading.Event()))
    assert [e.step for e in events if isinstance(e, Evaluated)] == [4, 8, 10]


def test_the_clock_ends_training_where_its_last_step_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([False])  # in time when the first step's evaluation would be due, late from then on
    monkeypatch.setattr("weitiao.training.fit._out_of_time", lambda _: next(looks, True))
    run = training(epochs=3, evaluate_every=100, patience=None)
    events = list(fit(run, Checkpoints(tmp_path), scripted(0.5), threading.Event()))
    stopped = events[-1]
    assert isinstance(stopped, Stopped)
    assert "the time is up after 2 of" in stopped.reason
    assert [event.step for event in events if isinstance(event, Evaluated)] == [2]
    assert stopped.best_step == 2


def test_without_validation_the_last_weights_stay(tmp_path: Path) -> None:
    run = training(epochs=2)
    events = list(fit(run, Checkpoints(tmp_path), None, threading.Event()))
    assert not [e for e in events if isinstance(e, Evaluated)]
    assert isinstance(events[-1], Stopped)
    assert events[-1].best_step == 8


def test_keeps_two_newest_checkpoints_and_the_best(tmp_path: Path) -> None:
    run = training(epochs=5, patience=None)
    list(fit(run, Checkpoints(tmp_path), scripted(0.9, 0.1, 0.2, 0.3, 0.4), threading.Event()))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000004", "step-00000016", "step-00000020"]


def test_stop_saves_and_resume_gives_the_same_weights(tmp_path: Path) -> None:
    whole = training(epochs=3)
    list(fit(whole, Checkpoints(tmp_path / "whole"), None, threading.Event()))
    stop, first = threading.Event(), training(epochs=3)
    with pytest.raises(Interrupted):
        for event in fit(first, Checkpoints(tmp_path / "cut"), None, stop):
            if isinstance(event, StepDone) and event.step == 5:
                stop.set()
    second = training(epochs=3)
    events = list(fit(second, Checkpoints(tmp_path / "cut"), None, threading.Event()))
    assert events[0].step == 5
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_divergence_is_told_with_the_step(tmp_path: Path) -> None:
    run = training()
    with torch.no_grad():
        run.model.line.weight.fill_(float("nan"))
    with pytest.raises(RunError, match=r"step 1: .*diverged") as caught:
        list(fit(run, Checkpoints(tmp_path), None, threading.Event()))
    assert "learning_rate" in caught.value.fix


def test_a_full_disk_keeps_what_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = training(epochs=3, checkpoint_every=4)
    saved = []

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="No space left") as caught:
        for event in fit(run, Checkpoints(tmp_path), None, threading.Event()):
            if isinstance(event, CheckpointSaved):
                saved.append(event.path)
                monkeypatch.setattr("safetensors.torch.save_file", full)
    assert saved == ["step-00000004"]
    assert "step 4 is intact" in caught.value.fix
    assert [p.name for p in tmp_path.iterdir()] == saved
