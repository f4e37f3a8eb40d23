"""Run a model over a split and score it: batch by batch, nothing kept but a few numbers an example."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from weitiao import models
from weitiao.data import RowLookup, column_array, in_length_order
from weitiao.kernels import quickly
from weitiao.parallel import SINGLE, Parallel
from weitiao.records import Batch, Example, Head, Prediction, Pretrained, Reader
from weitiao.tasks.base import Measures, Scorer, Settles, Task

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

BATCH = 64  # features a forward, at most
TOKENS = 8192  # tokens a forward, padding included, at most
LANGUAGE_MODEL = Head("AutoModelForCausalLM")
CHUNK = 1000  # examples of a split in memory at once

T = TypeVar("T")
See = Callable[[list[int], Sequence[Example], Sequence[Prediction]], None]


@dataclass(frozen=True, eq=False)
class Labelled:
    """A split with its features: what a model or a baseline is fitted or measured on."""

    name: str
    examples: Dataset  # all of the split
    features: Dataset  # `row` says which example each is of
    order: np.ndarray | None = None  # the examples that count, in their order; None: all that have features

    @property
    def rows(self) -> np.ndarray:
        """The numbers of the examples that count, int64 of shape (n,)."""
        if self.order is not None:
            return self.order
        return np.unique(column_array(self.features, "row").astype(np.int64))

    def only(self, rows: np.ndarray) -> Labelled:
        """Return the same with the examples `rows` alone, in that order."""
        kept = np.flatnonzero(np.isin(column_array(self.features, "row"), rows))
        return replace(self, features=self.features.select(kept), order=np.asarray(rows, np.int64))

    def sample(self, most: int | None, seed: int) -> Labelled:
        """Return at most `most` of the examples that count, of several tasks as many of each, drawn by `seed`."""
        groups, random = self._by_part(), np.random.default_rng(seed)
        if most is None or all(len(rows) <= most for rows in groups):
            return self
        drawn = [rows if len(rows) <= most else random.choice(rows, most, replace=False) for rows in groups]
        return self.only(np.sort(np.concatenate(drawn)))

    def _by_part(self) -> list[np.ndarray]:
        """The examples that count, of each task that is learned."""
        rows = self.rows
        if "part" not in self.features.column_names:
            return [rows]
        of, first = np.unique(column_array(self.features, "row"), return_index=True)
        part = column_array(self.features, "part")[first][np.searchsorted(of, rows)]
        return [rows[part == each] for each in np.unique(part)]

    def chunks(self, size: int = CHUNK) -> Iterator[list[dict[str, Any]]]:
        """Yield the examples that count in order, `size` at a time."""
        rows, examples = self.rows, RowLookup(self.examples)
        for start in range(0, len(rows), size):
            yield examples(rows[start : start + size])


@dataclass(frozen=True)
class Inference:
    """A model ready to predict: how to run it and how to read its outputs."""

    model: torch.nn.Module
    task: Task
    reader: Reader
    device: torch.device
    precision: str
    parallel: Parallel = SINGLE  # how several processes share the work

    def predictions(
        self,
        take: Callable[[np.ndarray], list[dict[str, Any]]],
        lengths: np.ndarray,
        rows: np.ndarray,
        *,
        parts: np.ndarray | None = None,
        answers: bool = True,
    ) -> Iterator[tuple[Batch, list[int], list[Prediction]]]:
        """Yield (batch, its examples' numbers, a prediction for each) over all features, longest first.

        `take` gives the features of some numbers, `lengths` are their tokens and `rows` their examples, shape
        (features,). All features of an example come in one batch; a batch has features of one of `parts` only.
        """
        for batch, predictions in self.each(
            take, lengths, rows, partial(self._predicted, answers=answers), parts=parts
        ):
            yield batch, list(dict.fromkeys(batch.rows)), predictions

    def each(
        self, take: Callable[[np.ndarray], list[dict[str, Any]]], lengths: np.ndarray, rows: np.ndarray,
        work: Callable[[Batch], T], *, parts: np.ndarray | None = None,
    ) -> Iterator[tuple[Batch, T]]:  # fmt: skip
        """Yield (batch, what `work` makes of it) over the same batches; `work` runs the model, without gradients."""
        self.model.eval()
        for chosen in in_length_order(lengths, BATCH, tokens=TOKENS, groups=rows, parts=parts):
            yield self._worked(take(chosen), work)

    def _worked(self, features: list[dict[str, Any]], work: Callable[[Batch], T]) -> tuple[Batch, T]:
        import torch

        batch = self.task.collate(features, self.reader).to(self.device)
        with torch.inference_mode(), models.autocast(self.device, self.precision):
            return batch, work(batch)

    def _predicted(self, batch: Batch, *, answers: bool) -> list[Prediction]:
        return self.task.predict(self.model, batch, self.reader, answers=answers)

    def measured(self, batch: Batch, *, answers: bool = True) -> list[Prediction]:
        """Return what the scorer takes of a batch that is on its device."""
        ask = self.task.measure if isinstance(self.task, Measures) else self.task.predict
        return ask(self.model, batch, self.reader, answers=answers)

    def over(
        self, on: Labelled, *, answers: bool = True
    ) -> Iterator[tuple[Sequence[Example], list[int], list[Prediction]]]:
        """Yield (examples, their numbers, predictions as its scorer takes them) over a split."""
        lengths, rows = (column_array(on.features, name) for name in ("length", "row"))
        parts = column_array(on.features, "part") if "part" in on.features.column_names else None

        features, examples = RowLookup(on.features), RowLookup(on.examples)

        def work(chosen: np.ndarray) -> tuple[list[int], list[Prediction]]:
            batch, predictions = self._worked(features(chosen), partial(self.measured, answers=answers))
            return list(dict.fromkeys(batch.rows)), predictions

        batches = in_length_order(lengths, BATCH, tokens=TOKENS, groups=rows, parts=parts)
        with quickly(self.model, self.precision, learns=False):
            self.model.eval()
            for numbers, predictions in self.parallel.spread(batches, work):
                yield examples(np.array(numbers)), numbers, predictions


def untouched(pretrained: Pretrained, like: Inference, seed: int) -> Inference:
    """Load the model as it was before training, to be run as `like` is; new weights are drawn as they were then."""
    model = models.load_model(pretrained, like.task.head(pretrained.family), seed=seed)
    return replace(like, model=model.to(like.device))


def language_model(pretrained: Pretrained, like: Inference) -> Inference:
    """Load the model as it was before training with its language-model head. It reads as much as it takes, however
    little of a text the recipe has the trained one read.
    """  # fmt: skip
    model = models.load_model(pretrained, LANGUAGE_MODEL, seed=0)
    return replace(like, model=model.to(like.device), reader=pretrained.reader(pretrained.own_length))


def tuned(inference: Inference, validation: Labelled) -> Inference:
    """Settle the task's decision rule on validation; where it has one, this takes a pass over the split."""
    stream = ((examples, predictions) for examples, _, predictions in inference.over(validation))
    return replace(inference, task=inference.task.tune(stream))


def settled(inference: Inference) -> Inference:
    """Move what the task can into the model, as it will ship."""
    task = inference.task
    return replace(inference, task=task.saved(inference.model)) if isinstance(task, Settles) else inference


def score(inference: Inference, on: Labelled, *each: See, answers: bool = True) -> Scorer:
    """Predict a labelled split and return its scorer; `each` sees every batch as it goes by."""
    scorer = inference.task.scorer()
    for examples, rows, predictions in inference.over(on, answers=answers):
        scorer.add(examples, predictions)
        for see in each:
            see(rows, examples, predictions)
    return scorer
