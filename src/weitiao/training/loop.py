"""The training loop: a generator of events, one optimizer update at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao.errors import RunError
from weitiao.events import StepDone
from weitiao.recipe import TrainingSettings
from weitiao.records import Batch
from weitiao.training.optimizer import make_optimizer, rate_factor, trainable

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import torch


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
    step: int = 0  # updates done
    epoch: int = 0  # epochs done
    batch: int = 0  # steps done in the current epoch
    optimizer: torch.optim.Optimizer = field(init=False)
    steps: int = field(init=False)  # updates planned

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.model, self.settings)
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
    import torch

    start = time.perf_counter()
    batches = training.collate(rows)
    targets = sum(batch.targets for batch in batches) or 1.0  # windows of a long text may all hold nothing to learn
    training.model.train()
    total = 0.0
    for batch in batches:
        total += _accumulate(training, batch.to(training.device), targets)
    parameters = list(trainable(training.model).values())
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, training.settings.clip_norm or math.inf))
    if not (math.isfinite(norm) and math.isfinite(total)):
        raise _diverged(training, total, norm)
    rate = float(training.settings.learning_rate) * rate_factor(training.step, training.steps, training.settings)
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    training.optimizer.step()
    training.optimizer.zero_grad(set_to_none=True)
    return StepDone(
        step=training.step + 1, steps=training.steps, epoch=training.epoch + (training.batch + 1) / steps_per_epoch,
        loss=total, learning_rate=rate, gradient_norm=norm, examples=len(rows),
        tokens=sum(batch.tokens for batch in batches), seconds=time.perf_counter() - start,
    )  # fmt: skip


def _accumulate(training: Training, batch: Batch, targets: float) -> float:
    with training.autocast():
        outputs = training.model(**batch.inputs)
    loss = training.loss(outputs, batch) / targets
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


def _diverged(training: Training, loss: float, norm: float) -> RunError:
    return RunError(
        f"step {training.step + 1}: loss {loss:.4g}, gradient norm {norm:.4g}: training has diverged",
        where="training",
        fix="Lower training.learning_rate (a third is a good next try), or use precision: fp32.",
    )
