"""Cross-entropy over a vocabulary without ever holding all of its logits in fp32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from weitiao.kernels.vocabulary_loss import Deferred, vocabulary_loss

AT_ONCE = 1 << 19  # logits converted to fp32 at once: what stays in a core's cache


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        total = logits.new_empty(len(logits), 1, dtype=torch.float32)
        for rows, wide in _widened(logits):
            highest = wide.amax(-1, keepdim=True)
            total[rows] = wide.sub_(highest).exp_().sum(-1, keepdim=True).log_().add_(highest)
        likely = logits.gather(1, wanted[:, None]).float() - total
        ctx.save_for_backward(logits, wanted, total, likely)
        return -likely.sum()

    @staticmethod
    def backward(ctx: Any, above: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, wanted, total, likely = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        for rows, wide in _widened(logits):
            gradient[rows] = wide.sub_(total[rows]).exp_().mul_(above)
        of_wanted = torch.expm1(likely) * above  # rounded after 1 is taken away, not before
        return gradient.scatter_(1, wanted[:, None], of_wanted.to(logits.dtype)), None


def _widened(logits: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """A few rows at a time in fp32, in one buffer that stays in a core's cache; it may be written to."""
    size = max(1, AT_ONCE // logits.shape[-1])
    buffer = logits.new_empty(size, logits.shape[-1], dtype=torch.float32)
    for start in range(0, len(logits), size):
        part = logits[start : start + size]
        yield slice(start, start + size), buffer[: len(part)].copy_(part)


def cross_entropy(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return ``-log softmax(logits)[wanted]`` summed over the rows, a scalar in fp32; (n, words) and (n,).

    With p = softmax(logits) the gradient is p, less 1 at the wanted word, in the precision of the logits.
    """
    if not len(logits):
        return logits.float().sum()  # zero, and with a gradient
    if isinstance(logits, Deferred):
        return vocabulary_loss(logits.states, logits.weight, logits.bias, wanted, logits.product)
    if logits.device.type != "cpu":
        return torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="sum")
    return _CrossEntropy.apply(logits, wanted)  # type: ignore[no-any-return, no-untyped-call]
