"""Learned tokens that a model of transformers reads before the real ones, put into its body.

Whatever stands on the body (heads, losses, generation) never sees them.

Needs torch, transformers and safetensors alone: a copy of this file lies beside the weights, as `load_adapter.py`.
``load_adapter(model, "adapter")`` puts them onto the plain model they were trained on.

``weights.safetensors``        ``prompt`` (tokens, width of the embeddings) or ``prefix`` (tokens, layers x [key, value]
                               x heads x width of a head, laid out flat), and by their names the weights of the head.
``adapter_model.safetensors``  instead of it with an ``adapter_config.json``: the format of the PEFT library, whose
                               ``PeftModel.from_pretrained`` computes the same from it. ``prompt_embeddings`` is the
                               prompt or the prefix, the head's names begin with ``base_model.``. The prefix of an
                               encoder-decoder has each layer's keys and values twice: see `as_in_peft`.
"""

from __future__ import annotations

import inspect
import json
import threading
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

NAME = "virtual_tokens"  # of the module in the model


class Learned(nn.Module):
    """Vectors that are learned as they are."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self) -> torch.Tensor:
        """Return the vectors, one for each virtual token."""
        return self.weight


class VirtualTokens(nn.Module):
    """What prompt and prefix share. `vectors` returns (tokens, width) when called."""

    def __init__(self, vectors: nn.Module, tokens: int) -> None:
        super().__init__()
        self.vectors, self.tokens = vectors, tokens
        self._hooks: list[Any] = []

    def attach(self, model: nn.Module) -> nn.Module:
        """Put the tokens into the model's body."""
        model.add_module(NAME, self)
        self.hook(model)
        return model

    def hook(self, model: nn.Module) -> None:
        """Register what is done before and after the body runs."""
        raise NotImplementedError

    def values(self) -> torch.Tensor:
        """The vectors in full precision, also where the model computes in a lower one."""
        with torch.autocast(next(self.parameters()).device.type, enabled=False):
            found: torch.Tensor = self.vectors()
        return found


