"""A linear layer for inference in bf16: its matrix laid out beforehand as the CPU's matrix units read it.

PyTorch's own (2.13) lays it out anew at every call, which for the few rows of a generated token takes as long as the
product, and copies the bias into the result before it multiplies. The layout is oneDNN's, through the operators that
PyTorch's compiler uses.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Linear = Callable[[torch.Tensor], torch.Tensor]


def packed_linear(weight: torch.Tensor, bias: torch.Tensor | None) -> Linear | None:
    """Return ``inputs -> inputs @ weight.T + bias`` in bf16 with a copy of `weight` (out, in) in that layout, without a
    gradient; None where this PyTorch, CPU or shape has none.
    """  # fmt: skip
    matrix = weight.detach().to(torch.bfloat16).contiguous()
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(matrix)
    except (AttributeError, RuntimeError):  # PyTorch without oneDNN, or a CPU without the instructions
        return None
    added = None if bias is None else bias.detach().to(torch.bfloat16)
    multiply = torch.ops.mkldnn._linear_pointwise

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        return multiply(inputs.to(torch.bfloat16), packed, added, "none", [], "")  # type: ignore[no-any-return]

    probe = torch.linspace(-1, 1, 2 * weight.shape[1]).view(2, -1).to(torch.bfloat16)
    try:
        found = forward(probe).float()
    except RuntimeError:
        return None
    wanted = torch.nn.functional.linear(probe, matrix, added).float()
    return forward if torch.allclose(found, wanted, rtol=2e-2, atol=1e-2 * float(wanted.abs().max()) + 1e-6) else None
