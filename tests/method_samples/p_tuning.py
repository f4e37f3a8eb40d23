from typing import Any

from torch import nn

OPTIONS = {"tokens": 8}
WITHOUT_DROPOUT = True
VARIANTS = [{"tokens": 3, "encoder": "lstm", "hidden": 16, "layers": 2}, {"tokens": 4, "hidden": 24}]
STARTS_UNCHANGED = False  # the body reads a prompt from the start


def trainable(model: nn.Module, options: dict[str, Any]) -> int:
    """p d, and the network."""
    d = model.get_input_embeddings().embedding_dim
    h = options.get("hidden", d)
    network = d * h + h + h * h + h + h * d + d
    if options.get("encoder") == "lstm":
        network = 8 * h * (d + h + 2) + 8 * h * (3 * h + 2) + 4 * h * h + 2 * h + 2 * h * d + d
    return int(options["tokens"] * d + network)
