"""What a recipe leaves open is chosen so that the run fits into its budgets, `memory` and `time`."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from weitiao import models
from weitiao.auto_values import CPU_TOKENS
from weitiao.batching import micro_batches, training_lengths
from weitiao.errors import RecipeError
from weitiao.evaluation.evaluate import Inference
from weitiao.forecast.ahead import Alike, alike
from weitiao.forecast.lack import MICRO, helps, left_open, may_cut
from weitiao.forecast.steps import peak_of, try_heavier
from weitiao.forecast.told import SLACK, Forecast, forecast, room
from weitiao.frozen import frozen_needed
from weitiao.loading import Loaded, settled
from weitiao.preparation import Preparation
from weitiao.records import Finding
from weitiao.trackers import units
from weitiao.training.fixed import Plan
from weitiao.training.loop import Training
from weitiao.training.recompute import SETTING, blocks, check_recomputed

TIGHT = 0.5  # of the memory there is: from so large an estimate on, a run without budgets is tried out as well
HOPELESS = 3.0  # times the memory there is: one example of such an estimate is not even tried out
CLOCK = 0.95  # of the time is planned for
FEWER = (2, 4)  # into so many parts the tokens that fitted in single steps are cut where a whole run does not fit

Run = tuple[Preparation, Loaded, Plan | None]


def within_memory(ready: Preparation, loaded: Loaded, plan: Plan | None) -> Run:
    """Settle what the recipe leaves open so that the run fits into its `memory`, or into what there is.

    A run that has no budget and by the formula takes less than half of the memory there is, is not tried out. Raises a
    `RecipeError` where it cannot fit. Several processes have no budgets (`preparation.py` refuses them), and nothing is
    tried out.
    """
    training, inference = loaded
    if ready.recipe.training.checkpoint_activations == "always":
        _check_recomputed(ready, training)
    limited = _limited(ready, training)
    if limited:
        ready, plan = _fitting(ready, training, plan)
    ready = _not_recomputed(ready, limited)
    training = settled(ready, training, room=room(ready) if limited else None)
    return ready, (training, inference), plan


def again_within_memory(ready: Preparation, training: Training) -> None:
    """The same for a run that goes on: all is settled, and where memory is scarce it gives freed blocks back."""
    if _limited(ready, training):
        training.room = room(ready)


def within_time(
    ready: Preparation, loaded: Loaded, plan: Plan | None, *, began: float, always: bool = False
) -> tuple[Preparation, Loaded]:
    """Settle the epochs so that the run fits into its `time`, and put the forecast into the facts; or, of a run without
    budgets, only try its heaviest micro-batches out.

    `began` is when the work did (`time.monotonic`). A run that has no budget, and memory enough, has a forecast only
    where `always`; else its heaviest micro-batches are run (`try_heavier`) if it does not begin with them. Raises a
    `RecipeError` where it cannot fit.
    """  # fmt: skip
    training, inference = loaded
    limited = training.room is not None
    if not (limited or always or ready.recipe.time is not None):
        if training.parallel.size == 1:
            try_heavier(ready, training, plan)
        return ready, loaded
    ready, training, found = _foreseen(ready, training, inference, plan)
    if ready.recipe.time_seconds is not None:
        left = ready.recipe.time_seconds - (time.monotonic() - began)
        ready, found = _in_time(ready, training, found, left)
        training = settled(ready, training, deadline=time.monotonic() + left - found.last)
    ready = replace(ready, facts=ready.facts | {"steps": training.steps, "forecast": found.to_dict()})
    return ready, (training, inference)


def _limited(ready: Preparation, training: Training) -> bool:
    return ready.recipe.memory is not None or (training.parallel.size == 1 and _tight(ready, training))


def _tight(ready: Preparation, training: Training) -> bool:
    """Whether the formula says that memory is scarce."""
    groups, tokens = alike(micro_batches(ready), training.order.ahead(0)), ready.recipe.training.micro_batch_tokens
    longest = max(group.longest for group in groups)
    rows = max(min(group.most, int(tokens) // longest) for group in groups)
    return _known(ready) + max(1, rows) * _example(ready, longest) > TIGHT * room(ready)


def _known(ready: Preparation) -> int:
    """Bytes that are taken already, and those of gradients and the optimizer."""
    return (models.memory_now(ready.device) or 0) + 12 * int(ready.facts["trainable"])


def _example(ready: Preparation, tokens: int) -> int:
    """Bytes that an example which counts so many tokens keeps between forward and backward, by the formula."""
    own = tokens - models.heard(ready.pretrained)
    each = models.activation_bytes(ready.pretrained, own, precision=ready.precision)
    return each * ready.recipe.training.regularization.passes


# --- memory


def _fitting(ready: Preparation, training: Training, plan: Plan | None) -> tuple[Preparation, Plan | None]:
    """Choose how many tokens go through at once, and whether activations are computed again, by real steps."""
    most = room(ready) / SLACK
    wanted = ready.recipe.training.checkpoint_activations
    kept = frozen_needed(ready, plan) if plan and ready.recipe.training.cache_frozen == "memory" else 0
    tokens, needed = _most_tokens(ready, training, most - kept)
    if not tokens and wanted == "auto" and _recomputable(ready, training) and _frees(ready, plan):
        takes = f"takes {units.size(needed)}" if math.isfinite(needed) else "takes more than there is"
        tried = _recomputing(ready, f"one example at a time {takes} without")
        tokens, again = _most_tokens(tried, training, most)
        if tokens:
            _check_recomputed(tried, training)
            ready, plan = tried, None
        needed = min(needed, again)
    if not tokens:
        raise _too_small(ready, needed + kept)
    if not may_cut(ready):
        return ready, plan
    count = max(1, tokens // int(training_lengths(ready).max()))
    why = f"{count} of the longest examples at once fit into {units.size(room(ready))}"
    return replace(ready, recipe=ready.recipe.resolved({MICRO: (tokens, why)})), plan


def _most_tokens(ready: Preparation, training: Training, most: float) -> tuple[int, float]:
    """How many tokens fit at once, 0 where not even one example does; and the bytes that one of the longest examples
    needs, or where a step is not cut what goes through at once: infinite where that got no memory.
    """
    groups = alike(micro_batches(ready), training.order.ahead(0))
    wishes, longest = [_wished(ready, group) for group in groups], max(group.longest for group in groups)
    least = _example(ready, longest) / _shares(ready, training)
    if HOPELESS * room(ready) < least:
        return 0, least
    counts = [_tried(ready, training, *each) for each in zip(groups, wishes, strict=True)]
    peaks = peak_of(ready, training, counts, cut=may_cut(ready))
    one = max(own[0] for own in peaks)
    if one > most:
        return 0, one
    fits, needed = [max(wish * group.longest for wish, group in zip(wishes, groups, strict=True))], []
    for group, wish, tried, own in zip(groups, wishes, counts, peaks, strict=True):
        rows, takes = _carried_on(tried, own, wish, most)
        if rows < wish:
            fits.append(rows * group.longest)  # of its shorter rows more go through, up to as many tokens
            needed.append(takes)
    if needed and not may_cut(ready):
        return 0, max(needed)
    return min(fits), one


def _tried(ready: Preparation, training: Training, group: Alike, wish: int) -> list[int]:
    """How many of the longest rows of a group are tried out at once: few, and as many as half of what is free holds by
    the formula, for what few take is hidden by gradients and moments.
    """  # fmt: skip
    free = TIGHT * max(room(ready) - _known(ready), 0)
    half = int(free * _shares(ready, training) / max(1, _example(ready, group.longest)))
    return sorted({1, min(2, wish), min(max(1, half), wish)})


def _carried_on(counts: Sequence[int], peaks: Sequence[float], wish: int, most: float) -> tuple[int, float]:
    """How many rows up to `wish` fit into `most` bytes, and what `wish` rows need, by the bytes of `counts` of them."""
    seen = [(count, peak) for count, peak in zip(counts, peaks, strict=True) if math.isfinite(peak)]
    (one, least), (more, peak) = seen[0], seen[-1]
    each = max(peak - least, 0.0) / max(more - one, 1)
    below = counts[len(seen)] - 1 if len(seen) < len(counts) else wish  # more got no memory
    needed = least + (wish - one) * each if below == wish else math.inf
    fit = one + int((most - least) / each) if least + (below - one) * each > most else below
    return fit, needed


def _wished(ready: Preparation, group: Alike) -> int:
    """How many of the longest rows of a group would go through at once were there memory enough."""
    if not may_cut(ready):
        return max(1, min(group.most, int(ready.recipe.training.micro_batch_tokens) // group.longest))
    return min(group.most, max(1, CPU_TOKENS // group.longest)) if ready.device.type == "cpu" else group.most


def _shares(ready: Preparation, training: Training) -> int:
    """Into how many shares activations are divided of which one is there at a time, about: blocks computed again."""
    return max(1, len(blocks(training.model))) if ready.recipe.training.checkpoint_activations == "always" else 1


def _recomputable(ready: Preparation, training: Training) -> bool:
    """Whether blocks can be computed again: mixout's weights are gone by then."""
    return bool(blocks(training.model)) and not ready.recipe.training.regularization.mixout


