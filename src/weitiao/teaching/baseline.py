"""A teacher measured beside its student."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from weitiao import models
from weitiao.artifacts.artifact import Artifact
from weitiao.data.arrow import digest, fingerprint, select_rows
from weitiao.evaluation.baselines.base import Knows
from weitiao.evaluation.evaluate import Inference, Labelled
from weitiao.predictor import Predictor
from weitiao.preparation import encode_split
from weitiao.records import Prediction, SplitName
from weitiao.teachers import baseline_name

ROWS = 2000  # examples in memory at once


class TeacherBaseline:
    """The teacher, measured beside the student on the same examples: how much of its score is kept."""

    knows: Knows = "teacher"

    def __init__(self, artifact: Artifact, name: str) -> None:
        self.name = baseline_name(name)
        self.notes: list[str] = []
        self._artifact = artifact

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """It has learned already."""

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield its predictions in the order of the examples, measured by their targets as the student is."""
        with models.quiet():
            teacher = Predictor(self._artifact)
        task, reader = self._artifact.task, self._artifact.reader
        for start in range(0, len(on.rows), ROWS):
            rows = on.rows[start : start + ROWS]
            examples = select_rows(on.examples, rows, digest(fingerprint(on.examples), rows.astype("<i8").tobytes()))
            part = Labelled(on.name, examples, encode_split(examples, task, reader))
            found: dict[int, Prediction] = {}
            for _, numbers, predictions in teacher.inference.over(part):
                found.update(zip(numbers, predictions, strict=True))
            yield from (found.get(number, {}) for number in range(len(rows)))  # {}: its target is too long for it
