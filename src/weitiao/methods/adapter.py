"""Bottleneck adapters: small networks inside the blocks (Houlsby et al. 2019, arXiv:1902.00751)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field

from weitiao.errors import RecipeError
from weitiao.methods.on_peft import LOADER
from weitiao.methods.parts import head_modules
from weitiao.methods.sublayers import sub_layers
from weitiao.recipe import Settings
from weitiao.records import FAMILIES, Family

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

WEIGHTS, TOLD, HEAD, SHARED = "weights.safetensors", "adapter.json", "head.", "shared"
SHARE, LEAST = 16, 16  # the usual size: a 16th of the width, but not less than this


class AdapterOptions(Settings):
    """Options of the method `adapter`."""

    placement: Literal["houlsby", "pfeiffer", "parallel"] = "houlsby"
    """`houlsby`: after each attention and after the MLP; `pfeiffer`: after the MLP alone (Pfeiffer et al. 2021,
    arXiv:2005.00247); `parallel`: beside the MLP, reading what it reads (He et al. 2022, arXiv:2110.04366)."""
    size: int | None = Field(None, ge=1)
    """Width of the bottleneck; a 16th of the model's, but at least 16, when absent."""
    activation: Literal["relu", "gelu", "silu", "tanh"] = "gelu"
    """What is between the two projections."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout in the bottleneck, in training."""
    scale: float | None = Field(None, gt=0)
    """Factor on what is added; 4 for `parallel` (He et al. 2022) and 1 for the others when absent."""
    sharing: Literal["none", "compacter"] = "none"
    """`compacter`: projections are sums of Kronecker products, one factor of which all blocks share and the other has a
    low rank (Mahabadi et al. 2021, arXiv:2106.04647); about a tenth of the parameters and fewer."""
    terms: int = Field(4, ge=1)
    """Terms n of a compacter's sum, which width and bottleneck are divided by."""
    rank: int = Field(1, ge=1)
    """Rank of a compacter's second factors."""


