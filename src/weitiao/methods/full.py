"""Full fine-tuning: every weight moves (Howard & Ruder 2018; Devlin et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from weitiao.methods.parts import head_paces
from weitiao.recipe import Settings
from weitiao.records import FAMILIES, Family, Pace

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class FullOptions(Settings):
    """Options of full fine-tuning."""

    head_rate: float = Field(20.0, gt=0)
    """The learning rate of head and pooler, which mostly are new, is that of the body times this. 1: the same for all,
    as Devlin et al. (2019) have it."""


class Full:
    """Every weight moves, head and pooler faster than the rest. Trainable parameters: all."""

    name: ClassVar[str] = "full"
    families: ClassVar[frozenset[Family]] = frozenset(FAMILIES)
    Options: ClassVar[type[Settings]] = FullOptions

    def __init__(self, options: FullOptions) -> None:
        self.options = options

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """A usual rate for hidden size 768, by 1/width for other sizes (Yang et al. 2022, muP, for AdamW)."""
        usual = {"encoder": 5e-5, "decoder": 5e-5, "seq2seq": 1e-4}[family]
        rate = float(f"{usual * 768 / width:.1g}")
        return rate, f"full fine-tuning, {family}, hidden size {width}"

    def apply(self, model: PreTrainedModel, new_tokens: Sequence[int] = ()) -> torch.nn.Module:
        """Let every weight move."""
        model.requires_grad_(True)
        return cast("torch.nn.Module", model)

    def paces(self, model: torch.nn.Module) -> Mapping[str, Pace]:
        """Rate of head and pooler."""
        return head_paces(cast("PreTrainedModel", model), self.options.head_rate)

    def merge(self, model: torch.nn.Module) -> PreTrainedModel:
        """The model is plain already."""
        return cast("PreTrainedModel", model)
