"""Full fine-tuning: every weight moves (Howard & Ruder 2018; Devlin et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from weitiao.recipe import Settings
from weitiao.records import FAMILIES, Family

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class FullOptions(Settings):
    """Full fine-tuning has no options."""


class Full:
    """Every weight moves. Trainable parameters: all."""

    name: ClassVar[str] = "full"
    families: ClassVar[frozenset[Family]] = frozenset(FAMILIES)
    Options: ClassVar[type[Settings]] = FullOptions

    def __init__(self, options: Settings) -> None:
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

    def merge(self, model: torch.nn.Module) -> PreTrainedModel:
        """The model is plain already."""
        return cast("PreTrainedModel", model)
