"""A tuner of the PEFT library tried on one layer: does it run by itself, can it be saved, can it be merged."""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from weitiao.errors import RecipeError

if TYPE_CHECKING:
    import torch

CLOSE = 1e-3  # of the largest output


def try_tuner(layer: torch.nn.Module, config: Callable[[], Any]) -> tuple[bool, str]:
    """Return whether what the tuner learned can be merged into the layer, and if not, why.

    Raises what PEFT raises where the tuner does not run on it, and a `RecipeError` where what it learned is lost both
    ways: it is neither merged, nor comes back when its adapter is loaded onto the layer as it was.
    """
    import torch
    from peft import get_peft_model

    plain = _holder(layer).eval()
    inputs = torch.randn(3, _width(layer))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuned = get_peft_model(copy.deepcopy(plain), config()).eval()
        _disturb(tuned)
        learned = tuned(inputs).detach()
        with tempfile.TemporaryDirectory() as folder:
            loads = _loads(tuned, plain, inputs, learned, folder)
        merged, reason = _merges(tuned, inputs, learned)
    if not merged and not loads:
        raise RecipeError("what it learned does not come back from its saved adapter, and it cannot be merged either"
                          + (f" ({reason})" if reason else ""), where="method.tuner", fix="Take lora.")  # fmt: skip
    return merged, reason


def _disturb(tuned: torch.nn.Module) -> None:
    """Move what moves, as training would; it has to have a gradient for that."""
    import torch

    moving = [p for p in tuned.parameters() if p.requires_grad]
    if not moving:
        raise RecipeError("trains nothing on a linear layer", where="method.tuner", fix="Take lora.")
    with torch.no_grad():
        for parameter in moving:
            parameter.add_(0.02 * torch.randn_like(parameter))


def _loads(tuned: Any, plain: Any, inputs: torch.Tensor, learned: torch.Tensor, folder: str) -> bool:
    from peft import PeftModel

    try:
        tuned.save_pretrained(folder)
        loaded = PeftModel.from_pretrained(copy.deepcopy(plain), folder).eval()
        return _close(loaded(inputs), learned)
    except Exception:  # whatever it is: it does not work
        return False


def _merges(tuned: Any, inputs: torch.Tensor, learned: torch.Tensor) -> tuple[bool, str]:
    try:
        merged = tuned.merge_and_unload(safe_merge=True)(inputs)
    except Exception as error:  # tuners say in many ways that they cannot
        return False, " ".join(str(error).split())
    same = _close(merged, learned)
    return same, "" if same else "merged, it answers otherwise"


def _close(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return bool((found - wanted).abs().max() <= CLOSE * wanted.abs().max())


def _width(layer: Any) -> int:
    return int(layer.weight.shape[0] if type(layer).__name__ == "Conv1D" else layer.weight.shape[1])


def _holder(layer: torch.nn.Module) -> Any:
    from collections import OrderedDict

    from torch import nn

    return nn.Sequential(OrderedDict(layer=layer))
