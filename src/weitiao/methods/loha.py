"""LoHa: the update is the Hadamard product of two low-rank ones, on the PEFT library (Hyeon-Woo et al. 2022,
arXiv:2108.06098; LyCORIS, Yeh et al. 2024, arXiv:2309.14859).
"""  # fmt: skip

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from weitiao.methods.on_peft import ALL_LINEAR, OnPeft, Targets, chosen_targets, refuse_transposed
from weitiao.recipe import Settings
from weitiao.records import Family

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel


class LohaOptions(Settings):
    """Options of the method `loha`."""

    rank: int = Field(8, ge=1)
    """Rank r of each of the two factors; the update's rank is up to r^2."""
    alpha: float | None = Field(None, gt=0)
    """Scale of the update, alpha / r; the rank when absent."""
    rank_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the update's rows left out in each step of training."""
    module_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the adapted layers that run without their update in each step of training."""
    targets: Targets = ALL_LINEAR
    """Layers to adapt: `all-linear` (all in the body), names such as `[query, value]`, or a regular expression over
    whole names."""


class Loha(OnPeft):
    """``(W + (alpha / r) (B_1 A_1) * (B_2 A_2)) x`` with W frozen, ``*`` element by element, A_2 zero at the start.

    Trainable parameters: 2 r (d_in + d_out) for each adapted matrix, plus the head. GPT-2's transposed matrices are
    refused: PEFT's LoHa does not know them.
    """

    name: ClassVar[str] = "loha"
    Options: ClassVar[type[Settings]] = LohaOptions
    options: LohaOptions

    def __init__(self, options: LohaOptions) -> None:
        self.options = options

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """As LoRA's: both begin at no update and move it by products of small matrices."""
        return {"encoder": 2e-3, "decoder": 1e-3, "seq2seq": 2e-3}[family], f"LoHa ({family})"

    def peft_config(self, model: PreTrainedModel, common: Mapping[str, Any]) -> PeftConfig:
        """PEFT's LoHa."""
        from peft import LoHaConfig

        refuse_transposed(model, "LoHa")
        return LoHaConfig(
            r=self.options.rank,
            alpha=self.options.alpha or self.options.rank,
            rank_dropout=self.options.rank_dropout,
            module_dropout=self.options.module_dropout,
            target_modules=chosen_targets(model, self.options.targets),
            **common,
        )
