"""The predictor: a loaded artifact that predicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from weitiao import models
from weitiao.artifacts.artifact import Artifact, open_artifact
from weitiao.errors import DataError
from weitiao.evaluation.evaluate import Inference
from weitiao.records import Column, Prediction

CHUNK = 1024  # examples sorted by length together while streaming

Example = str | Mapping[str, Any]


class Predictor:
    """A loaded artifact. An example is a text, or a mapping from the task's roles to values."""

    def __init__(self, artifact: Artifact, *, device: str = "auto", trust_remote_code: bool = False) -> None:
        found, _ = models.resolve_device(device)
        precision = "fp32" if found.type == "cpu" else artifact.recipe.training.precision
        with models.quiet():
            model = artifact.load_model(trust_remote_code=trust_remote_code).to(found)
        self.artifact = artifact
        self.inference = Inference(
            model, artifact.task, artifact.tokenizer, found, partial(models.autocast, found, precision)
        )

    @property
    def task(self) -> str:
        """The task's name."""
        return self.artifact.task.name

    @property
    def columns(self) -> list[Column]:
        """The roles an example has: those the model was trained on, but for the label."""
        return [column for column in self.artifact.columns if column.role != "label"]

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return one prediction an example, in order."""
        if isinstance(examples, str):
            raise TypeError("predict takes a list of examples; for one text write predict([text])")
        return list(self.stream(examples))

    def stream(self, examples: Iterable[Example], chunk: int = CHUNK) -> Iterator[Prediction]:
        """Yield predictions in order, holding `chunk` examples at a time."""
        source, start = iter(examples), 0
        while rows := list(islice(source, chunk)):
            yield from self._chunk(rows, start)
            start += len(rows)

    def _chunk(self, examples: list[Example], start: int) -> list[Prediction]:
        records = [self._record(example, start + row) for row, example in enumerate(examples)]
        columns = {column.role: [record[column.role] for record in records] for column in self.columns}
        encoded = self.artifact.task.encode(columns, self.artifact.tokenizer, self.artifact.max_length)
        features = [
            {**dict(zip(encoded, values, strict=True)), "row": row}
            for row, values in enumerate(zip(*encoded.values(), strict=True))
        ]
        lengths = np.array([len(ids) for ids in encoded["input_ids"]])
        found: list[Prediction] = [{} for _ in examples]
        for batch, predictions in self.inference.predictions(lambda rows: [features[i] for i in rows], lengths):
            for row, prediction in zip(batch.rows, predictions, strict=True):
                found[row] = prediction
        return found

    def _record(self, example: Example, row: int) -> dict[str, str]:
        first = self.columns[0].role
        given = {first: example} if isinstance(example, str) else example
        record = {c.role: "" if given.get(c.role) is None else str(given[c.role]) for c in self.columns}
        empty = [role for role, value in record.items() if not value.strip()]
        if empty:
            raise DataError(f"example {row + 1} has no {empty[0]}", where="predict",
                            fix=f"Leave out empty examples; the model reads: {', '.join(record)}.")  # fmt: skip
        return record


def load(folder: str | Path, *, device: str = "auto", trust_remote_code: bool = False) -> Predictor:
    """Load the artifact in a folder."""
    artifact = open_artifact(Path(folder), trust_remote_code=trust_remote_code)
    return Predictor(artifact, device=device, trust_remote_code=trust_remote_code)
