"""VeRA: vectors that scale one random pair of matrices, on the PEFT library (Kopiczko et al., arXiv:2310.11454)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from weitiao.methods.on_peft import ALL_LINEAR, OnPeft, Targets, stores_transposed, target_names
from weitiao.recipe import Settings
from weitiao.records import Family

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel


class VeraOptions(Settings):
    """Options of the method `vera`."""

    rank: int = Field(256, ge=1)
    """Rank r of the random pair; high, as only vectors of it are learned."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the input of the update."""
    d_initial: float = 0.1
    """What the vector d begins with; b begins at zero."""
    seed: int = 0
    """Seed of the random pair A, B."""
    save_projection: bool = True
    """Keep A and B in the adapter; otherwise they are drawn anew from the seed, which another version of torch may do
    differently."""
    targets: Targets = ALL_LINEAR
    """Layers to adapt: `all-linear` (all in the body), names such as `[query, value]`, or a regular expression over
    whole names."""


class Vera(OnPeft):
    """``W x + b * (B (d * (A x)))``: W and one random pair A, B for all layers are frozen, the vectors d and b learned.

    Layers of other shapes take the first columns of A and the first rows of B. Trainable parameters: r + d_out for each
    adapted matrix, plus the head.
    """

    name: ClassVar[str] = "vera"
    Options: ClassVar[type[Settings]] = VeraOptions
    options: VeraOptions

    def __init__(self, options: VeraOptions) -> None:
        self.options = options

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """The paper's rates are 4e-3 to 2e-2 for RoBERTa and 4e-3 for Llama."""
        return {"encoder": 1e-2, "decoder": 4e-3, "seq2seq": 1e-2}[family], f"VeRA ({family})"

    def peft_config(self, model: PreTrainedModel, common: Mapping[str, Any]) -> PeftConfig:
        """PEFT's VeRA, which cannot be told what to leave out."""
        from peft import VeraConfig

        return VeraConfig(
            r=self.options.rank,
            vera_dropout=self.options.dropout,
            d_initial=self.options.d_initial,
            projection_prng_key=self.options.seed,
            save_projection=self.options.save_projection,
            target_modules=target_names(model, self.options.targets),
            fan_in_fan_out=stores_transposed(model),
            modules_to_save=common["modules_to_save"],
            task_type=common["task_type"],
        )
