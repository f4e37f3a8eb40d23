"""An encoder of sentence vectors with a decoder beside it in training, which sees a text's vector and nothing else: the
model of TSDAE (Wang, Reimers & Gurevych 2021, arXiv:2104.06979).
"""  # fmt: skip

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from weitiao.errors import ModelError
from weitiao.models.pooled import POOLINGS, PooledOutput, pooled_class
from weitiao.records import Head

ADDED = ".crossattention"  # what a block of these architectures calls it
DECODERS = frozenset({  # whose blocks may have cross-attention, and are else those of the encoder (tests/parity)
    "bert", "camembert", "data2vec-text", "electra", "ernie", "rembert", "roberta", "roberta-prelayernorm",
    "roc_bert", "roformer", "xlm-roberta", "xlm-roberta-xl", "xmod",
})  # fmt: skip


class DenoisingModel:
    """What is common to the classes that `denoising_class` makes: an architecture's own language model with
    cross-attention, whose blocks serve both ways.

    As an encoder a block reads both sides and passes over its cross-attention, which is new; as a decoder it reads what
    stands before, and the text's vector by that. So all other weights are the same for both, those over the vocabulary
    are the embeddings where the architecture has it so, and the head is the pretrained one where the files hold it.
    What `save_pretrained` writes is the encoder alone, as `pooled_class` has it.
    """

    base_model_prefix: str
    keeps_head: ClassVar[bool] = False

    def __init__(self, config: PreTrainedConfig) -> None:
        both = copy.deepcopy(config)
        both.is_decoder = both.add_cross_attention = True
        super().__init__(both)  # type: ignore[call-arg]
        self.config = config  # of what is kept
        self.pool = POOLINGS[config.sentence_pooling]

    @property
    def added(self) -> list[str]:
        """Names of the modules inside the body that it was pretrained without."""
        return [name for name, _ in self.named_modules() if name.endswith(ADDED)]  # type: ignore[attr-defined]

    def forward(
        self, input_ids: Any = None, attention_mask: Any = None, decoder_input_ids: Any = None,
        decoder_attention_mask: Any = None, **more: Any,
    ) -> Any:  # fmt: skip
        """Return the vectors of the texts `input_ids`, and where there is something for the decoder to read, logits of
        what comes after each token of that. All inputs are (texts, tokens), padded on the right.
        """  # fmt: skip
        given = {name: value for name, value in more.items() if value is not None}
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        body: Any = self.base_model  # type: ignore[attr-defined]
        states = body(input_ids=input_ids, attention_mask=_both_ways(mask), use_cache=False, **given).last_hidden_state
        vectors = self.pool(states, mask)
        if decoder_input_ids is None:
            return PooledOutput(vectors=vectors)
        said = super().forward(  # type: ignore[misc]
            input_ids=decoder_input_ids, attention_mask=decoder_attention_mask,
            encoder_hidden_states=vectors[:, None].to(states.dtype), use_cache=False,
        )  # fmt: skip
        return PooledOutput(logits=said.logits, vectors=vectors)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:
        """Write the encoder alone."""
        with torch.device("meta"):
            kept = pooled_class(self.config)(self.config)
        body: Any = self.base_model  # type: ignore[attr-defined]
        weights = {name: value for name, value in body.state_dict().items() if f"{ADDED}." not in f".{name}"}
        kept.base_model.load_state_dict(weights, assign=True)
        kept.save_pretrained(save_directory, **options)


def _both_ways(mask: torch.Tensor) -> torch.Tensor:
    """A mask (texts, 1, 1, tokens) of numbers to add, which hides padding alone: blocks that are given one of four
    dimensions make none of their own, which would hide what comes after a token.
    """  # fmt: skip
    hidden = torch.finfo(torch.float32).min
    return torch.where(mask[:, None, None].bool(), 0.0, hidden)


def vector_class(config: PreTrainedConfig, head: Head) -> Any:
    """Return the class for a head that reads one vector of a text, as it is trained."""
    return denoising_class(config) if head.decoder else pooled_class(config)


def denoising_class(config: PreTrainedConfig) -> Any:
    """Return the class of an encoder with a decoder beside it for models of this config; a `ModelError` where its
    architecture has no decoder of the same blocks.
    """  # fmt: skip
    mapping: Any = AutoModelForCausalLM._model_mapping
    found = mapping.get(type(config), None) if config.model_type in DECODERS else None
    if found is None:
        problem = f"a '{config.model_type}' model has no blocks with cross-attention, by which a decoder sees a vector"
        raise ModelError(problem, where="task.objective",
                         fix="Set it to simcse, or take another encoder, such as BERT, RoBERTa or XLM-R.")  # fmt: skip
    return _class_on(found)


@cache
def _class_on(language_model: type[PreTrainedModel]) -> type[PreTrainedModel]:
    return type(f"{language_model.__name__}Denoising", (DenoisingModel, language_model), {})
