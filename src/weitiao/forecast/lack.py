"""A lack of memory in what is tried out: how it is told, and what would help."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from weitiao import models
from weitiao.batching import training_lengths
from weitiao.combinations import comparing
from weitiao.errors import RecipeError
from weitiao.forecast.cost import Shapes
from weitiao.preparation import Preparation
from weitiao.training.recompute import SETTING

MICRO = "training.micro_batch_tokens"


class TooHeavyError(RecipeError):
    """There was no memory for what was tried out."""


@contextmanager
def memory_needed(ready: Preparation, shapes: Callable[[], Shapes], *, chosen: bool) -> Iterator[None]:
    """Raise `TooHeavyError` where PyTorch gets no memory, by the largest of these shapes.

    `chosen`: what the recipe leaves open was chosen by memory.
    """
    try:
        yield
    except RuntimeError as error:
        if not models.is_lack_of_memory(error):
            raise
        rows, tokens = max(shapes().tolist(), key=lambda shape: shape[0] * shape[1])
        told = f"there is not enough memory for {rows} example{'s' * (rows != 1)} of {tokens} tokens at once"
        choice = [] if chosen else ["memory: 8GB, say, so that what fits is chosen"]
        fix = f"What helps: {', '.join([*choice, *helps(ready)])}, or a smaller model."
        raise TooHeavyError(told, where="memory", fix=fix) from None


def helps(ready: Preparation) -> list[str]:
    """Return settings that training would take less memory with."""
    settings, longest = ready.recipe.training, int(training_lengths(ready).max())
    found = [f"model.max_length below {longest}"]
    if comparing(ready.task, ready.method):
        found.insert(0, f"training.batch_size below {settings.batch_size}")
    elif not may_cut(ready) and settings.micro_batch_tokens != longest:
        found.insert(0, f"{MICRO}: auto")
    if settings.checkpoint_activations == "never" and not left_open(ready, SETTING):
        found.append(f"{SETTING}: auto")
    if ready.precision == "fp32" and settings.precision == "fp32" and not left_open(ready, "training.precision"):
        found.append("training.precision: bf16")
    if int(ready.facts["trainable"]) > 0.1 * int(ready.facts["parameters"]):
        found.append("method: lora")
    return found


def may_cut(ready: Preparation) -> bool:
    """Whether fewer examples of a step may go through at once: not where they are compared with one another."""
    return left_open(ready, MICRO) and not comparing(ready.task, ready.method)


def left_open(ready: Preparation, key: str) -> bool:
    """Whether the recipe leaves a setting to what is chosen."""
    return ready.recipe.origin(key).startswith("auto") or ready.recipe.origin(key) == "default"
