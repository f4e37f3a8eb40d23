"""What steps of training take: a few real ones are run, by the real loop, and leave everything as it was.

Their learning rate is 0, their optimizer is one of its own, and random numbers go on as if nothing had been drawn.
"""

from __future__ import annotations

import gc
import math
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import models
from weitiao.batching import micro_batches, training_lengths
from weitiao.forecast.ahead import Alike, Course, alike, heavier_later, shapes_of
from weitiao.forecast.cost import Cost, Shapes, fitted, telling
from weitiao.forecast.lack import TooHeavyError, memory_needed
from weitiao.frozen import all_batches, kept_batches, one_vector_each, while_filling, while_stepping
from weitiao.kernels import quickly
from weitiao.methods.base import StandsFor, TakesPart
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

Parts = Sequence[np.ndarray]  # the rows of each micro-batch of a step


@dataclass(frozen=True)
class Steps:
    """What was found: bytes, seconds."""

    cost: Cost  # of a micro-batch, forward and backward
    update: float  # seconds of what a step does once: penalties, the optimizer, an average of the weights
    fill: Cost | None  # of computing once what frozen layers give, a batch
    peak: int | None  # bytes at most in an epoch; None where the system does not tell
    rest: int | None  # bytes between steps when freed memory is given back
    kept: int  # of them what the steps left behind: kernels made for their shapes

    def seconds(self, shapes: Sequence[Shapes]) -> float:
        """Seconds of steps, of which the shapes of the micro-batches are given."""
        return sum(self.cost.of(each) for each in shapes) + self.update * len(shapes)


def probed(
    ready: Preparation, training: Training, plan: Plan | None, course: Course, *, seconds: float = SECONDS
) -> Steps:
    """Run the heaviest micro-batches that may come in a training of that `course`, and a few others; see `Steps`.

    Behind another one where they come so: the gradients lie there by then.
    """
    batches, device = micro_batches(ready), training.device
    lengths, groups = batches.lengths, alike(batches, training.order.ahead(0))
    epochs = [np.concatenate(epoch.shapes) for epoch in course.looked_at]
    flat = [(step, number) for epoch in course.looked_at for step in epoch.steps for number in range(len(step))]
    shapes = np.concatenate(epochs)
    heaviest = [group.step(rows) for group in groups for rows in group.heaviest(batches.tokens)]
    chosen = [*heaviest, *_others(lengths, heaviest, flat, shapes)]
    step, number = flat[int(np.argmin(shapes[:, 0] * shapes[:, 1]))]
    smallest: Parts = [step[number]]
    with _as_in_training(ready, training), _as_it_was(device), ExitStack() as stack:
        models.restart_peak(device)
        fill = stack.enter_context(_with_states(ready, training, plan, [smallest, *chosen]))
        stepping = stack.enter_context(_Stepping(ready, training))
        for parts in [smallest, smallest]:  # first uses: libraries, moments of the optimizer
            stepping.step(parts)
        filled = models.peak_memory(device)
        models.restart_peak(device)
        base = models.memory_now(device)
        taken: list[float] = []
        peaks: list[tuple[int, int | None]] = []  # of so many shapes
        seen = set[tuple[int, int]]()
        for number, parts in enumerate(chosen, 1):
            taken.append(stepping.step(parts))
            seen |= _kinds(shapes_of(lengths, parts))
            if number >= len(heaviest):
                peaks.append((len(seen), models.peak_memory(device)))
            if number >= len(heaviest) + FEWEST - 1 and sum(taken) > seconds:
                break
        cost = fitted([shapes_of(lengths, parts) for parts in chosen[: len(taken)]], taken)
        kinds = max(len(_kinds(each)) for each in epochs)
        models.trim_memory()
        rest = models.memory_now(device)
        kept = max((rest or 0) - (base or 0), 0)
        update = stepping.update + _standing_in(training)
        peak = max(_grown(base, peaks, kinds, max(map(len, epochs))) or 0, filled or 0) or None
        return Steps(cost, update, fill, peak, rest, kept)


