"""The training loop: a generator of events, one optimizer update at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao.errors import RunError
from weitiao.events import Event, LossSpiked, StepDone, StepSkipped
from weitiao.parallel import SINGLE, Parallel
from weitiao.recipe import TrainingSettings
from weitiao.records import Batch, Pace
from weitiao.tasks.vocabulary import forward
from weitiao.training.health import Health, gradient_norms, sampled_rows
from weitiao.training.optimizer import clip, make_optimizer, rate_factor, trainable
from weitiao.training.order import Order
from weitiao.training.recovery import Recovery

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import torch

    from weitiao.methods.base import TakesPart
    from weitiao.training.rows import RowAdamW


@dataclass
class Training:
    """A model in training: what moves, and where in the data it stands."""

    model: torch.nn.Module
    settings: TrainingSettings
    order: Order  # epoch -> the rows of each step
    collate: Callable[[np.ndarray], list[Batch]]  # rows of a step -> its micro-batches
    loss: Callable[[Any, Batch], torch.Tensor]  # outputs, batch -> loss summed over its targets
    autocast: Callable[[], AbstractContextManager[Any]]
    device: torch.device
    paces: Mapping[str, Pace] = field(default_factory=dict)  # parameters that move otherwise than the rest, by name
    parts: Mapping[str, TakesPart] = field(default_factory=dict)  # what takes part in each step, by name
    forward: Callable[[Any, Batch], Any] = forward  # model, batch -> outputs
    fresh: Callable[[], torch.nn.Module] | None = None  # makes the model as it was at the start, random numbers too
    rate: Callable[[int], float] | None = None  # learning rate at a step; None: as the settings say
    parallel: Parallel = SINGLE  # how several processes share a step
    by_rows: bool = False  # large embeddings move row by row: nobody reads weights between evaluations
    deadline: float | None = None  # by `time.monotonic`: no step begins after it
    room: int | None = None  # bytes that it may take: near it, freed memory is given back
    step: int = 0  # updates done
    epoch: int = 0  # epochs done
    batch: int = 0  # steps done in the current epoch
    optimizer: RowAdamW = field(init=False)
    parameters: dict[str, torch.nn.Parameter] = field(init=False)  # what moves, by name
    epoch_steps: int = field(init=False)  # updates of an epoch of all rows
    steps: int = field(init=False)  # updates in all, as far as it is known: an epoch to come may leave rows out
    health: Health = field(init=False)
    recovery: Recovery = field(init=False)
    told: list[Event] = field(init=False)  # of the last step, see `tell`

    def __post_init__(self) -> None:
        self.parameters = trainable(self.model)
        self.optimizer = make_optimizer(self.model, self.settings, self.paces)
        self.epoch_steps = len(self.order(0))
        self.steps = planned_steps(self.epoch_steps, self.settings)
        self.health, self.recovery = Health(self.model, self.steps), Recovery(self.settings.recovery)
        self.told = []

    def schedule(self, steps: int) -> tuple[float, int]:
        """Where it stands in its course and how long that is, in updates of epochs of all rows; this one has `steps`.

        An epoch that leaves rows out goes through as much of the course in fewer updates.
        """
        at = self.epoch * self.epoch_steps + self.batch * self.epoch_steps / steps
        return at, planned_steps(self.epoch_steps, self.settings)

    def tell(self) -> list[Event]:
        """Return what else there is to tell of the last step, once."""
        told, self.told = self.told, []
        return told


def planned_steps(steps_per_epoch: int, settings: TrainingSettings) -> int:
    """Updates in all; `epochs` may be a fraction."""
    return max(1, math.ceil(round(steps_per_epoch * settings.epochs, 6)))  # 100 * 1.1 is a little over 110


def train_steps(training: Training) -> Generator[StepDone | StepSkipped]:
    """Train on to the planned number of steps, yielding after each; `training` then stands at the next.

    Where `training.recovery` asks for a roll-back, whoever takes the events puts `training` back before the next one.
    """
    from weitiao.training.rows import by_rows

    epoch, order = -1, list[np.ndarray]()
    training.model.train()
    with by_rows(training.model, training.optimizer) if training.by_rows else nullcontext():
        while training.step < training.steps:
            if training.epoch != epoch or training.batch == 0:
                epoch, order = training.epoch, training.order(training.epoch)
                training.steps = _steps_in_all(training, len(order))
            done = _update(training, order[training.batch], len(order))
            training.step, training.batch = training.step + 1, training.batch + 1
            if training.batch == len(order):
                training.epoch, training.batch = training.epoch + 1, 0
            yield done


def _steps_in_all(training: Training, steps: int) -> int:
    """Updates in all where this epoch has `steps` and those after it all rows."""
    left = training.settings.epochs - training.epoch
    rest = steps * min(left, 1) + training.epoch_steps * max(left - 1, 0)
    return training.step - training.batch + max(1, math.ceil(round(rest, 6)))


def _update(training: Training, rows: np.ndarray, steps_per_epoch: int) -> StepDone | StepSkipped:
    """One optimizer update; the loss is divided by the targets of the whole step, however it is cut."""
    import torch

    start = time.perf_counter()
    parallel = training.parallel
    batches = training.collate(parallel.share(rows))
    counts = parallel.counted(batches)
    if not training.model.training:  # measuring left it so; to say it to each module takes as long as a small step
        training.model.train()
    parameters = training.parameters
    at, steps = training.schedule(steps_per_epoch)
    waiting = [name for name, pace in training.paces.items() if not pace.moves(at, steps)]  # not yet, or no more
    moving = list(parameters.values())
    with _left_out(waiting, parameters):
        passes = parallel.passes(batches, counts, lambda: training.collate(rows[:1]))
        own = sum(_accumulate(training, batch.to(training.device), divisor) for batch, divisor in passes)
        (total,) = parallel.total(own)
        parallel.add_gradients(moving)
        penalty = math.fsum(_penalty(training, part) for part in training.parts.values())
    norms = parallel.norms(gradient_norms(moving))
    whole = torch.linalg.vector_norm(norms)
    norm = float(whole)
    skipped = _judged(training, total, penalty, norm, parameters)
    if skipped:
        training.optimizer.zero_grad(set_to_none=True)
        return skipped
    clip(training.optimizer, whole, training.settings.clip_norm)
    rate = _rate(training, at, steps)
    for group in training.optimizer.param_groups:
        group["lr"] = rate * group["pace"]
    with _measured(training, moving, norms, waiting):
        training.optimizer.step()
    for part in training.parts.values():
        part.after_step(training.model, training.step + 1, training.steps)
    training.optimizer.zero_grad(set_to_none=True)
    return StepDone(
        step=training.step + 1, steps=training.steps, epoch=training.epoch + (training.batch + 1) / steps_per_epoch,
        loss=total, penalty=penalty, learning_rate=rate, gradient_norm=norm, examples=len(rows),
        tokens=counts.tokens, seconds=time.perf_counter() - start,
    )  # fmt: skip


def _accumulate(training: Training, batch: Batch, divisor: float) -> float:
    with training.autocast():
        outputs = training.forward(training.model, batch)
    loss = training.loss(outputs, batch) / divisor
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


def _rate(training: Training, at: float, steps: int) -> float:
    if training.rate:
        return training.rate(training.step)
    factor = rate_factor(at, steps, training.settings) * training.recovery.rate
    return float(training.settings.learning_rate) * factor


@contextmanager
def _left_out(waiting: Iterable[str], parameters: Mapping[str, torch.nn.Parameter]) -> Iterator[None]:
    """Leave out of a step's gradients what does not move yet: no graph is kept for it, and AdamW passes it over."""
    for name in waiting:
        parameters[name].requires_grad_(False)
    try:
        yield
    finally:
        for name in waiting:
            parameters[name].requires_grad_(True)


