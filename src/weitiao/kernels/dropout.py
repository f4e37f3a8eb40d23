"""Dropout (Srivastava et al. 2014) with a mask that costs a tenth of PyTorch's on a CPU."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

STEPS = 1 << 16  # a chance is rounded to 1/65536


def keep_mask(shape: tuple[int, ...], chance: float) -> np.ndarray:
    """Return which numbers stay, bool of `shape`: each is dropped by itself with `chance`.

    One number of PyTorch's generator seeds it, so it is as reproducible as PyTorch's own; a checkpoint that keeps the
    generator's state keeps these draws, too.
    """
    count = int(np.prod(shape))
    words = np.random.SFC64(int(torch.randint(1 << 62, ()))).random_raw((count + 3) // 4)
    drawn = words.view(np.int16)[:count]
    kept: np.ndarray = drawn >= np.int16(min(round(chance * STEPS), STEPS - 1) - STEPS // 2)
    return kept.reshape(shape)


def scaled(kept: np.ndarray, chance: float, dtype: torch.dtype) -> torch.Tensor:
    """Return the mask as a factor: 0, or 1 / (1 - chance), which keeps the expected value."""
    if dtype == torch.float32:
        return torch.from_numpy(kept * np.float32(1 / (1 - chance)))
    return torch.from_numpy(kept * _bits(chance, dtype)).view(dtype)


@cache
def _bits(chance: float, dtype: torch.dtype) -> np.int16:
    """The factor as a 16-bit float's bits: numpy has no bf16, and multiplies integers as fast."""
    return np.int16(torch.tensor(1 / (1 - chance), dtype=dtype).view(torch.int16).item())


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, chance: float) -> torch.Tensor:
        ctx.kept, ctx.chance = keep_mask(tuple(inputs.shape), chance), chance
        return inputs * scaled(ctx.kept, chance, inputs.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient * scaled(ctx.kept, ctx.chance, gradient.dtype), None


def fits(inputs: torch.Tensor, chance: float) -> bool:
    """Whether the quick dropout knows these numbers."""
    return inputs.device.type == "cpu" and inputs.dtype in (torch.float32, torch.bfloat16) and 0 < chance < 1


def dropout(inputs: torch.Tensor, chance: float) -> torch.Tensor:
    """Set each number to 0 with `chance` and divide the rest by ``1 - chance``; any shape, fp32 or bf16."""
    return _Dropout.apply(inputs, chance)  # type: ignore[no-any-return, no-untyped-call]
