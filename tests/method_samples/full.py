from typing import Any

from torch import nn

from tests.method_samples import body_of

LEARNING_RATE = 3e-3
EVERYWHERE = {"head_rate": 1}  # all of a random model is new


def trainable(model: nn.Module, options: dict[str, Any]) -> int:
    vocabulary = sum(p.numel() for n, p in model.named_parameters() if n.startswith("lm_head."))
    return sum(p.numel() for p in body_of(model).values()) + vocabulary
