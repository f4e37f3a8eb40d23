"""Puts a bottleneck adapter onto the plain model it was trained on: ``model = load_adapter(model, "adapter")``.

Needs torch and safetensors alone: a copy of this file lies beside the weights.

``adapter.json``        `activation`, `scale` and `layers`: the layer whose output y becomes
                        ``y + scale * up(activation(down(x)))`` -> the module whose input is x, or null where x is y
                        itself. Names are those in the model's body.
``weights.safetensors`` ``LAYER.down.weight`` (size, width), ``LAYER.down.bias``, ``LAYER.up.weight`` (width, size),
                        ``LAYER.up.bias``, and ``head.NAME`` for what was trained of the head. A compacter has, for
                        a weight, ``left`` (terms, in / terms, rank) and ``right`` (terms, rank, out / terms), and one
                        ``shared`` (terms, terms, terms): the weight, transposed, is the sum over the terms of
                        ``kron(shared, left @ right)``.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


def load_adapter(model: Any, folder: str | Path) -> Any:
    """Put the adapter in `folder` onto `model`, and return it."""
    told = json.loads((Path(folder) / "adapter.json").read_text(encoding="utf-8"))
    weights = load_file(Path(folder) / "weights.safetensors")
    head = {name.removeprefix("head."): tensor for name, tensor in weights.items() if name.startswith("head.")}
    model.load_state_dict(head, strict=False)
    for name, reads in told["layers"].items():
        layer = model.base_model.get_submodule(name)
        down, up = linear(weights, f"{name}.down"), linear(weights, f"{name}.up")
        layer.adapter = nn.Sequential(down, ACTIVATIONS[told["activation"]](), up).to(layer.weight)
        attach(layer, model.base_model.get_submodule(reads) if reads else None, told["scale"])
    return model


def attach(layer: Any, reads: Any, scale: float) -> None:
    """Let what the layer's adapter gives be added to what the layer gives."""
    seen: dict[str, torch.Tensor] = {}
    if reads is not None:
        reads.register_forward_pre_hook(lambda _, inputs: seen.update(x=inputs[0]))
    layer.register_forward_hook(lambda _, __, y: y + scale * layer.adapter(seen.pop("x", y)))


def linear(weights: dict[str, torch.Tensor], name: str) -> nn.Linear:
    """Return a layer with its saved weights."""
    if f"{name}.weight" in weights:
        weight = weights[f"{name}.weight"]
    else:
        pairs = zip(weights["shared"], weights[f"{name}.left"] @ weights[f"{name}.right"], strict=True)
        weight = torch.stack([torch.kron(a, b) for a, b in pairs]).sum(0).T.contiguous()
    made = nn.Linear(weight.shape[1], weight.shape[0])
    made.load_state_dict({"weight": weight, "bias": weights[f"{name}.bias"]})
    return made.requires_grad_(False)
