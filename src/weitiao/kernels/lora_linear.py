"""A frozen matrix with a LoRA update (Hu et al. 2021), forward and backward in as few passes as there are products."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.nn import functional


class Update(NamedTuple):
    """A frozen matrix W (out, in) and bias (out,) with LoRA's A `down` (rank, in), B `up` (out, rank) and scale."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    down: torch.Tensor
    up: torch.Tensor
    scale: float

    def to(self, dtype: torch.dtype) -> Update:
        """A and B in another precision, B with the scale in it."""
        return self._replace(down=self.down.to(dtype), up=(self.up * self.scale).to(dtype))


def updated(rows: torch.Tensor, inner: torch.Tensor, update: Update) -> torch.Tensor:
    """Return ``x Wᵀ + b + (x Aᵀ) Bᵀ`` of `rows` x and `inner` x Aᵀ: the large product adds to the small one as it goes,
    which is a pass less than the other way round.
    """  # fmt: skip
    up = update.up.t()
    small = torch.mm(inner, up) if update.bias is None else torch.addmm(update.bias, inner, up)
    return small.addmm_(rows, update.weight.t())


def for_up(above: torch.Tensor, inner: torch.Tensor, update: Update) -> torch.Tensor:
    """The gradient of B; ``innerᵀ above`` is quicker than ``aboveᵀ inner``."""
    return torch.mm(inner.t(), above).t().mul(update.scale)


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, down: torch.Tensor,
        up: torch.Tensor, scale: float,
    ) -> torch.Tensor:  # fmt: skip
        rows = inputs.reshape(-1, inputs.shape[-1])
        update = Update(weight, bias, down, up, scale).to(rows.dtype)
        inner = functional.linear(rows, update.down)
        ctx.save_for_backward(rows, inner, weight, down, up)
        ctx.scale, ctx.shape = scale, inputs.shape
        return updated(rows, inner, update).view(*inputs.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, inner, weight, down, up = ctx.saved_tensors
        update = Update(weight, None, down, up, ctx.scale).to(rows.dtype)
        above = gradient.reshape(-1, gradient.shape[-1])
        through = torch.mm(above, update.up)
        for_inputs = None
        if ctx.needs_input_grad[0]:
            for_inputs = torch.mm(through, update.down).addmm_(above, weight).view(ctx.shape)
        for_down = torch.mm(through.t(), rows).to(down.dtype)
        return for_inputs, None, None, for_down, for_up(above, inner, update).to(up.dtype), None


def lora_linear(inputs: torch.Tensor, update: Update) -> torch.Tensor:
    """Return ``x Wᵀ + b + scale (x Aᵀ) Bᵀ``, in the precision of W, which gets no gradient; x is (..., in)."""
    with torch.autocast(inputs.device.type, enabled=False):
        return _LoraLinear.apply(inputs.to(update.weight.dtype), *update)  # type: ignore[no-any-return, no-untyped-call]
