"""Cross-entropy of a matrix over a vocabulary, taken without holding the logits: a few hundred tokens at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.nn import functional

LOGITS = 1 << 24  # at once, where the matrix does not move
WITH_GRADIENT = 1 << 26  # at once, where it moves: its gradient is added up once for each part
AT_ONCE = 1 << 19  # numbers that are worked on in fp32 at once: what stays in a core's cache

IntoGradient = Callable[[torch.Tensor, slice], torch.Tensor]
"""Logits of some rows, which rows -> what is summed of them, a scalar in fp32; the logits' gradient is put in their
place."""


class _OfProducts(torch.autograd.Function):
    """Computes the gradients together with the sum: they need nothing but its factor, which comes in backward."""

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, into_gradient: IntoGradient,
        dtype: torch.dtype,
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
            total += into_gradient(logits, rows)
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
        return (*scaled, None, None)


def over_vocabulary(
    states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, into_gradient: IntoGradient,
    dtype: torch.dtype,
) -> torch.Tensor:  # fmt: skip
    """Return the sum of something over the rows of ``x Wᵀ + b``, a scalar in fp32, without holding the logits.

    `states` x (n, width), `weight` W (words, width), `bias` b (words,); products are in `dtype`.
    """
    return _OfProducts.apply(states, weight, bias, into_gradient, dtype)  # type: ignore[no-any-return, no-untyped-call]


def vocabulary_loss(
    states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, wanted: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Return ``-log softmax(x Wᵀ + b)[wanted]`` summed over the rows, a scalar in fp32.

    `states` x (n, width), `weight` W (words, width), `bias` b (words,), `wanted` (n,); products are in `dtype`. With
    p = softmax the gradient of the logits is p, less 1 at the wanted word, as in `cross_entropy`.
    """
    return over_vocabulary(states, weight, bias, partial(_into_gradient, wanted), dtype)


def _into_gradient(wanted: torch.Tensor, logits: torch.Tensor, rows: slice) -> torch.Tensor:
    """Return the summed loss, and put the logits' gradient in their place."""
    total = logits.new_zeros((), dtype=torch.float32)
    for part, places, wide in _widened(logits, wanted[rows]):
        at_wanted = wide.gather(1, places)
        highest = wide.amax(-1, keepdim=True)
        size = wide.sub_(highest).exp_().sum(-1, keepdim=True)
        likely = at_wanted - highest - size.log()
        total -= likely.sum()
        part.copy_(wide.mul_(size.reciprocal()))
        part.scatter_(1, places, torch.expm1(likely).to(part.dtype))  # rounded after 1 is taken away, not before
    return total


def _widened(logits: torch.Tensor, wanted: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """A few rows at a time, what is wanted of them, and both in fp32, in a buffer that stays in a core's cache."""
    size = max(1, AT_ONCE // logits.shape[-1])
    buffer = logits.new_empty(size, logits.shape[-1], dtype=torch.float32)
    for start in range(0, len(logits), size):
        part = logits[start : start + size]
        yield part, wanted[start : start + size, None], buffer[: len(part)].copy_(part)


class Deferred(torch.Tensor):
    """Logits that are not multiplied out yet: `states` times a matrix over the vocabulary.

    Whoever looks at more than their shape gets them multiplied out as ever; `cross_entropy` does not look.
    """

    states: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None
    product: torch.dtype  # what the matrix product is computed in
    whole: torch.Tensor | None = None  # once somebody has looked

    @staticmethod
    def of(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> Deferred:
        """Put off ``states Wᵀ + b``, (n, width) and (words, width)."""
        product = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else states.dtype
        logits = torch.empty(0, dtype=product).as_subclass(Deferred)
        logits.states, logits.weight, logits.bias, logits.product = states, weight, bias, product
        return logits

    def multiplied(self) -> torch.Tensor:
        """The logits, (n, words)."""
        if self.whole is None:
            states, weight = self.states.to(self.product), self.weight.to(self.product)
            with torch.autocast("cpu", enabled=False):
                self.whole = functional.linear(
                    states, weight, None if self.bias is None else self.bias.to(self.product)
                )
        return self.whole

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _KNOWN and isinstance(args[0], Deferred):
            with torch._C.DisableTorchFunctionSubclass():
                return _KNOWN[func](args[0], *args[1:])
        given, named = (torch.utils._pytree.tree_map_only(Deferred, Deferred.multiplied, each)
                        for each in (args, kwargs or {}))  # fmt: skip
        with torch._C.DisableTorchFunctionSubclass():
            return func(*given, **named)


def _shape(logits: Deferred) -> torch.Size:
    return torch.Size((len(logits.states), len(logits.weight)))


_tensor: Any = torch.Tensor
_KNOWN: dict[Any, Any] = {
    _tensor.shape.__get__: _shape,
    _tensor.ndim.__get__: lambda _: 2,
    _tensor.dim: lambda _: 2,
    _tensor.__len__: lambda logits: len(logits.states),
    _tensor.dtype.__get__: lambda logits: logits.product,
    _tensor.device.__get__: lambda logits: logits.states.device,
    _tensor.requires_grad.__get__: lambda logits: logits.states.requires_grad or logits.weight.requires_grad,
}
