"""The training loop: a generator of events, one optimizer update at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao.errors import RunError
from weitiao.events import StepDone
from weitiao.recipe import TrainingSettings
from weitiao.records import Batch, Pace
from weitiao.tasks.vocabulary import forward
from weitiao.training.optimizer import clip, make_optimizer, rate_factor, trainable

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import torch

    from weitiao.methods.base import TakesPart


@dataclass
class Training:
    """A model in training: what moves, and where in the data it stands."""

    model: torch.nn.Module
    settings: TrainingSettings
    order: Callable[[int], list[np.ndarray]]  # epoch -> the rows of each step
    collate: Callable[[np.ndarray], list[Batch]]  # rows of a step -> its micro-batches
    loss: Callable[[Any, Batch], torch.Tensor]  # outputs, batch -> loss summed over its targets
    autocast: Callable[[], AbstractContextManager[Any]]
    device: torch.device
    paces: Mapping[str, Pace] = field(default_factory=dict)  # parameters that move otherwise than the rest, by name
    method: TakesPart | None = None  # takes part in each step
    rate: Callable[[int], float] | None = None  # learning rate at a step; None: as the settings say
    step: int = 0  # updates done
    epoch: int = 0  # epochs done
    batch: int = 0  # steps done in the current epoch
    optimizer: torch.optim.Optimizer = field(init=False)
    steps: int = field(init=False)  # updates planned

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.model, self.settings, self.paces)
        self.steps = planned_steps(len(self.order(0)), self.settings)


def planned_steps(steps_per_epoch: int, settings: TrainingSettings) -> int:
    """Updates in all; `epochs` may be a fraction."""
    return max(1, math.ceil(round(steps_per_epoch * settings.epochs, 6)))  # 100 * 1.1 is a little over 110


def train_steps(training: Training) -> Iterator[StepDone]:
    """Train on to the planned number of steps, yielding after each update; `training` then stands at the next."""
    while training.step < training.steps:
        order = training.order(training.epoch)
        for rows in order[training.batch :]:
            done = _update(training, rows, len(order))
            training.step, training.batch = training.step + 1, training.batch + 1
            if training.batch == len(order):
                training.epoch, training.batch = training.epoch + 1, 0
            yield done
            if training.step == training.steps:
                return


def _update(training: Training, rows: np.ndarray, steps_per_epoch: int) -> StepDone:
    """One optimizer update; the loss is divided by the targets of the whole step, however it is cut."""
    start = time.perf_counter()
    batches = training.collate(rows)
    targets = sum(batch.targets for batch in batches) or 1.0  # windows of a long text may all hold nothing to learn
    training.model.train()
    parameters = trainable(training.model)
    with _waiting(training, parameters):
        total = sum(_accumulate(training, batch.to(training.device), targets) for batch in batches)
        total += _penalty(training)
    norm = clip(training.optimizer, training.settings.clip_norm)
    if not (math.isfinite(norm) and math.isfinite(total)):
        raise _diverged(training, total, norm)
    rate = _rate(training)
    for group in training.optimizer.param_groups:
        group["lr"] = rate * group["pace"]
    training.optimizer.step()
    if training.method:
        training.method.after_step(training.model, training.step + 1, training.steps)
    training.optimizer.zero_grad(set_to_none=True)
    return StepDone(
        step=training.step + 1, steps=training.steps, epoch=training.epoch + (training.batch + 1) / steps_per_epoch,
        loss=total, learning_rate=rate, gradient_norm=norm, examples=len(rows),
        tokens=sum(batch.tokens for batch in batches), seconds=time.perf_counter() - start,
    )  # fmt: skip


def _accumulate(training: Training, batch: Batch, targets: float) -> float:
    with training.autocast():
        outputs = forward(training.model, batch)
    loss = training.loss(outputs, batch) / targets
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


def _rate(training: Training) -> float:
    if training.rate:
        return training.rate(training.step)
    return float(training.settings.learning_rate) * rate_factor(training.step, training.steps, training.settings)


@contextmanager
def _waiting(training: Training, parameters: Mapping[str, torch.nn.Parameter]) -> Iterator[None]:
    """Leave out of a step's gradients what does not move yet: no graph is kept for it, and AdamW passes it over."""
    waiting = [
        parameters[name] for name, pace in training.paces.items() if training.step < round(pace.start * training.steps)
    ]
    for parameter in waiting:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in waiting:
            parameter.requires_grad_(True)


def _penalty(training: Training) -> float:
    """What the method adds to the loss of a whole step, its gradient included."""
    penalty = training.method.penalty(training.model) if training.method else None
    if penalty is None:
        return 0.0
    penalty.backward()  # type: ignore[no-untyped-call]
    return float(penalty.detach())


def _diverged(training: Training, loss: float, norm: float) -> RunError:
    return RunError(
        f"step {training.step + 1}: loss {loss:.4g}, gradient norm {norm:.4g}: training has diverged",
        where="training",
        fix="Lower training.learning_rate (a third is a good next try), or use precision: fp32.",
    )
