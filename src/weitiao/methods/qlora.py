"""QLoRA: LoRA on a frozen base in 4 or 8 bits (Dettmers et al. 2023, arXiv:2305.14314), by bitsandbytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

from pydantic import model_validator

from weitiao.errors import RecipeError
from weitiao.methods.lora import Lora, LoraOptions
from weitiao.methods.on_peft import body_layers, on_meta, stores_transposed
from weitiao.recipe import Settings
from weitiao.records import Family

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class QloraOptions(LoraOptions):
    """Options of the method `qlora`: those of `lora`, and how the base is kept."""

    bits: Literal[4, 8] = 4
    """Bits a frozen weight is kept in; 8: a scale for each row (LLM.int8(), Dettmers et al. 2022, arXiv:2208.07339)."""
    quant_type: Literal["nf4", "fp4"] = "nf4"
    """Of 4 bits: `nf4`, whose values are spread like a normal distribution's, or `fp4`."""
    double_quant: bool = True
    """Of 4 bits: keep the scales, one for 64 weights (32 where rows ask for it), in 8 bits too."""

    @model_validator(mode="after")
    def _fits_a_quantised_base(self) -> Self:
        if self.start in ("pissa", "olora"):
            raise ValueError(f"the start `{self.start}` changes the base before it is rounded: its adapter would not "
                             "fit the original any more; take `default`, `gaussian` or `eva`")  # fmt: skip
        if self.bits == 8 and (self.quant_type, self.double_quant) != ("nf4", True):
            raise ValueError("`quant_type` and `double_quant` are about 4 bits")
        return self


class Qlora(Lora):
    """``Q(W) x + s B A x``: W is rounded to 4 or 8 bits and frozen, A and B are as `lora`'s, in fp32.

    The linear layers of the body are rounded; embeddings, norms, heads and the vocabulary's matrix stay in fp32, and so
    does what a model asks to keep there (T5's `wo`), and at 4 bits a matrix whose rows are no multiple of 32. Merging
    is done in fp32: ``Q(W)`` is taken back to numbers and the update added, so that the artifact is a plain fp32 model
    that predicts as the trained one, but is no smaller than the base. The adapter in PEFT's format also fits the base
    that was not rounded, with the difference of the rounding. Trainable parameters: those of `lora`.
    """

    name: ClassVar[str] = "qlora"
    whole_because: ClassVar[str] = "reads packed 4-bit matrices"
    Options: ClassVar[type[Settings]] = QloraOptions
    options: QloraOptions

    def __init__(self, options: QloraOptions) -> None:
        super().__init__(options)

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """As LoRA's; the paper's own, for 7 to 65 billion parameters, are 2e-4 and 1e-4."""
        rate, why = super().learning_rate(family, width)
        return rate, f"{why} on a base of {self.options.bits} bits"

    def apply(self, model: PreTrainedModel, new_tokens: Sequence[int] = ()) -> torch.nn.Module:
        """Wrap the model with LoRA layers, then round what is frozen below them."""
        _check_installed()
        if self.options.dora and stores_transposed(model):
            raise RecipeError("DoRA on a rounded base does not know the transposed matrices (Conv1D) of "
                              f"{type(model).__name__}", where="method.dora", fix="Leave it out.")  # fmt: skip
        names = self._rounded(model)
        wrapped = super().apply(model, new_tokens)
        self._round(wrapped, names)
        return wrapped

    def merge(self, model: torch.nn.Module) -> PreTrainedModel:
        """Take the base back to fp32, and add the updates there."""
        for parent, last, layer in list(_quantised(model)):
            setattr(parent, last, _plain(layer))
        return super().merge(model)

    def load(self, model: PreTrainedModel, folder: Path) -> torch.nn.Module:
        """Put a saved adapter onto a plain model, whose base is rounded as it was in training."""
        _check_installed()
        names = self._rounded(model)
        loaded = super().load(model, folder)
        self._round(loaded, names)
        return loaded

    def _rounded(self, model: PreTrainedModel) -> list[str]:
        """Names of the layers that are rounded: not those whose weights the model itself looks at (T5's `wo`), nor at 4
        bits those of odd widths.
        """  # fmt: skip
        kept = {part for module in model.modules() for part in getattr(module, "_keep_in_fp32_modules", None) or ()}
        names = [name for name in body_layers(model) if not kept & set(name.split("."))]
        return [name for name in names if self.options.bits == 8 or _block(_width(model.get_submodule(name)))]

    def _round(self, wrapped: torch.nn.Module, names: Sequence[str]) -> None:
        if on_meta(wrapped):  # to be counted: as many as unrounded
            return
        for name in names:
            parent, _, last = f"base_model.model.{name}".rpartition(".")
            holder = wrapped.get_submodule(parent)
            if hasattr(getattr(holder, last), "base_layer"):
                holder, last = getattr(holder, last), "base_layer"
            setattr(holder, last, self._quantised(getattr(holder, last)))

    def _quantised(self, layer: Any) -> torch.nn.Module:
        """A layer of bitsandbytes with the same bias; a transposed matrix is turned, and remembered as such."""
        import bitsandbytes
        import torch

        turned = not isinstance(layer, torch.nn.Linear)
        weight = (layer.weight.T if turned else layer.weight).detach().contiguous()
        shape = (weight.shape[1], weight.shape[0], layer.bias is not None)
        made: Any
        if self.options.bits == 4:
            how = {"compress_statistics": self.options.double_quant, "quant_type": self.options.quant_type}
            made = bitsandbytes.nn.Linear4bit(*shape, compute_dtype=torch.float32, device="meta", **how)
            block = _block(weight.shape[1])
            made.weight = bitsandbytes.nn.Params4bit(weight, requires_grad=False, module=made, blocksize=block, **how)
            # Otherwise it packs anew in inference on some CPUs: with scales in bf16, not for narrow layers, for good.
            made.support_avx512bf16_for_cpu = False
        else:
            made = bitsandbytes.nn.Linear8bitLt(*shape, has_fp16_weights=False, device="meta")
            made.weight = bitsandbytes.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
            made.forward = partial(_as_in_training, made)
        made.bias, made.turned = layer.bias, turned
        return cast("torch.nn.Module", made.to(weight.device))  # rounds


