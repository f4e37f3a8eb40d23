"""LoKr: the update is a Kronecker product (LyCORIS, Yeh et al. 2024, arXiv:2309.14859), on the PEFT library."""

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


class LokrOptions(Settings):
    """Options of the method `lokr`."""

    rank: int = Field(16, ge=1)
    """Rank r of a factor of the product; a factor whose sides are no larger than 2 r is kept whole."""
    alpha: float | None = Field(None, gt=0)
    """Scale of the update, alpha / r; the rank when absent."""
    decompose_both: bool = False
    """Write the smaller factor as a product of rank r too, where it is large enough."""
    decompose_factor: int = Field(-1, ge=-1)
    """Size of the smaller factor's sides; -1: the divisor of each side nearest to its square root."""
    rank_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the update's rows left out in each step of training."""
    module_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the adapted layers that run without their update in each step of training."""
    targets: Targets = ALL_LINEAR
    """Layers to adapt: `all-linear` (all in the body), names such as `[query, value]`, or a regular expression over
    whole names."""


class Lokr(OnPeft):
    """``(W + (alpha / r) C (x) D) x`` with W frozen and ``(x)`` the Kronecker product; C is zero at the start.

    Sides are split as d_out = l k and d_in = m n with l <= k and m <= n; C is l x m, and D is k x n, or ``B A`` of rank
    r where r is less than half of its larger side. Trainable parameters: l m + r (k + n), or l m + k n, for each
    adapted matrix, plus the head. GPT-2's transposed matrices are refused: PEFT's LoKr does not know them.
    """  # fmt: skip

    name: ClassVar[str] = "lokr"
    Options: ClassVar[type[Settings]] = LokrOptions
    options: LokrOptions

    def __init__(self, options: LokrOptions) -> None:
        self.options = options

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """A few times LoRA's: it has a tenth of the parameters, each in many entries of the update."""
        return {"encoder": 4e-3, "decoder": 2e-3, "seq2seq": 4e-3}[family], f"LoKr ({family})"

    def peft_config(self, model: PreTrainedModel, common: Mapping[str, Any]) -> PeftConfig:
        """PEFT's LoKr."""
        from peft import LoKrConfig

        refuse_transposed(model, "LoKr")
        return LoKrConfig(
            r=self.options.rank,
            alpha=self.options.alpha or self.options.rank,
            decompose_both=self.options.decompose_both,
            decompose_factor=self.options.decompose_factor,
            rank_dropout=self.options.rank_dropout,
            module_dropout=self.options.module_dropout,
            target_modules=chosen_targets(model, self.options.targets),
            **common,
        )
