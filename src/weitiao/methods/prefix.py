"""Prefix tuning: learned keys and values before the text's, in each block (Li & Liang 2021, arXiv:2101.00190)."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from weitiao.errors import RecipeError
from weitiao.methods.on_peft import on_meta, task_type
from weitiao.methods.on_virtual_tokens import OnVirtualTokens, check_text, keeps_a_state, start_tokens
from weitiao.recipe import Settings
from weitiao.records import Family

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from transformers import PreTrainedModel


class PrefixOptions(Settings):
    """Options of the method `prefix`."""

    tokens: int = Field(20, ge=1)
    """Virtual tokens p. They take positions from the text."""
    projection: bool = False
    """Reparametrisation: in training the prefix comes out of a network of two layers, which steadies it."""
    hidden: int | None = Field(None, ge=1)
    """Width h of that network; that of a layer's keys when absent."""
    start: Literal["random", "vocabulary", "text"] | None = None
    """How the prefix begins without `projection`: `random` (normal), or with the keys and values that the model has for
    tokens drawn from the `vocabulary` (when absent) or for those of a `text`, which the paper found best on little
    data."""
    text: str | None = None
    """The text of `start: text`, such as an instruction; repeated or cut to `tokens` tokens."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        check_text(self.start or "vocabulary", self.text)
        if self.projection and self.start in ("vocabulary", "text"):
            raise ValueError("with `projection` the prefix starts at random: leave `start` out")
        if self.hidden and not self.projection:
            raise ValueError("`hidden` is the width of the network of `projection`")
        return self


class PrefixTuning(OnVirtualTokens):
    """In each block ``attention(q, [P_k; K], [P_v; V])``: p learned keys and values before those of the text.

    On the decoder of an encoder-decoder, in its self-attention, as PEFT does; but where PEFT (0.21) gives layer i of L
    the part of layer 2 i mod L, each layer has its own, and the adapter is saved so that PEFT computes that. With
    `projection` ``P = W_2 tanh(W_1 E)``, of which only P ships. A new head (and pooler) is trained whole. Trainable
    parameters, for L layers with keys of width k (heads of keys times their width): p 2 L k; with `projection`
    p k + k h + h + 2 L k (h + 1); plus the head.
    """

    name: ClassVar[str] = "prefix"
    Options: ClassVar[type[Settings]] = PrefixOptions
    options: PrefixOptions
    kind: ClassVar[str] = "prefix"

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """Above LoRA's: keys and values are moved themselves. 5e-3 to 1e-2 in P-tuning v2 (Liu et al. 2022,
        arXiv:2110.07602), which is this on encoders; a network moves them further.
        """  # fmt: skip
        if self.options.projection:
            return 1e-3, f"prefix tuning through a network ({family})"
        return 1e-2, f"prefix tuning ({family})"

    def check(self, model: PreTrainedModel) -> None:
        """The body has to keep keys and values, all of one shape."""
        from weitiao.methods.virtual_tokens import body_of, halves

        _, decoder = halves(model)
        body: Any = decoder or body_of(model)
        fits = "past_key_values" in inspect.signature(body.forward).parameters
        if decoder is None and getattr(body, "encoder", None) is not None and body.config.model_type in _ENCODERS_ALONE:
            fits = False
        if not fits:
            raise RecipeError(f"{type(body).__name__} takes no keys and values from outside", where="method",
                              fix="prefix works on BERT, RoBERTa and the like, on decoders, and on encoder-decoders. "
                                  "Take prompt or lora here.")  # fmt: skip
        shared = int(getattr(body.config, "num_kv_shared_layers", None) or 0)
        if shared or keeps_a_state(model):
            raise _unlike(model)

    def vectors(self, model: PreTrainedModel) -> torch.nn.Module:
        """The prefix itself, or the network it comes out of."""
        import torch

        from weitiao.methods.virtual_tokens import Learned, key_shape

        shape = layers, heads, width = key_shape(model)
        tokens, keys = self.options.tokens, heads * width
        if not on_meta(model):
            _check_kept(model, shape)
        if self.options.projection:
            return _network(tokens, keys, self.options.hidden or keys, 2 * layers * keys)
        if on_meta(model):
            return Learned(torch.empty(tokens, 2 * layers * keys, device="meta"))
        if self.options.start == "random":
            return Learned(torch.randn(tokens, 2 * layers * keys))
        ids = start_tokens(model, self.options.start or "vocabulary", self.options.text, tokens)
        pairs = [torch.stack(pair) for pair in _kept(model, ids)]  # (2, heads, tokens, width)
        return Learned(torch.stack(pairs).permute(3, 0, 1, 2, 4).reshape(len(ids), -1).float().clone())

    def peft_config(self, model: PreTrainedModel) -> PeftConfig | None:
        """PEFT's prefix tuning."""
        from peft import PrefixTuningConfig

        from weitiao.methods.parts import head_modules
        from weitiao.methods.virtual_tokens import halves, key_shape

        kind, crosses = task_type(model), halves(model)[1] is not None
        if kind is None or crosses != (kind == "SEQ_2_SEQ_LM"):
            return None
        layers, heads, width = key_shape(model)
        return PrefixTuningConfig(
            task_type=kind, num_virtual_tokens=self.options.tokens, num_attention_heads=heads,
            num_layers=2 * layers if crosses else layers,
            token_dim=heads * width, num_transformer_submodules=2 if crosses else 1,
            modules_to_save=head_modules(model) or None, base_model_name_or_path=model.name_or_path,
        )  # fmt: skip

    def in_peft(self, values: torch.Tensor, model: PreTrainedModel) -> torch.Tensor:
        """Each layer's own keys and values, where PEFT would mix the layers up."""
        from weitiao.methods.virtual_tokens import as_in_peft, halves, key_shape

        layers, _, _ = key_shape(model)
        return values if halves(model)[1] is None else as_in_peft(values, layers)


