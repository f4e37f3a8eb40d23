"""LoRA: low-rank updates of frozen matrices (Hu et al. 2021, arXiv:2106.09685), on the PEFT library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from weitiao.errors import RecipeError
from weitiao.methods.depth import block_names
from weitiao.methods.lora_eva import check_ranks, start_from_inputs
from weitiao.methods.lora_starts import save_as_update, start_from_weights
from weitiao.methods.on_peft import (
    ALL_LINEAR,
    OnPeft,
    Targets,
    check_patterns,
    chosen_targets,
    on_meta,
    stores_transposed,
    target_names,
)
from weitiao.recipe import Settings
from weitiao.records import Batch, Family, Pace

if TYPE_CHECKING:
    import torch
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
    layers: list[int] | None = None
    """Blocks to adapt, counted from 0 at the input, an encoder's before its decoder's; all when absent."""
    scaling: Literal["classic", "rslora"] = "classic"
    """`classic`: alpha / r; `rslora`: alpha / sqrt(r), which keeps large ranks learning (Kalajdzievski 2023,
    arXiv:2312.03732)."""
    dora: bool = False
    """DoRA: each row's length is learned apart from its direction (Liu et al. 2024, arXiv:2402.09353)."""
    start: Literal["default", "gaussian", "pissa", "olora", "eva"] = "default"
    """How A and B begin. `default`: A uniform, B zero; `gaussian`: A normal, B zero; `pissa`: the matrix's largest
    singular vectors (Meng et al. 2024, arXiv:2404.02948); `olora`: its QR decomposition (Büyükakyüz 2024,
    arXiv:2406.01775); `eva`: A the directions in which the layer's inputs vary most, over the first batches of the
    training data, B zero (Paischer et al. 2024, arXiv:2410.07170; every layer keeps its rank)."""
    lora_plus: float | None = Field(None, gt=0)
    """LoRA+: how many times A's learning rate B has; 16 in the paper (Hayou et al. 2024, arXiv:2402.12354).
    `training.learning_rate` is the geometric mean of both, and the head's."""
    rank_pattern: dict[str, int] = Field(default_factory=dict)
    """Name or regular expression at the end of a layer's name -> its rank, where it is not `rank`."""
    alpha_pattern: dict[str, float] = Field(default_factory=dict)
    """Name or regular expression at the end of a layer's name -> its alpha, where it is not `alpha`."""
    bias: Literal["none", "all", "lora_only"] = "none"
    """Biases that move too: none, all of the body, or those of the adapted layers."""


class Lora(OnPeft):
    """``W x + s B A x`` with W frozen, A drawn at random and B zero at the start; s is alpha / r, or alpha / sqrt(r).

    With `dora` ``m (W + s B A) / |W + s B A|``, the norm taken of each row and m at first ``|W|``. The starts `pissa`
    and `olora` take ``s B A`` out of W, so that the sum is W; the adapter is saved as ``s (B A - B_0 A_0)``, an
    ordinary one of twice the rank for the W that was. The start `eva` makes A the principal directions of what goes
    into the layer, found in at most 100 micro-batches without their padding. A new head (and pooler) is trained whole;
    a language model's matrix over the vocabulary stays as it is, but for the rows of new tokens. Trainable parameters:
    r (d_in + d_out) for each adapted matrix, with `dora` another d_out, d for each new token (twice where embeddings
    and the vocabulary's matrix are two), plus biases as chosen and the head.
    """

    name: ClassVar[str] = "lora"
    Options: ClassVar[type[Settings]] = LoraOptions
    options: LoraOptions

    def __init__(self, options: LoraOptions) -> None:
        self.options = options

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """About ten times that of full fine-tuning (Schulman 2025, "LoRA Without Regret")."""
        return {"encoder": 1e-3, "decoder": 5e-4, "seq2seq": 1e-3}[family], f"LoRA ({family})"

    def peft_config(self, model: PreTrainedModel, common: Mapping[str, Any]) -> PeftConfig:
        """PEFT's LoRA."""
        from peft import LoraConfig

        chosen = self.options
        self._check_patterns(model)
        return LoraConfig(
            r=chosen.rank,
            lora_alpha=chosen.alpha or 2 * chosen.rank,
            lora_dropout=chosen.dropout,
            target_modules=self._targets(model),
            use_rslora=chosen.scaling == "rslora",
            use_dora=chosen.dora,
            init_lora_weights="gaussian" if chosen.start == "gaussian" else True,
            rank_pattern=dict(chosen.rank_pattern),
            alpha_pattern=dict(chosen.alpha_pattern),
            bias=chosen.bias,
            fan_in_fan_out=stores_transposed(model),
            **common,
        )

    def apply(self, model: PreTrainedModel, new_tokens: Sequence[int] = ()) -> torch.nn.Module:
        """Wrap the model with LoRA layers, begun as chosen."""
        wrapped = super().apply(model, new_tokens)
        if self.options.start in ("pissa", "olora"):
            start_from_weights(wrapped, self.options.start)
        if self.options.start == "eva":
            check_ranks(wrapped)
        return wrapped

    def start_from(self, model: torch.nn.Module, batches: Iterable[Batch], run: Callable[[Batch], Any]) -> None:
        """Set A from what goes into its layers, where `eva` is the start."""
        if self.options.start == "eva":
            start_from_inputs(model, batches, run)

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Write the adapter in PEFT's own format, for the base as it was before."""
        super().save(model, folder)
        if self.options.start in ("pissa", "olora") and not on_meta(model):
            save_as_update(model, folder)

    def paces(self, model: torch.nn.Module) -> Mapping[str, Pace]:
        """A's and B's pace under LoRA+; what has no A and B (a head) keeps the common one."""
        if self.options.lora_plus is None:
            return {}
        root = self.options.lora_plus**0.5
        rates = {".lora_A.": 1 / root, ".lora_B.": root}
        return {
            name: Pace(rate=rate)
            for name, _ in model.named_parameters()
            for part, rate in rates.items()
            if part in name
        }

    def _targets(self, model: PreTrainedModel) -> str | list[str]:
        """Names, or an expression; whole names where only some blocks are meant."""
        if self.options.layers is None:
            return chosen_targets(model, self.options.targets)
        return self._adapted(model)

    def _adapted(self, model: PreTrainedModel) -> list[str]:
        """Whole names of the layers that are adapted."""
        names = target_names(model, self.options.targets)
        if self.options.layers is None:
            return names
        blocks = block_names(model)
        strange = [number for number in self.options.layers if not 0 <= number < len(blocks)]
        if strange or not self.options.layers:
            raise RecipeError(f"no block {strange[0]}" if strange else "no block is named", where="method.layers",
                              fix=f"There are the blocks 0 to {len(blocks) - 1}.")  # fmt: skip
        prefixes = tuple(f"{blocks[number]}." for number in self.options.layers)
        found = [name for name in names if name.startswith(prefixes)]
        if not found:
            raise RecipeError("none of `targets` is in these blocks", where="method.layers",
                              fix=f"They are in {names[0]} and the like.")  # fmt: skip
        return found

    def _check_patterns(self, model: PreTrainedModel) -> None:
        if self.options.rank_pattern or self.options.alpha_pattern:
            names = self._adapted(model)
            check_patterns(self.options.rank_pattern, names, "method.rank_pattern")
            check_patterns(self.options.alpha_pattern, names, "method.alpha_pattern")
