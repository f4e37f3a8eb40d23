from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from tests.method_samples.lora import matrices

OPTIONS = {"rank": 4}


def trainable(model: nn.Module, options: dict[str, Any]) -> int:
    """2 r (d_in + d_out)."""
    return sum(2 * options["rank"] * sum(shape) for _, shape, _ in matrices(model))


def refuses(model: nn.Module, options: dict[str, Any]) -> bool:
    """GPT-2's transposed matrices."""
    return any(isinstance(module, Conv1D) for module in model.modules())
