"""Penalties on the size of weights, and on how far they go from where they began."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from weitiao.training.optimizer import is_matrix, trainable

if TYPE_CHECKING:
    from collections.abc import Container

    import torch

    from weitiao.recipe import RegularizationSettings


class Penalty:
    """``l1 sum |w| + l2 / 2 sum w^2`` over the matrices that move, and ``l2_sp / 2 sum (w - w0)^2`` over the pretrained
    ones of them, to which `l2` then does not apply (Li et al. 2018, arXiv:1802.01483, eq. 3). No norms, no biases.

    `pretrained` holds the names of the pretrained parameters. Where they began is what `model` holds now.
    """  # fmt: skip

    def __init__(
        self, settings: RegularizationSettings, model: torch.nn.Module, pretrained: Container[str] = ()
    ) -> None:
        self.settings = settings
        matrices = {name: p for name, p in trainable(model).items() if is_matrix(name, p)}
        anchored = settings.l2_sp > 0
        self.began = {n: p.detach().clone() for n, p in matrices.items() if anchored and n in pretrained}
        self.names = list(matrices)

    def penalty(self, model: torch.nn.Module) -> torch.Tensor | None:
        """Return the sum of all, a scalar in fp32; a matrix that waits for its turn to move is left out."""
        from weitiao.kernels.weight_sizes import weight_sizes

        moving = trainable(model)
        matrices = {name: moving[name] for name in self.names if name in moving}
        factors = [self.settings.l2_sp if name in self.began else self.settings.l2 for name in matrices]
        if not matrices or not (self.settings.l1 or any(factors)):
            return None
        began = [self.began.get(name) for name in matrices]
        return weight_sizes(list(matrices.values()), self.settings.l1, factors, began)

    def after_step(self, model: torch.nn.Module, step: int, steps: int) -> None:
        """Nothing is to be done."""

    def state(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """Nothing: where the weights began is where the model begins again."""
        return {}

    def restore(self, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
        """Nothing is to be put back."""
