"""How far a student's next tokens are from its teacher's, taken without holding the logits of either: a few hundred
tokens at a time.
"""  # fmt: skip

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from weitiao.kernels.vocabulary_loss import AT_ONCE, LOGITS, Deferred, IntoGradient, over_vocabulary

Teacher = Callable[[slice], torch.Tensor]  # rows -> their logits


class _Logits(torch.autograd.Function):
    """Of logits that are there; their gradient is as large as they are."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, into_gradient: IntoGradient) -> torch.Tensor:
        gradient = logits.detach().clone()
        total = logits.new_zeros((), dtype=torch.float32)
        size = max(1, LOGITS // logits.shape[-1])
        for start in range(0, len(logits), size):
            rows = slice(start, start + size)
            total += into_gradient(gradient[rows], rows)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, above: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * above.to(gradient.dtype), None


def vocabulary_divergence(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return ``KL(P, Q)`` summed over the rows, a scalar in fp32; P and Q are teacher and student at a temperature T.

    Both are logits of shape (n, words), those of the teacher without a gradient; either may be put off (`Deferred`).
    With p and q the probabilities the gradient of the student's logits is ``(q - p) / T``. Where one matrix is wider
    than the other, only the columns that both have are words.
    """
    if not len(student):
        return student.float().sum()  # zero, and with a gradient
    words = min(student.shape[-1], teacher.shape[-1])
    into_gradient = partial(_into_gradient, partial(_part, teacher), words, temperature)
    if isinstance(student, Deferred):
        return over_vocabulary(student.states, student.weight, student.bias, into_gradient, student.product)
    return _Logits.apply(student, into_gradient)  # type: ignore[no-any-return, no-untyped-call]


def _part(logits: torch.Tensor, rows: slice) -> torch.Tensor:
    """Some rows of logits, multiplied out where they are put off."""
    if not isinstance(logits, Deferred):
        return logits[rows].detach()
    bias = None if logits.bias is None else logits.bias.detach().to(logits.product)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        states, weight = logits.states[rows].detach().to(logits.product), logits.weight.detach().to(logits.product)
        return functional.linear(states, weight, bias)


def _into_gradient(
    teacher: Teacher, words: int, temperature: float, logits: torch.Tensor, rows: slice
) -> torch.Tensor:  # fmt: skip
    """Return the summed divergence, and put the gradient of the student's logits in their place."""
    total, said = logits.new_zeros((), dtype=torch.float32), teacher(rows)
    size = max(1, AT_ONCE // logits.shape[-1])
    for start in range(0, len(logits), size):
        part = logits[start : start + size]
        q = (part[:, :words].float() / temperature).log_softmax(-1)
        p = (said[start : start + size, :words].float() / temperature).log_softmax(-1)
        likely = p.exp()
        total += (likely * (p - q)).sum()
        part.zero_()
        part[:, :words] = q.exp_().sub_(likely).div_(temperature)
    return total
