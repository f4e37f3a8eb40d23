"""Activation checkpointing (Chen et al. 2016, arXiv:1604.06174): what is inside a block is computed again in backward.

Between forward and backward only what goes from block to block is kept. What is drawn at random in a block is drawn
alike the second time, so that the losses are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from weitiao.errors import RecipeError
from weitiao.records import Batch

if TYPE_CHECKING:
    import torch

SETTING = "training.checkpoint_activations"


def blocks(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The model's blocks that `transformers` made for it; none where its author did not."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


@contextmanager
def recomputed(model: torch.nn.Module, wanted: str) -> Iterator[None]:
    """Checkpoint the activations of every block in training for as long as this lasts, where ``always`` is wanted.

    Raises a `RecipeError` where the model has no such blocks.
    """
    if wanted != "always":
        yield
        return
    from torch.utils.checkpoint import checkpoint

    found = blocks(model)
    if not found:
        raise RecipeError(f"{type(model).__name__} has no blocks that can be computed again", where=SETTING,
                          fix="Set it to never, or lower training.micro_batch_tokens.")  # fmt: skip
    with ExitStack() as undo:
        for block in found:
            for name, value in (
                ("gradient_checkpointing", True),
                ("_gradient_checkpointing_func", partial(checkpoint, use_reentrant=False)),
            ):
                undo.callback(_put_back, block, name, vars(block).get(name))
                object.__setattr__(block, name, value)
        yield


def _put_back(block: torch.nn.Module, name: str, value: Any) -> None:
    if value is None:
        object.__delattr__(block, name)
    else:
        object.__setattr__(block, name, value)


def check_recomputed(
    model: torch.nn.Module,
    batch: Batch,
    run: Callable[[Any, Batch], Any],
    loss: Callable[[Any, Batch], torch.Tensor],
    autocast: Callable[[], AbstractContextManager[Any]],
) -> None:
    """Raise a `RecipeError` where blocks that are computed again give another loss: `transformers` takes the keys and
    values that stand before the text (prefix tuning of a decoder) out of such blocks.
    """  # fmt: skip
    import torch

    losses = []
    for wanted in ("never", "always"):
        with torch.random.fork_rng(), recomputed(model, wanted), torch.no_grad():
            torch.manual_seed(0)
            model.train()
            with autocast():
                losses.append(float(loss(run(model, batch), batch)))
    plain, again = losses
    if abs(plain - again) > 1e-4 * max(abs(plain), 1e-6):
        told = f"this model's blocks computed again give another loss ({again:.5g} instead of {plain:.5g})"
        fix = "Set it to never; a lower training.micro_batch_tokens saves memory, too."
        raise RecipeError(told, where=SETTING, fix=fix)