def _check_installed() -> None:
    if find_spec("bitsandbytes") is None:
        raise RecipeError("qlora needs bitsandbytes, which is not installed", where="method",
                          fix='Install it: pip install "weitiao[quantized]", or take lora.')  # fmt: skip


def _width(layer: Any) -> int:
    import torch

    return int(layer.weight.shape[1 if isinstance(layer, torch.nn.Linear) else 0])


def _block(width: int) -> int | None:
    """How many weights share a scale: as many as fit the rows, which the kernel for CPUs (0.50) takes the wrong scales
    for otherwise.
    """  # fmt: skip
    return next((size for size in (64, 32) if width % size == 0), None)


def _as_in_training(layer: Any, inputs: torch.Tensor) -> torch.Tensor:
    """A layer of 8 bits that answers in inference as it does in training, in fp32: the library's own rounds its inputs
    there too (on a CPU there alone), and turns its bias into the inputs' type for good.
    """  # fmt: skip
    import bitsandbytes
    import torch

    if layer.weight.CB is not None:  # as after `to`
        layer.init_8bit_state()
    layer.state.is_training = True
    with torch.autocast(inputs.device.type, enabled=False):
        outputs = bitsandbytes.matmul(inputs.float(), layer.weight, bias=layer.bias, state=layer.state)
    return outputs.to(inputs.dtype)  # type: ignore[no-any-return]


def _quantised(model: torch.nn.Module) -> Iterator[tuple[torch.nn.Module, str, Any]]:
    """Parent, name and layer of each rounded layer."""
    for parent in model.modules():
        for name, layer in parent.named_children():
            if hasattr(layer, "turned"):
                yield parent, name, layer


def _plain(layer: Any) -> torch.nn.Module:
    """The rounded layer as an ordinary one in fp32."""
    import torch
    from transformers.pytorch_utils import Conv1D

    weight = _numbers(layer).float()
    outside, inside = weight.shape
    made: Any = Conv1D(outside, inside) if layer.turned else torch.nn.Linear(inside, outside)
    made.weight = torch.nn.Parameter((weight.T if layer.turned else weight).contiguous(), requires_grad=False)
    made.bias = layer.bias
    return made  # type: ignore[no-any-return]


def _numbers(layer: Any) -> torch.Tensor:
    import bitsandbytes

    if hasattr(layer.weight, "quant_state"):
        return bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)  # type: ignore[no-any-return]
    scales = (
        layer.state.SCB if layer.state.SCB is not None else layer.weight.SCB
    )  # where they are from the first use on
    return layer.weight.data.float() * scales[:, None] / 127  # type: ignore[no-any-return]
