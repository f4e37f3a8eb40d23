"""How far two passes over the same batch are from each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def divergence(one: torch.Tensor, other: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Return ``(KL(P, Q) + KL(Q, P)) / 2 = sum (p - q) (log p - log q) / 2`` summed over the rows.

    `one`, `other`: log probabilities, fp32 of shape (..., choices); `weights` of the rows, shape (...,).
    """
    rows = ((one.exp() - other.exp()) * (one - other)).sum(-1) / 2
    return (rows if weights is None else rows * weights).sum()
