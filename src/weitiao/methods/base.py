"""The `Method` interface. A new method is one file that fulfils it and one line in the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from weitiao.recipe import Settings
from weitiao.records import Batch, Family, Pace, Pretrained

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import numpy as np
    import torch
    from transformers import PreTrainedModel

    from weitiao.events import Event


class Method(Protocol):
    """Which weights move. Made from its `Options`: ``Method(options)``.

    What only some methods have is a protocol of its own below: small weights apart from the model's (`Detaches`),
    tokens of its own before the text (`TakesPositions`), weights that begin where the training data says
    (`StartsFromData`), parameters that move otherwise than the rest (`Paced`), a part in each step (`TakesPart`, which
    not only methods have).
    """

    name: ClassVar[str]
    families: ClassVar[frozenset[Family]]
    Options: ClassVar[type[Settings]]
    options: Any

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """Return what `learning_rate: auto` becomes for a body of that hidden size, and why."""

    def apply(self, model: PreTrainedModel, new_tokens: Sequence[int] = ()) -> torch.nn.Module:
        """Return the model to train: what moves has ``requires_grad``, all else not.

        `new_tokens` are the ids of tokens that the recipe added: a method that can, trains their embeddings too. The
        model may be on the meta device, to be counted only. Raises a `RecipeError` where the method does not fit it.
        """

    def merge(self, model: torch.nn.Module) -> PreTrainedModel:
        """Return a plain `transformers` model; the trained model is not used afterwards.

        It predicts the same. Only where the method `Detaches` and cannot merge, it is the model as it was before, with
        what was trained besides the small weights (a head); it predicts the same once they are loaded onto it.
        """


@runtime_checkable
class Detaches(Protocol):
    """A method whose weights are small and apart from the model's: an adapter."""

    merges: bool  # whether `merge` puts them into the plain model

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Write the adapter into `folder`, in PEFT's own format where PEFT has one.

        Where the method cannot merge, a `load_adapter.py` lies beside the weights, for people who have no Weitiao: its
        ``load_adapter(model, folder)`` puts them onto the plain model and returns it. The model card shows it.
        """

    def load(self, model: PreTrainedModel, folder: Path) -> torch.nn.Module:
        """Put the adapter in `folder` onto a plain model of the kind it was trained on; return it, ready to predict."""


@runtime_checkable
class TakesPositions(Protocol):
    """A method whose own tokens stand before the text, and take some of the model's positions from it."""

    @property
    def positions(self) -> int:
        """How many."""


@runtime_checkable
class StartsFromData(Protocol):
    """A method of which some weights begin where the training data says."""

    def start_from(self, model: torch.nn.Module, batches: Iterable[Batch], run: Callable[[Batch], Any]) -> None:
        """Set these weights of the model that `apply` gave; what moves and its shapes stay as they are.

        `batches` come on the model's device in the order of the training, epoch after epoch without end; ``run(batch)``
        gives the model's outputs, in the recipe's precision. Called once, before the first step: a run that goes on
        from a checkpoint has its weights from there. Raises a `RecipeError` where the data does not do.
        """


@runtime_checkable
class Presets(Protocol):
    """A method, or a task, for which other values do than those that a recipe has by default."""

    def presets(self, pretrained: Pretrained) -> Mapping[str, tuple[Any, str]]:
        """Return dotted key -> value and why; taken where the recipe says nothing."""


@runtime_checkable
class Contrasts(Protocol):
    """A method that learns which examples of a step are alike, from one vector of each, and fits the head, a linear
    layer on these vectors, when that is done. Examples of a step go through the model together.
    """  # fmt: skip

    @property
    def together(self) -> int:
        """How many examples of a label come together in a step."""

    def contrast(self, vectors: torch.Tensor, alike: torch.Tensor) -> torch.Tensor:
        """Return the loss of a step, a scalar: the mean over its examples. `vectors` are (examples, width), fp32;
        `alike`, (examples, examples), says how alike they are, from 0 to 1.
        """  # fmt: skip

    def fitted(self, vectors: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return weight (count, width) and bias (count,) of the head that answers `labels` of the vectors: numbers of
        shape (examples,), or zeros and ones of shape (examples, count).
        """  # fmt: skip


@runtime_checkable
class NeedsWholeWeights(Protocol):
    """A method that cannot work where each process holds only a share of each weight (`training.parallel: fsdp`)."""

    whole_because: ClassVar[str]  # why, as what follows its name


@runtime_checkable
class Paced(Protocol):
    """A method in which some parameters move otherwise than the rest."""

    def paces(self, model: torch.nn.Module) -> Mapping[str, Pace]:
        """Return parameter name -> its pace, for those that do not keep the common one."""


@runtime_checkable
class TakesPart(Protocol):
    """What takes part in each step of training, and keeps a state over them: a method, a penalty, an average."""

    def penalty(self, model: torch.nn.Module) -> torch.Tensor | None:
        """Return what is added to the loss of a whole step, a scalar, if anything is."""

    def after_step(self, model: torch.nn.Module, step: int, steps: int) -> None:
        """Do what is to be done after update `step` (from 1) of `steps`; the gradients are still there."""

    def state(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """Return what a checkpoint has to keep of it beside the weights that move."""

    def restore(self, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what `state` gave; with nothing, be as at the start of training, where the model then stands."""


@runtime_checkable
class Tells(TakesPart, Protocol):
    """A part of the steps that has something to tell when it is time to evaluate."""

    def told(self, step: int) -> Event:
        """Return what came by since it was asked last, after update `step`; all processes ask alike."""


@runtime_checkable
class StandsFor(TakesPart, Protocol):
    """A part of the steps whose weights are measured and kept in place of those that move: an average."""

    def in_place(self, model: torch.nn.Module) -> AbstractContextManager[None]:
        """Have the model hold them for as long as a `with` lasts."""

    def put(self, model: torch.nn.Module) -> None:
        """Have the model hold them for good."""


@runtime_checkable
class ReadsExamples(TakesPart, Protocol):
    """A part of the steps that now and then has the model read all training examples, besides what it learns from."""

    def readings(self, steps: int, evaluations: int) -> int:
        """Return how often it does in a training of so many steps and evaluations on the way."""
