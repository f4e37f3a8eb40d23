"""Run a model over a split and score it: batch by batch, nothing kept but a few numbers an example."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao.data import column_array, in_length_order
from weitiao.records import Batch, Prediction
from weitiao.tasks.base import Scorer, Task

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

BATCH = 64  # examples a forward, at most
TOKENS = 8192  # tokens a forward, padding included, at most


@dataclass(frozen=True)
class Inference:
    """A model ready to predict: how to run it and how to read its outputs."""

    model: torch.nn.Module
    task: Task
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    autocast: Callable[[], AbstractContextManager[Any]]

    def predictions(
        self, take: Callable[[np.ndarray], list[dict[str, Any]]], lengths: np.ndarray
    ) -> Iterator[tuple[Batch, list[Prediction]]]:
        """Yield (batch, predictions) over all rows, longest first; `take` gives the features of some rows.

        `lengths` are tokens, shape (rows,). The order of rows is in `Batch.rows`.
        """
        import torch

        self.model.eval()
        for rows in in_length_order(lengths, BATCH, tokens=TOKENS):
            batch = self.task.collate(take(rows), self.tokenizer)
            with torch.inference_mode(), self.autocast():
                outputs = self.model(**batch.to(self.device).inputs)
            yield batch, self.task.decode(outputs, batch)

    def over(self, features: Dataset) -> Iterator[tuple[Batch, list[Prediction]]]:
        """The same over a split's features."""
        return self.predictions(lambda rows: take_rows(features, rows), column_array(features, "length"))


def take_rows(features: Dataset, rows: np.ndarray) -> list[dict[str, Any]]:
    """The features of some rows, one dict each."""
    columns = features[rows.tolist()]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def tuned(inference: Inference, validation: Dataset) -> Inference:
    """Settle the task's decision rule on validation; where it has one, this takes a pass over the split."""
    stream = ((batch.labels, predictions) for batch, predictions in inference.over(validation))
    return replace(inference, task=inference.task.tune(stream))


def score(inference: Inference, features: Dataset, *each: Callable[[Batch, list[Prediction]], None]) -> Scorer:
    """Predict a labelled split and return its scorer; `each` sees every batch as it goes by."""
    scorer = inference.task.scorer()
    for batch, predictions in inference.over(features):
        scorer.add(batch.labels, predictions)
        for see in each:
            see(batch, predictions)
    return scorer
