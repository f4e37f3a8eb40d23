"""A step that goes wrong: skipped, rolled back, or the end of the run; and the same after a stop and a resume."""

from __future__ import annotations

import json
import math
import statistics
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.watching import Watcher, of
from weitiao import train
from weitiao.errors import Interrupted, RunError
from weitiao.events import Event, LossSpiked, Resumed, RolledBack, StepDone, StepSkipped
from weitiao.recipe import RecoverySettings, TrainingSettings
from weitiao.records import Batch
from weitiao.training.average import Average, Moving
from weitiao.training.checkpoint import Checkpoints
from weitiao.training.fit import fit
from weitiao.training.loop import Training
from weitiao.training.recovery import Recovery

NAN = float("nan")
STEPS = 20


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.below, self.line = nn.Linear(4, 4), nn.Linear(4, 1)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(self.dropout(self.below(x))).squeeze(-1)


def training(wrong: Callable[[Training], float] = lambda _: 1.0, **recovery: Any) -> Training:
    """A run of 20 steps; `wrong` gives a factor on the loss of the step at hand."""
    torch.manual_seed(1)
    x = torch.randn(32, 4)
    y = x @ torch.tensor([1.0, -1.0, 0.5, 0.0])

    def fresh() -> nn.Module:
        model = Line()
        torch.manual_seed(2)
        return model

    def collate(rows: np.ndarray) -> list[Batch]:
        return [Batch({"x": x[rows]}, y[rows], float(len(rows)), len(rows), rows.tolist())]

    def loss(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        return ((outputs - batch.labels) ** 2).sum() * wrong(made)

    model = fresh()
    made = Training(
        model=model, collate=collate, autocast=nullcontext, loss=loss, device=torch.device("cpu"), fresh=fresh,
        settings=TrainingSettings(epochs=5, learning_rate=0.02, batch_size=8, evaluate_every=100, checkpoint_every=8,
                                  recovery=RecoverySettings(**recovery)),
        order=lambda epoch: np.split(np.random.default_rng(epoch).permutation(32), 4),
        parts={"average": Average(Moving(0.9), model)},
    )  # fmt: skip
    return made


def run(made: Training, folder: Path) -> list[Event]:
    return list(fit(made, Checkpoints(folder), None, threading.Event()))


# --- the policy


def test_a_spike_is_told_by_the_stated_formula() -> None:
    losses = [1 + 0.1 * math.sin(step) for step in range(40)]
    recovery = Recovery(RecoverySettings(spike_threshold=6))
    for count, loss in enumerate(losses):
        assert recovery.spikes_over(1000.0) is None or count >= 16
        assert recovery.judge(loss, 1.0).trouble is None
    median = statistics.median(losses)
    deviation = 1.4826 * statistics.median(abs(loss - median) for loss in losses)
    assert deviation > 0.05
    assert recovery.spikes_over(median + 6 * deviation * 0.999) is None
    assert recovery.spikes_over(median + 6 * deviation * 1.001) == median
    assert recovery.judge(9.0, 1.0).action == "take"  # `record` is the default


def test_a_loss_that_hardly_varies_does_not_spike_at_each_small_rise() -> None:
    recovery = Recovery(losses=[0.01] * 30)
    assert recovery.spikes_over(0.5) is None
    assert recovery.spikes_over(0.52) == 0.01


def test_only_the_last_64_losses_count() -> None:
    recovery = Recovery()
    for loss in [5.0] * 100 + [1.0] * 64:
        recovery.judge(loss, 1.0)
    assert recovery.losses == [1.0] * 64


@pytest.mark.parametrize(
    ("policy", "actions"),
    [
        ({"non_finite": "stop"}, ["stop"]),
        ({"non_finite": "skip", "skips": 2}, ["skip", "skip", "stop"]),
        ({"non_finite": "roll-back", "skips": 1}, ["skip", "roll-back"]),
        ({"non_finite": "roll-back", "skips": 0}, ["roll-back"]),
        ({"non_finite": "roll-back", "skips": 1, "roll_backs": 0}, ["skip", "stop"]),
    ],
)
def test_what_is_done_with_steps_that_are_not_finite(policy: dict[str, Any], actions: list[str]) -> None:
    recovery = Recovery(RecoverySettings(**policy))
    assert [recovery.judge(NAN, 1.0).action for _ in actions] == actions
    assert recovery.due == (actions[-1] == "roll-back")
    assert Recovery(RecoverySettings(**policy)).judge(1.0, math.inf).trouble == "non-finite"


def test_skipping_does_not_help_where_the_weights_are_not_finite() -> None:
    assert Recovery().judge(NAN, 1.0, sound=False).action == "roll-back"
    assert Recovery(RecoverySettings(non_finite="skip")).judge(NAN, 1.0, sound=False).action == "stop"


@pytest.mark.parametrize(
    ("policy", "actions"),
    [
        ({"spike": "record"}, ["take", "take"]),
        ({"spike": "skip", "skips": 2}, ["skip", "skip", "take", "take"]),
        ({"spike": "roll-back", "skips": 1}, ["skip", "roll-back"]),
        ({"spike": "roll-back", "skips": 1, "roll_backs": 0}, ["skip", "take"]),
    ],
)
def test_what_is_done_with_spikes(policy: dict[str, Any], actions: list[str]) -> None:
    recovery = Recovery(RecoverySettings(**policy), losses=[1.0] * 20)
    assert [recovery.judge(9.0, 1.0).action for _ in actions] == actions


# --- in a run


def test_a_step_that_is_not_finite_is_skipped_and_the_schedule_goes_on(tmp_path: Path) -> None:
    made = training(lambda at: NAN if at.step == 5 else 1.0)
    events, before = [], None
    for event in fit(made, Checkpoints(tmp_path), None, threading.Event()):
        events.append(event)
        now = made.model.line.weight.detach().clone()
        if isinstance(event, StepSkipped):
            assert torch.equal(now, before)
        before = now if isinstance(event, StepDone | StepSkipped) else before
    skipped = of(StepSkipped, events)
    assert [(each.step, each.trouble, each.layers) for each in skipped] == [(6, "non-finite", ["below", "line"])]
    assert [each.step for each in of(StepDone, events)] == [*range(1, 6), *range(7, STEPS + 1)]
    healthy = of(StepDone, run(training(), tmp_path / "healthy"))
    assert of(StepDone, events)[5].learning_rate == healthy[6].learning_rate


def test_goes_back_to_the_newest_checkpoint_at_a_lower_rate(tmp_path: Path) -> None:
    made = training(lambda at: NAN if at.step >= 11 and at.recovery.rate == 1 else 1.0)
    events = run(made, tmp_path)
    back = of(RolledBack, events)
    assert [(each.step, each.to_step, each.rate, each.left) for each in back] == [(15, 8, 0.5, 1)]
    assert [each.step for each in of(StepSkipped, events)] == [12, 13, 14, 15]
    done = of(StepDone, events)
    assert [each.step for each in done] == [*range(1, 12), *range(9, STEPS + 1)]
    first, second = (next(each for each in part if each.step == 10) for part in (done[:11], done[11:]))
    assert second.learning_rate == pytest.approx(first.learning_rate / 2)
    assert done[8].loss == done[11].loss  # the same rows, the same dropout, the same weights


def test_goes_back_to_the_start_where_there_is_no_checkpoint_yet(tmp_path: Path) -> None:
    made = training(lambda at: NAN if at.step >= 2 and at.recovery.rate == 1 else 1.0, skips=1)
    events = run(made, tmp_path)
    assert [(each.step, each.to_step) for each in of(RolledBack, events)] == [(4, 0)]
    slow = training(lambda _: 1.0)
    slow.recovery.roll_backs = 1
    for _ in fit(slow, Checkpoints(tmp_path / "slow"), None, threading.Event()):
        pass
    for name, value in slow.model.state_dict().items():
        assert torch.equal(value, made.model.state_dict()[name]), name


def test_a_run_that_cannot_be_saved_ends_with_what_was_tried(tmp_path: Path) -> None:
    made = training(lambda at: NAN if at.step >= 9 else 1.0, rate=0.1)
    with pytest.raises(RunError, match=r"step 13: loss nan.*diverged after 3 skipped steps and 2 roll-backs") as caught:
        run(made, tmp_path)
    assert caught.value.exit_code == 2
    assert "learning_rate" in caught.value.fix


def test_the_error_names_the_layers_where_only_some_are_not_finite(tmp_path: Path) -> None:
    made = training(non_finite="stop")
    made.model.below.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(RunError, match="the gradients of below are not finite"):
        run(made, tmp_path)


def test_a_spike_is_recorded_once_and_the_step_taken(tmp_path: Path) -> None:
    made = training(lambda at: 1e4 if at.step in (17, 18) else 1.0)
    events = run(made, tmp_path)
    assert [(each.step, each.skipped) for each in of(LossSpiked, events)] == [(18, False)]
    assert of(StepSkipped, events) == []
    assert len(of(StepDone, events)) == STEPS


def test_a_spike_can_be_skipped_and_rolled_back(tmp_path: Path) -> None:
    made = training(lambda at: 1e4 if at.step >= 17 and at.recovery.rate == 1 else 1.0, spike="roll-back", skips=1)
    events = run(made, tmp_path)
    assert [(each.step, each.to_step, each.trouble) for each in of(RolledBack, events)] == [(19, 16, "spike")]
    assert [each.trouble for each in of(StepSkipped, events)] == ["spike", "spike"]
    assert of(LossSpiked, events)[0].skipped


# --- stopped and resumed


def troubled(at: Training) -> float:
    """One bad step, and a run that has to go back twice."""
    return NAN if at.step == 2 or (at.step >= 11 and at.recovery.roll_backs < 2) else 1.0


def weights(made: Training) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in made.model.state_dict().items()}


