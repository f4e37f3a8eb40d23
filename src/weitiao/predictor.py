"""The predictor: a loaded artifact that predicts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import models
from weitiao.artifacts.artifact import Artifact, open_artifact
from weitiao.data.dialogue import with_messages
from weitiao.errors import DataError
from weitiao.evaluation.evaluate import Inference
from weitiao.kernels import halve, quickly
from weitiao.records import FILE, LINE, Column, Prediction

if TYPE_CHECKING:
    import torch

CHUNK = 1024  # examples sorted by length together while streaming
TOGETHER = 8192  # of a list, which is in memory anyway

Example = str | Sequence[Mapping[str, Any]] | Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Encoded:
    """The features of some examples: what `Inference` runs over."""

    features: list[dict[str, Any]]
    lengths: np.ndarray  # tokens of each, shape (features,)
    rows: np.ndarray  # the example each is of, counted from 0, shape (features,)
    parts: np.ndarray | None  # of several tasks the one each is of

    def take(self, chosen: np.ndarray) -> list[dict[str, Any]]:
        """Return some of them."""
        return [self.features[i] for i in chosen]


class Predictor:
    """A loaded artifact. An example is a text (of a model of speech: a file's path), or a mapping from the task's roles
    to values; for chat also a list of messages, or a row of any form that dialogues are kept in.
    """  # fmt: skip

    def __init__(
        self, artifact: Artifact, *, device: str = "auto", precision: str = "auto", trust_remote_code: bool = False,
        model: torch.nn.Module | None = None,
    ) -> None:  # fmt: skip
        """`model` is the artifact's where it has been loaded already. `precision` is fp32, bf16 or auto: as the
        artifact was trained and measured, where this machine multiplies bf16 natively, else fp32.
        """  # fmt: skip
        found, _ = models.resolve_device(device)
        chosen, why = models.prediction_precision(precision, artifact.recipe.training.precision, found)
        self._as_loaded = ExitStack()  # never closed: the model computes by the kernels for as long as it is there
        with models.quiet():
            if model is None:
                model = artifact.load_model(trust_remote_code=trust_remote_code)
            model = model.to(found)
            if chosen == "bf16" and found.type == "cpu":
                halve(model)
            self._as_loaded.enter_context(quickly(model, chosen, learns=False))
        self.artifact = artifact
        self._columns = [column for column in artifact.columns if not column.target]
        self.inference = Inference(model, artifact.task, artifact.reader, found, chosen)
        self.precision_told = f"{chosen}: {why}"

    @property
    def task(self) -> str:
        """The task's name."""
        return self.artifact.task.name

    @property
    def precision(self) -> str:
        """What it computes in: fp32 or bf16."""
        return self.inference.precision

    @property
    def columns(self) -> list[Column]:
        """The roles an example has: those the model was trained on, but for the targets."""
        return self._columns

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return one prediction an example, in order."""
        if isinstance(examples, str):
            raise TypeError("predict takes a list of examples; for one text write predict([text])")
        return list(self.stream(examples, TOGETHER))

    def stream(self, examples: Iterable[Example], chunk: int = CHUNK) -> Iterator[Prediction]:
        """Yield predictions in order, holding `chunk` examples at a time."""
        source, start = iter(examples), 0
        while rows := list(islice(source, chunk)):
            yield from self._chunk(rows, start)
            start += len(rows)

    def encode(self, examples: Sequence[Example], start: int = 0) -> Encoded:
        """Tokenize examples; in messages they are counted from `start`. Raises a `DataError` for one that lacks what
        the model reads.
        """  # fmt: skip
        records = [self._record(example, start + row) for row, example in enumerate(examples)]
        columns = {role: [record[role] for record in records] for role in records[0]}
        encoded = self.artifact.task.encode(columns, self.artifact.reader)
        encoded.setdefault("row", list(range(len(examples))))
        features = [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]
        lengths = np.array([feature.get("length") or len(feature["input_ids"]) for feature in features])
        parts = np.array(encoded["part"]) if "part" in encoded else None
        return Encoded(features, lengths, np.array(encoded["row"]), parts)

    def _chunk(self, examples: list[Example], start: int) -> list[Prediction]:
        encoded, found = self.encode(examples, start), dict[int, Prediction]()
        for _, numbers, predictions in self.inference.predictions(
            encoded.take, encoded.lengths, encoded.rows, parts=encoded.parts
        ):
            found.update(zip(numbers, predictions, strict=True))
        return [found[row] if row in found else self._too_long(start + row) for row in range(len(examples))]

    def _too_long(self, row: int) -> Prediction:
        raise DataError(f"example {row + 1} does not fit into {self.artifact.reader.max_length} tokens",
                        where="predict", fix="Shorten it.")  # fmt: skip

    def _record(self, example: Example, row: int) -> dict[str, Any]:
        if self.artifact.task.layout == "dialogue":
            return _dialogue(example, row, self.artifact.task.columns)
        first = self.columns[0].role
        given = example if isinstance(example, Mapping) else {first: example}
        value = _sound if self.artifact.task.layout == "audio" else _value
        record = {c.role: value(given.get(c.role), c) for c in self.columns}
        empty = [column.role for column in self.columns if column.every and not record[column.role]]
        if empty:
            raise DataError(f"example {row + 1} has no {empty[0]}", where="predict",
                            fix=f"Leave out empty examples; the model reads: {', '.join(record)}.")  # fmt: skip
        return record | {name: given[name] for name in (FILE, LINE) if name in given}  # for messages


def _dialogue(example: Any, row: int, columns: Sequence[Column]) -> dict[str, Any]:
    """A dialogue of any known form, a list of messages, or a text that a user says."""
    given = {"prompt": example} if isinstance(example, str) else example
    given = dict(given) if isinstance(given, Mapping) else {"messages": given}
    _, found = next(with_messages(iter([(row + 1, given)]), "example", answered=False))
    return {column.role: found.get(column.role) for column in columns}


def _value(value: Any, column: Column) -> Any:
    """A value as tables hold it: text; for roles of any kind a list of texts, or JSON. "" where it is empty."""
    if isinstance(value, list) and column.kind == "any" and not any(isinstance(item, dict) for item in value):
        return [str(item) for item in value]
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None or not str(value).strip() else str(value)


def _sound(value: Any, column: Column) -> Any:
    """A sound as it was given: samples are far too many to be written as text."""
    return value if isinstance(value, Mapping | bytes) else _value(value, column)


def load(
    folder: str | Path, *, device: str = "auto", precision: str = "auto", trust_remote_code: bool = False
) -> Predictor:
    """Load the artifact in a folder."""
    artifact = open_artifact(Path(folder), trust_remote_code=trust_remote_code)
    return Predictor(artifact, device=device, precision=precision, trust_remote_code=trust_remote_code)
