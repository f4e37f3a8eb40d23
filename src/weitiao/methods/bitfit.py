"""BitFit: only the biases move, and the head (Ben Zaken et al. 2022, arXiv:2106.10199)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from weitiao.errors import RecipeError
from weitiao.methods.moved import MovedWeights
from weitiao.methods.parts import head_prefixes, vocabulary_module
from weitiao.recipe import Settings
from weitiao.records import FAMILIES, Family

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class BitFitOptions(Settings):
    """Options of the method `bitfit`."""

    norms: bool = False
    """Also move the norms' scales; the only thing that moves in models without biases (Llama, T5)."""


class BitFit(MovedWeights):
    """``W x + b`` with W frozen and b moving. Trainable parameters: the biases of the body (with `norms` the norms'
    scales too), for BERT of L layers ``L (7 d + d_ff) + d``, plus the head.
    """  # fmt: skip

    name: ClassVar[str] = "bitfit"
    families: ClassVar[frozenset[Family]] = frozenset(FAMILIES)
    Options: ClassVar[type[Settings]] = BitFitOptions

    def __init__(self, options: BitFitOptions) -> None:
        self.options = options

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """The paper's best rates are 1e-4 to 1e-3 for BERT; a small body takes the upper end and more."""
        return 2e-3, f"biases and head of a {family}"

    def apply(self, model: PreTrainedModel, new_tokens: Sequence[int] = ()) -> torch.nn.Module:
        """Freeze all but the biases and the head."""
        heads = head_prefixes(model)
        chosen = self._chosen(model, heads)
        if not chosen:
            kind = type(model).__name__
            fix = (
                "Take lora."
                if self.options.norms
                else "Set method.norms: true to move the norms' scales, or take lora."
            )
            raise RecipeError(f"{kind} has no {'norms or biases' if self.options.norms else 'biases'} in its body",
                              where="method", fix=fix)  # fmt: skip
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in chosen or name.startswith(heads))
        return cast("torch.nn.Module", model)

    def _chosen(self, model: PreTrainedModel, heads: tuple[str, ...]) -> set[str]:
        """Names of the vectors of the body that move: biases, and scales of norms where they are wanted."""
        outside = (*heads, f"{vocabulary}.") if (vocabulary := vocabulary_module(model)) else heads
        return {
            name
            for name, parameter in model.named_parameters()
            if not name.startswith(outside)
            and parameter.ndim == 1
            and (name.endswith("bias") or (self.options.norms and name.endswith("weight")))
        }