@pytest.mark.parametrize("cuts", [[1], [3], [9], [10, 11], [12], [13], [15], [9, 10, 11, 12, 13, 16, 18]])
def test_stopped_anywhere_and_resumed_is_bit_identical(cuts: list[int], tmp_path: Path) -> None:
    """Also where a checkpoint of the stop stands behind the one that the undisturbed run goes back to."""
    whole = training(troubled)
    events = run(whole, tmp_path / "whole")
    assert [each.rate for each in of(RolledBack, events)] == [0.5, 0.25]
    left, stops = list(cuts), 0
    while True:
        made, stop = training(troubled), threading.Event()
        try:
            for event in fit(made, Checkpoints(tmp_path / "cut"), None, stop):
                if left and isinstance(event, StepDone | StepSkipped) and event.step == left[0]:
                    left.pop(0)
                    stop.set()
            break
        except Interrupted:
            stops += 1
    assert stops == len(cuts) - len(left) > 0
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(made)[name]), name
    assert made.recovery.state() == whole.recovery.state()


@pytest.mark.parametrize("at", [2, 9, 14, 17])
def test_killed_anywhere_and_resumed_is_bit_identical(at: int, tmp_path: Path) -> None:
    """The events so far are gone with the process; what counts is what checkpoints hold."""
    whole = training(troubled)
    run(whole, tmp_path / "whole")
    seen = 0
    for event in fit(training(troubled), Checkpoints(tmp_path / "cut"), None, threading.Event()):
        seen += isinstance(event, StepDone | StepSkipped)
        if seen == at:
            break
    second = training(troubled)
    events = run(second, tmp_path / "cut")
    assert bool(of(Resumed, events)) == (at >= 9)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(second)[name]), name


