"""Where and in which precision to compute, and why."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

from weitiao.errors import RecipeError

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "bf16"]
DEVICES = ("auto", "cpu", "cuda", "mps")


def resolve_device(wanted: str) -> tuple[torch.device, str]:
    """Return the device and why it was chosen; a `RecipeError` at ``training.device`` when it is not here."""
    import torch

    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        kind = next(kind for kind, found in here.items() if found)
        return torch.device(kind), _device_name(kind) if kind != "cpu" else "no accelerator here"
    kind, _, index = wanted.partition(":")
    if kind not in here or (index and not index.isdigit()):
        fix = f"There is: {', '.join(DEVICES)}, and cuda:1 for the second."
        raise RecipeError(f"unknown device '{wanted}'", where="training.device", fix=fix)
    count = torch.cuda.device_count() if kind == "cuda" else int(here[kind])
    if int(index or 0) >= count:
        found = ", ".join(name for name, is_here in here.items() if is_here)
        problem = f"'{wanted}' is not on this machine"
        raise RecipeError(problem, where="training.device", fix=f"Here is: {found}. `auto` takes the best of them.")
    return torch.device(wanted), "as the recipe says"


def _device_name(kind: str) -> str:
    import torch

    return f"found {torch.cuda.get_device_name()}" if kind == "cuda" else "found Apple's GPU"


def resolve_precision(wanted: str, device: torch.device) -> tuple[Precision, str]:
    """Return the precision and why.

    `auto` is bf16 only where the hardware multiplies it natively: AMX or AVX-512 BF16 on a CPU, CUDA capability 8.0 and
    above. Emulated bf16 is slower than fp32, on a CPU up to a hundredfold.
    """
    native, why = _native_bf16(device)
    if wanted == "fp32":
        return "fp32", "as the recipe says"
    if wanted == "bf16":
        return "bf16", "as the recipe says" if native else f"as the recipe says, but {why}: emulated and slow"
    return ("bf16" if native else "fp32"), why


def prediction_precision(wanted: str, trained: str, device: torch.device) -> tuple[Precision, str]:
    """Return the precision to predict in and why; a `RecipeError` for a `wanted` that there is not.

    `auto` is the one that the model was trained and measured in where this machine multiplies it natively, else fp32.
    """
    if wanted not in ("auto", "fp32", "bf16"):
        raise RecipeError(f"unknown precision '{wanted}'", where="--precision", fix="There is: auto, fp32, bf16.")
    if wanted != "auto":
        precision, why = resolve_precision(wanted, device)
        return precision, why.replace("as the recipe says", "as asked for")
    if trained != "bf16":
        return "fp32", "as it was trained and measured"
    native, why = _native_bf16(device)
    return ("bf16", f"as it was trained and measured, and {why}") if native else ("fp32", why)


def _native_bf16(device: torch.device) -> tuple[bool, str]:
    import torch

    if device.type == "cpu":
        if torch.cpu._is_amx_tile_supported():
            return True, "this CPU has AMX"
        if torch.cpu._is_avx512_bf16_supported():
            return True, "this CPU has AVX-512 BF16"
        return False, "this CPU has no bf16 instructions"
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return native, "this GPU multiplies bf16" if native else "this GPU has no bf16 instructions"
    return False, f"bf16 is not measured to be faster on {device.type}"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context to run the model in: bf16 matrix products over fp32 weights, or nothing special."""
    import torch

    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
