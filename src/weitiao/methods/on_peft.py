"""What the methods on the PEFT library share: a method on it is its options and a `peft_config`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from weitiao.errors import RecipeError, nearest
from weitiao.methods.parts import head_modules, vocabulary_module
from weitiao.records import FAMILIES, Family

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"
Targets = str | list[str]


class OnPeft:
    """A method of the PEFT library. A new head (and pooler) is trained whole; the matrix over a language model's
    vocabulary stays as it is.
    """  # fmt: skip

    families: ClassVar[frozenset[Family]] = frozenset(FAMILIES)
    merges: bool = True
    options: Any

    def peft_config(self, model: PreTrainedModel, common: Mapping[str, Any]) -> PeftConfig:
        """Return PEFT's config for this model; `common` are the arguments that all its tuners of layers take."""
        raise NotImplementedError

    def apply(self, model: PreTrainedModel, new_tokens: Sequence[int] = ()) -> torch.nn.Module:
        """Wrap the model with PEFT's layers."""
        from peft import get_peft_model

        heads, vocabulary = head_modules(model), vocabulary_module(model)
        excluded = "|".join(re.escape(name) for name in (*heads, vocabulary) if name)
        common = {
            "exclude_modules": rf"(?:{excluded})(?:\..*)?" if excluded else None,
            "modules_to_save": heads or None,
            "task_type": task_type(model),
        }
        config = self.peft_config(model, common)
        if new_tokens and hasattr(config, "trainable_token_indices"):
            config.trainable_token_indices = list(new_tokens)
        wrapped: torch.nn.Module = get_peft_model(model, config)
        return wrapped

    def merge(self, model: torch.nn.Module) -> PreTrainedModel:
        """Add the updates into the frozen matrices."""
        return model.merge_and_unload(safe_merge=True)  # type: ignore[operator]

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Write the adapter in PEFT's own format."""
        model.save_pretrained(str(folder), save_embedding_layers=False)  # type: ignore[operator]
        (folder / "README.md").unlink(missing_ok=True)  # an empty form of PEFT's; the artifact has its own card

    def load(self, model: PreTrainedModel, folder: Path) -> torch.nn.Module:
        """Put a saved adapter onto a plain model."""
        from peft import PeftModel

        loaded: torch.nn.Module = PeftModel.from_pretrained(model, str(folder)).eval()
        return loaded


def chosen_targets(model: PreTrainedModel, targets: Targets, where: str = "method.targets") -> str | list[str]:
    """Return PEFT's `target_modules` for the layers that `targets` means: `all-linear` (the linear layers of the body),
    last name parts, or one regular expression over whole names.

    Raises a `RecipeError` with the nearest names where nothing, or one of the names, matches.
    """  # fmt: skip
    outside = [*head_modules(model), vocabulary_module(model) or ""]
    layers = linear_layers(model, outside)
    last = {name.rpartition(".")[2] for name in layers}
    if targets == ALL_LINEAR:
        return sorted(last)
    if isinstance(targets, str):
        try:
            found = any(re.fullmatch(targets, name) for name in layers)
        except re.error as error:
            raise RecipeError(f"'{targets}' is no regular expression: {error}", where=where) from None
        if not found:
            fix = f"It has to match a whole name, such as {layers[0]}. Last parts: {', '.join(sorted(last))}."
            raise RecipeError(f"'{targets}' matches no linear layer of the body", where=where, fix=fix)
        return targets
    for target in targets:
        if target not in last:
            raise RecipeError(f"no linear layer is called '{target}'", where=where, fix=nearest(target, last))
    return list(targets)


def linear_layers(model: PreTrainedModel, outside: Sequence[str]) -> list[str]:
    """Names of the matrices in the body, GPT-2's transposed `Conv1D` included; `outside` names modules to pass over."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and not any(name == other or name.startswith(f"{other}.") for other in outside if other)
    ]


def stores_transposed(model: PreTrainedModel) -> bool:
    """Whether the matrices are stored as (in, out), as GPT-2's are."""
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in model.modules())


def task_type(model: PreTrainedModel) -> Any:
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
