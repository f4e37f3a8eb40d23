"""The forecast of a run: bytes at most and seconds, from real steps and real predictions of a few batches."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from weitiao import models
from weitiao.batching import micro_batches
from weitiao.evaluation.evaluate import Inference
from weitiao.forecast.ahead import course
from weitiao.forecast.measuring import Measuring, disk_seconds, measured
from weitiao.forecast.steps import Steps, probed
from weitiao.frozen import frozen_needed, keeps_validation, kept_batches
from weitiao.methods.base import ReadsExamples, StandsFor
from weitiao.preparation import Preparation
from weitiao.training.fixed import Plan
from weitiao.training.loop import Training

SLACK = 1.05  # of what is tried out: later batches are not quite alike


@dataclass(frozen=True)
class Forecast:
    """What a run is expected to take on this machine."""

    memory: int | None  # bytes at most; None where the system does not tell
    free: int  # bytes that the run may take: the budget, else what is free, with what this process has
    seconds: float  # from the first step to the report
    epoch: float  # seconds of an epoch, without measuring; the mean where they are not alike
    start: float  # seconds before the first step: of what frozen layers give
    measuring: float  # seconds of all measuring, in training and at its end, and of writing the model
    last: float  # seconds of what is measured and written when training has ended, and before that once on validation
    epochs: float

    @property
    def each(self) -> float:
        """Seconds that an epoch adds, its measuring included."""
        return max(self.seconds - self.start - self.last, 0.0) / self.epochs

    def of(self, epochs: float) -> Forecast:
        """The same for another number of epochs."""
        more = (epochs - self.epochs) * self.each
        return replace(self, seconds=self.seconds + more, epochs=epochs)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def forecast(ready: Preparation, training: Training, inference: Inference, plan: Plan | None) -> Forecast:
    """Run a few real steps and predictions and tell what all of them will take; everything stays as it was.

    `inference` is of the model of `training`, `plan` what is computed once (`frozen.py`).
    """
    ahead = course(micro_batches(ready), training.order, float(ready.recipe.training.epochs))
    steps = probed(ready, training, plan, ahead)
    reading = [part for part in training.parts.values() if isinstance(part, ReadsExamples)]
    known = plan if plan and keeps_validation(ready) else None
    measuring = measured(ready, inference, known=known, examples=bool(reading))
    settings, updates = ready.recipe.training, math.ceil(round(ahead.in_all(len), 6))
    in_steps = ahead.in_all(steps.seconds)
    evaluations = -(-updates // int(settings.evaluate_every)) if "validation" in ready.features else 0
    saving = _saves(ready, updates) * disk_seconds(12 * int(ready.facts["trainable"]))
    start = steps.fill.of(kept_batches(ready)) if steps.fill else 0.0
    readings = sum(part.readings(updates, evaluations) for part in reading)
    at_the_end = sum(part.readings(0, min(evaluations, 1)) for part in reading)
    total_measuring = evaluations * measuring.evaluation + readings * measuring.examples + measuring.final
    memory = _memory(ready, plan, steps, measuring, again=evaluations > 1, aside=_set_aside(ready, training))
    return Forecast(
        memory=memory, free=room(ready), seconds=start + in_steps + saving + total_measuring,
        epoch=in_steps / float(settings.epochs), start=start,
        measuring=total_measuring,
        last=measuring.final + measuring.evaluation + at_the_end * measuring.examples, epochs=float(settings.epochs),
    )  # fmt: skip


def _saves(ready: Preparation, updates: int) -> int:
    """Checkpoints of so many updates: wherever an evaluation is due, also with nothing to measure, and in between."""
    settings = ready.recipe.training
    due = (range(int(every), updates, int(every)) for every in (settings.evaluate_every, settings.checkpoint_every))
    return len({updates}.union(*due))


def _set_aside(ready: Preparation, training: Training) -> int:
    """Bytes of the weights that are set aside while what stands for them is measured, or of that when it is saved."""
    stands = any(isinstance(part, StandsFor) for part in training.parts.values())
    return 4 * int(ready.facts["trainable"]) if stands else 0


def _memory(
    ready: Preparation, plan: Plan | None, steps: Steps, measuring: Measuring, *, again: bool, aside: int
) -> int | None:
    """Bytes at most, in training, in measuring or in saving; `again`: steps follow an evaluation."""
    if steps.peak is None or steps.rest is None:
        return None
    cached = frozen_needed(ready, plan) if plan is not None and ready.recipe.training.cache_frozen == "memory" else 0
    trains = steps.peak + (steps.kept + measuring.kept if again else 0)
    saves = 4 * int(ready.facts["trainable"])  # a checkpoint is written from a copy of the weights
    return max(trains, steps.rest + max(measuring.added + measuring.besides, saves) + aside) + cached


def room(ready: Preparation) -> int:
    """Bytes that a run may take: the recipe's budget, else what is free and what this process has."""
    budget = ready.recipe.memory_bytes
    free = models.free_memory(ready.device) + (models.memory_now(ready.device) or 0)
    return free if budget is None else min(budget, free)
