"""An adapter that is some of the model's own weights as they came out of training: name -> tensor in safetensors.

Without Weitiao: ``model.load_state_dict(safetensors.torch.load_file("adapter/weights.safetensors"), strict=False)``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from weitiao.methods.parts import left_out_prefixes

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

FILE = "weights.safetensors"


class MovedWeights:
    """A method that moves some of the model's own weights: they are its adapter, and the model stays a plain one."""

    merges: bool = True

    def merge(self, model: torch.nn.Module) -> PreTrainedModel:
        """The model is plain already."""
        return cast("PreTrainedModel", model)

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Write all that has ``requires_grad``, by name, but for a head that nothing is kept of; a parameter of two
        names (tied) once.
        """  # fmt: skip
        from safetensors.torch import save_file

        left_out = left_out_prefixes(cast("PreTrainedModel", model))
        folder.mkdir(parents=True, exist_ok=True)
        moved = {name: p.detach().contiguous().clone() for name, p in model.named_parameters()
                 if p.requires_grad and not name.startswith(left_out)}  # fmt: skip
        save_file(moved, folder / FILE, metadata={"format": "pt"})

    def load(self, model: PreTrainedModel, folder: Path) -> torch.nn.Module:
        """Put what `save` wrote into a plain model; raises `KeyError` or `RuntimeError` where it does not fit."""
        import torch
        from safetensors.torch import load_file

        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, tensor in load_file(folder / FILE).items():
                parameters[name].copy_(tensor)
        return cast("torch.nn.Module", model)
