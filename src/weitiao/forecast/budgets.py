"""What a recipe leaves open is chosen so that the run fits into its budgets, `memory` and `time`."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

from weitiao import models
from weitiao.auto_values import CPU_TOKENS
from weitiao.batching import micro_batches, training_lengths
from weitiao.combinations import comparing
from weitiao.errors import RecipeError
from weitiao.forecast.ahead import Alike, alike
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
MICRO = "training.micro_batch_tokens"

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
    found = forecast(ready, training, inference, plan)
    if limited:
        _check_memory(ready, found)
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
    known = (models.memory_now(ready.device) or 0) + 12 * int(ready.facts["trainable"])
    groups, tokens = alike(micro_batches(ready), training.order.ahead(0)), ready.recipe.training.micro_batch_tokens
    longest = max(group.longest for group in groups)
    rows = max(min(group.most, int(tokens) // longest) for group in groups)
    return known + max(1, rows) * _example(ready) > TIGHT * room(ready)


def _example(ready: Preparation) -> int:
    """Bytes that the longest example keeps between forward and backward, by the formula."""
    longest = int(training_lengths(ready).max()) - models.heard(ready.pretrained)
    each = models.activation_bytes(ready.pretrained, longest, precision=ready.precision)
    return each * ready.recipe.training.regularization.passes


# --- memory


def _fitting(ready: Preparation, training: Training, plan: Plan | None) -> tuple[Preparation, Plan | None]:
    """Choose how many tokens go through at once, and whether activations are computed again, by real steps."""
    most = room(ready) / SLACK
    wanted = ready.recipe.training.checkpoint_activations
    kept = frozen_needed(ready, plan) if plan and ready.recipe.training.cache_frozen == "memory" else 0
    tokens, peaks = _most_tokens(ready, training, most - kept)
    if not tokens and wanted == "auto" and _recomputable(ready, training) and _frees(ready, plan):
        tried = _recomputing(ready, f"one example at a time takes {units.size(peaks[0])} without")
        again, peaks_again = _most_tokens(tried, training, most)
        if again:
            _check_recomputed(tried, training)
            ready, plan, tokens, peaks = tried, None, again, peaks_again
    if not tokens:
        raise _too_small(ready, min(peaks) + kept)
    if not _may_cut(ready):
        return ready, plan
    count = max(1, tokens // int(training_lengths(ready).max()))
    why = f"{count} of the longest examples at once fit into {units.size(room(ready))}"
    return replace(ready, recipe=ready.recipe.resolved({MICRO: (tokens, why)})), plan


def _most_tokens(ready: Preparation, training: Training, most: float) -> tuple[int, list[float]]:
    """How many tokens fit at once, 0 where not even one example does, and the bytes that were needed for one of the
    longest examples and for more.
    """  # fmt: skip
    groups = alike(micro_batches(ready), training.order.ahead(0))
    wishes = [_wished(ready, group) for group in groups]
    least = _example(ready) / _shares(ready, training)
    if HOPELESS * room(ready) < least:
        return 0, [least]
    counts = sorted({1, min(2, max(wishes))})
    kinds = [[float(peak) for peak in kind if peak is not None] for kind in peak_of(ready, training, counts)]
    whole = max(wish * group.longest for wish, group in zip(wishes, groups, strict=True))
    if not all(kinds):
        return whole, [0.0]
    peaks = [max(of_each) for of_each in zip(*kinds, strict=True)]
    if peaks[0] > most:
        return 0, peaks
    fits, needed = [], []
    for kind, wish, group in zip(kinds, wishes, groups, strict=True):
        each = max(kind[-1] - kind[0], 0.0) / max(counts[-1] - 1, 1)
        if kind[0] + (wish - 1) * each > most:  # of its shorter rows more go through, up to as many tokens
            fits.append((1 + int((most - kind[0]) / each)) * group.longest)
            needed.append(kind[0] + (wish - 1) * each)
    if fits and not _may_cut(ready):
        return 0, [max(needed)]
    return min([whole, *fits]), peaks


def _wished(ready: Preparation, group: Alike) -> int:
    """How many of the longest rows of a group would go through at once were there memory enough."""
    if not _may_cut(ready):
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
    return plan is None or _left_open(ready, "training.cache_frozen")


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


def _check_memory(ready: Preparation, found: Forecast) -> None:
    if found.memory is not None and found.memory > room(ready):
        raise _too_small(ready, found.memory)


def _too_small(ready: Preparation, needed: float) -> RecipeError:
    recipe, settings = ready.recipe, ready.recipe.training
    longest = int(training_lengths(ready).max())
    helps = [f"model.max_length below {longest}"]
    if comparing(ready.task, ready.method):
        helps.insert(0, f"training.batch_size below {settings.batch_size}")
    elif not _may_cut(ready) and settings.micro_batch_tokens != longest:
        helps.insert(0, f"{MICRO}: auto")
    if settings.checkpoint_activations == "never" and not _left_open(ready, SETTING):
        helps.append(f"{SETTING}: auto")
    if ready.precision == "fp32" and settings.precision == "fp32" and not _left_open(ready, "training.precision"):
        helps.append("training.precision: bf16")
    if int(ready.facts["trainable"]) > 0.1 * int(ready.facts["parameters"]):
        helps.append("method: lora")
    if recipe.evaluation.baselines:
        helps.append("evaluation.baselines: false")
    more = "more memory" if recipe.memory is None else f"memory above {units.size(needed)}"
    told = f"the run needs about {units.size(needed)}, and may take {units.size(room(ready))}"
    where = f"{recipe.origin('memory')} (memory)" if recipe.memory is not None else "memory"
    return RecipeError(told, where=where, fix=f"What helps: {', '.join(helps)}, a smaller model, or {more}.")


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


def _may_cut(ready: Preparation) -> bool:
    """Whether fewer examples of a step may go through at once: not where they are compared with one another."""
    return _left_open(ready, MICRO) and not comparing(ready.task, ready.method)


def _left_open(ready: Preparation, key: str) -> bool:
    return ready.recipe.origin(key).startswith("auto") or ready.recipe.origin(key) == "default"
