"""What the frozen layers of a run give is computed once and kept: whether, where, and the computing of it."""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from weitiao import data, models
from weitiao.artifacts.run_folder import RUNS, output_folder
from weitiao.errors import Interrupted, RecipeError
from weitiao.evaluation.evaluate import BATCH, TOKENS
from weitiao.events import Event, FrozenCached
from weitiao.kernels import laid_out, one_thread, quickly
from weitiao.parallel import world_size
from weitiao.preparation import Preparation
from weitiao.records import Batch
from weitiao.training.fixed import NothingFixed, Plan
from weitiao.training.loop import Training
from weitiao.training.once import FixedStates, planned

if TYPE_CHECKING:
    from datasets import Dataset

SHARE = 0.25  # of the free memory, or else of the free disk, may hold what frozen layers give
PATIENCE = 10.0  # seconds between two words about how far it is


def with_frozen_part(ready: Preparation, training: Training) -> tuple[Preparation, Plan | None]:
    """Return what can be computed once instead of in each epoch, and the preparation with where it is to be kept.

    Raises a `RecipeError` where the recipe asks for a place and there is nothing to keep.
    """
    wanted = ready.recipe.training.cache_frozen
    if wanted == "never":
        return ready, None
    try:
        plan = _planned(ready, training, wanted)
        place, why = (wanted, "") if wanted != "auto" else _place(ready, plan)
    except NothingFixed as reason:
        origin = ready.recipe.origin("training.cache_frozen")
        if wanted != "auto" and not origin.startswith("auto"):  # settled so for another number of processes
            raise RecipeError(f"nothing can be computed once: {reason}", where=f"{origin} (training.cache_frozen)",
                              fix="Set training.cache_frozen: auto.") from None  # fmt: skip
        plan, place, why = None, "never", str(reason)
    if wanted == "auto":
        ready = replace(ready, recipe=ready.recipe.resolved({"training.cache_frozen": (place, why)}))
    return ready, plan if place != "never" else None


def _planned(ready: Preparation, training: Training, wanted: str) -> Plan:
    train = ready.features["train"]
    if wanted == "auto" and ready.recipe.training.epochs <= 1:
        raise NothingFixed("each example comes by once")
    if all(parameter.requires_grad for parameter in training.model.parameters()):
        raise NothingFixed("no layer is frozen")
    if ready.match is not None:
        raise NothingFixed("what frozen layers give is matched with a teacher's")
    if world_size() > 1:
        raise NothingFixed("several processes share the rows")
    if "part" in train.column_names:
        raise NothingFixed("several tasks are learned together")
    if ready.recipe.training.checkpoint_activations == "always":
        raise NothingFixed("the blocks are computed again in backward")
    if len(train) < 5:
        raise NothingFixed("there are too few examples")
    few = _unlike(data.column_array(train, "length"))
    with quickly(training.model, ready.precision, learns=True):
        return planned(training.model, partial(_collated, ready, data.RowLookup(train), True), few, training.autocast)


