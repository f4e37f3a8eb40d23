"""How far a student's next tokens are from its teacher's, taken without holding the logits of either: a few hundred
tokens at a time.
"""  # fmt: skip

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from weitiao.kernels.vocabulary_loss import LOGITS, WITH_GRADIENT, Deferred

Teacher = Callable[[slice], torch.Tensor]  # rows -> their logits

AT_ONCE = 1 << 19  # numbers that are worked on in fp32 at once: what stays in a core's cache


class _Products(torch.autograd.Function):
    """Of logits that are not multiplied out. Computes the gradients together with the divergence."""

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, teacher: Teacher,
        words: int, temperature: float, dtype: torch.dtype,
    ) -> torch.Tensor:  # fmt: skip
        narrow, matrix = states.to(dtype), weight.to(dtype)
        shift = None if bias is None else bias.to(dtype)
        learns = ctx.needs_input_grad
        for_states = torch.empty_like(narrow) if learns[0] else None
        for_weight = torch.zeros_like(weight, dtype=torch.float32) if learns[1] else None
        for_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and learns[2] else None
        total = states.new_zeros((), dtype=torch.float32)
        size = max(1, (WITH_GRADIENT if learns[1] else LOGITS) // len(weight))
        for start in range(0, len(states), size):
            rows = slice(start, start + size)
            logits = functional.linear(narrow[rows], matrix, shift)
            total += _into_gradient(logits, teacher(rows), words, temperature)
            if for_states is not None:
                torch.mm(logits, matrix, out=for_states[rows])
            if for_weight is not None:
                for_weight += torch.mm(logits.t(), narrow[rows])
            if for_bias is not None:
                for_bias += logits.sum(0, dtype=torch.float32)
        ctx.save_for_backward(for_states, for_weight, for_bias)
        ctx.dtypes = states.dtype, weight.dtype, weight.dtype if bias is None else bias.dtype
        return total

    @staticmethod
    def backward(ctx: Any, above: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        given = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        scaled = (None if each is None else (each * above.to(each.dtype)).to(dtype) for each, dtype in given)
        return (*scaled, None, None, None, None)


class _Logits(torch.autograd.Function):
    """Of logits that are there; their gradient is as large as they are."""

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, teacher: Teacher, words: int, temperature: float
    ) -> torch.Tensor:  # fmt: skip
        gradient = logits.detach().clone()
        total = logits.new_zeros((), dtype=torch.float32)
        size = max(1, LOGITS // logits.shape[-1])
        for start in range(0, len(logits), size):
            rows = slice(start, start + size)
            total += _into_gradient(gradient[rows], teacher(rows), words, temperature)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, above: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * above.to(gradient.dtype), None, None, None


def vocabulary_divergence(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return ``KL(P, Q)`` summed over the rows, a scalar in fp32; P and Q are teacher and student at a temperature T.

    Both are logits of shape (n, words), those of the teacher without a gradient; either may be put off (`Deferred`).
    With p and q the probabilities the gradient of the student's logits is ``(q - p) / T``. Where one matrix is wider
    than the other, only the columns that both have are words.
    """
    if not len(student):
        return student.float().sum()  # zero, and with a gradient
    words, said = min(student.shape[-1], teacher.shape[-1]), partial(_part, teacher)
    if isinstance(student, Deferred):
        given = student.states, student.weight, student.bias
        return _Products.apply(*given, said, words, temperature, student.product)  # type: ignore[no-any-return, no-untyped-call]
    return _Logits.apply(student, said, words, temperature)  # type: ignore[no-any-return, no-untyped-call]


def _part(logits: torch.Tensor, rows: slice) -> torch.Tensor:
    """Some rows of logits, multiplied out where they are put off."""
    if not isinstance(logits, Deferred):
        return logits[rows].detach()
    bias = None if logits.bias is None else logits.bias.detach().to(logits.product)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        states, weight = logits.states[rows].detach().to(logits.product), logits.weight.detach().to(logits.product)
        return functional.linear(states, weight, bias)


def _into_gradient(logits: torch.Tensor, teacher: torch.Tensor, words: int, temperature: float) -> torch.Tensor:
    """Return the summed divergence, and put the gradient of the student's logits in their place."""
    total = logits.new_zeros((), dtype=torch.float32)
    size = max(1, AT_ONCE // logits.shape[-1])
    for start in range(0, len(logits), size):
        part = logits[start : start + size]
        q = (part[:, :words].float() / temperature).log_softmax(-1)
        p = (teacher[start : start + size, :words].float() / temperature).log_softmax(-1)
        likely = p.exp()
        total += (likely * (p - q)).sum()
        part.zero_()
        part[:, :words] = q.exp_().sub_(likely).div_(temperature)
    return total
