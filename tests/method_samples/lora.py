import re
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from tests.method_samples import body_of

OPTIONS = {"rank": 4}
VARIANTS = [
    {"rank": 4, "dora": True, "scaling": "rslora"},
    {"rank": 4, "start": "pissa", "alpha": 4},
    {"rank": 4, "start": "olora", "alpha": 4, "scaling": "rslora", "rank_pattern": {"c_proj|output.dense|o|o_proj": 2}},
    {"rank": 4, "start": "gaussian", "lora_plus": 4, "bias": "lora_only"},
    {"rank": 2, "layers": [1], "bias": "all"},
    {"rank": 4, "start": "eva", "rank_pattern": {"query|q|q_proj|c_attn": 2}},
]


BLOCK_1 = re.compile(r"(bert\.encoder\.layer|model\.layers|transformer\.h|(transformer\.)?encoder\.block)\.1\.")


def trainable(model: nn.Module, options: dict[str, Any]) -> int:
    """r (d_in + d_out), d_out more for DoRA, and the biases that move."""
    biases = options.get("bias", "none")
    total = sum(
        p.numel() for n, p in model.named_parameters() if n.endswith(".bias") and biases == "all" and n in inside(model)
    )
    for name, shape, bias in matrices(model):
        if options.get("layers") == [1] and not BLOCK_1.match(name):
            continue
        pattern = next(iter(options.get("rank_pattern", {})), "")
        rank = 2 if pattern and re.match(rf"(.*\.)?({pattern})$", name) else options["rank"]
        total += rank * sum(shape)
        total += out_of(model, name) if options.get("dora") else 0
        total += bias if biases == "lora_only" else 0
    return total


def inside(model: nn.Module) -> set[str]:
    return set(body_of(model))


def matrices(model: nn.Module) -> list[tuple[str, tuple[int, ...], int]]:
    """Name, shape and length of the bias of each matrix of the body that multiplies its input."""
    weights = {name.removesuffix(".weight") for name in body_of(model)}
    return [
        (name, tuple(module.weight.shape), 0 if module.bias is None else module.bias.numel())
        for name, module in model.named_modules()
        if name in weights and isinstance(module, nn.Linear | Conv1D)
    ]


def out_of(model: nn.Module, name: str) -> int:
    module = model.get_submodule(name)
    return int(module.weight.shape[1 if isinstance(module, Conv1D) else 0])
