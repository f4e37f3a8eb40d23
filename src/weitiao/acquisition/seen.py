"""What is known of the rows of a pool: by a trained model, and by the base model; computed when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from weitiao import models
from weitiao.acquisition.base import Gradients, Measure
from weitiao.acquisition.dropout import dropping
from weitiao.data.arrow import digest
from weitiao.data.kept import Arrays, Kept, keeper
from weitiao.data.keys import mixed, occurrences
from weitiao.errors import ModelError
from weitiao.predictor import Encoded, Predictor
from weitiao.recipe import Recipe
from weitiao.records import Batch, Example
from weitiao.tasks.base import GivesProbabilities
from weitiao.workshop.embeddings import ROWS, Embedder

if TYPE_CHECKING:
    import torch

CHUNK = 8192  # rows of a pool that the model looks at together, and that are kept at once
Tell = Callable[[str, int, int], None]  # (what is done, how many of it, of how many)
Work = Callable[[Batch, np.ndarray], Arrays]  # (a batch, the keys of its features) -> arrays of its examples, in order


def silent(_what: str, _done: int, _whole: int) -> None:
    """Tell nothing."""


# --- by the trained model


@dataclass(frozen=True, eq=False)
class ModelView:
    """A trained model that looks at rows."""

    predictor: Predictor
    examples: Sequence[Example]
    keys: np.ndarray  # of their texts, uint64 of shape (n,)
    keep: Kept  # what was looked at, so that a stop costs little
    tell: Tell = silent

    @property
    def task(self) -> GivesProbabilities:
        """The task, whose probabilities are looked at."""
        return cast("GivesProbabilities", self.predictor.inference.task)

    def measured(self, name: str, measure: Measure, passes: int = 0, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the mean of a measure over all choices in some of the rows (all of them where None), float64 of shape
        (rows,); with `passes` the measure is given as many passes with dropout.
        """  # fmt: skip
        work = partial(self._measured, measure, passes)
        return self._over(f"{name}-{passes}", work, np.arange(len(self.examples)) if rows is None else rows)["measured"]

    def gradients(self) -> Gradients:
        """Return the gradients of the last layer, factorised."""
        made = self._over("gradients", self._gradients, np.arange(len(self.examples)))
        return Gradients(made["errors"], made["inputs"])

    def _over(self, name: str, work: Work, rows: np.ndarray) -> Arrays:
        """What `work` makes of some rows, in their order."""
        found = []
        for start in range(0, len(rows), CHUNK):
            some = rows[start : start + CHUNK]
            key = f"{name}-{digest(some.astype('<i8').tobytes())[:16]}"
            found.append(self.keep(key, partial(self._chunk, work, some)))
            self.tell(name.partition("-")[0], min(start + CHUNK, len(rows)), len(rows))
        return {each: np.concatenate([made[each] for made in found]) for each in found[0]} if found else {}

    def _chunk(self, work: Work, rows: np.ndarray) -> Arrays:
        encoded = self.predictor.encode([self.examples[row] for row in rows])
        keys = _feature_keys(self.keys[rows], encoded)
        index = {id(feature): place for place, feature in enumerate(encoded.features)}
        found: dict[str, np.ndarray] = {}

        def each(batch: Batch) -> Arrays:
            return work(batch, keys[[index[id(feature)] for feature in batch.features]])

        inference = self.predictor.inference
        for batch, made in inference.each(encoded.take, encoded.lengths, encoded.rows, each):
            at = list(dict.fromkeys(batch.rows))
            for name, values in made.items():
                whole = found.setdefault(name, np.zeros((len(rows), *values.shape[1:]), values.dtype))
                whole[at] = values
        return found

    def _measured(self, measure: Measure, passes: int, batch: Batch, keys: np.ndarray) -> Arrays:
        model = self.predictor.inference.model
        if not passes:
            probabilities, counts = self.task.probabilities(model, batch)
            return {"measured": means(measure(probabilities.astype(np.float64)), counts)}
        each = []
        for number in range(passes):
            with dropping(model, keys, number):
                probabilities, counts = self.task.probabilities(model, batch)
            each.append(probabilities.astype(np.float64))
        return {"measured": means(measure(np.stack(each)), counts)}

    def _gradients(self, batch: Batch, _keys: np.ndarray) -> Arrays:
        read: list[torch.Tensor] = []
        hook = self._last_layer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
        try:
            probabilities, counts = self.task.probabilities(self.predictor.inference.model, batch)
        finally:
            hook.remove()
        several = self.task.chooses() == "labels"
        chances = probabilities[:, 1].reshape(len(counts), -1) if several else probabilities
        answers = chances >= 0.5 if several else np.arange(chances.shape[1]) == chances.argmax(axis=1)[:, None]
        return {"errors": (chances - answers).astype(np.float32), "inputs": _pooled(read[-1], batch)}

    @cached_property
    def _last_layer(self) -> torch.nn.Module:
        """The linear layer that gives the logits."""
        from torch import nn

        inference = self.predictor.inference
        labels = inference.task.head(inference.reader.family).config["num_labels"]
        found = [module for module in inference.model.modules()
                 if isinstance(module, nn.Linear) and module.out_features == labels]  # fmt: skip
        if not found:
            raise ModelError("its last layer is not a linear one, which badge needs", where="strategy",
                             fix="Take margin, entropy or k-center.")  # fmt: skip
        return found[-1]


