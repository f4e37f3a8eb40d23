"""LoRA: low-rank updates of frozen matrices (Hu et al. 2021, arXiv:2106.09685), on the PEFT library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from weitiao.methods.on_peft import ALL_LINEAR, OnPeft, Targets, chosen_targets, stores_transposed
from weitiao.recipe import Settings
from weitiao.records import Family

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel


class LoraOptions(Settings):
    """Options of the method `lora`."""

    rank: int = Field(16, ge=1)
    """Rank r of the update."""
    alpha: float | None = Field(None, gt=0)
    """Scale of the update, alpha / r; twice the rank when absent."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the input of the update."""
    targets: Targets = ALL_LINEAR
    """Layers to adapt: `all-linear` (all in the body), names such as `[query, value]`, or a regular expression over
    whole names."""


class Lora(OnPeft):
    """``W x + (alpha / r) B A x`` with W frozen, A drawn at random and B zero at the start.

    A new head (and pooler) is trained whole; a language model's matrix over the vocabulary stays as it is. Trainable
    parameters: r (d_in + d_out) for each adapted matrix, plus the head.
    """

    name: ClassVar[str] = "lora"
    Options: ClassVar[type[Settings]] = LoraOptions

    def __init__(self, options: LoraOptions) -> None:
        self.options = options

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """About ten times that of full fine-tuning (Schulman 2025, "LoRA Without Regret")."""
        return {"encoder": 1e-3, "decoder": 5e-4, "seq2seq": 1e-3}[family], f"LoRA ({family})"

    def peft_config(self, model: PreTrainedModel, common: Mapping[str, Any]) -> PeftConfig:
        """PEFT's LoRA."""
        from peft import LoraConfig

        return LoraConfig(
            r=self.options.rank,
            lora_alpha=self.options.alpha or 2 * self.options.rank,
            lora_dropout=self.options.dropout,
            target_modules=chosen_targets(model, self.options.targets),
            fan_in_fan_out=stores_transposed(model),
            **common,
        )
