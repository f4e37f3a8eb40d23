from typing import Any

from torch import nn

from tests.method_samples import body_of

OPTIONS = {"norms": True}
VARIANTS = [{}]
LEARNING_RATE = 3e-2


def trainable(model: nn.Module, options: dict[str, Any]) -> int:
    ends = ("bias", "norm.weight", "layernorm.weight", "LayerNorm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight")
    wanted = ends if options.get("norms") else ("bias",)
    named = {n: p for n, p in body_of(model).items() if "relative_attention_bias" not in n}
    return sum(p.numel() for n, p in named.items() if n.endswith(wanted) or _is_t5_norm(n, wanted))


def _is_t5_norm(name: str, wanted: tuple[str, ...]) -> bool:
    return len(wanted) > 1 and "layer_norm.weight" in name


def refuses(model: nn.Module, options: dict[str, Any]) -> bool:
    """Llama and T5 have no biases."""
    return trainable(model, options) == 0
