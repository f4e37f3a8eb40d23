"""What the methods on the PEFT library share: a method on it is its options and a `peft_config`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
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
ADAPTER = "default"  # PEFT's name for the one adapter there is
Targets = str | list[str]
LOADER = "load_adapter.py"  # beside weights that cannot be merged
LOADS_PEFT = """\
from peft import PeftModel


def load_adapter(model, folder):
    return PeftModel.from_pretrained(model, folder).eval()
"""


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
        """Wrap the model with PEFT's layers; a `RecipeError` with PEFT's reason where it refuses."""
        from peft import get_peft_model

        excluded = "|".join(re.escape(name) for name in outside_body(model))
        common = {
            "exclude_modules": rf"(?:{excluded})(?:\..*)?" if excluded else None,
            "modules_to_save": head_modules(model) or None,
            "task_type": task_type(model),
        }
        with reasons_told():
            config = self.peft_config(model, common)
            if new_tokens and hasattr(config, "trainable_token_indices"):
                config.trainable_token_indices = _rows(model, new_tokens)
            wrapped: torch.nn.Module = get_peft_model(model, config)
        _keep_biases(wrapped)
        return wrapped

    def merge(self, model: torch.nn.Module) -> PreTrainedModel:
        """Add the updates into the frozen matrices; only the trained head is kept where they cannot be added."""
        _put_back_heads(model)
        return model.merge_and_unload(safe_merge=True) if self.merges else model.unload()  # type: ignore[operator]

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Write the adapter in PEFT's own format, without a head that nothing is kept of."""
        inner: Any = model
        if not getattr(inner.get_base_model(), "keeps_head", True):
            _put_back_heads(model)
            inner.peft_config[ADAPTER].modules_to_save = None
        model.save_pretrained(str(folder), save_embedding_layers=False)  # type: ignore[operator]
        (folder / "README.md").unlink(missing_ok=True)  # an empty form of PEFT's; the artifact has its own card
        if not self.merges:
            (folder / LOADER).write_text(LOADS_PEFT, encoding="utf-8")

    def load(self, model: PreTrainedModel, folder: Path) -> torch.nn.Module:
        """Put a saved adapter onto a plain model."""
        from peft import PeftModel

        loaded: torch.nn.Module = PeftModel.from_pretrained(model, str(folder)).eval()
        _keep_biases(loaded)
        return loaded


def chosen_targets(model: PreTrainedModel, targets: Targets, where: str = "method.targets") -> str | list[str]:
    """Return PEFT's `target_modules` for the layers that `targets` means: `all-linear` (the linear layers of the body),
    last name parts, or one regular expression over whole names.

    Raises a `RecipeError` with the nearest names where nothing, or one of the names, matches.
    """  # fmt: skip
    layers = body_layers(model)
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


def target_names(model: PreTrainedModel, targets: Targets, where: str = "method.targets") -> list[str]:
    """Return the whole names of the layers that `targets` means; for tuners that cannot be told what to leave out."""
    chosen = chosen_targets(model, targets, where)
    if isinstance(chosen, str):
        return [name for name in body_layers(model) if re.fullmatch(chosen, name)]
    return [name for name in body_layers(model) if name.rpartition(".")[2] in chosen]


def body_layers(model: PreTrainedModel) -> list[str]:
    """Names of the matrices in the body."""
    return linear_layers(model, outside_body(model))


def outside_body(model: PreTrainedModel) -> list[str]:
    """Names of the modules that are not body: the heads, and what gives logits over the vocabulary."""
    return [name for name in (*head_modules(model), vocabulary_module(model)) if name]


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


def check_patterns(patterns: Iterable[str], names: Sequence[str], where: str) -> None:
    """Raise a `RecipeError` where one of PEFT's patterns, expressions for the ends of names, fits no name."""
    for pattern in patterns:
        try:
            found = any(re.match(rf"(.*\.)?({pattern})$", name) for name in names)
        except re.error as error:
            raise RecipeError(f"'{pattern}' is no regular expression: {error}", where=where) from None
        if not found:
            ends = {name.rpartition(".")[2] for name in names}
            fix = f"{nearest(pattern, ends)} It has to match the end of a name such as {names[0]}."
            raise RecipeError(f"'{pattern}' matches none of the adapted layers", where=where, fix=fix)


def on_meta(model: torch.nn.Module) -> bool:
    """Whether the model has shapes only, to be counted."""
    return any(parameter.is_meta for parameter in model.parameters())


def stores_transposed(model: PreTrainedModel) -> bool:
    """Whether the matrices are stored as (in, out), as GPT-2's are."""
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in model.modules())


def refuse_transposed(model: PreTrainedModel, method: str) -> None:
    """Raise a `RecipeError` for GPT-2, whose matrices PEFT's version of this method does not know."""
    if stores_transposed(model):
        raise RecipeError(f"{method} of the PEFT library does not know the transposed matrices (Conv1D) of "
                          f"{type(model).__name__}", where="method", fix="Take lora, vera or ia3.")  # fmt: skip


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


@contextmanager
def reasons_told(where: str = "method") -> Iterator[None]:
    """Tell PEFT's reason for refusing a model or an option as an error that a person can mend."""
    try:
        yield
    except (ValueError, TypeError, NotImplementedError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        fix = "Change the method's options, or take lora, which fits every model."
        raise RecipeError(f"the PEFT library refuses: {reason}", where=where, fix=fix) from error


def _rows(model: PreTrainedModel, new_tokens: Sequence[int]) -> list[int] | dict[str, list[int]]:
    """Which rows of which matrices train: those of the embeddings, and of the vocabulary's matrix where it is another
    one; where both are one, PEFT keeps them so.
    """  # fmt: skip
    vocabulary = vocabulary_module(model)
    tied = bool(getattr(model.config.get_text_config(), "tie_word_embeddings", False))
    if vocabulary is None or tied:
        return list(new_tokens)
    embeddings = model.get_input_embeddings()
    names = [next(name for name, module in model.named_modules() if module is embeddings), vocabulary]
    return {name: list(new_tokens) for name in names}


def _keep_biases(model: torch.nn.Module) -> None:
    """Give new tokens' rows the bias of the vocabulary's matrix, which PEFT (0.21) forgets; BERT's language head has
    one.
    """  # fmt: skip
    from peft.tuners.trainable_tokens import TrainableTokensLayer
    from torch import nn

    for module in model.modules():
        if not isinstance(module, TrainableTokensLayer):
            continue
        base = module.get_base_layer()
        if isinstance(base, nn.Linear) and base.bias is not None:
            module.forward = partial(_biased, module)
            module.forward_adapters = partial(_biased, module)


def _biased(layer: Any, inputs: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    from torch.nn import functional

    if layer.merged or layer.disable_adapters or not layer.active_adapters:
        return layer.base_layer(inputs)  # type: ignore[no-any-return]
    return functional.linear(inputs, layer.get_merged_weights(layer.active_adapters), layer.base_layer.bias)


def _put_back_heads(model: torch.nn.Module) -> None:
    """Put the trained heads in the place of PEFT's wrappers: most of its tuners stumble over those when they merge."""
    from peft.utils.other import ModulesToSaveWrapper

    wrappers = [(name, module) for name, module in model.named_modules() if isinstance(module, ModulesToSaveWrapper)]
    for name, module in wrappers:
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, module.modules_to_save[ADAPTER])
