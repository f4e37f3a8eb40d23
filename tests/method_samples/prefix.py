from typing import Any

from torch import nn

OPTIONS = {"tokens": 8}
WITHOUT_DROPOUT = True
VARIANTS = [
    {"tokens": 3, "start": "random"},
    {"tokens": 4, "projection": True, "hidden": 24},
    {"tokens": 5, "start": "text", "text": "is the film good"},
]
STARTS_UNCHANGED = False  # each block attends to a prefix from the start


def trainable(model: nn.Module, options: dict[str, Any]) -> int:
    """p 2 L k, or the network's p k + k h + h + 2 L k (h + 1); tiny models have 2 layers with keys 32 wide."""
    p, keys, layers = options["tokens"], 32, 2
    if not options.get("projection"):
        return int(p * 2 * layers * keys)
    h = options.get("hidden", keys)
    return int(p * keys + keys * h + h + 2 * layers * keys * (h + 1))
