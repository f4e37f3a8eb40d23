"""Passes of a model with dropout on (Gal & Ghahramani 2016), each row's masks its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao.data.keys import mixed
from weitiao.errors import ModelError
from weitiao.kernels.dropout import STEPS, scaled

if TYPE_CHECKING:
    import torch

STRIDE = np.uint64(0x9E3779B97F4A7C15)  # between the states of two numbers of SplitMix64


@contextmanager
def dropping(model: torch.nn.Module, keys: np.ndarray, number: int) -> Iterator[None]:
    """Have the dropout layers of a model drop in a batch whose rows have these `keys` (uint64 of shape (rows,)).

    What is dropped of a row is told by its key and the `number` of the pass alone: not by the rows beside it, nor by
    padding at its end. The rest of the model stays in inference, so the dropout inside of attention is off. Raises a
    `ModelError` where the model has no dropout.
    """
    layers, calls = _layers(model), count()
    if not layers:
        raise ModelError("the model has no dropout layers: all passes over a text would be alike", where="strategy",
                         fix="Take margin, entropy or badge.")  # fmt: skip
    with ExitStack() as undo:
        for layer in layers:
            _patch(layer, _forward(layer, mixed(keys, number), calls), undo)
        yield


def _layers(model: torch.nn.Module) -> Sequence[torch.nn.Module]:
    from torch import nn

    return [module for module in model.modules() if isinstance(module, nn.Dropout) and module.p > 0]


def _patch(layer: torch.nn.Module, forward: Any, undo: ExitStack) -> None:
    own = vars(layer)  # where `kernels.quickly` may have put one, too
    if "forward" in own:
        undo.callback(own.__setitem__, "forward", own["forward"])
    else:
        undo.callback(own.pop, "forward")
    own["forward"] = forward


def _forward(layer: Any, keys: np.ndarray, calls: Iterator[int]) -> Any:
    def forward(inputs: torch.Tensor) -> torch.Tensor:
        kept = keep_mask(keys, next(calls), tuple(inputs.shape), layer.p)
        return inputs * scaled(kept, layer.p, inputs.dtype).to(inputs.device)

    return forward


def keep_mask(keys: np.ndarray, call: int, shape: tuple[int, ...], chance: float) -> np.ndarray:
    """Return which numbers stay, bool of `shape`, whose first axis is that of the rows with `keys`: four draws of 16
    bits from each number of a SplitMix64 generator (Steele et al. 2014) that the row's key and the `call` seed. Where
    the first axis is another one, the first key seeds all.
    """  # fmt: skip
    rows = len(keys) if shape[0] == len(keys) else 1
    each = int(np.prod(shape)) // rows
    states = mixed(keys[:rows], call)[:, None] + STRIDE * np.arange((each + 3) // 4, dtype=np.uint64)
    drawn = mixed(states, 0).view(np.int16)[:, :each]
    kept: np.ndarray = drawn >= np.int16(min(round(chance * STEPS), STEPS - 1) - STEPS // 2)
    return kept.reshape(shape)
