"""An exponential moving average of the weights: what is measured and kept in place of the last ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from weitiao.training.optimizer import trainable

if TYPE_CHECKING:
    import torch

UPDATES = "updates"  # beside the averages, in a checkpoint
WEIGHTS = "weight/"


class Average:
    """``a_t = d_t a_(t-1) + (1 - d_t) w_t`` over the weights that move, ``a_0 = w_0``, in fp32.

    ``d_t = min(decay, (1 + t) / (10 + t))``: early on the average forgets its beginning quickly, as in TensorFlow's
    ExponentialMovingAverage; without it a `decay` of 0.999 would keep a third of the first weights for 1000 updates.
    """

    def __init__(self, decay: float, model: torch.nn.Module) -> None:
        self.decay = decay
        self._begin(model)

    def penalty(self, model: torch.nn.Module) -> torch.Tensor | None:
        """None: it does not change how the model learns."""
        return None

    def after_step(self, model: torch.nn.Module, step: int, steps: int) -> None:
        """Take in the weights as the update left them."""
        import torch

        self.updates += 1
        moving = trainable(model)
        weights = [moving[name].detach().float() for name in self.weights]
        torch._foreach_lerp_(list(self.weights.values()), weights, 1 - self.decay_at(self.updates))

    def decay_at(self, update: int) -> float:
        """The decay of an update, counted from 1."""
        return min(self.decay, (1 + update) / (10 + update))

    def state(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """The averages, and how many updates are in them."""
        import torch

        found = {f"{WEIGHTS}{name}": tensor.clone() for name, tensor in self.weights.items()}
        return {**found, UPDATES: torch.tensor(self.updates)}

    def restore(self, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put them back; with nothing, begin at the model's weights."""
        if not tensors:
            self._begin(model)
            return
        self.updates = int(tensors[UPDATES])
        for name, tensor in self.weights.items():
            tensor.copy_(tensors[f"{WEIGHTS}{name}"])

    @contextmanager
    def in_place(self, model: torch.nn.Module) -> Iterator[None]:
        """Have the model hold the average for as long as a `with` lasts."""
        moving = trainable(model)
        own = {name: moving[name].detach().clone() for name in self.weights}
        self.put(model)
        try:
            yield
        finally:
            _copy(own, moving)

    def put(self, model: torch.nn.Module) -> None:
        """Have the model hold the average for good."""
        _copy(self.weights, trainable(model))

    def _begin(self, model: torch.nn.Module) -> None:
        import torch

        self.updates = 0
        self.weights = {
            name: p.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
            for name, p in trainable(model).items()
        }


def _copy(tensors: Mapping[str, torch.Tensor], parameters: Mapping[str, torch.nn.Parameter]) -> None:
    import torch

    with torch.no_grad():
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)