def _others(
    lengths: np.ndarray, heaviest: Sequence[Parts], flat: Sequence[tuple[Parts, int]], shapes: Shapes
) -> list[Parts]:
    """Micro-batches to run beside the heaviest: unlike ones first, then such as come, from all over the training; each
    behind one row where it comes behind others. `flat`: the step and the place in it of each of `shapes`.
    """  # fmt: skip
    known = {kind for parts in heaviest for kind in _kinds(shapes_of(lengths, parts))}
    unlike = [number for number in telling(shapes, FEWEST) if tuple(shapes[number]) not in known]
    spread = np.linspace(0, len(flat) - 1, min(MOST - FEWEST, len(flat))).round().astype(int)
    wanted = [flat[number] for number in [*unlike, *spread]]
    return [[step[0][-1:], step[place]] if place else [step[0]] for step, place in wanted]


def _kinds(shapes: Shapes) -> set[tuple[int, int]]:
    return {(int(rows), int(tokens)) for rows, tokens in shapes}


def try_heavier(ready: Preparation, training: Training, plan: Plan | None) -> None:
    """Run the heaviest micro-batches that may come, where the first step does not hold such: else a lack of memory
    would show only when they come. Raises a `RecipeError` where memory does not do.

    They are run as they come: above frozen layers that are computed once (`plan`) where some are; where that is one
    vector for each row, none are.
    """
    if plan is not None and one_vector_each(plan):
        return
    grows = any(0 < pace.start < pace.end for pace in training.paces.values())
    heavier = heavier_later(micro_batches(ready), training.order, all_move=not grows)
    if not heavier:
        return
    with (
        _as_in_training(ready, training),
        _as_it_was(training.device),
        _with_states(ready, training, plan, heavier),
        _Stepping(ready, training) as stepping,
    ):
        for parts in heavier:
            stepping.step(parts)
    models.trim_memory()


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

    `peaks` tells the shapes run so far and the bytes at most by then, of the heaviest ones first.
    """
    first, (seen, last) = peaks[0][1], peaks[-1]
    if base is None or first is None or last is None:
        return last
    if seen >= SEEN and seen > peaks[0][0]:
        each = (last - first) / (seen - peaks[0][0])
        return int(last + SLOWER * each * min(max(kinds - seen, 0), 2 * seen))
    return int(max(last, first + GROWTH * max(first - base, 0) * (steps > FEWEST)))


def peak_of(ready: Preparation, training: Training, counts: Sequence[Sequence[int]], *, cut: bool) -> list[list[float]]:
    """Bytes at most while so many of the longest rows that may share a micro-batch go through together, for each group
    of `alike` each of its `counts`, which rise; 0 where the system does not tell, infinite where memory did not do.

    Where there are fewer rows they are taken several times. `cut`: they go through behind others of their step, however
    many they are.
    """
    groups = alike(micro_batches(ready), training.order.ahead(0))
    one = replace(training, collate=replace(micro_batches(ready), tokens=sys.maxsize))
    found = []
    with _as_in_training(ready, training), _as_it_was(training.device):
        for group, own in zip(groups, counts, strict=True):
            gc.collect()
            models.trim_memory()  # else what the kind before needed seems needed by one row of this one
            found.append(_peaks(ready, one, replace(group, behind=group.behind or cut), own))
    return found


def _peaks(ready: Preparation, training: Training, group: Alike, counts: Sequence[int]) -> list[float]:
    peaks: list[float] = []
    with suppress(TooHeavyError), _Stepping(ready, training) as stepping:
        stepping.step([group.rows[-1:]])  # moments of the optimizer, first uses
        for count in counts:
            models.restart_peak(training.device)
            stepping.step(group.step(np.resize(group.rows, count)))
            peaks.append(float(models.peak_memory(training.device) or 0))
    return peaks + [math.inf] * (len(counts) - len(peaks))


class _Stepping:
    """Real steps over micro-batches of our choice, at a learning rate of 0."""

    def __init__(self, ready: Preparation, training: Training) -> None:
        self._ready, self._given = ready, _Given()
        self._added = {name: _Added(part) for name, part in training.parts.items()}
        paces = {name: replace(pace, start=0.0) for name, pace in training.paces.items()}  # all move: the most it takes
        settings = training.settings.model_copy(update={"recovery": TAKE_ALL, "epochs": 1e6})
        self._training = replace(
            training, settings=settings, paces=paces, parts=dict(self._added), rate=lambda _: 0.0, order=self._given,
            collate=lambda _: [batch for rows in self._given.parts for batch in training.collate(rows)],
            step=0, epoch=0, batch=0,
        )  # fmt: skip
        self._steps = train_steps(self._training)
        self._updates: list[float] = []
        self._penalties: list[float] = []
        self._began: list[float] = []  # of the updates under way: an optimizer may call that of its base class
        self._training.optimizer.register_step_pre_hook(lambda *_: self._began.append(time.perf_counter()))
        self._training.optimizer.register_step_post_hook(lambda *_: self._updated())

    def __enter__(self) -> _Stepping:
        return self

    def __exit__(self, *_: object) -> None:
        self._steps.close()  # what the loop changed in the model for its time is put back
        self._training.optimizer.zero_grad(set_to_none=True)  # of a step that memory did not do for
        self._training.optimizer.state.clear()

    def _updated(self) -> None:
        began = self._began.pop()
        if not self._began:
            self._updates.append(time.perf_counter() - began)

    @property
    def update(self) -> float:
        """Seconds of what a step does once, penalties and the optimizer, the median."""
        return sum(float(np.median(times)) for times in (self._updates, self._penalties) if times)

    def step(self, parts: Parts) -> float:
        """Seconds of a step of these parts, without what it does once; raises `TooHeavyError`."""
        self._given.parts, before = parts, len(self._updates)
        start = time.perf_counter()
        chosen = self._training.room is not None
        with memory_needed(self._ready, lambda: shapes_of(training_lengths(self._ready), parts), chosen=chosen):
            next(self._steps)
        took = time.perf_counter() - start - sum(self._updates[before:])
        self._penalties.append(sum(part.seconds for part in self._added.values()))
        return max(took - self._penalties[-1], 1e-6)


@dataclass
class _Given:
    """An `Order` of one step, of the parts that were given last."""

    parts: Parts = ()

    def __call__(self, epoch: int) -> list[np.ndarray]:
        return [np.concatenate([np.zeros(0, np.int64), *self.parts])]

    def ahead(self, epoch: int) -> list[np.ndarray]:
        return self(epoch)


class _Added:
    """What a part adds to the loss of a step, and no more of it: its state stays as it is."""

    def __init__(self, part: TakesPart) -> None:
        self._part = part
        self.seconds = 0.0  # of the last step

    def penalty(self, model: torch.nn.Module) -> None:
        """Its gradient is taken here, so that it is timed."""
        start = time.perf_counter()
        found = self._part.penalty(model)
        if found is not None:
            found.backward()  # type: ignore[no-untyped-call]
        self.seconds = time.perf_counter() - start

    def after_step(self, model: torch.nn.Module, step: int, steps: int) -> None:
        """Nothing: the weights have not moved."""

    def state(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """Nothing is kept."""
        return {}

    def restore(self, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
        """Nothing is put back."""


@contextmanager
def _with_states(
    ready: Preparation, training: Training, plan: Plan | None, chosen: Sequence[Parts]
) -> Iterator[Cost | None]:
    """Steps over `chosen` find what frozen layers give, if that is computed once; yields what a batch of it takes."""
    if plan is None:
        yield None
        return
    states = FixedStates(training.model, plan)
    with states.serving():
        with while_filling(training, plan):
            fill = _filled(ready, training, states, chosen)
        with while_stepping(ready, plan):
            yield fill


def _filled(ready: Preparation, training: Training, states: FixedStates, chosen: Sequence[Parts]) -> Cost:
    """Keep what frozen layers give for some steps, and the longest batch of all; what a batch takes; raises
    `TooHeavyError`.
    """  # fmt: skip
    times: list[float] = []
    shapes: list[tuple[int, int]] = []

    def batches() -> Iterator[Any]:
        yield next(iter(all_batches(ready)))
        for rows in (rows for parts in chosen for rows in parts):
            for batch in training.collate(rows):
                yield from (each.to(training.device) for each in (batch, batch.unchanged) if each is not None)

    def noted() -> Iterator[Any]:
        for batch in batches():
            shapes.append(shape_of(batch.inputs))
            yield batch

    def newest() -> Shapes:
        return np.array(shapes[-1:]) if shapes else kept_batches(ready)[:1]

    last = time.perf_counter()
    with memory_needed(ready, newest, chosen=training.room is not None):
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
