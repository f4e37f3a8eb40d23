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
    """Raise a `RecipeError` where blocks that are computed again give another loss or other gradients.

    Prefix tuning of a decoder is such a case: `transformers` takes the keys and values before the text out of such
    blocks. The model is left without gradients.
    """
    import torch

    found = []
    try:
        for wanted in ("never", "always"):
            with torch.random.fork_rng(), recomputed(model, wanted):
                torch.manual_seed(0)
                model.train()
                with autocast():
                    outputs = run(model, batch)
                one = loss(outputs, batch)
                one.backward()  # type: ignore[no-untyped-call]
            gradients = [p.grad.detach().float().clone() for p in model.parameters() if p.grad is not None]
            found.append((float(one.detach()), gradients))
            model.zero_grad(set_to_none=True)
        alike = _alike(*found)
    except (RuntimeError, ValueError):  # shapes that do not fit any more
        model.zero_grad(set_to_none=True)
        alike = False
    if not alike:
        told = "this model with this method does not give the same when its blocks are computed again"
        fix = "Set it to never; a lower training.micro_batch_tokens saves memory, too."
        raise RecipeError(told, where=SETTING, fix=fix)


def _alike(plain: tuple[float, list[torch.Tensor]], again: tuple[float, list[torch.Tensor]]) -> bool:
    """Whether a loss and gradients are the same but for rounding."""
    import torch

    if abs(plain[0] - again[0]) > 1e-4 * max(abs(plain[0]), 1e-6) or len(plain[1]) != len(again[1]):
        return False
    off = sum(float((one - other).square().sum()) for one, other in zip(plain[1], again[1], strict=True))
    size = sum(float(torch.linalg.vector_norm(one)) ** 2 for one in plain[1])
    return bool(off <= 1e-4 * size)
