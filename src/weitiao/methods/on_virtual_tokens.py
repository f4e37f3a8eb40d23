"""What the methods of virtual tokens share: a method of them is its options and the module that gives their vectors."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from weitiao.errors import RecipeError
from weitiao.methods.on_peft import LOADER, on_meta, task_type
from weitiao.methods.parts import head_modules, head_prefixes
from weitiao.records import FAMILIES, Family

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from transformers import PreTrainedModel

WEIGHTS, PEFT_WEIGHTS = "weights.safetensors", "adapter_model.safetensors"


class OnVirtualTokens:
    """The body is frozen, and reads virtual tokens before the real ones; they and a new head (and pooler) move."""

    families: ClassVar[frozenset[Family]] = frozenset(FAMILIES)
    merges: bool = False
    kind: ClassVar[str]  # prompt or prefix

    def __init__(self, options: Any) -> None:
        self.options = options

    @property
    def positions(self) -> int:
        """How many of the model's positions the virtual tokens take."""
        return int(self.options.tokens)

    def vectors(self, model: PreTrainedModel) -> torch.nn.Module:
        """Return the module that gives the vectors, begun as chosen; the model may be on the meta device."""
        raise NotImplementedError

    def check(self, model: PreTrainedModel) -> None:
        """Raise a `RecipeError` where the method does not fit the model."""

    def peft_config(self, model: PreTrainedModel) -> PeftConfig | None:
        """Return the config with which plain PEFT predicts the same; None where it does not."""
        raise NotImplementedError

    def apply(self, model: PreTrainedModel, new_tokens: Sequence[int] = ()) -> torch.nn.Module:
        """Freeze the body and put the virtual tokens into it."""
        self.check(model)
        vectors = self.vectors(model)
        if on_meta(model):
            vectors.to("meta")
        model.requires_grad_(False)
        for name in head_modules(model):
            model.get_submodule(name).requires_grad_(True)
        return self._attached(model, vectors)

    def merge(self, model: torch.nn.Module) -> PreTrainedModel:
        """Take the virtual tokens out: there is nothing to add them to."""
        from weitiao.methods.virtual_tokens import detach

        return cast("PreTrainedModel", detach(model))

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Write the vectors as they come out of the reparametrisation, the head, and a loader that documents the files.

        In PEFT's own format where plain PEFT predicts the same.
        """
        from safetensors.torch import save_file

        from weitiao.methods import virtual_tokens

        folder.mkdir(parents=True, exist_ok=True)
        plain, module = cast("PreTrainedModel", model), cast("Any", model.get_submodule(virtual_tokens.NAME))
        values = module.values().detach().float().contiguous().clone()
        config = self.peft_config(plain)
        shutil.copyfile(virtual_tokens.__file__, folder / LOADER)
        if config is None:
            save_file({self.kind: values} | _head(plain), folder / WEIGHTS, metadata={"format": "pt"})
            return
        config.inference_mode = True
        config.save_pretrained(str(folder))
        named = {"prompt_embeddings": self.in_peft(values, plain)} | {
            f"base_model.{name}": tensor for name, tensor in _head(plain).items()
        }
        save_file(named, folder / PEFT_WEIGHTS, metadata={"format": "pt"})

    def in_peft(self, values: torch.Tensor, model: PreTrainedModel) -> torch.Tensor:
        """Return the vectors as PEFT lays them out."""
        return values

    def load(self, model: PreTrainedModel, folder: Path) -> torch.nn.Module:
        """Put saved vectors and head onto a plain model."""
        from weitiao.methods.virtual_tokens import load_adapter

        return cast("torch.nn.Module", load_adapter(model, folder))

    def _attached(self, model: PreTrainedModel, vectors: torch.nn.Module) -> torch.nn.Module:
        from weitiao.methods.virtual_tokens import Prefix, Prompt

        module = (Prompt if self.kind == "prompt" else Prefix)(vectors, self.options.tokens)
        return module.attach(model)


def start_tokens(model: PreTrainedModel, start: str, text: str | None, tokens: int) -> list[int]:
    """Return the tokens that the virtual ones start as: drawn from the vocabulary, or of the text, repeated to fill."""
    import torch

    if start == "vocabulary":
        return cast("list[int]", torch.randint(model.config.get_text_config().vocab_size, (tokens,)).tolist())
    found = _tokenizer(model)(text, add_special_tokens=False)["input_ids"]
    if not found:
        raise RecipeError("the text has no tokens", where="method.text", fix="Say what is to be done, in words.")
    return cast("list[int]", (found * (tokens // len(found) + 1))[:tokens])


def check_text(start: str, text: str | None) -> None:
    """Raise a `ValueError` unless there is a text just where it is used."""
    if (start == "text") != bool(text and text.strip()):
        raise ValueError("`start: text` and `text` belong together")


def prompt_check(model: PreTrainedModel, name: str) -> None:
    """Raise a `RecipeError` for models that virtual tokens in front of the text do not fit."""
    from torch import nn

    if model.main_input_name != "input_ids":
        raise RecipeError(f"'{name}' puts tokens in front of a text, and {type(model).__name__} reads sound",
                          where="method", fix="Take prefix, which works on its decoder, or lora.")  # fmt: skip
    if keeps_a_state(model):
        raise RecipeError(f"'{name}' needs attention in every layer, and {type(model).__name__} carries a state",
                          where="method", fix="Take lora.")  # fmt: skip
    if isinstance(getattr(model.base_model, "pooler", None), nn.Linear):
        raise RecipeError(f"'{name}' does not know how {type(model).__name__} pools",
                          where="method", fix="Take lora.")  # fmt: skip


def keeps_a_state(model: PreTrainedModel) -> bool:
    """Whether some layer keeps something else than keys and values of the tokens before."""
    kinds: set[str] = set(getattr(model.base_model.config.get_text_config(), "layer_types", None) or ())
    attentions = {"full_attention", "sliding_attention", "chunked_attention", "attention"}
    return bool(kinds - attentions) or bool(getattr(model, "_is_stateful", False))


def prompt_shape(model: PreTrainedModel) -> dict[str, Any] | None:
    """What PEFT's configs of prompts say of a model; None where plain PEFT predicts something else.

    Its wrappers for other tasks hand the heads the virtual tokens, too; an encoder that scales embeddings outside their
    matrix would get them unscaled.
    """  # fmt: skip
    from weitiao.methods.virtual_tokens import halves

    kind, encoder = task_type(model), halves(model)[0]
    if kind not in ("CAUSAL_LM", "SEQ_2_SEQ_LM") or (encoder is not None and hasattr(encoder, "embed_scale")):
        return None
    config = model.config.get_text_config()
    width = model.get_input_embeddings().weight.shape[1]
    return {"task_type": kind, "token_dim": int(width), "num_layers": config.num_hidden_layers,
            "num_attention_heads": config.num_attention_heads, "num_transformer_submodules": 1,
            "base_model_name_or_path": model.name_or_path}  # fmt: skip


def _tokenizer(model: PreTrainedModel) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model.name_or_path)
    except (OSError, ValueError) as error:
        raise RecipeError("the model has no tokenizer beside it to read the text with", where="method.start",
                          fix="Use start: vocabulary.") from error  # fmt: skip


def _head(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    names = head_prefixes(model)
    return {k: v.detach().contiguous().clone() for k, v in model.state_dict().items() if k.startswith(names)}
