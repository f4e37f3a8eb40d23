"""Few examples: contrastive fine-tuning of a sentence encoder, then a head (SetFit, Tunstall et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field

from weitiao.errors import RecipeError
from weitiao.methods.contrast import contrastive_loss, cosine_loss
from weitiao.methods.full import Full, FullOptions
from weitiao.methods.linear_head import fit_head
from weitiao.methods.parts import head_prefixes
from weitiao.recipe import Settings
from weitiao.records import Family, Pace, Pretrained

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel

EPOCHS = 20


class FewShotOptions(Settings):
    """Options of the method `few-shot`."""

    loss: Literal["contrastive", "cosine"] = "contrastive"
    """What is learned of all pairs of a step. `contrastive`: an example is told from the others by those of its label
    (Khosla et al. 2020). `cosine`: the cosine of two vectors is 1 for the same label and 0 for others, as in SetFit
    (Tunstall et al. 2022)."""
    temperature: float = Field(0.1, gt=0)
    """Of the loss `contrastive`: what cosines are divided by."""
    together: int = Field(4, ge=2)
    """How many examples of a label come together in a step, where there are so many."""
    c: float = Field(100.0, gt=0)
    """Inverse of the penalty on the head, as scikit-learn has it, on vectors of a mean length of 1. It cannot be chosen
    on the training examples, whose vectors were made to fit their labels."""


class FewShot:
    """The encoder learns from all pairs of the examples in a step which are alike; then the head is fitted on the
    vectors of all training examples by logistic regression, before each measurement as in the end. Trainable
    parameters: all.
    """

    name: ClassVar[str] = "few-shot"
    families: ClassVar[frozenset[Family]] = frozenset({"encoder", "decoder"})
    Options: ClassVar[type[Settings]] = FewShotOptions

    def __init__(self, options: FewShotOptions) -> None:
        self.options = options

    def presets(self, pretrained: Pretrained) -> Mapping[str, tuple[Any, str]]:
        """A vector a text, as the encoder was trained with, and as many epochs as few examples take."""
        pooling, why = pretrained.usual_pooling
        return {
            "task.pooling": (pooling, f"few-shot: {why}"),
            "training.epochs": (EPOCHS, "few-shot: an epoch of few examples has few steps"),
        }

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """That of `full`."""
        rate, why = Full(FullOptions()).learning_rate(family, width)
        return rate, f"few-shot as {why}"

    def apply(self, model: PreTrainedModel, new_tokens: Sequence[int] = ()) -> torch.nn.Module:
        """Let every weight move; raises a `RecipeError` for a model without sentence vectors."""
        if getattr(model.config, "sentence_pooling", None) is None:
            raise RecipeError(f"{type(model).__name__} has no sentence vectors to compare", where="method",
                              fix="Take the task text-classification, with task.pooling: mean.")  # fmt: skip
        model.requires_grad_(True)
        return cast("torch.nn.Module", model)

    def paces(self, model: torch.nn.Module) -> Mapping[str, Pace]:
        """The head moves in no step: it is fitted."""
        heads = head_prefixes(cast("PreTrainedModel", model))
        return {name: Pace(start=1.0) for name, _ in model.named_parameters() if name.startswith(heads)}

    def merge(self, model: torch.nn.Module) -> PreTrainedModel:
        """The model is plain already."""
        return cast("PreTrainedModel", model)

    @property
    def together(self) -> int:
        """As the options say."""
        return self.options.together

    def contrast(self, vectors: torch.Tensor, alike: torch.Tensor) -> torch.Tensor:
        """The loss of the options."""
        if self.options.loss == "cosine":
            return cosine_loss(vectors, alike)
        return contrastive_loss(vectors, alike, self.options.temperature)

    def fitted(self, vectors: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Logistic regression."""
        return fit_head(vectors, labels, count, c=self.options.c)
