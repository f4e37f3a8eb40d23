"""Head only: the pretrained body is frozen, the new layers on top of it learn (a linear probe)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from weitiao.errors import RecipeError
from weitiao.methods.depth import lock_in_inference
from weitiao.methods.moved import MovedWeights
from weitiao.methods.parts import head_modules
from weitiao.recipe import Settings
from weitiao.records import FAMILIES, Family

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class HeadOnlyOptions(Settings):
    """Training the head alone has no options."""


class HeadOnly(MovedWeights):
    """The body is frozen and runs without dropout; head and pooler move.

    Trainable parameters: those of the head, for BERT d*d + d (pooler) + d*K + K (classifier) with hidden size d and
    K labels.
    """

    name: ClassVar[str] = "head"
    families: ClassVar[frozenset[Family]] = frozenset(FAMILIES)
    Options: ClassVar[type[Settings]] = HeadOnlyOptions

    def __init__(self, options: Settings) -> None:
        self.options = options

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """New layers on frozen features take a far higher rate than pretrained ones."""
        return 2e-3, f"new layers on a frozen body ({family})"

    def apply(self, model: PreTrainedModel, new_tokens: Sequence[int] = ()) -> torch.nn.Module:
        """Freeze all but the head; the body stays in inference, so that its features carry no dropout noise."""
        heads = [model.get_submodule(name) for name in head_modules(model)]
        if not heads:
            raise RecipeError(f"{type(model).__name__} has no new head: nothing would be trained", where="method",
                              fix="Take lora or full.")  # fmt: skip
        if not getattr(model, "keeps_head", True):
            raise RecipeError("the head is there in training alone: nothing of what is kept would be trained",
                              where="method", fix="Take lora or full.")  # fmt: skip
        model.requires_grad_(False)
        for head in heads:
            head.requires_grad_(True)
        lock_in_inference(model.base_model)
        return cast("torch.nn.Module", model)