class Adapter:
    """``h + s (W_up f(W_down h + b_down) + b_up)`` with h what a sub-layer is about to add to the residual stream (in
    post-norm models before the norm); beside the MLP ``MLP(x) + s (W_up f(W_down x + b_down) + b_up)``.

    The body is frozen, W_up is zero at the start, a new head (and pooler) moves. A compacter's
    ``W = sum_i kron(A_i, B_i)`` has n terms, A (n x n each) shared by all, ``B_i`` of rank k. A block has one of them,
    with `houlsby` two, and three where it has two attentions. Trainable parameters of each, with width d and size m:
    ``2 d m + m + d``; of a compacter's ``2 k (d + m) + m + d``, and n^3 for all together; plus the head.
    """  # fmt: skip

    name: ClassVar[str] = "adapter"
    families: ClassVar[frozenset[Family]] = frozenset(FAMILIES)
    Options: ClassVar[type[Settings]] = AdapterOptions
    merges: bool = False

    def __init__(self, options: AdapterOptions) -> None:
        self.options = options

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """Houlsby's rates are 3e-5 to 3e-3 for BERT, He's 1e-4; small bodies take the upper end."""
        return {"encoder": 1e-3, "decoder": 1e-3, "seq2seq": 1e-3}[family], f"adapters ({family})"

    def apply(self, model: PreTrainedModel, new_tokens: Sequence[int] = ()) -> torch.nn.Module:
        """Freeze the body and put a bottleneck at each place."""
        self._attach(model)
        return cast("torch.nn.Module", model)

    def merge(self, model: torch.nn.Module) -> PreTrainedModel:
        """Take the bottlenecks out: they are not linear, so there is nothing to add them to."""
        from weitiao.methods.bottleneck import detach

        detach(model)
        return cast("PreTrainedModel", model)

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Write bottlenecks and head, what they are, and a loader that needs torch alone, which documents the files."""
        from safetensors.torch import save_file

        from weitiao.methods import load_adapter

        folder.mkdir(parents=True, exist_ok=True)
        plain = cast("PreTrainedModel", model)
        tensors = {name: p.detach().contiguous().clone() for name, p in _named(plain)}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        layers = {_in_body(plain, name): reads and _in_body(plain, reads) for name, reads in self._places(plain)}
        told = {"activation": self.options.activation, "scale": self._scale, "layers": layers}
        (folder / TOLD).write_text(json.dumps(told, indent=1), encoding="utf-8")
        shutil.copyfile(load_adapter.__file__, folder / LOADER)

    def load(self, model: PreTrainedModel, folder: Path) -> torch.nn.Module:
        """Put saved bottlenecks and head onto a plain model."""
        import torch
        from safetensors.torch import load_file

        self._attach(model)
        tensors = load_file(folder / WEIGHTS)
        with torch.no_grad():
            for name, parameter in _named(model):
                parameter.copy_(tensors[name])
        return cast("torch.nn.Module", model).eval()

    @property
    def _scale(self) -> float:
        return self.options.scale or (4.0 if self.options.placement == "parallel" else 1.0)

    def _places(self, model: PreTrainedModel) -> list[tuple[str, str | None]]:
        """The layers that are added to, each with the module whose input is read; None: what the layer gives is."""
        found = sub_layers(model)
        if self.options.placement == "parallel":
            return [(block.mlp, block.reads) for block in found]
        if self.options.placement == "pfeiffer":
            return [(block.mlp, None) for block in found]
        return [(name, None) for block in found for name in (*block.attention, block.mlp)]

    def _attach(self, model: PreTrainedModel) -> None:
        from weitiao.methods.bottleneck import Bottleneck, compacted_pair, plain_pair, shared_terms

        places, chosen = self._places(model), self.options
        widths = [_width(model.get_submodule(name)) for name, _ in places]
        sizes = [self._size(width) for width in widths]
        model.requires_grad_(False)
        for name in head_modules(model):
            model.get_submodule(name).requires_grad_(True)
        device = cast("torch.Tensor", model.get_submodule(places[0][0]).weight).device
        shared = shared_terms(chosen.terms, device) if chosen.sharing == "compacter" else None
        for (name, reads), width, size in zip(places, widths, sizes, strict=True):
            pair = (
                plain_pair(width, size, device) if shared is None else compacted_pair(shared, width, size, chosen.rank)
            )
            bottleneck = Bottleneck(*pair, chosen.activation, chosen.dropout, self._scale)
            bottleneck.attach(model.get_submodule(name), model.get_submodule(reads) if reads else None)

    def _size(self, width: int) -> int:
        """The bottleneck's width; what a compacter cannot divide is refused, or rounded up where it is our choice."""
        terms = self.options.terms if self.options.sharing == "compacter" else 1
        if width % terms:
            raise RecipeError(f"a width of {width} cannot be divided by {terms}", where="method.terms",
                              fix=f"Take {_divisors(width)}.")  # fmt: skip
        if self.options.size is None:
            return -(-max(width // SHARE, LEAST) // terms) * terms
        if self.options.size % terms:
            raise RecipeError(f"{self.options.size} cannot be divided by the {terms} terms of a compacter",
                              where="method.size", fix=f"Take a multiple of {terms}.")  # fmt: skip
        return self.options.size


def _named(model: PreTrainedModel) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """All that moves under its name in the file: what bottlenecks share once, the head's behind `head.`."""
    from weitiao.methods.bottleneck import bottlenecks

    inside: dict[int, str] = {}
    for layer, bottleneck in bottlenecks(model).items():
        for name, parameter in bottleneck.named_parameters():
            inside[id(parameter)] = SHARED if name.endswith(f".{SHARED}") else f"{_in_body(model, layer)}.{name}"
    for name, parameter in model.named_parameters():
        if id(parameter) in inside:
            yield inside[id(parameter)], parameter
        elif parameter.requires_grad:
            yield f"{HEAD}{name}", parameter


def _in_body(model: PreTrainedModel, name: str) -> str:
    """A module's name in the body, which is the same under every head."""
    body: Any = model.base_model
    prefix = next(outer for outer, module in model.named_modules() if module is body)
    return name.removeprefix(f"{prefix}.") if prefix else name


def _width(layer: torch.nn.Module) -> int:
    from transformers.pytorch_utils import Conv1D

    return int(cast("torch.Tensor", layer.weight).shape[1 if isinstance(layer, Conv1D) else 0])


def _divisors(width: int) -> str:
    found = [str(number) for number in (2, 3, 4, 5, 6, 8, 12, 16) if width % number == 0]
    return " or ".join(found) or "1"