_ENCODERS_ALONE = ("t5", "mt5", "umt5")  # the stack's forward takes keys and values, the encoder drops them


def _network(tokens: int, keys: int, hidden: int, width: int) -> torch.nn.Module:
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(tokens, keys)
            self.transform = nn.Sequential(nn.Linear(keys, hidden), nn.Tanh(), nn.Linear(hidden, width))

        def forward(self) -> torch.Tensor:
            out: torch.Tensor = self.transform(self.embedding.weight)
            return out

    return Network()


def _kept(model: PreTrainedModel, ids: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The keys and values that each layer has for some tokens, (heads, tokens, width)."""
    import torch
    from transformers import DynamicCache, EncoderDecoderCache

    from weitiao.methods.virtual_tokens import body_of, halves

    decoder = halves(model)[1]
    cache: Any = DynamicCache()
    body, given = (decoder, EncoderDecoderCache(cache, DynamicCache())) if decoder else (body_of(model), cache)
    training = model.training
    model.eval()
    with torch.no_grad():
        body(input_ids=torch.tensor([ids], device=model.device), past_key_values=given)
    model.train(training)
    return [(layer.keys[0], layer.values[0]) for layer in cache.layers]


def _check_kept(model: PreTrainedModel, shape: tuple[int, int, int]) -> None:
    """Raise a `RecipeError` where the layers' keys and values are not all of the shape that the config tells."""
    layers, heads, width = shape
    found = [(kept.shape[0], kept.shape[-1]) for pair in _kept(model, [0]) for kept in pair]
    if found != [(heads, width)] * (2 * layers):
        raise _unlike(model)


def _unlike(model: PreTrainedModel) -> RecipeError:
    return RecipeError(f"the layers of {type(model).__name__} do not all keep keys and values of one shape",
                       where="method", fix="Take prompt or lora here.")  # fmt: skip
