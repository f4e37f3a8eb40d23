"""Which modules of a model are its head, and which its body."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def head_modules(model: PreTrainedModel) -> list[str]:
    """Names of the modules with weights outside the pretrained body, and the body's pooler.

    The pooler belongs to the head: models that were not pretrained with one get it newly drawn.
    """
    body = model.base_model
    outside = [(name, module) for name, module in model.named_children() if module is not body]
    names = [name for name, module in outside if next(module.parameters(), None) is not None]  # dropout has none
    if getattr(body, "pooler", None) is not None:
        names.append(f"{model.base_model_prefix}.pooler")
    return names
