from typing import Any

from torch import nn

from tests.method_samples.lora import matrices, out_of

OPTIONS = {"rank": 8}
VARIANTS = [{"rank": 8, "save_projection": False}]
LEARNING_RATE = 3e-2


def trainable(model: nn.Module, options: dict[str, Any]) -> int:
    """Both vectors of each matrix: d of r entries, b of d_out."""
    return sum(options["rank"] + out_of(model, name) for name, _, _ in matrices(model))