def _unlike(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two and three rows, none longer than needed; padded to other lengths where there are such."""
    order, count = np.argsort(lengths, kind="stable"), len(lengths)
    ranked = lengths[order]
    short = max(min(count // 8, int(np.searchsorted(ranked, ranked[-1])) - 1), 0)  # not one of the longest
    longer = int(np.searchsorted(ranked, ranked[short], side="right"))
    return order[[0, short]], order[[count // 4, count // 3, min(max(longer, count // 2), count - 1)]]


def _collated(ready: Preparation, features: data.RowLookup, training: bool, rows: np.ndarray) -> Batch:
    return ready.task.collate(features(rows), ready.reader, training=training).to(ready.device)


def _kept_features(ready: Preparation) -> dict[str, Dataset]:
    """The splits that come by again and again: validation does where it is not only read to write a text."""
    once = ready.task.head(ready.pretrained.family).logits == "example"
    validation = {"validation": ready.features["validation"]} if once and "validation" in ready.features else {}
    return ready.learned | validation


def keeps_validation(ready: Preparation) -> bool:
    """Whether what frozen layers give is kept for validation, too."""
    return "validation" in _kept_features(ready)


def _needed(ready: Preparation, plan: Plan) -> tuple[int, int]:
    """Rows of features, and the bytes that keeping them takes, at most."""
    lengths = [data.column_array(split, "length") for split in _kept_features(ready).values()]
    rows, tokens = sum(map(len, lengths)), int(sum(each.sum() for each in lengths))
    return rows, plan.bytes(rows, tokens)


def frozen_needed(ready: Preparation, plan: Plan) -> int:
    """Bytes that keeping what frozen layers give takes, at most."""
    return _needed(ready, plan)[1]


def _place(ready: Preparation, plan: Plan) -> tuple[str, str]:
    """Where to keep it by its size, and why."""
    rows, size = _needed(ready, plan)
    memory, disk = _memory(ready), shutil.disk_usage(_existing(ready)).free
    told = f"{rows:,} rows take {size / 1e6:,.1f} MB"
    for place, free in (("memory", memory), ("disk", disk)):
        if size <= SHARE * free:
            return place, f"{told}, {place} has {free / 1e6:,.0f} MB free"
    return "never", f"{told}, more than a quarter of what memory ({memory / 1e6:,.0f} MB) or disk have free"


def _memory(ready: Preparation) -> int:
    """What is free, and within the recipe's budget for memory."""
    free, most = models.free_memory(), ready.recipe.memory_bytes
    return free if most is None else max(min(free, most - (models.memory_now() or 0)), 0)


def _existing(ready: Preparation) -> Path:
    """The nearest folder above the run's that is there."""
    recipe = ready.recipe
    folder = RUNS.resolve() if recipe.output is None else output_folder(recipe.base, recipe.output)
    return next(place for place in (folder, *folder.parents) if place.exists())


@contextmanager
def computed_once(
    ready: Preparation, training: Training, plan: Plan | None, folder: Path, record: Callable[[Event], None],
    stop: threading.Event,
) -> Iterator[None]:  # fmt: skip
    """Compute what `plan` names for all rows, and have the model take it from there for as long as this lasts.

    `folder` is for files that are gone afterwards. Raises `Interrupted` when `stop` was set meanwhile.
    """
    if plan is None:
        yield
        return
    place = ready.recipe.training.cache_frozen
    states = FixedStates(training.model, plan, folder if place == "disk" else None)
    with states.serving():
        rows, size = _needed(ready, plan)
        done, told = 0, 0.0
        with while_filling(training, plan):
            for count in states.fill(all_batches(ready), training.autocast):
                if stop.is_set():
                    raise Interrupted("stopped before the first step")
                if done == 0 or time.monotonic() - told > PATIENCE:
                    record(FrozenCached(done=done, rows=rows, bytes=size, where=place))
                    told = time.monotonic()
                done += count
        record(FrozenCached(done=done, rows=rows, bytes=size, where=place))
        with while_stepping(ready, plan):
            yield


def while_filling(training: Training, plan: Plan) -> AbstractContextManager[None]:
    """How all rows are computed once: with the matrices laid out beforehand, unless memory is scarce."""
    fixed = {name for name, _ in plan.calls}
    return laid_out(training.model, fixed) if training.room is None else nullcontext()


def while_stepping(ready: Preparation, plan: Plan) -> AbstractContextManager[None]:
    """How steps are computed on what is kept: with one thread where a batch is no more than one vector for each of its
    rows, and validation, too.
    """  # fmt: skip
    kept = "validation" not in ready.features or keeps_validation(ready)
    return one_thread() if one_vector_each(plan) and kept and ready.device.type == "cpu" else nullcontext()


def one_vector_each(plan: Plan) -> bool:
    """Whether steps read no more than one vector of each of their rows: they take little time and memory."""
    return all(not leaf.by_token and math.prod(leaf.each[:-1]) == 1 for leaf in plan.read)


def all_batches(ready: Preparation) -> Iterator[Batch]:
    """All rows that come by again, always in the same batches: so is what is kept, after a stop as before it."""
    for name, features in _kept_features(ready).items():
        lookup = data.RowLookup(features)
        for rows in data.in_length_order(data.column_array(features, "length"), BATCH, tokens=TOKENS):
            yield _collated(ready, lookup, name != "validation", rows)


def kept_batches(ready: Preparation) -> np.ndarray:
    """The shapes of `all_batches`: rows and tokens of the longest, int64 of shape (batches, 2)."""
    shapes = [
        (len(rows), lengths[rows].max())
        for lengths in (data.column_array(features, "length") for features in _kept_features(ready).values())
        for rows in data.in_length_order(lengths, BATCH, tokens=TOKENS)
    ]
    return np.array(shapes, dtype=np.int64).reshape(-1, 2)
