from typing import Any

from torch import nn


def trainable(model: nn.Module, options: dict[str, Any]) -> int:
    return 0


def refuses(model: nn.Module, options: dict[str, Any]) -> bool:
    """A language model has no new head."""
    return model.get_output_embeddings() is not None
