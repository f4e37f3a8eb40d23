"""Liger's Triton kernels (Hsu et al. 2024, arXiv:2410.10989) for an NVIDIA GPU, where the extra `liger` is installed.

This project has no GPU: what is tested is that they are put in and taken out again, not what they compute.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Functions:
    """Formulas that modules compute by."""

    rms_norm: Callable[..., Any]  # inputs, weight, epsilon
    swiglu: Callable[..., Any]  # gate, up


def functions() -> Functions | None:
    """Return Liger's, where they are installed."""
    if importlib.util.find_spec("liger_kernel") is None:
        return None
    from liger_kernel.transformers.functional import liger_rms_norm, liger_swiglu

    return Functions(lambda inputs, weight, epsilon: liger_rms_norm(inputs, weight, epsilon), liger_swiglu)