def test_a_roll_back_takes_away_what_came_after(tmp_path: Path) -> None:
    made, stop = training(troubled), threading.Event()
    with pytest.raises(Interrupted):
        for event in fit(made, Checkpoints(tmp_path), None, stop):
            if isinstance(event, StepDone) and event.step == 10:
                stop.set()
    assert (tmp_path / "step-00000010").exists()
    again = training(troubled)
    for event in fit(again, Checkpoints(tmp_path), None, threading.Event()):
        if isinstance(event, RolledBack):
            assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000008"]


# --- the whole run


def test_a_real_run_is_rolled_back_and_the_report_tells(
    recipe_values: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the model itself: its head gives numbers without end until the run has gone back to the start."""
    from weitiao.tasks.text_classification import TextClassification

    real, count = TextClassification.loss, 0

    def loss(self: Any, outputs: Any, batch: Batch) -> torch.Tensor:
        nonlocal count
        count += 1
        found = real(self, outputs, batch)
        return found * math.inf if 2 <= count <= 5 else found

    monkeypatch.setattr(TextClassification, "loss", loss)
    watcher = Watcher()
    values = recipe_values(evaluation={"bootstrap": 0, "baselines": False})
    done = train(values, trackers=[watcher])
    assert [(each.step, each.to_step) for each in of(RolledBack, watcher.seen)] == [(5, 0)]
    page = (done.folder / "report.html").read_text()
    assert "Training went back to the start, at 0.5 times the learning rate" in page
    assert "4 steps were skipped: the loss or gradient was not finite" in page
    assert "Gradient by layer" in page
    course = json.loads((done.folder / "report.json").read_text())["course"]
    assert course["layers"][0] == "bert.embeddings"
    assert course["layers"][-1] == "classifier"
    told = capsys.readouterr().err
    assert not told or "rolled back from step 5 to the start, learning rate x 0.5; 1 left" in told
