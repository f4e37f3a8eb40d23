"""Any other tuner of the PEFT library, by its own name and options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from weitiao import registry
from weitiao.errors import RecipeError, nearest
from weitiao.methods.on_peft import (
    ALL_LINEAR,
    OnPeft,
    Targets,
    body_layers,
    chosen_targets,
    on_meta,
    reasons_told,
    stores_transposed,
    target_names,
)
from weitiao.methods.peft_trial import try_tuner
from weitiao.recipe import Settings
from weitiao.records import Family

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from transformers import PreTrainedModel

OURS = ("target_modules", "exclude_modules", "modules_to_save", "task_type", "fan_in_fan_out", "inference_mode",
        "trainable_token_indices", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path",
        "revision")  # fmt: skip
WIDTHS = (256, 384, 768, 1024)  # of the layer a tuner is tried on: its options may have to divide it


class PeftOptions(Settings):
    """Options of the method `peft`."""

    tuner: str
    """The tuner's name in the PEFT library, such as `boft`, `oft`, `hra`, `randlora`, `fourierft`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The tuner's own options, such as `{boft_block_size: 4}`."""
    targets: Targets = ALL_LINEAR
    """Layers to adapt: `all-linear` (all in the body), names such as `[query, value]`, or a regular expression over
    whole names."""


class Peft(OnPeft):
    """What the tuner's own paper says (https://huggingface.co/docs/peft names it). Trainable parameters: the tuner's,
    plus the head.

    The tuner is first tried on one small layer: whether it can be merged is found out there, and what does not run by
    itself (needs task numbers, other adapters, a model of its own) is refused. One that changes the frozen weights, or
    whose saved adapter does not give the same on the original base, is refused too where it cannot be merged.
    """

    name: ClassVar[str] = "peft"
    Options: ClassVar[type[Settings]] = PeftOptions
    options: PeftOptions

    def __init__(self, options: PeftOptions) -> None:
        self.options = options

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """LoRA's; other tuners may want another by orders of magnitude."""
        rate = {"encoder": 1e-3, "decoder": 5e-4, "seq2seq": 1e-3}[family]
        return rate, f"as LoRA ({family}): see the paper of {self.options.tuner}"

    @cached_property
    def merges(self) -> bool:  # type: ignore[override]
        """Whether the tuner can be merged, as tried on a small layer."""
        return self._tried()[0]

    def peft_config(self, model: PreTrainedModel, common: Mapping[str, Any]) -> PeftConfig:
        """The tuner's config with its own options."""
        kind = self._kind()
        known = {field.name for field in dataclasses.fields(kind)}
        excludes = "exclude_modules" in known
        ours = {**common, "fan_in_fan_out": stores_transposed(model)}
        ours["target_modules"] = (chosen_targets if excludes else target_names)(model, self._targets(model))
        return kind(**{name: value for name, value in ours.items() if name in known}, **self._given())

    def apply(self, model: PreTrainedModel, new_tokens: Sequence[int] = ()) -> torch.nn.Module:
        """Wrap the model with the tuner's layers, where it works by itself."""
        layer = model.get_submodule(target_names(model, self._targets(model))[0])
        works, reason = self._tried(layer)
        if not works and self.merges:  # it depends on the layer: BEFT's biases, say
            raise RecipeError(f"{self.options.tuner} cannot be merged into {type(model).__name__}: {reason}",
                              where="method.tuner", fix="Take lora.")  # fmt: skip
        wrapped = super().apply(model, new_tokens)
        if not on_meta(wrapped) and not any(parameter.requires_grad for parameter in wrapped.parameters()):
            raise RecipeError(f"{self.options.tuner} trains nothing here", where="method.tuner", fix="Take lora.")
        return wrapped

    def _targets(self, model: PreTrainedModel) -> Targets:
        return self.options.targets if body_layers(model) else []

    def _kind(self) -> Any:
        """PEFT's class of the tuner's config; a `RecipeError` for what there is not, or what is a method by itself."""
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

        kinds = {str(getattr(name, "value", name)).lower(): kind for name, kind in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
        name = self.options.tuner.lower().replace("-", "_")
        if name not in kinds:
            raise RecipeError(f"PEFT has no tuner '{self.options.tuner}'", where="method.tuner",
                              fix=nearest(name, kinds))  # fmt: skip
        if name in registry.table("method"):
            raise RecipeError(f"'{name}' is a method of its own", where="method.tuner",
                              fix=f"Write `method: {name}`: it has sensible defaults.")  # fmt: skip
        if name == "ln_tuning":
            raise RecipeError("ln_tuning moves norms, which `targets` cannot name", where="method.tuner",
                              fix="Take the method bitfit with norms: true.")  # fmt: skip
        if _learns_prompts(kinds[name]):
            raise RecipeError(f"{name} puts learned tokens before the text, which PEFT's wrappers do not do right for "
                              "every model", where="method.tuner",
                              fix="Take the method prefix, prompt or p-tuning.")  # fmt: skip
        return kinds[name]

    def _given(self) -> dict[str, Any]:
        """The options as given, their names known to be the tuner's."""
        known = {field.name for field in dataclasses.fields(self._kind()) if field.init} - set(OURS)
        for name in self.options.options:
            if name not in known:
                where = f"method.options.{name}"
                if name in OURS:
                    raise RecipeError("is set by Weitiao", where=where, fix="For layers there is method.targets.")
                raise RecipeError(f"{self.options.tuner} has no option '{name}'", where=where, fix=nearest(name, known))
        return dict(self.options.options)

    def _tried(self, layer: torch.nn.Module | None = None) -> tuple[bool, str]:
        """Whether the tuner on one layer, alike to `layer` if given, can be merged, and why not.

        Raises a `RecipeError` where it does not even run, or what it learned is lost.
        """
        import torch

        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.manual_seed(0)
            if layer is not None:
                return self._trial(_alike(layer))
            for width in WIDTHS:
                try:
                    return self._trial(torch.nn.Linear(width, width))
                except RecipeError as error:
                    last = error
            raise last

    def _trial(self, layer: torch.nn.Module) -> tuple[bool, str]:
        kind = self._kind()
        known = {field.name for field in dataclasses.fields(kind)}
        given = self._given() | {"target_modules": ["layer"]}
        if "fan_in_fan_out" in known:
            given["fan_in_fan_out"] = type(layer).__name__ == "Conv1D"
        with reasons_told("method.options" if self.options.options else "method.tuner"):
            return try_tuner(layer, lambda: kind(**given))


def _learns_prompts(kind: Any) -> bool:
    from peft.config import PromptLearningConfig

    return issubclass(kind, PromptLearningConfig) or kind.__name__ in ("CPTConfig", "AdaptionPromptConfig")


def _alike(layer: Any) -> torch.nn.Module:
    """A layer with values, of the kind and shape of one that may have none."""
    import torch
    from transformers.pytorch_utils import Conv1D

    inside, outside = layer.weight.shape if isinstance(layer, Conv1D) else reversed(layer.weight.shape)
    if isinstance(layer, Conv1D):
        return Conv1D(outside, inside)  # type: ignore[no-any-return]
    return torch.nn.Linear(inside, outside, bias=layer.bias is not None)
