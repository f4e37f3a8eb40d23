"""Starts of LoRA that are taken out of the frozen matrices, and their way back to an ordinary adapter.

Not PEFT's own `init_lora_weights`: its OLoRA (0.21) does not know GPT-2's transposed matrices, and its adapters fit the
original base only through a copy of the start on disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weitiao.errors import RecipeError
from weitiao.methods.on_peft import ADAPTER, on_meta

if TYPE_CHECKING:
    import torch

START = "start"  # a buffer beside A's and B's weights, not saved


def start_from_weights(model: torch.nn.Module, kind: str) -> None:
    """Let ``s B A`` begin as the part of W that `kind` (pissa, olora) takes, and take it out of W."""
    import torch

    for name, layer in lora_layers(model):
        a, b, scale = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER], layer.scaling[ADAPTER]
        base = layer.get_base_layer().weight
        rank = a.weight.shape[0]
        if rank > min(base.shape):
            raise RecipeError(f"rank {rank}, but {name} is {base.shape[0]} x {base.shape[1]}", where="method.rank",
                              fix=f"The start {kind} takes ranks up to {min(base.shape)} there.")  # fmt: skip
        if on_meta(layer):
            continue
        with torch.no_grad():
            weight = base.T if layer.fan_in_fan_out else base
            started = _pissa(weight.float(), rank, scale) if kind == "pissa" else _olora(weight.float(), rank)
            for part, values in zip((a, b), started, strict=True):
                part.weight.copy_(values)
                part.register_buffer(START, part.weight.detach().clone(), persistent=False)
            taken = scale * b.weight @ a.weight
            base.sub_(taken.T if layer.fan_in_fan_out else taken)


def save_as_update(model: torch.nn.Module, folder: Path) -> None:
    """Turn a saved adapter into ``s (B A - B_0 A_0) = s [B, -B_0] [A; A_0]``, for W as it was."""
    import torch
    from safetensors.torch import load_file, save_file

    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    for name, layer in lora_layers(model):
        a, b = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
        tensors[a] = torch.cat([tensors[a], layer.lora_A[ADAPTER].start])
        tensors[b] = torch.cat([tensors[b], -layer.lora_B[ADAPTER].start], dim=1)
    save_file(tensors, file, metadata={"format": "pt"})
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(_doubled(config), indent=2, sort_keys=True), encoding="utf-8")


def _doubled(config: dict[str, Any]) -> dict[str, Any]:
    """The config of twice the rank under the same scale: alpha / r, or alpha / sqrt(r)."""
    factor = 2**0.5 if config["use_rslora"] else 2
    return config | {
        "r": 2 * config["r"],
        "lora_alpha": factor * config["lora_alpha"],
        "rank_pattern": {name: 2 * rank for name, rank in config["rank_pattern"].items()},
        "alpha_pattern": {name: factor * alpha for name, alpha in config["alpha_pattern"].items()},
    }


def lora_layers(model: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """Name and layer of each matrix with LoRA beside it."""
    from peft.tuners.lora import LoraLayer

    yield from ((name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer))


def _pissa(weight: torch.Tensor, rank: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A and B of the largest singular values: ``B A = U S V / s``, S shared out evenly."""
    import torch

    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    root = (values[:rank] / scale).sqrt()
    return root[:, None] * right[:rank], left[:, :rank] * root


def _olora(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A and B as the first rows of R and columns of Q."""
    import torch

    q, r = torch.linalg.qr(weight)
    return r[:rank], q[:, :rank]
