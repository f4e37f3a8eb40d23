"""The gate of Llama's feed-forward layer (SwiGLU, Shazeer 2020), with nothing kept for backward but its two inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate, up = ctx.saved_tensors
        for_up = functional.silu(gate).mul_(gradient)
        return torch.ops.aten.silu_backward(gradient * up, gate), for_up


def swiglu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Return ``gate · sigmoid(gate) · up``, number by number; both of one shape and precision."""
    return _SwiGLU.apply(gate, up)  # type: ignore[no-any-return, no-untyped-call]
