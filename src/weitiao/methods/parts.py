"""Which modules of a model are its head, and which its body."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from weitiao.records import Pace

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def head_modules(model: PreTrainedModel) -> list[str]:
    """Names of the modules with weights outside the pretrained body, the body's pooler, and what a model's class has
    `added` inside of the body.

    The pooler belongs to the head: models that were not pretrained with one get it newly drawn. The matrix of a
    language model that gives logits over the vocabulary does not: it was pretrained, and is mostly the embeddings' own.
    """
    body, vocabulary = model.base_model, model.get_output_embeddings()
    if body is model and vocabulary is not None:  # T5 with its language head keeps its halves side by side
        return []
    outside = [(name, module) for name, module in model.named_children() if module is not body]
    left_out = [body] if vocabulary is None else [body, vocabulary]
    names = [found for name, module in outside for found in _without(name, module, left_out)]
    if getattr(body, "pooler", None) is not None:
        names.append(f"{model.base_model_prefix}.pooler")
    return [*names, *getattr(model, "added", ())]


def head_prefixes(model: PreTrainedModel) -> tuple[str, ...]:
    """What the names of the head's parameters begin with, for ``str.startswith``."""
    return tuple(f"{name}." for name in head_modules(model))


def left_out_prefixes(model: PreTrainedModel) -> tuple[str, ...]:
    """What the names of parameters begin with that are there in training alone."""
    if getattr(model, "keeps_head", True):
        return ()
    outside = [name for name, _ in model.named_children() if name != model.base_model_prefix]
    return tuple(f"{name}." for name in [*outside, *getattr(model, "added", ())])


def body_parameters(model: PreTrainedModel) -> set[int]:
    """The ``id`` of each parameter of the pretrained body, which a method may wrap but does not copy."""
    heads = head_prefixes(model)
    return {id(p) for name, p in model.named_parameters() if not name.startswith(heads)}


def head_paces(model: PreTrainedModel, rate: float) -> dict[str, Pace]:
    """Give the parameters of the head a rate of their own; none where it is a language model's, which was pretrained.

    A new head moves too little at a rate that is right for pretrained weights: with few steps and many labels it hardly
    begins to learn (docs/log.md).
    """
    if model.get_output_embeddings() is not None:
        return {}
    heads = head_prefixes(model)
    return {name: Pace(rate) for name, _ in model.named_parameters() if name.startswith(heads)}


def vocabulary_module(model: PreTrainedModel) -> str | None:
    """Name of the module that gives logits over the vocabulary; None where there is none."""
    vocabulary = model.get_output_embeddings()
    return next((name for name, module in model.named_modules() if module is vocabulary), None)


def _without(name: str, module: torch.nn.Module, left_out: list[torch.nn.Module]) -> Iterator[str]:
    """The largest modules with weights at or below `module` that hold nothing of `left_out`."""
    if next(module.parameters(), None) is None or _is_one_of(module, left_out):  # dropout has no weights
        return
    if not any(_is_one_of(inner, left_out) for inner in module.modules()):
        yield name
        return
    for inner_name, inner in module.named_children():
        yield from _without(f"{name}.{inner_name}", inner, left_out)


def _is_one_of(module: torch.nn.Module, others: list[torch.nn.Module]) -> bool:
    return any(module is other for other in others)
