from typing import Any

from torch import nn

OPTIONS = {"size": 16}
VARIANTS = [
    {"placement": "pfeiffer", "activation": "relu"},
    {"placement": "parallel", "size": 8, "activation": "silu"},
    {"sharing": "compacter"},
    {"placement": "parallel", "sharing": "compacter", "terms": 2, "size": 6, "rank": 3, "scale": 2.0},
]

WIDTH = 32  # of the tiny models, which have two blocks a stack
ATTENTIONS = {"Bert": 2, "Llama": 2, "GPT2": 2, "T5": 6}  # T5: one in each encoder's block, two in each decoder's
MLPS = {"Bert": 2, "Llama": 2, "GPT2": 2, "T5": 4}


def trainable(model: nn.Module, options: dict[str, Any]) -> int:
    """2 d m + m + d for each bottleneck; of a compacter 2 k (d + m) + m + d, and n^3."""
    kind = next(kind for kind in MLPS if type(model).__name__.startswith(kind))
    count = MLPS[kind] + (ATTENTIONS[kind] if options.get("placement", "houlsby") == "houlsby" else 0)
    size = options.get("size", 16)
    if options.get("sharing") == "compacter":
        rank, terms = options.get("rank", 1), options.get("terms", 4)
        return int(count * (2 * rank * (WIDTH + size) + size + WIDTH) + terms**3)
    return int(count * (2 * WIDTH * size + size + WIDTH))
