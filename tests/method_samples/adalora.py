from typing import Any

from torch import nn

from tests.method_samples.lora import matrices

OPTIONS = {"rank": 4, "init_rank": 6}
VARIANTS = [{"rank": 2, "init_rank": 3, "orth_reg_weight": 0.0, "tinit": 0.0, "tfinal": 0.5}]


def trainable(model: nn.Module, options: dict[str, Any]) -> int:
    """r (d_in + d_out + 1)."""
    return sum(options["init_rank"] * (sum(shape) + 1) for _, shape, _ in matrices(model))