def _frees(ready: Preparation, plan: Plan | None) -> bool:
    """Whether what is computed once may be given up: both do not go together."""
    return plan is None or left_open(ready, "training.cache_frozen")


def _recomputing(ready: Preparation, why: str) -> Preparation:
    values: dict[str, tuple[Any, str]] = {SETTING: ("always", why)}
    if ready.recipe.training.cache_frozen != "never":
        values["training.cache_frozen"] = ("never", "the blocks are computed again in backward")
    return replace(ready, recipe=ready.recipe.resolved(values))


def _not_recomputed(ready: Preparation, limited: bool) -> Preparation:
    if ready.recipe.training.checkpoint_activations != "auto":
        return ready
    why = "it fits without" if limited else "there is memory enough"
    return replace(ready, recipe=ready.recipe.resolved({SETTING: ("never", why)}))


def _check_recomputed(ready: Preparation, training: Training) -> None:
    """Raise a `RecipeError` at the setting where the model does not give the same with its blocks computed again."""
    import torch

    batches = micro_batches(ready)
    with torch.random.fork_rng():  # what is masked there is none of the training's
        batch = batches.kinds[0].batch(batches.longest()[0][-2:])
    try:
        check_recomputed(training.model, batch.to(training.device), training.forward, training.loss, training.autocast)
    except RecipeError as error:
        where = f"{ready.recipe.origin(SETTING)} ({SETTING})"
        raise RecipeError(error.problem, where=where, fix=error.fix) from None


