"""Learning by comparison: the loss is of pairs of examples in a step, and the head is fitted on what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao.methods.base import Contrasts
from weitiao.tasks.base import LearnsLabels

if TYPE_CHECKING:
    import torch

    from weitiao.records import Batch

Read = Callable[[Any], tuple[np.ndarray, np.ndarray]]  # model -> vectors and labels of all training examples


@dataclass(frozen=True)
class PairLoss:
    """The loss of all pairs in a batch, times its targets: the loop divides by them."""

    method: Contrasts
    task: LearnsLabels

    def __call__(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Return it, a scalar in fp32."""
        assert batch.labels is not None
        return self.method.contrast(outputs.vectors.float(), self.task.alike(batch.labels)) * batch.targets


class FittedHead:
    """The head that is right for the body as it stands, in place of the one there is: a part of the steps that
    `StandsFor` the weights.

    It is fitted anew whenever it is asked for, so that a checkpoint needs nothing of it.
    """

    def __init__(self, method: Contrasts, read: Read) -> None:
        self.method, self.read = method, read

    def readings(self, steps: int, evaluations: int) -> int:
        """At each evaluation, and at the end."""
        return evaluations + 1

    def penalty(self, model: torch.nn.Module) -> None:
        """Nothing is added to the loss."""

    def after_step(self, model: torch.nn.Module, step: int, steps: int) -> None:
        """Nothing: it is asked for when the model is measured."""

    def state(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """Nothing: it follows from the body."""
        return {}

    def restore(self, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
        """Nothing to put back."""

    @contextmanager
    def in_place(self, model: torch.nn.Module) -> Iterator[None]:
        """Have the model hold it for as long as a `with` lasts."""
        head = _head(model)
        own = [parameter.detach().clone() for parameter in head.parameters()]
        self.put(model)
        try:
            yield
        finally:
            _copy(own, head)

    def put(self, model: torch.nn.Module) -> None:
        """Have the model hold it for good."""
        import torch

        head = _head(model)
        found = self.method.fitted(*self.read(model), head.out_features)
        _copy([torch.from_numpy(each) for each in found], head)


def _head(model: Any) -> torch.nn.Linear:
    head: torch.nn.Linear = model.head
    return head


def _copy(tensors: list[torch.Tensor], head: torch.nn.Linear) -> None:
    import torch

    with torch.no_grad():
        for tensor, parameter in zip(tensors, (head.weight, head.bias), strict=True):
            parameter.copy_(tensor)
