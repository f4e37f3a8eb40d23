"""A frozen matrix with a LoRA update (Hu et al. 2021), forward and backward in as few passes as there are products."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        rows = inputs.reshape(-1, inputs.shape[-1])
        inner = functional.linear(rows, down.to(rows.dtype))
        out = functional.linear(rows, weight, bias)
        out.addmm_(inner, up.to(rows.dtype).t(), alpha=scale)
        ctx.save_for_backward(rows, inner, weight, down, up)
        ctx.scale, ctx.shape = scale, inputs.shape
        return out.view(*inputs.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, inner, weight, down, up = ctx.saved_tensors
        above = gradient.reshape(-1, gradient.shape[-1])
        through = torch.mm(above, up.to(above.dtype)).mul_(ctx.scale)
        for_inputs = None
        if ctx.needs_input_grad[0]:
            for_inputs = torch.mm(above, weight)
            for_inputs.addmm_(through, down.to(above.dtype))
            for_inputs = for_inputs.view(ctx.shape)
        for_down = torch.mm(through.t(), rows).to(down.dtype)
        for_up = torch.mm(above.t(), inner).mul_(ctx.scale).to(up.dtype)
        return for_inputs, None, None, for_down, for_up, None


def lora_linear(
    inputs: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    down: torch.Tensor,
    up: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Return ``x Wᵀ + b + scale (x Aᵀ) Bᵀ``, in the precision of `weight`, which gets no gradient.

    `inputs` (..., in), `weight` (out, in), `bias` (out,), `down` A (rank, in), `up` B (out, rank).
    """
    with torch.autocast(inputs.device.type, enabled=False):
        return _LoraLinear.apply(inputs.to(weight.dtype), weight, bias, down, up, scale)  # type: ignore[no-any-return, no-untyped-call]
