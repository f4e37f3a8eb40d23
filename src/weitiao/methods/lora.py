"""LoRA: low-rank updates of frozen matrices (Hu et al. 2021, arXiv:2106.09685), on the PEFT library."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from weitiao.errors import RecipeError, nearest
from weitiao.methods.parts import head_modules, vocabulary_module
from weitiao.recipe import Settings
from weitiao.records import FAMILIES, Family

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class LoraOptions(Settings):
    """Options of the method `lora`."""

    rank: int = Field(16, ge=1)
    """Rank r of the update."""
    alpha: float | None = Field(None, gt=0)
    """Scale of the update, alpha / r; twice the rank when absent."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the input of the update."""
    targets: Literal["all-linear"] | list[str] = "all-linear"
    """Names of the linear layers to adapt, such as `[query, value]`; `all-linear`: all in the body."""


class Lora:
    """``W x + (alpha / r) B A x`` with W frozen, A drawn at random and B zero at the start.

    A new head (and pooler) is trained whole; a language model's matrix over the vocabulary stays as it is. Trainable
    parameters: r (d_in + d_out) for each adapted matrix, plus the head.
    """

    name: ClassVar[str] = "lora"
    families: ClassVar[frozenset[Family]] = frozenset(FAMILIES)
    Options: ClassVar[type[Settings]] = LoraOptions

    def __init__(self, options: LoraOptions) -> None:
        self.options = options

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """About ten times that of full fine-tuning (Schulman 2025, "LoRA Without Regret")."""
        return {"encoder": 1e-3, "decoder": 5e-4, "seq2seq": 1e-3}[family], f"LoRA ({family})"

    def apply(self, model: PreTrainedModel) -> torch.nn.Module:
        """Wrap the model with PEFT's LoRA layers."""
        from peft import LoraConfig, get_peft_model

        heads, vocabulary = head_modules(model), vocabulary_module(model)
        excluded = "|".join(re.escape(name) for name in (*heads, vocabulary) if name)
        config = LoraConfig(
            r=self.options.rank,
            lora_alpha=self.options.alpha or 2 * self.options.rank,
            lora_dropout=self.options.dropout,
            target_modules=self._targets(model, heads),
            exclude_modules=rf"(?:{excluded})(?:\..*)?" if excluded else None,
            modules_to_save=heads or None,
            fan_in_fan_out=_stores_transposed(model),
            task_type=_task_type(model),
        )
        wrapped: torch.nn.Module = get_peft_model(model, config)
        return wrapped

    def _targets(self, model: PreTrainedModel, heads: list[str]) -> list[str]:
        linear = _linear_names(model, [*heads, vocabulary_module(model) or ""])
        if self.options.targets == "all-linear":
            return sorted(linear)
        for target in self.options.targets:
            if target not in linear:
                raise RecipeError(
                    f"no linear layer is called '{target}'", where="method.targets", fix=nearest(target, linear)
                )
        return list(self.options.targets)

    def merge(self, model: torch.nn.Module) -> PreTrainedModel:
        """Add the updates into the frozen matrices."""
        return model.merge_and_unload(safe_merge=True)  # type: ignore[operator]

    def save(self, model: torch.nn.Module, folder: Path) -> bool:
        """Write the adapter in PEFT's own format."""
        model.save_pretrained(str(folder), save_embedding_layers=False)  # type: ignore[operator]
        (folder / "README.md").unlink(missing_ok=True)  # an empty form of PEFT's; the artifact has its own card
        return True


def _linear_names(model: PreTrainedModel, outside: list[str]) -> set[str]:
    """Last name parts of the matrices in the body, GPT-2's transposed `Conv1D` included."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and not any(name == other or name.startswith(f"{other}.") for other in outside if other)
    }


def _stores_transposed(model: PreTrainedModel) -> bool:
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in model.modules())


def _task_type(model: PreTrainedModel) -> Any:
    """What PEFT calls the head, so that plain `peft` picks the right class; None where it has no name for it.

    Its classes for tasks hand on tokens alone: a model of sound takes the plain one.
    """
    if model.main_input_name != "input_ids":
        return None
    kinds = {
        "ForSequenceClassification": "SEQ_CLS", "ForTokenClassification": "TOKEN_CLS",
        "ForCausalLM": "CAUSAL_LM", "LMHeadModel": "CAUSAL_LM", "ForConditionalGeneration": "SEQ_2_SEQ_LM",
    }  # fmt: skip
    # Not QUESTION_ANS: PEFT's wrapper of that name (0.21) drops `token_type_ids` on the way to the model.
    return next((kind for ending, kind in kinds.items() if type(model).__name__.endswith(ending)), None)
