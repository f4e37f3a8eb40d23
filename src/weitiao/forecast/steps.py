"""What steps of training take: a few real ones are run, by the real loop, and leave everything as it was.

Their learning rate is 0, their optimizer is one of its own, and random numbers go on as if nothing had been drawn.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import models
from weitiao.batching import micro_batches
from weitiao.forecast.cost import Cost, Shapes, fitted, telling
from weitiao.frozen import all_batches
from weitiao.kernels import quickly
from weitiao.methods.base import StandsFor
from weitiao.preparation import Preparation
from weitiao.recipe import RecoverySettings
from weitiao.training.fixed import Plan, shape_of
from weitiao.training.loop import Training, train_steps
from weitiao.training.once import FixedStates
from weitiao.training.recompute import recomputed

if TYPE_CHECKING:
    import torch

SECONDS = 4.0  # of timed steps are enough; the longest is run whatever it takes
FEWEST, MOST = 3, 60  # steps timed
GROWTH = 0.2  # of what a step takes, where too few are run to see it: freed blocks that no other tensor fits into
SEEN = 8  # shapes from which on it is seen
SLOWER = 0.5  # growth with each new shape, to that seen so far: later ones find blocks that fit
TAKE_ALL = RecoverySettings(non_finite="skip", skips=1 << 30, spike="record")  # a probe judges no losses


@dataclass(frozen=True)
class Steps:
    """What was found: bytes, seconds."""

    cost: Cost  # of a micro-batch, forward and backward
    update: float  # seconds of what a step does once: the optimizer, an average of the weights
    fill: Cost | None  # of computing once what frozen layers give, a batch
    peak: int | None  # bytes at most in an epoch; None where the system does not tell
    rest: int | None  # bytes between steps when freed memory is given back
    kept: int  # of them what the steps left behind: kernels made for their shapes

    def seconds(self, shapes: Sequence[Shapes]) -> float:
        """Seconds of steps, of which the shapes of the micro-batches are given."""
        return sum(self.cost.of(each) for each in shapes) + self.update * len(shapes)


def probed(ready: Preparation, training: Training, plan: Plan | None, *, seconds: float = SECONDS) -> Steps:
    """Run the longest micro-batch of an epoch and a few others; see `Steps`."""
    batches = micro_batches(ready)
    flat = [rows for step in training.order(0) for rows in batches.cut(step)]
    shapes = _shapes_of(batches.lengths, flat)
    chosen = [*telling(shapes, FEWEST), *range(min(MOST - FEWEST, len(flat)))]
    smallest = int(np.argmin(shapes[:, 0] * shapes[:, 1]))
    device = training.device
    with _as_in_training(ready, training), _as_it_was(device), ExitStack() as stack:
        fill = None
        models.restart_peak(device)
        if plan is not None:
            states = FixedStates(training.model, plan)
            stack.enter_context(states.serving())
            fill = _filled(ready, training, states, [flat[smallest], *(flat[number] for number in chosen)])
        stepping = stack.enter_context(_Stepping(training))
        for rows in [flat[smallest], flat[smallest]]:  # first uses: libraries, moments of the optimizer
            stepping.step(rows)
        models.restart_peak(device)
        base = models.memory_now(device)
        taken: list[tuple[int, float]] = []
        peaks: list[tuple[int, int | None]] = []  # of so many shapes
        for number in chosen:
            taken.append((number, stepping.step(flat[number])))
            kinds = len({tuple(shapes[done]) for done, _ in taken})
            peaks.append((kinds, models.peak_memory(device)))
            if len(taken) >= FEWEST and sum(took for _, took in taken) > seconds:
                break
        cost = fitted(shapes[[number for number, _ in taken]], [took for _, took in taken])
        kinds = len({tuple(shape) for shape in shapes})
        models.trim_memory()
        rest = models.memory_now(device)
        kept = max((rest or 0) - (base or 0), 0)
        update = stepping.update + _standing_in(training)
        return Steps(cost, update, fill, _grown(base, peaks, kinds, len(flat)), rest, kept)


def _standing_in(training: Training) -> float:
    """Seconds that a step takes for what stands for the weights in the end; it begins anew afterwards."""
    taken = 0.0
    for part in training.parts.values():
        if isinstance(part, StandsFor):
            times = []
            for _ in range(FEWEST):
                start = time.perf_counter()
                part.after_step(training.model, training.steps, training.steps)  # the last step is averaged in any case
                times.append(time.perf_counter() - start)
            part.restore(training.model, {})
            taken += float(np.median(times))
    return taken


def _grown(base: int | None, peaks: Sequence[tuple[int, int | None]], kinds: int, steps: int) -> int | None:
    """Bytes at most in a whole epoch of so many steps and shapes: freed blocks are kept, and not all fit again.

    `peaks` tells the shapes run so far and the bytes at most by then, of the longest one first.
    """
    first, (seen, last) = peaks[0][1], peaks[-1]
    if base is None or first is None or last is None:
        return last
    if seen >= SEEN:
        each = (last - first) / (seen - peaks[0][0])
        return int(last + SLOWER * each * min(max(kinds - seen, 0), 2 * seen))
    return int(max(last, first + GROWTH * max(first - base, 0) * (steps > FEWEST)))


def peak_of(ready: Preparation, training: Training, counts: Sequence[int]) -> list[list[tuple[int, int | None]]]:
    """Bytes at most while the so many longest rows of a kind go through together, for each kind each of `counts`.

    Rows of a kind that has fewer are taken several times.
    """
    batches = micro_batches(ready)
    device, found = training.device, []
    one = replace(training, collate=replace(batches, tokens=sys.maxsize))
    with _as_in_training(ready, training), _as_it_was(device), _Stepping(one) as stepping:
        for longest in batches.longest():
            models.trim_memory()  # else what the kind before needed seems needed by one row of this one
            stepping.step(longest[-1:])  # moments of the optimizer, first uses
            peaks: list[tuple[int, int | None]] = []
            for count in counts:
                models.restart_peak(device)
                stepping.step(np.resize(longest, count))
                peaks.append((count, models.peak_memory(device)))
            found.append(peaks)
    return found


def shapes_of_steps(ready: Preparation, order: Sequence[np.ndarray]) -> list[Shapes]:
    """Of each step the rows and tokens of its micro-batches."""
    batches = micro_batches(ready)
    lengths = batches.lengths
    return [_shapes_of(lengths, batches.cut(rows)) for rows in order]


def _shapes_of(lengths: np.ndarray, batches: Sequence[np.ndarray]) -> Shapes:
    return np.array([(len(rows), int(lengths[rows].max())) for rows in batches], dtype=np.int64)


class _Stepping:
    """Real steps over rows of our choice, at a learning rate of 0."""

    def __init__(self, training: Training) -> None:
        self._next: np.ndarray = np.zeros(0, np.int64)
        paces = {name: replace(pace, start=0.0) for name, pace in training.paces.items()}  # all move: the most it takes
        settings = training.settings.model_copy(update={"recovery": TAKE_ALL, "epochs": 1e6})
        self._training = replace(
            training, settings=settings, paces=paces, parts={}, rate=lambda _: 0.0, order=lambda _: [self._next],
            step=0, epoch=0, batch=0,
        )  # fmt: skip
        self._steps = train_steps(self._training)
        self._updates: list[float] = []
        self._began: list[float] = []  # of the updates under way: an optimizer may call that of its base class
        self._training.optimizer.register_step_pre_hook(lambda *_: self._began.append(time.perf_counter()))
        self._training.optimizer.register_step_post_hook(lambda *_: self._updated())

    def __enter__(self) -> _Stepping:
        return self

    def __exit__(self, *_: object) -> None:
        self._steps.close()  # what the loop changed in the model for its time is put back

    def _updated(self) -> None:
        began = self._began.pop()
        if not self._began:
            self._updates.append(time.perf_counter() - began)

    @property
    def update(self) -> float:
        """Seconds of an update, the median."""
        return float(np.median(self._updates)) if self._updates else 0.0

    def step(self, rows: np.ndarray) -> float:
        """Seconds of a step over the rows, without its update."""
        self._next, before = rows, len(self._updates)
        start = time.perf_counter()
        next(self._steps)
        took = time.perf_counter() - start - sum(self._updates[before:])
        return max(took, 1e-6)


def _filled(ready: Preparation, training: Training, states: FixedStates, chosen: Sequence[np.ndarray]) -> Cost:
    """Keep what frozen layers give for some micro-batches, and the longest batch of all; what a batch takes."""
    times: list[float] = []
    shapes: list[tuple[int, int]] = []

    def batches() -> Iterator[Any]:
        yield next(iter(all_batches(ready)))
        for rows in chosen:
            for batch in training.collate(rows):
                yield from (each.to(training.device) for each in (batch, batch.unchanged) if each is not None)

    def noted() -> Iterator[Any]:
        for batch in batches():
            shapes.append(shape_of(batch.inputs))
            yield batch

    last = time.perf_counter()
    for _ in states.fill(noted(), training.autocast):
        times.append(max(time.perf_counter() - last, 1e-6))
        last = time.perf_counter()
    return fitted(np.array(shapes[1:] or shapes), times[1:] or times)


@contextmanager
def _as_in_training(ready: Preparation, training: Training) -> Iterator[None]:
    with (
        quickly(training.model, ready.precision, learns=True),
        recomputed(training.model, ready.recipe.training.checkpoint_activations),
    ):
        yield


@contextmanager
def _as_it_was(device: torch.device) -> Iterator[None]:
    """Random numbers go on as before."""
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
