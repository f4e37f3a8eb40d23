"""An average of the weights over the steps, measured and kept in place of the last ones: moving (EMA) or even (SWA)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from weitiao.training.optimizer import averaged_at, trainable

if TYPE_CHECKING:
    import torch

    from weitiao.recipe import SwaSettings

UPDATES = "updates"  # beside the averages, in a checkpoint
WEIGHTS = "weight/"


class Share(Protocol):
    """How much the weights after an update count in the average."""

    def __call__(self, taken: int, step: int, steps: int) -> float:
        """Return it for update `step` (from 1) of `steps`, of which so many would be `taken` in with it; 0: it is not
        taken in.
        """  # fmt: skip


@dataclass(frozen=True)
class Moving:
    """``1 - min(decay, (1 + t) / (10 + t))`` at update t.

    Early on the average forgets its beginning quickly, as in TensorFlow's ExponentialMovingAverage; without it a
    `decay` of 0.999 would keep a third of the first weights for 1000 updates.
    """

    decay: float

    def __call__(self, taken: int, step: int, steps: int) -> float:
        """Return it; all updates are taken in."""
        return 1 - min(self.decay, (1 + taken) / (10 + taken))


@dataclass(frozen=True)
class Even:
    """``1 / n`` of the n-th that is taken in: the plain mean of them (Izmailov et al. 2018, algorithm 1)."""

    settings: SwaSettings

    def __call__(self, taken: int, step: int, steps: int) -> float:
        """Return it; 0 before the last share of the steps, and within a cycle."""
        return 1 / taken if averaged_at(step, steps, self.settings) else 0.0


class Average:
    """``a <- (1 - s) a + s w`` over the weights w that move, in fp32, s being the `share` of an update.

    It begins at the weights that are there. Before the first update that counts the model stands for itself.
    """

    def __init__(self, share: Share, model: torch.nn.Module) -> None:
        self.share = share
        self._begin(model)

    def penalty(self, model: torch.nn.Module) -> torch.Tensor | None:
        """None: it does not change how the model learns."""
        return None

    def after_step(self, model: torch.nn.Module, step: int, steps: int) -> None:
        """Take in the weights as the update left them."""
        import torch

        share = self.share(self.updates + 1, step, steps)
        if not share:
            return
        self.updates += 1
        moving = trainable(model)
        weights = [moving[name].detach().float() for name in self.weights]
        torch._foreach_lerp_(list(self.weights.values()), weights, share)

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
        if not self.updates:
            yield
            return
        moving = trainable(model)
        own = {name: moving[name].detach().clone() for name in self.weights}
        self.put(model)
        try:
            yield
        finally:
            _copy(own, moving)

    def put(self, model: torch.nn.Module) -> None:
        """Have the model hold the average for good."""
        if self.updates:
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
