"""The `Task` interface. A new task is one file that fulfils it and one line in the registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from weitiao.recipe import Settings
from weitiao.records import Batch, Column, Family, Finding, Head, Prediction, Scores, SplitName

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


class Scorer(Protocol):
    """Gathers predictions of one split, batch by batch, in bounded memory (a few numbers an example)."""

    def add(self, labels: Any, predictions: list[Prediction]) -> None:
        """Take one batch: gold `labels` as in `Batch.labels` (or a list of label features) and its predictions."""

    def compute(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """Return the scores on the given rows (a bootstrap sample; with repeats), or on all."""

    def scores(self) -> Scores:
        """Return all scores and details, without intervals."""

    def outcomes(self) -> np.ndarray:
        """Return one number an example, shape (n,): 1.0 right, 0.0 wrong, or a score between."""


class Prepared(Settings):
    """What a task learned from the training data; stored in the run and in the artifact as JSON."""


class Task(Protocol):
    """What is learned.

    A task is made from its `Options` and, once prepared, from what it learned of the data: ``Task(options, prepared)``.
    Examples are rows whose columns are the task's roles (`columns`), already renamed from the file's own names.
    """

    name: ClassVar[str]
    families: ClassVar[frozenset[Family]]
    columns: ClassVar[tuple[Column, ...]]
    baselines: ClassVar[tuple[str, ...]]  # names of the registry's kind "baseline"
    Options: ClassVar[type[Settings]]
    Prepared: ClassVar[type[Prepared]]
    options: Any
    prepared: Any
    head: Head  # known once prepared

    def prepare(self, splits: Mapping[SplitName, Dataset]) -> tuple[Task, list[Finding]]:
        """Learn labels and their kind from the data; return the prepared task and what was noticed."""

    def encode(
        self, examples: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> dict[str, list[Any]]:
        """Turn a batch of examples into features: `input_ids` and, where labelled, `labels`. No padding."""

    def collate(self, features: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase) -> Batch:
        """Pad features together. Each has `row`, its number in the split."""

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Return the loss summed over the batch's targets, a scalar; the loop divides by the step's `targets`."""

    def decode(self, outputs: Any, batch: Batch) -> list[Prediction]:
        """Turn the model's outputs into one prediction an example."""

    def scorer(self) -> Scorer:
        """Return a fresh scorer."""

    def tune(self, labels_and_predictions: Iterable[tuple[Any, list[Prediction]]]) -> Task:
        """Settle the decision rule on validation (thresholds); return the task that uses it, or itself."""
