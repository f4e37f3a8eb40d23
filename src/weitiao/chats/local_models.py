"""Models on this machine that write texts: trained here, or as they were pretrained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weitiao import models
from weitiao.artifacts.artifact import open_artifact
from weitiao.artifacts.run_folder import artifact_folder, is_trained
from weitiao.errors import RecipeError
from weitiao.kernels import quickly
from weitiao.models.fingerprint import fingerprint
from weitiao.recipe import ModelSettings
from weitiao.records import Head, Reader
from weitiao.tasks.generation import GenerationOptions, generate
from weitiao.tasks.replies import HEADS, stops_of

if TYPE_CHECKING:
    import torch


def artifact_in(source: str) -> Path | None:
    """Return the artifact's folder where `source` is a run's folder or an artifact, None for any other model."""
    folder = Path(source).expanduser()
    return artifact_folder(folder) if is_trained(folder) else None


@dataclass(frozen=True)
class Writer:
    """A model that writes text behind tokens; its weights are loaded when it first does."""

    load: Callable[[], torch.nn.Module]
    device: torch.device
    reader: Reader
    mark: str  # digest of its files
    precision: str  # that it computes in
    task: Any = None  # that it was trained for here

    @classmethod
    def open(cls, source: str) -> Writer:
        """Open a run, an artifact or a pretrained model. Raises a `RecipeError` for one that writes nothing."""
        device, _ = models.resolve_device("auto")
        folder = artifact_in(source)
        if folder is not None:
            artifact = open_artifact(folder)
            family, reader, mark, task = artifact.reader.family, artifact.reader, fingerprint(folder), artifact.task
            precision, _ = models.prediction_precision("auto", artifact.recipe.training.precision, device)
        else:
            pretrained = models.open_pretrained(ModelSettings(source=source), base=Path())
            family, reader, task = pretrained.family, pretrained.reader(pretrained.max_length), None
            mark, (precision, _) = pretrained.fingerprint, models.resolve_precision("auto", device)
        if family not in HEADS:
            raise RecipeError(f"{source} is an {family}, which writes nothing", where="model",
                              fix="Name a decoder or an encoder-decoder.")  # fmt: skip
        if folder is not None:
            load = artifact.load_model
        else:
            load = partial(models.load_model, pretrained, Head(HEADS[family]), seed=0)
        return cls(load, device, reader, mark, precision, task)

    @cached_property
    def model(self) -> torch.nn.Module:
        """The model on its device."""
        return self.load().to(self.device)

    def identity(self, generation: GenerationOptions) -> dict[str, Any]:
        """Return what its texts hang on beside prompt and seed."""
        options = generation.model_dump(mode="json", exclude={"generation_seed"})
        return {"model": self.mark, "precision": self.precision, "generation": options}

    def write(self, prompts: Sequence[Sequence[int]], options: GenerationOptions) -> list[list[int]]:
        """Return the tokens that it writes behind each prompt."""
        with models.autocast(self.device, self.precision), quickly(self.model, self.precision, learns=False):
            return generate(self.model, prompts, self.reader, options, stops_of(self.model, self.reader))
