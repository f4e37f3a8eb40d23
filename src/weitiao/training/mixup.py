"""Mixup of what the last layer reads: pairs of examples, and their losses, mixed alike (Zhang et al. 2018; Guo et al.
2019, arXiv:1905.08941, senMixup)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from weitiao.records import Batch


@dataclass(frozen=True)
class Mixture:
    """The outputs of a model on pairs: each example i of a batch is `share` of i and the rest of its partner."""

    logits: torch.Tensor  # (examples, ...)
    partners: torch.Tensor  # (examples,), numbers within the batch
    share: torch.Tensor  # (examples,)


@dataclass(frozen=True)
class Mixup:
    """Run a model and mix its logits: ``m f(x_i) + (1 - m) f(x_j)``, with j a permutation of the batch and m drawn from
    Beta(alpha, alpha) for each pair.

    The last layer is linear, ``f(x) = W h(x) + b``, so that these are the logits of ``m h(x_i) + (1 - m) h(x_j)``.
    """

    alpha: float
    forward: Callable[[Any, Batch], Any]

    def __call__(self, model: Any, batch: Batch) -> Mixture:
        """Return the mixed outputs."""
        import torch

        logits = self.forward(model, batch).logits.float()
        alpha = torch.tensor(self.alpha)
        share = torch.distributions.Beta(alpha, alpha).sample((len(logits),)).to(logits.device)
        partners = torch.randperm(len(logits)).to(logits.device)
        own = share.view(-1, *[1] * (logits.ndim - 1))
        return Mixture(own * logits + (1 - own) * logits[partners], partners, share)


@dataclass(frozen=True)
class MixedLoss:
    """``m L(y_i) + (1 - m) L(y_j)`` of each pair, summed over a batch."""

    by_example: Callable[[Any, Batch], torch.Tensor]  # outputs, batch -> the loss of each example

    def __call__(self, outputs: Mixture, batch: Batch) -> torch.Tensor:
        """Return the loss of mixed outputs, a scalar."""
        assert batch.labels is not None
        swapped = replace(batch, labels=batch.labels[outputs.partners])
        own, other = (self.by_example(outputs, each) for each in (batch, swapped))
        return (outputs.share * own + (1 - outputs.share) * other).sum()
