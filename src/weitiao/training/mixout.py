"""Mixout: in training, weights are replaced at random by the pretrained ones (Lee et al. 2020, arXiv:1909.11299)."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from weitiao.training.optimizer import trainable

if TYPE_CHECKING:
    import torch

    from weitiao.records import Batch


class Mixout:
    """Run a model with ``(m w0 + (1 - m) w - p w0) / (1 - p)`` in place of the weight w of each linear layer that was
    pretrained and moves; m is drawn from Bernoulli(p), an entry and a pass at a time, and w0 is what `model` holds now.

    Eq. 5 of the paper, where dropout is the case w0 = 0. `forward` is what runs the model on a batch otherwise;
    `pretrained` holds the names of the pretrained parameters.
    """  # fmt: skip

    def __init__(
        self, chance: float, model: torch.nn.Module, pretrained: Container[str], forward: Callable[[Any, Batch], Any]
    ) -> None:
        self.chance, self.forward = chance, forward
        self.layers = dict(_linear(model, pretrained))
        self.began = {name: layer.weight.detach().clone() for name, layer in self.layers.items()}  # type: ignore[operator]

    def __call__(self, model: torch.nn.Module, batch: Batch) -> Any:
        """Run the model on a batch."""
        with self.mixed():
            return self.forward(model, batch)

    @contextmanager
    def mixed(self) -> Iterator[None]:
        """Have the layers compute with weights drawn anew for as long as a `with` lasts; gradients reach their own."""
        own = {name: layer._parameters["weight"] for name, layer in self.layers.items()}
        try:
            for name, layer in self.layers.items():
                weight = own[name]
                assert weight is not None
                layer._parameters["weight"] = mix(weight, self.began[name], self.chance)  # type: ignore[assignment]
            yield
        finally:
            for name, layer in self.layers.items():
                layer._parameters["weight"] = own[name]


def mix(weight: torch.Tensor, began: torch.Tensor, chance: float) -> torch.Tensor:
    """Return ``weight`` with entries replaced by those of ``began``, each with `chance`; the expected value stays."""
    import torch

    from weitiao.kernels.dropout import keep_mask

    if weight.device.type == "cpu":
        kept = torch.from_numpy(keep_mask(tuple(weight.shape), chance))
    else:
        kept = torch.empty(weight.shape, device=weight.device).bernoulli_(1 - chance).bool()
    # The formula, said otherwise: w0 + keep (w - w0) / (1 - p).
    return began + (weight - began) * (kept.to(weight.dtype) / (1 - chance))


def _linear(model: torch.nn.Module, pretrained: Container[str]) -> Iterator[tuple[str, torch.nn.Module]]:
    """Name and layer of each linear layer whose weight moves and was pretrained; one that is an embedding's own, too,
    is none."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    names = {id(p): name for name, p in trainable(model).items() if name in pretrained}
    for module in model.modules():
        weight = module._parameters.get("weight")
        if isinstance(module, nn.Linear | Conv1D) and id(weight) in names and id(weight) not in embeddings:
            yield names[id(weight)], module
