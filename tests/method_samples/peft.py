from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from tests.method_samples.lora import matrices

OPTIONS = {"tuner": "boft", "options": {"boft_block_size": 4}}
VARIANTS = [{"tuner": "hra", "options": {"r": 4}}, {"tuner": "oft", "options": {"oft_block_size": 8, "r": 0}}]


def trainable(model: nn.Module, options: dict[str, Any]) -> int:
    """BOFT: 4 x 4 along d_in, a scale a row; HRA: r vectors of d_in; OFT: 8 x 8 along d_in, skew, so 28 each."""
    layers = [shape for _, shape, _ in matrices(model)]
    each = {
        "boft": lambda out, inside: 4 * inside + out,
        "hra": lambda _, inside: 4 * inside,
        "oft": lambda _, inside: inside // 8 * 28,
    }[options["tuner"]]
    return sum(each(*shape) for shape in layers)


def refuses(model: nn.Module, options: dict[str, Any]) -> bool:
    """GPT-2's transposed matrices."""
    return any(isinstance(module, Conv1D) for module in model.modules())
