"""One vector a text, made of the body's last hidden states, and where labels are learned a linear layer on it: the head
of a sentence encoder.
"""  # fmt: skip

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from weitiao.errors import ModelError
from weitiao.records import Pooling


def mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean of a text's last hidden states, fp32 of shape (texts, width).

    `states` are (texts, tokens, width), padded on the right; `mask`, (texts, tokens), is 0 at padding.
    """
    real = mask.unsqueeze(-1).to(torch.float32)
    return (states.float() * real).sum(1) / real.sum(1).clamp(min=1)


def first(states: torch.Tensor, _mask: torch.Tensor) -> torch.Tensor:
    """Return the state of the first token, which BERT's like call ``[CLS]``."""
    return states[:, 0].float()


def last(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the state of the last token before the padding, the only one that has read all of a decoder's text."""
    at = (mask.sum(1).long() - 1).clamp(min=0)
    return states[torch.arange(len(states), device=states.device), at].float()


POOLINGS: dict[Pooling, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mean": mean, "first": first, "last": last
}  # fmt: skip


@dataclass
class PooledOutput(ModelOutput):  # type: ignore[misc]
    """What such a model gives."""

    logits: torch.Tensor | None = None  # (texts, labels); None without labels
    vectors: torch.Tensor | None = None  # fp32 (texts, width): what the head reads


class PooledModel:
    """What is common to the classes that `pooled_class` makes: a body, and a linear layer `head` on its vectors, none
    where there are no labels.

    `config.sentence_pooling` says which vector. What `save_pretrained` writes is a folder whose body `AutoModel` loads.
    """

    base_model_prefix: str
    body_class: type[PreTrainedModel]

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        takes = inspect.signature(self.body_class.__init__).parameters
        without = {"add_pooling_layer": False} if "add_pooling_layer" in takes else {}
        setattr(self, self.base_model_prefix, self.body_class(config, **without))
        width, labels = int(config.get_text_config().hidden_size), int(config.num_labels)
        self.head = nn.Linear(width, labels) if labels else None
        self.pool = POOLINGS[config.sentence_pooling]
        self.post_init()  # type: ignore[attr-defined]

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **more: Any) -> Any:
        """Return logits and vectors; `labels` are not looked at: the task has its own loss."""
        given = {name: value for name, value in more.items() if value is not None}
        body = getattr(self, self.base_model_prefix)
        states = body(input_ids=input_ids, attention_mask=attention_mask, **given).last_hidden_state
        mask = states.new_ones(states.shape[:2]) if attention_mask is None else attention_mask
        vectors = self.pool(states, mask[:, -states.shape[1] :])  # a prefix has a mask, and no states
        return PooledOutput(logits=self.head(vectors) if self.head is not None else None, vectors=vectors)


def pooled_class(config: PreTrainedConfig) -> Any:
    """Return the class with such a head for models of this config; a `ModelError` where there is none."""
    mapping: Any = AutoModel._model_mapping
    found = mapping.get(type(config), None)
    body = found[0] if isinstance(found, tuple | list) else found
    if body is None or not body.base_model_prefix:
        raise ModelError(f"of a '{config.model_type}' model no sentence vectors can be taken", where="task.pooling",
                         fix="Leave task.pooling out, or choose another model.")  # fmt: skip
    return _class_on(body)


@cache
def _class_on(body: type[PreTrainedModel]) -> type[PreTrainedModel]:
    kinds = (kind for kind in body.__mro__[1:] if issubclass(kind, PreTrainedModel))
    own = {"base_model_prefix": body.base_model_prefix, "body_class": body}
    return type(f"{body.__name__}Pooled", (PooledModel, next(kinds)), own)