def _foreseen(
    ready: Preparation, training: Training, inference: Inference, plan: Plan | None
) -> tuple[Preparation, Training, Forecast]:
    """The forecast. Where memory is scarce and a whole run needs more than what was tried out, it is of fewer tokens at
    once; raises a `RecipeError` where that does not do either.
    """  # fmt: skip
    first, longest = int(ready.recipe.training.micro_batch_tokens), int(training_lengths(ready).max())
    fewer = [max(first // parts, longest) for parts in FEWER if may_cut(ready) and first > longest]
    needed: list[int] = []
    for tokens in dict.fromkeys([first, *fewer]):
        if needed:
            why = f"with {first:,} the run would take about {units.size(needed[0])}"
            ready = replace(ready, recipe=ready.recipe.resolved({MICRO: (tokens, why)}))
            training = settled(ready, training)
        found = forecast(ready, training, inference, plan)
        if training.room is None or found.memory is None or found.memory <= room(ready):
            return ready, training, found
        needed.append(found.memory)
    raise _too_small(ready, min(needed), *["evaluation.baselines: false"] * bool(ready.recipe.evaluation.baselines))


def _too_small(ready: Preparation, needed: float, *more: str) -> RecipeError:
    """The error where so many bytes are needed; `more` helps beside what training takes less with."""
    recipe, known = ready.recipe, math.isfinite(needed)
    last = f"memory above {units.size(needed)}" if recipe.memory is not None and known else "more memory"
    told = f"the run needs {f'about {units.size(needed)}' if known else 'more memory than there is'}"
    where = f"{recipe.origin('memory')} (memory)" if recipe.memory is not None else "memory"
    fix = f"What helps: {', '.join([*helps(ready), *more])}, a smaller model, or {last}."
    return RecipeError(f"{told}, and may take {units.size(room(ready))}", where=where, fix=fix)


# --- time


def _in_time(ready: Preparation, training: Training, found: Forecast, left: float) -> tuple[Preparation, Forecast]:
    """As many epochs as fit into the time that is left."""
    recipe, wanted = ready.recipe, float(ready.recipe.training.epochs)
    if found.seconds <= CLOCK * left:
        return ready, found
    an_epoch = max(training.epoch_steps, 1)
    steps = math.floor((CLOCK * left - found.start - found.last) / max(found.each / an_epoch, 1e-9))
    where = f"{recipe.origin('time')} (time)"
    if steps < 1:
        least = found.start + found.last + found.each / an_epoch
        raise RecipeError(
            f"what is measured and written takes about {least:.0f} s with a single step; {max(left, 0):.0f} s are left "
            f"of {recipe.time}", where=where,
            fix="Give it more time, or measure less: evaluation.examples, evaluation.baselines: false.",
        )  # fmt: skip
    epochs = min(wanted, round(steps / an_epoch, 4))
    told = f"{wanted:g} epoch{' takes' if wanted == 1 else 's take'} about {found.seconds:.0f} s"
    values = {"training.epochs": (epochs, f"{told}, more than time: {recipe.time}")}
    finding = Finding("warning", where, f"{told}; {epochs:g} fit into {recipe.time}, and the schedule is made for them",
                      "Give it more time, or take fewer or shorter examples.")  # fmt: skip
    findings = [*ready.findings, finding]
    return replace(ready, recipe=recipe.resolved(values), findings=findings), found.of(epochs)