class Prompt(VirtualTokens):
    """Embeddings in front of the tokens: of the text, or of an encoder-decoder's source."""

    def hook(self, model: nn.Module) -> None:
        """Around the encoder where there is a decoder behind it, else around the body."""
        encoder, decoder = halves(model)
        reads: Any = body_of(model) if decoder is None else encoder
        self.causal, self.pad = is_causal(model), getattr(model.config, "pad_token_id", None)
        self.reading: set[int] = set()  # threads in which the prompt is still to be put in, as tokens are looked up
        self.put: set[int] = set()  # threads in which it is to be taken from what the body gives
        self._hooks = [
            reads.register_forward_pre_hook(self._before, with_kwargs=True),
            reads.get_input_embeddings().register_forward_hook(self._embedded),
        ]
        if decoder is not None:
            self._hooks.append(decoder.register_forward_pre_hook(self._look_back, with_kwargs=True))
            return
        self._hooks.append(reads.register_forward_hook(self._after))
        if getattr(reads, "pooler", None) is not None:
            self._hooks.append(reads.pooler.register_forward_pre_hook(self._pool))

    def _before(self, body: nn.Module, args: Any, kwargs: Any) -> Any:
        """Make room: tokens without meaning, whose embeddings are replaced as soon as they are looked up."""
        inputs = named(body, args, kwargs)
        ids = inputs.get("input_ids")
        if ids is None:
            raise ValueError("a learned prompt needs input_ids")
        first = seen(inputs) == 0  # later the cache holds the prompt
        for threads in (self.reading, self.put):
            (threads.add if first else threads.discard)(threading.get_ident())
        length = ids.shape[1] + (self.tokens if first else 0)
        lengthen(body, inputs, self.tokens, length, causal=self.causal, prompt=first)
        if first:
            inputs["input_ids"] = _front(ids, self.tokens, 1 if self.pad == 0 else 0)
            for name in ("token_type_ids", "global_attention_mask"):
                if inputs.get(name) is not None:
                    inputs[name] = _front(inputs[name], self.tokens, 0)
        return (), inputs

    def _embedded(self, _: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        if threading.get_ident() not in self.reading:
            return output
        self.reading.discard(threading.get_ident())
        prompt = self.values().to(output.dtype).expand(len(output), -1, -1)
        return torch.cat([prompt, output[:, self.tokens :]], 1)

    def _after(self, _: nn.Module, __: Any, output: Any) -> Any:
        if threading.get_ident() not in self.put:
            return output
        self.put.discard(threading.get_ident())
        if isinstance(output, tuple):
            return (output[0][:, self.tokens :], *output[1:])
        output["last_hidden_state"] = output["last_hidden_state"][:, self.tokens :]
        if output.get("hidden_states") is not None:
            output["hidden_states"] = tuple(states[:, self.tokens :] for states in output["hidden_states"])
        return output

    def _pool(self, _: nn.Module, args: Any) -> Any:
        return (args[0][:, self.tokens :], *args[1:])

    def _look_back(self, decoder: nn.Module, args: Any, kwargs: Any) -> Any:
        """Let the decoder see the prompt among what the encoder gave."""
        inputs = named(decoder, args, kwargs)
        mask, hidden = inputs.get("encoder_attention_mask"), inputs.get("encoder_hidden_states")
        if mask is not None and hidden is not None and mask.shape[-1] + self.tokens == hidden.shape[1]:
            inputs["encoder_attention_mask"] = _front(mask, self.tokens, 1)
        return (), inputs


class Prefix(VirtualTokens):
    """Keys and values before those of the tokens, in each block: of the body, or of an encoder-decoder's decoder."""

    def hook(self, model: nn.Module) -> None:
        """Before the part that keeps keys and values."""
        _, decoder = halves(model)
        reads: Any = body_of(model) if decoder is None else decoder
        self.causal, self.crosses = decoder is not None or is_causal(model), decoder is not None
        _, self.heads, self.width = key_shape(model)
        self.unwanted: dict[int, Any] = {}  # by thread: a cache that was made for the prefix alone
        self._hooks = [
            reads.register_forward_pre_hook(self._before, with_kwargs=True),
            reads.register_forward_hook(self._after),
        ]

    def _before(self, body: Any, args: Any, kwargs: Any) -> Any:
        inputs = named(body, args, kwargs)
        ids = inputs.get("input_ids")
        shown: torch.Tensor = inputs["inputs_embeds"] if ids is None else ids
        rows, length = shown.shape[:2]
        self.unwanted.pop(threading.get_ident(), None)
        if seen(inputs) == 0:
            given = inputs.get("past_key_values")
            inputs["past_key_values"] = filled = self._filled(given, body, rows)
            keeps = inputs.get("use_cache")
            if given is None and not (self.causal and (body.config.use_cache if keeps is None else keeps)):
                self.unwanted[threading.get_ident()] = filled
        if not self.causal and inputs.get("attention_mask") is None:
            inputs["attention_mask"] = torch.ones(rows, length, dtype=torch.long, device=shown.device)
        lengthen(body, inputs, self.tokens, length, causal=self.causal, prompt=False)
        return (), inputs

    def _after(self, _: nn.Module, __: Any, output: Any) -> Any:
        """Give no cache where none is wanted: `generate` would go on with it and the whole text, which it knows."""
        cache = self.unwanted.pop(threading.get_ident(), None)
        if cache is None:
            return output
        if isinstance(output, tuple):
            return tuple(value for value in output if value is not cache)
        return type(output)(**{name: value for name, value in output.items() if value is not cache})

    def _filled(self, cache: Any, body: Any, rows: int) -> Any:
        if cache is None:
            config = {"config": body.config} if self.causal else {}
            cache = DynamicCache(**config)
            if self.crosses:
                cache = EncoderDecoderCache(cache, DynamicCache(**config))
        own = cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache
        values = self.values()
        kind = values.device.type
        values = values.to(torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else body.dtype)
        laid = values.view(self.tokens, -1, 2, self.heads, self.width).permute(1, 2, 3, 0, 4)
        for number, (keys, given) in enumerate(laid):
            own.update(keys.expand(rows, -1, -1, -1), given.expand(rows, -1, -1, -1), number)
        return cache


def lengthen(body: nn.Module, inputs: dict[str, Any], tokens: int, length: int, *, causal: bool, prompt: bool) -> None:
    """Let attention mask and positions know of the virtual tokens; `length` is how much the body reads now.

    Where a decoder is told no positions they follow from the mask, so that padding on the left changes nothing.
    """
    mask, positions = inputs.get("attention_mask"), inputs.get("position_ids")
    if mask is not None:
        if not isinstance(mask, torch.Tensor) or mask.ndim != 2:
            raise ValueError("virtual tokens need an attention mask of two dimensions")
        inputs["attention_mask"] = mask = _front(mask, tokens, 1)
    if positions is not None:
        front = torch.arange(tokens, device=positions.device).expand(*positions.shape[:-1], tokens)
        inputs["position_ids"] = torch.cat([front, positions + tokens], -1) if prompt else positions + tokens
    elif causal and mask is not None and "position_ids" in inspect.signature(body.forward).parameters:
        inputs["position_ids"] = (mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:]


def named(module: nn.Module, args: Any, kwargs: Any) -> dict[str, Any]:
    """All that the module is called with, by name."""
    return {**dict(zip(inspect.signature(module.forward).parameters, args, strict=False)), **kwargs}


def seen(inputs: dict[str, Any]) -> int:
    """How many tokens the cache holds."""
    cache = inputs.get("past_key_values")
    return 0 if cache is None else int(cache.get_seq_length())


def body_of(model: Any) -> Any:
    """The pretrained body; the decoder in it where that is all there is, which OPT's heads call by itself."""
    body = model.base_model
    inner = getattr(body, "decoder", None)
    return inner if isinstance(inner, PreTrainedModel) and getattr(body, "encoder", None) is None else body


def halves(model: Any) -> tuple[nn.Module | None, nn.Module | None]:
    """Encoder and decoder; (None, None) where there are not both."""
    body: Any = model.base_model
    both = getattr(body, "encoder", None), getattr(body, "decoder", None)
    return (None, None) if None in both else both


def is_causal(model: Any) -> bool:
    """Whether tokens see only those before them."""
    kind = body_of(model).config.model_type
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def key_shape(model: Any) -> tuple[int, int, int]:
    """Layers, heads of keys, and width of a head, where keys and values are kept."""
    config, decodes = body_of(model).config.get_text_config(), halves(model)[1] is not None

    def first(*names: str) -> Any:
        return next((value for name in names if (value := getattr(config, name, None))), None)

    names = [f"decoder_{name}" for name in ("layers", "attention_heads")] if decodes else ["", ""]
    heads = first(names[1], "num_attention_heads")
    width = first("head_dim", "d_kv") or first("hidden_size") // heads
    layers = first("num_decoder_layers" if decodes else "", names[0], "num_hidden_layers")
    if getattr(config, "multi_query", False) and not getattr(config, "new_decoder_architecture", False):
        return layers, 1, width
    return layers, first("num_key_value_heads", "num_kv_heads") or heads, width


def _front(values: torch.Tensor, tokens: int, filling: int) -> torch.Tensor:
    return torch.cat([values.new_full((len(values), tokens), filling), values], 1)


def detach(model: nn.Module) -> nn.Module:
    """Take the virtual tokens out; the model is plain again."""
    inside: Any = model.get_submodule(NAME)
    for hook in inside._hooks:
        hook.remove()
    delattr(model, NAME)
    return model


def as_in_peft(prefix: torch.Tensor, layers: int) -> torch.Tensor:
    """Lay out the prefix of an encoder-decoder so that PEFT (0.21) gives each layer its own, (tokens, 2 x width).

    PEFT writes the vectors of all layers behind one another twice and cuts that into fours, of which a layer takes the
    first two: layer i of L is given the keys and values of layer 2 i mod L, and with an even L half of them are never
    used. With each layer's pair written twice, and so many layers said to be there, layer i takes its own.
    """
    pairs = prefix.view(len(prefix), layers, -1)
    return torch.stack([pairs, pairs], 2).reshape(len(prefix), -1)


def load_adapter(model: Any, folder: str | Path) -> Any:
    """Put the saved virtual tokens and head onto a plain model, and return it."""
    vectors, head, is_prompt = read(model, Path(folder))
    model.load_state_dict(head, strict=False)
    made = (Prompt if is_prompt else Prefix)(Learned(vectors.to(model.device)), len(vectors))
    return made.attach(model).eval()


def read(model: Any, folder: Path) -> tuple[torch.Tensor, dict[str, torch.Tensor], bool]:
    """Return the vectors and head in `folder`, and whether they are a prompt."""
    from safetensors.torch import load_file

    if not (folder / "adapter_config.json").exists():
        head = load_file(folder / "weights.safetensors")
        is_prompt = "prompt" in head
        return head.pop("prompt" if is_prompt else "prefix"), head, is_prompt
    told = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    head = {name.removeprefix("base_model."): v for name, v in load_file(folder / "adapter_model.safetensors").items()}
    vectors, is_prompt = head.pop("prompt_embeddings"), told["peft_type"] != "PREFIX_TUNING"
    if not is_prompt and halves(model)[1] is not None:
        layers, _, _ = key_shape(model)
        vectors = vectors.view(len(vectors), layers, 2, -1)[:, :, 0].reshape(len(vectors), -1)
    return vectors, head, is_prompt
