"""The `Method` interface. A new method is one file that fulfils it and one line in the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from weitiao.recipe import Settings
from weitiao.records import Family

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Method(Protocol):
    """Which weights move. Made from its `Options`: ``Method(options)``."""

    name: ClassVar[str]
    families: ClassVar[frozenset[Family]]
    Options: ClassVar[type[Settings]]
    options: Any

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """Return what `learning_rate: auto` becomes for a body of that hidden size, and why."""

    def apply(self, model: PreTrainedModel) -> torch.nn.Module:
        """Return the model to train: what moves has ``requires_grad``, all else not."""

    def merge(self, model: torch.nn.Module) -> PreTrainedModel:
        """Return a plain `transformers` model that predicts the same; the trained model is not used afterwards."""

    def save(self, model: torch.nn.Module, folder: Path) -> bool:
        """Write the small weights (an adapter) into `folder`; False, and nothing written, where there are none."""
