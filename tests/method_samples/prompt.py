from typing import Any

from torch import nn

OPTIONS = {"tokens": 8}
VARIANTS = [{"tokens": 3, "start": "random"}, {"tokens": 5, "start": "text", "text": "is the film good"}]
LEARNING_RATE, EPOCHS, WITHOUT_DROPOUT = 3e-2, 120, True
STARTS_UNCHANGED = False  # the body reads a prompt from the start


def trainable(model: nn.Module, options: dict[str, Any]) -> int:
    """p d."""
    return int(options["tokens"] * model.get_input_embeddings().embedding_dim)