def _penalty(training: Training, part: TakesPart) -> float:
    """What a part adds to the loss of a whole step, its gradient included."""
    penalty = part.penalty(training.model)
    if penalty is None:
        return 0.0
    penalty.backward()  # type: ignore[no-untyped-call]
    return float(penalty.detach())


@contextmanager
def _measured(
    training: Training, parameters: Sequence[torch.nn.Parameter], norms: torch.Tensor, waiting: Sequence[str]
) -> Iterator[None]:
    """Watch an update layer by layer, where it is time."""
    health, step = training.health, training.step + 1
    health.seen(norms, step)
    if not health.due(step):
        yield
        return
    _settle_sampled(training, parameters)
    health.before(parameters)
    yield
    _settle_sampled(training, parameters)
    training.told += health.after(parameters, norms, step, waiting)


def _settle_sampled(training: Training, parameters: Sequence[torch.nn.Parameter]) -> None:
    for parameter in parameters if training.by_rows else ():
        training.optimizer.settle(parameter, sampled_rows(parameter))


def _judged(
    training: Training, loss: float, penalty: float, norm: float, parameters: Mapping[str, torch.nn.Parameter]
) -> StepSkipped | None:
    """Return what tells that the step is not to be taken; None where it is. Raises a `RunError` at the end of means."""
    finite = all(map(math.isfinite, (loss, penalty, norm)))
    layers, weights = ([], []) if finite else training.health.broken(parameters, training.parallel.anywhere)
    verdict = training.recovery.judge(loss, penalty + norm, sound=not weights)
    skipped = StepSkipped(
        step=training.step + 1, steps=training.steps, trouble=verdict.trouble or "", loss=loss, gradient_norm=norm,
        layers=layers, weights=weights,
    )  # fmt: skip
    if verdict.action == "stop":
        raise diverged(training, skipped)
    if verdict.usual is not None and training.recovery.in_a_row == 1:
        dropped = verdict.action != "take"
        training.told.append(LossSpiked(step=skipped.step, loss=loss, usual=verdict.usual, skipped=dropped))
    return None if verdict.action == "take" else skipped


def diverged(training: Training, skipped: StepSkipped) -> RunError:
    """The error of a run that cannot be saved: where it went wrong, and what was tried."""
    recovery, all_layers = training.recovery, len(training.health.layers)
    tried = [f"{count} {what}{'s' if count > 1 else ''}" for count, what in
             ((recovery.in_a_row - 1, "skipped step"), (recovery.roll_backs, "roll-back")) if count > 0]  # fmt: skip
    after = f" after {' and '.join(tried)}" if tried else ""
    where = [f"the {what} of {', '.join(found[:3])}{', ...' if len(found) > 3 else ''} are not finite"
             for what, found in (("weights", skipped.weights), ("gradients", skipped.layers))
             if 0 < len(found) < all_layers]  # fmt: skip
    told = f" ({where[0]})" if where else ""
    return RunError(
        f"step {skipped.step}: loss {skipped.loss:.4g}, gradient norm {skipped.gradient_norm:.4g}{told}: "
        f"training has diverged{after}",
        where="training",
        fix="Lower training.learning_rate (a third is a good next try), or use precision: fp32.",
    )
