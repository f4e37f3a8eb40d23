"""The gate of Llama's feed-forward layer (SwiGLU, Shazeer 2020), and the whole of such a layer with LoRA (Hu et al.
2021) in it.

Numbers are worked on some rows at a time, so that they stay in a core's cache from one operation to the next: half the
time of whole tensors. Nothing is kept for backward but what the two products before the gate gave.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

from weitiao.kernels.lora_linear import Update, for_up, updated

AT_ONCE = 1 << 19  # numbers of a tensor worked on at once


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return _gated(gate, up)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate, up = ctx.saved_tensors
        for_gate, for_up = (torch.empty(gate.shape, dtype=gate.dtype) for _ in range(2))
        _through_gate(gate, up, gradient, for_gate, for_up)
        return for_gate, for_up


def swiglu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Return ``gate · sigmoid(gate) · up``, number by number; both of one shape and precision."""
    return _SwiGLU.apply(gate, up)  # type: ignore[no-any-return, no-untyped-call]


def _gated(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    out = torch.empty(gate.shape, dtype=gate.dtype)
    for one, other, into in _parts(gate, up, out):
        torch.mul(functional.silu(one), other, out=into)
    return out


def _through_gate(
    gate: torch.Tensor, up: torch.Tensor, above: torch.Tensor, for_gate: torch.Tensor, for_up: torch.Tensor,
    out: torch.Tensor | None = None,
) -> None:  # fmt: skip
    """Write both gradients of the product, and the product itself to `out`; `for_gate` may be `above` itself."""
    for one, other, over, into_gate, into_up, into in _parts(gate, up, above, for_gate, for_up, out):
        open_ = functional.silu(one)
        if into is not None:
            torch.mul(open_, other, out=into)
        torch.mul(open_, over, out=into_up)
        torch.ops.aten.silu_backward.grad_input(over * other, one, grad_input=into_gate)


def _parts(*tensors: torch.Tensor | None) -> Iterator[tuple[Any, ...]]:
    """Tensors of one shape, some rows of each at a time."""
    first = next(each for each in tensors if each is not None)
    flat = [each if each is None else each.reshape(-1, first.shape[-1]) for each in tensors]
    rows, size = first.numel() // first.shape[-1], max(1, AT_ONCE // first.shape[-1])
    for start in range(0, rows, size):
        yield tuple(each if each is None else each[start : start + size] for each in flat)


class _LoraGated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, scales: tuple[float, float, float], *matrices: torch.Tensor) -> Any:
        rows = inputs.reshape(-1, inputs.shape[-1])
        gate, up, last = _updates(matrices, scales, rows.dtype)
        downs = torch.cat([gate.down, up.down])
        inner = functional.linear(rows, downs)
        of_gate, of_up = torch.split(inner, [len(gate.down), len(up.down)], 1)
        gated, raised = updated(rows, of_gate, gate), updated(rows, of_up, up)
        middle = _gated(gated, raised)
        of_last = functional.linear(middle, last.down)
        ctx.save_for_backward(rows, inner, gated, raised, of_last, *matrices)
        ctx.scales, ctx.shape = scales, inputs.shape
        return updated(middle, of_last, last).view(*inputs.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, above: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, inner, gated, raised, of_last, *matrices = ctx.saved_tensors
        gate, up, last = _updates(matrices, ctx.scales, rows.dtype)
        of_gate, of_up = torch.split(inner, [len(gate.down), len(up.down)], 1)
        above = above.reshape(-1, above.shape[-1])
        through = torch.mm(above, last.up)
        for_middle = torch.mm(through, last.down).addmm_(above, last.weight)
        for_gated, for_raised, middle = for_middle, torch.empty_like(raised), torch.empty_like(raised)
        _through_gate(gated, raised, for_middle, for_gated, for_raised, middle)
        both = torch.cat([torch.mm(for_gated, gate.up), torch.mm(for_raised, up.up)], 1)
        for_downs = torch.split(torch.mm(both.t(), rows), [len(gate.down), len(up.down)])
        for_inputs = None
        if ctx.needs_input_grad[0]:
            for_inputs = torch.mm(both, torch.cat([gate.down, up.down]))
            for_inputs.addmm_(for_gated, gate.weight).addmm_(for_raised, up.weight)
            for_inputs = for_inputs.view(ctx.shape)
        gradients = (
            None, for_downs[0], for_up(for_gated, of_gate, gate),
            None, for_downs[1], for_up(for_raised, of_up, up),
            None, torch.mm(through.t(), middle), for_up(above, of_last, last),
        )  # fmt: skip
        moved = (None if g is None else g.to(m.dtype) for g, m in zip(gradients, matrices, strict=True))
        return for_inputs, None, *moved


def lora_gated(inputs: torch.Tensor, gate: Update, up: Update, down: Update) -> torch.Tensor:
    """Return ``down(silu(gate(x)) · up(x))`` where each is ``x Wᵀ + scale (x Aᵀ) Bᵀ``; x is (..., width).

    The matrices W are in one precision, without bias, and get no gradient. As `swiglu` between three `lora_linear`,
    with less kept between forward and backward.
    """
    matrices = [each for update in (gate, up, down) for each in (update.weight, update.down, update.up)]
    with torch.autocast(inputs.device.type, enabled=False):
        narrow = inputs.to(gate.weight.dtype)
        return _LoraGated.apply(narrow, (gate.scale, up.scale, down.scale), *matrices)  # type: ignore[no-any-return, no-untyped-call]


def _updates(matrices: Any, scales: tuple[float, ...], dtype: torch.dtype) -> list[Update]:
    """The three in one precision."""
    return [
        Update(weight, None, down, up, scale).to(dtype)
        for weight, down, up, scale in zip(*(matrices[start::3] for start in range(3)), scales, strict=True)
    ]
