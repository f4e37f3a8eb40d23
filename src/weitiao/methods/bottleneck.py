"""The bottleneck of an adapter as it is trained, and how it is put into a model and taken out."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import nn

from weitiao.methods.load_adapter import ACTIVATIONS

NAME = "adapter"  # of the bottleneck in the layer that it adds to


class Bottleneck(nn.Module):
    """``scale * up(dropout(activation(down(x))))``: (..., width) -> (..., width)."""

    def __init__(self, down: nn.Module, up: nn.Module, activation: str, dropout: float, scale: float) -> None:
        super().__init__()
        self.down, self.up = down, up
        self.activation, self.dropout, self.scale = ACTIVATIONS[activation](), nn.Dropout(dropout), scale
        self.hooks: list[Any] = []
        self.read: dict[int, torch.Tensor] = {}  # by thread: what is read now and added to later

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return what is added."""
        added: torch.Tensor = self.up(self.dropout(self.activation(self.down(inputs))))
        return added if self.scale == 1 else self.scale * added

    def attach(self, layer: nn.Module, reads: nn.Module | None) -> None:
        """Add to what `layer` gives; read that, or what `reads` is called with just before."""
        layer.add_module(NAME, self)
        if reads is not None:
            self.hooks.append(reads.register_forward_pre_hook(self._keep, with_kwargs=True))
        self.hooks.append(layer.register_forward_hook(self._add))

    def _keep(self, _: nn.Module, args: Any, kwargs: Any) -> None:
        self.read[threading.get_ident()] = args[0] if args else next(iter(kwargs.values()))

    def _add(self, _: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = self(self.read.pop(threading.get_ident(), output))
        return output + added


class Compacted(nn.Module):
    """``x W + b`` with ``W = sum_i kron(A_i, B_i)``: A (terms, terms, terms) is shared by all layers of a model, and
    ``B_i = left_i right_i`` of low rank, left (terms, in / terms, rank), right (terms, rank, out / terms).
    """  # fmt: skip

    def __init__(self, shared: nn.Parameter, inside: int, outside: int, rank: int) -> None:
        super().__init__()
        terms, where = len(shared), shared.device
        self.shared = shared
        self.left = nn.Parameter(torch.randn(terms, inside // terms, rank, device=where) * inside**-0.5)
        self.right = nn.Parameter(torch.randn(terms, rank, outside // terms, device=where) * rank**-0.5)
        self.bias = nn.Parameter(torch.zeros(outside, device=where))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., in) -> (..., out)."""
        with torch.autocast(inputs.device.type, enabled=False):  # a small product, wanted in full
            weight = torch.einsum("iab,icr,ird->acbd", self.shared, self.left, self.right)
        terms, inside, _ = self.left.shape
        given: torch.Tensor = nn.functional.linear(inputs, weight.reshape(terms * inside, -1).T, self.bias)
        return given


def shared_terms(terms: int, device: torch.device) -> nn.Parameter:
    """Return A, drawn so that W is about as large as B."""
    return nn.Parameter(torch.randn(terms, terms, terms, device=device) * terms**-0.5)


def plain_pair(width: int, size: int, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """Return `down`, drawn as torch draws, and `up`, which is zero, as is every bias (He et al. 2022)."""
    down, up = nn.Linear(width, size, device=device), nn.Linear(size, width, device=device)
    for zero in (down.bias, up.weight, up.bias):
        nn.init.zeros_(zero)
    return down, up


def compacted_pair(shared: nn.Parameter, width: int, size: int, rank: int) -> tuple[nn.Module, nn.Module]:
    """Return `down` and `up` of a compacter; `up` is zero."""
    down, up = Compacted(shared, width, size, rank), Compacted(shared, size, width, rank)
    nn.init.zeros_(up.left)
    return down, up


def bottlenecks(model: nn.Module) -> dict[str, Bottleneck]:
    """Name of the layer that is added to -> its bottleneck."""
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, Bottleneck)]
    return {name.removesuffix(f".{NAME}"): module for name, module in found}


def detach(model: nn.Module) -> None:
    """Take all bottlenecks out."""
    for name, bottleneck in bottlenecks(model).items():
        for hook in bottleneck.hooks:
            hook.remove()
        delattr(model.get_submodule(name), NAME)