def means(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean of each of the groups of `counts` values, float64 of shape (groups,); 0 of an empty one."""
    whole = np.r_[0.0, np.cumsum(values, dtype=float)]
    ends = np.cumsum(counts)
    return np.asarray((whole[ends] - whole[ends - counts]) / np.maximum(counts, 1))


def _feature_keys(keys: np.ndarray, encoded: Encoded) -> np.ndarray:
    """A key for each feature: of several of an example each has its own."""
    return mixed(keys[encoded.rows] + occurrences(encoded.rows).astype(np.uint64), 0)


def _pooled(read: torch.Tensor, batch: Batch) -> np.ndarray:
    """What the last layer reads for an example: of a decoder, whose last layer reads all tokens, at its last one."""
    if read.ndim == 3:
        import torch

        mask = batch.inputs["attention_mask"]
        last = (torch.arange(mask.shape[1], device=mask.device) * mask).argmax(-1)
        read = read[torch.arange(len(read), device=read.device), last]
    return np.asarray(read.float().cpu().numpy())


# --- by the base model


@dataclass(frozen=True, eq=False)
class BaseView:
    """The base model of a recipe, which looks at texts before any training; what it sees is kept in the cache."""

    recipe: Recipe
    tell: Tell = silent

    def vectors(self, columns: Sequence[Sequence[str]]) -> np.ndarray:
        """Return the mean of the last hidden states over each text, or over two texts read together, brought to length
        1; float32 of shape (n, width), of length 0 for an empty text.
        """  # fmt: skip
        count = len(columns[0])
        found = [np.empty((0, self._embedder.width), np.float32)]
        for start in range(0, count, ROWS):
            own = [texts[start : start + ROWS] for texts in columns]
            made = self._keep(digest(*own), partial(self._vectors, own))
            found.append(made["vectors"])
            self.tell("vectors", min(start + ROWS, count), count)
        vectors = np.concatenate(found)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)

    def _vectors(self, columns: Sequence[Sequence[str]]) -> Arrays:
        return {"vectors": self._embedder.vectors(columns)}

    @cached_property
    def _keep(self) -> Kept:
        return keeper("vectors", self._embedder.name)

    @cached_property
    def _embedder(self) -> Embedder:
        with models.quiet():
            pretrained = models.open_pretrained(self.recipe.model, base=self.recipe.base)
        if pretrained.reads != "text":
            raise ModelError(f"{pretrained.source} does not read text", where="strategy",
                             fix="Take random.")  # fmt: skip
        return Embedder(pretrained, lambda _: None)


# --- both


@dataclass(frozen=True, eq=False)
class Looked:
    """The rows of a pool that can be chosen, as `Seen` says."""

    rows: np.ndarray  # their numbers in the pool
    labelled: np.ndarray  # numbers of labelled rows of the pool
    opened: Callable[[], ModelView | None]  # the trained model, which looks at `rows`
    base: BaseView
    columns: Callable[[], Sequence[Sequence[str]]]  # the texts of the pool, and then those labelled elsewhere
    size: int  # rows of the pool

    @property
    def has_probabilities(self) -> bool:
        """Whether there is a trained model that gives probabilities."""
        return self._view is not None and isinstance(self._view.predictor.inference.task, GivesProbabilities)

    def __len__(self) -> int:
        return len(self.rows)

    def measured(self, name: str, measure: Measure) -> np.ndarray:
        """Return the mean of a measure over all choices in each row."""
        return self._model.measured(name, measure)

    def measured_with_dropout(self, name: str, measure: Measure, passes: int, rows: np.ndarray) -> np.ndarray:
        """Return the same of some rows over so many passes with dropout."""
        return self._model.measured(name, measure, passes, rows)

    def gradients(self) -> Gradients:
        """Return the gradients of the last layer."""
        return self._model.gradients()

    def vectors(self) -> np.ndarray:
        """Return what the base model makes of each row."""
        return np.asarray(self._vectors[self.rows])

    def labelled_vectors(self) -> np.ndarray:
        """Return the same of what is labelled."""
        return np.concatenate([self._vectors[self.labelled], self._vectors[self.size :]])

    @property
    def _model(self) -> ModelView:
        if self._view is None:
            raise RuntimeError("a strategy looked at a model, and its `needs` do not say so")
        return self._view

    @cached_property
    def _view(self) -> ModelView | None:
        return self.opened()

    @cached_property
    def _vectors(self) -> np.ndarray:
        return self.base.vectors(self.columns())


def texts_of(examples: Sequence[Example], roles: Sequence[str]) -> list[list[str]]:
    """Return the texts of the first two of the roles, a list each; a list of tokens is joined by spaces."""
    return [[_text(example.get(role)) for example in examples] for role in list(roles)[:2]]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)
