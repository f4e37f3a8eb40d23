from typing import Any

from torch import nn

from tests.method_samples.loha import refuses
from tests.method_samples.lora import matrices

OPTIONS = {"rank": 2}
VARIANTS = [{"rank": 8}]

# Sides of the tiny models, split into the two divisors nearest to their square roots.
SPLIT = {32: (4, 8), 64: (8, 8)}


def trainable(model: nn.Module, options: dict[str, Any]) -> int:
    """C is l x m; D is k x n, or of rank r where that is less than half of its larger side."""
    rank, total = options["rank"], 0
    for _, (out, inside), _ in matrices(model):
        (l, k), (m, n) = SPLIT[out], SPLIT[inside]  # noqa: E741
        total += l * m + (rank * (k + n) if rank < max(k, n) / 2 else k * n)
    return total


__all__ = ["OPTIONS", "VARIANTS", "refuses", "trainable"]
