from typing import Any

from torch import nn

from tests.method_samples.full import trainable

LEARNING_RATE = 3e-3
EPOCHS = 60
POOLING = "mean"
WHOLE_STEPS = True
VARIANTS: list[dict[str, Any]] = [{"loss": "cosine"}]

__all__ = ["EPOCHS", "LEARNING_RATE", "POOLING", "VARIANTS", "WHOLE_STEPS", "refuses", "trainable"]


def refuses(model: nn.Module, options: dict[str, Any]) -> bool:
    """A language model makes no vector of a text."""
    return model.get_output_embeddings() is not None
