"""R-Drop: two passes with dropout drawn twice, and a loss that wants them to agree (Wu et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from weitiao.records import Batch


@dataclass(frozen=True)
class TwoPasses:
    """Run a model on a batch twice: its outputs are a pair."""

    forward: Callable[[Any, Batch], Any]

    def __call__(self, model: Any, batch: Batch) -> tuple[Any, Any]:
        """Return the outputs of both passes."""
        return self.forward(model, batch), self.forward(model, batch)


@dataclass(frozen=True)
class Agreement:
    """``(L1 + L2) / 2 + weight (KL(P1, P2) + KL(P2, P1)) / 2``, summed over a batch's targets.

    Eq. 4 of arXiv:2106.14448 halved, as in its code, so that it stays comparable with the loss of one pass.
    """

    weight: float
    loss: Callable[[Any, Batch], torch.Tensor]  # of one pass
    divergence: Callable[[Any, Any, Batch], torch.Tensor]  # between two passes: (KL(P1, P2) + KL(P2, P1)) / 2

    def __call__(self, outputs: tuple[Any, Any], batch: Batch) -> torch.Tensor:
        """Return the loss of a pair of outputs, a scalar."""
        one, other = outputs
        both = (self.loss(one, batch) + self.loss(other, batch)) / 2
        return both + self.weight * self.divergence(one, other, batch)
