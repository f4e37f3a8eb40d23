"""Prompt tuning: learned embeddings in front of the text (Lester et al. 2021, arXiv:2104.08691)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self, cast

from pydantic import Field, model_validator

from weitiao.methods.on_virtual_tokens import OnVirtualTokens, check_text, prompt_check, prompt_shape, start_tokens
from weitiao.methods.parts import head_paces
from weitiao.recipe import Settings
from weitiao.records import Family, Pace

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from transformers import PreTrainedModel


class PromptOptions(Settings):
    """Options of the method `prompt`."""

    tokens: int = Field(20, ge=1)
    """Virtual tokens p. They take positions from the text."""
    start: Literal["random", "vocabulary", "text"] = "vocabulary"
    """How they begin: `random` (normal, as wide as the model's embeddings), as tokens drawn from the `vocabulary`, or
    as those of a `text`."""
    text: str | None = None
    """The text of `start: text`, such as an instruction; repeated or cut to `tokens` tokens."""

    @model_validator(mode="after")
    def _text(self) -> Self:
        check_text(self.start, self.text)
        return self


class PromptTuning(OnVirtualTokens):
    """The body reads ``[P; E(x)]``: p learned vectors P before the embeddings E of the text; all else is frozen.

    They stand in front of the source of an encoder-decoder. The head never sees them, nor does a pooler. A new head
    (and pooler) is trained whole. They stand before padding on the left, too: where a model counts from token to token
    (T5) that moves them away from the text. Trainable parameters: p d_e, with d_e the width of the embeddings, plus the
    head.
    """  # fmt: skip

    name: ClassVar[str] = "prompt"
    Options: ClassVar[type[Settings]] = PromptOptions
    options: PromptOptions
    kind: ClassVar[str] = "prompt"

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """Far above that of weights, for vectors have to move as far as embeddings are long: 0.3 for T5 (Lester et al.,
        section 3), a thirtieth of it where they are short (docs/log.md).
        """  # fmt: skip
        usual = {"encoder": 1e-2, "decoder": 1e-2, "seq2seq": 3e-1}[family]
        return usual, f"prompt tuning ({family})"

    def paces(self, model: torch.nn.Module) -> Mapping[str, Pace]:
        """A head on an encoder-decoder keeps the rate that it has elsewhere: T5's embeddings alone are that long."""
        from weitiao.methods.virtual_tokens import halves

        if halves(model)[1] is None:
            return {}
        return head_paces(cast("PreTrainedModel", model), 1 / 30)

    def check(self, model: PreTrainedModel) -> None:
        """Sound has no tokens to stand in front of."""
        prompt_check(model, self.name)

    def vectors(self, model: PreTrainedModel) -> torch.nn.Module:
        """The embeddings of some tokens, or random ones of that size."""
        import torch

        from weitiao.methods.on_peft import on_meta
        from weitiao.methods.virtual_tokens import Learned

        tokens, start = self.options.tokens, self.options.start
        embeddings = model.get_input_embeddings()
        if on_meta(model):
            return Learned(torch.empty(tokens, embeddings.weight.shape[1], device="meta"))
        with torch.no_grad():
            if start == "random":
                scale = float(embeddings.weight.float().std() * getattr(embeddings, "embed_scale", 1.0))
                return Learned(torch.randn(tokens, embeddings.weight.shape[1]) * scale)
            ids = torch.tensor(start_tokens(model, start, self.options.text, tokens))
            return Learned(embeddings(ids.to(embeddings.weight.device)).float().clone())

    def peft_config(self, model: PreTrainedModel) -> PeftConfig | None:
        """PEFT's prompt tuning."""
        from peft import PromptTuningConfig

        shape = prompt_shape(model)
        return None if shape is None else PromptTuningConfig(num_virtual_tokens=self.options.tokens, **shape)
