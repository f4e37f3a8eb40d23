"""P-tuning: a prompt that comes out of a small network (Liu et al. 2021, arXiv:2103.10385)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from weitiao.methods.on_virtual_tokens import OnVirtualTokens, prompt_check, prompt_shape
from weitiao.recipe import Settings
from weitiao.records import Family

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from transformers import PreTrainedModel


class PTuningOptions(Settings):
    """Options of the method `p-tuning`."""

    tokens: int = Field(20, ge=1)
    """Virtual tokens p. They take positions from the text."""
    encoder: Literal["mlp", "lstm"] = "mlp"
    """The network the prompt comes out of: three linear layers, or the paper's two-way LSTM with two behind it."""
    hidden: int | None = Field(None, ge=1)
    """Width h of its hidden layers; the width of the embeddings when absent."""
    layers: int = Field(2, ge=1)
    """Layers of the LSTM."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout between the layers of the LSTM."""


class PTuning(OnVirtualTokens):
    """The body reads ``[f(P); E(x)]``: p learned vectors P through a network f before the embeddings E of the text.

    f is ``W_3 relu(W_2 relu(W_1 P))``, or ``W_2 relu(W_1 lstm(P))``; it is used in training alone, f(P) is what ships.
    A new head (and pooler) is trained whole. Trainable parameters, d wide embeddings: p d for P; with the MLP
    d h + h + h h + h + h d + d; with an LSTM of l layers 8 h (d + h + 2) for the first, 8 h (3 h + 2) for each further
    one, and 4 h h + 2 h + 2 h d + d behind it; plus the head.
    """

    name: ClassVar[str] = "p-tuning"
    Options: ClassVar[type[Settings]] = PTuningOptions
    options: PTuningOptions
    kind: ClassVar[str] = "prompt"

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """What moves is mostly the network's weights: 1e-3, as in PEFT's examples; MiniLM wants more (docs/log.md)."""
        return {"encoder": 5e-3, "decoder": 1e-3, "seq2seq": 1e-3}[family], f"p-tuning ({family})"

    def check(self, model: PreTrainedModel) -> None:
        """Sound has no tokens to stand in front of."""
        prompt_check(model, self.name)

    def vectors(self, model: PreTrainedModel) -> torch.nn.Module:
        """The prompt's network, as PEFT has it."""
        width = int(model.get_input_embeddings().weight.shape[1])
        return _encoder(self.options, width)

    def peft_config(self, model: PreTrainedModel) -> PeftConfig | None:
        """PEFT's p-tuning."""
        from peft import PromptEncoderConfig

        shape = prompt_shape(model)
        if shape is None:
            return None
        return PromptEncoderConfig(
            num_virtual_tokens=self.options.tokens, encoder_reparameterization_type=self.options.encoder.upper(),
            encoder_hidden_size=self.options.hidden or shape["token_dim"], **shape,
        )  # fmt: skip


def _encoder(options: PTuningOptions, width: int) -> torch.nn.Module:
    from torch import nn

    hidden = options.hidden or width

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(options.tokens, width)
            self.lstm_head: Any = None
            ends = [nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, width)]
            if options.encoder == "lstm":
                self.lstm_head = nn.LSTM(width, hidden, options.layers, bidirectional=True, batch_first=True,
                                         dropout=options.dropout)  # fmt: skip
                ends = [nn.Linear(2 * hidden, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, width)]
            self.mlp_head = nn.Sequential(*ends)

        def forward(self) -> torch.Tensor:
            found = self.embedding.weight
            if self.lstm_head is not None:
                found = self.lstm_head(found[None])[0][0]
            out: torch.Tensor = self.mlp_head(found)
            return out

    return Encoder()
