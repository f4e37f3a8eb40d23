"""The learning-rate range test (Smith 2017, arXiv:1506.01186): a short run whose rate rises until the loss breaks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from itertools import islice

from weitiao.errors import RunError
from weitiao.events import StepDone
from weitiao.recipe import RecoverySettings
from weitiao.training.loop import Training, train_steps

STEPS = 60
SPAN = 100.0  # from the usual rate divided by this to the usual rate times this
SMOOTHING = 0.8
FIRST = 6  # the first sixth, where the rate does next to nothing, tells where the loss began
BROKEN = 2.0  # times the lowest smoothed loss: the end of the test


def range_test(training: Training, usual: float, steps: int = STEPS) -> tuple[list[float], list[float]]:
    """Train for at most `steps` updates, the rate rising evenly in its logarithm around the `usual` one.

    Returns the rates and the loss of each update, until it breaks away. The model is spoilt afterwards; step and
    optimizer of `training` are as they were.
    """
    low, ratio = usual / SPAN, SPAN**2
    recovery = RecoverySettings(non_finite="stop")
    epochs = steps / training.epoch_steps
    settings = training.settings.model_copy(update={"learning_rate": low, "recovery": recovery, "epochs": epochs})
    test = replace(training, settings=settings, rate=lambda step: low * ratio ** (step / max(steps - 1, 1)))
    rates: list[float] = []
    losses: list[float] = []
    with suppress(RunError), closing(train_steps(test)) as taken:  # that it diverged is what ends the test
        for done in islice(taken, steps):
            if not isinstance(done, StepDone):
                break
            rates.append(done.learning_rate)
            losses.append(done.loss)
            smooth = smoothed(losses)
            if len(smooth) > steps // FIRST and smooth[-1] > BROKEN * min(smooth):
                break
    return rates, losses


def suggested(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return a third of the rate at which the smoothed loss is lowest; None where the loss never fell.

    The minimum is where the rate begins to do harm; fastai takes a tenth of it, for schedules that rise above the rate.
    Ours is the highest of the schedule.
    """
    smooth, first = smoothed(losses), -(-len(losses) // FIRST)
    later = smooth[first:]
    if len(later) < 2 or min(later) >= 0.98 * sum(losses[:first]) / first:
        return None
    return float(f"{rates[first + later.index(min(later))] / 3:.1g}")


def smoothed(losses: Sequence[float]) -> list[float]:
    """Exponential mean of the losses, corrected for its start (Kingma & Ba 2015, section 3)."""
    mean, found = 0.0, []
    for count, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**count))
    return [value if math.isfinite(value) else math.inf for value in found]
