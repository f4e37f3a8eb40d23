"""Gradual unfreezing and a learning rate that falls with depth (ULMFiT, Howard & Ruder 2018, arXiv:1801.06146)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from weitiao.methods.depth import by_depth
from weitiao.methods.full import Full, FullOptions
from weitiao.methods.parts import head_paces
from weitiao.recipe import Settings
from weitiao.records import FAMILIES, Family, Pace

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class GradualOptions(Settings):
    """Options of the method `gradual`."""

    layer_decay: float = Field(0.9, gt=0, le=1)
    """The rate of a block is that of the block above times this; ULMFiT took 1/2.6 for 3 layers, ELECTRA 0.8 to 0.9."""
    head_rate: float = Field(10.0, gt=0)
    """The learning rate of head and pooler, which mostly are new, is that of the topmost block times this."""
    unfreeze: float = Field(0.3, ge=0, lt=1)
    """Share of all steps in which the blocks begin to move, one after the other from the top; 0: all from the start."""


class Gradual:
    """Every weight moves in the end: block l of L at the rate ``eta * layer_decay^(L + 1 - l)``, from the share
    ``unfreeze * (L + 1 - l) / (L + 1)`` of the steps on. The head (l = L + 1) moves from the start, at
    ``eta * head_rate`` where it is no language model's; the embeddings (l = 0) come last. Trainable parameters: all.
    """  # fmt: skip

    name: ClassVar[str] = "gradual"
    families: ClassVar[frozenset[Family]] = frozenset(FAMILIES)
    Options: ClassVar[type[Settings]] = GradualOptions

    def __init__(self, options: GradualOptions) -> None:
        self.options = options

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """Twice that of `full` at the top, as the layers below take less."""
        rate, why = Full(FullOptions()).learning_rate(family, width)
        return float(f"{2 * rate:.1g}"), f"of the topmost layer: twice that of {why}"

    def apply(self, model: PreTrainedModel, new_tokens: Sequence[int] = ()) -> torch.nn.Module:
        """Let every weight move; when and how fast is in `paces`."""
        by_depth(model)  # says where there are no blocks
        model.requires_grad_(True)
        return cast("torch.nn.Module", model)

    def paces(self, model: torch.nn.Module) -> Mapping[str, Pace]:
        """Rate and start of each parameter by its depth."""
        groups = by_depth(cast("PreTrainedModel", model))
        if not groups[-1]:  # T5's tied matrix is among the embeddings: the last block is the top
            groups.pop()
        top = len(groups) - 1
        paces = {
            name: Pace(self.options.layer_decay ** (top - depth), self.options.unfreeze * (top - depth) / max(top, 1))
            for depth, names in enumerate(groups)
            for name in names
        }
        return paces | head_paces(cast("PreTrainedModel", model), self.options.head_rate)

    def merge(self, model: torch.nn.Module) -> PreTrainedModel:
        """The model is plain already."""
        return cast("PreTrainedModel", model)
