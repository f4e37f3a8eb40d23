"""A teacher measured beside its student."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from weitiao import models
from weitiao.artifacts.artifact import Artifact
from weitiao.evaluation.baselines.base import Knows
from weitiao.evaluation.evaluate import Inference, Labelled, take_rows
from weitiao.predictor import Predictor
from weitiao.records import Prediction, SplitName

ROWS = 2000  # examples in memory at once


class TeacherBaseline:
    """The teacher, measured beside the student on the same examples: how much of its score is kept."""

    knows: Knows = "teacher"

    def __init__(self, artifact: Artifact, name: str) -> None:
        self.name = f"the teacher {name}"
        self.notes: list[str] = []
        self._artifact = artifact

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """It has learned already."""

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield its predictions in the order of the examples."""
        with models.quiet():
            teacher = Predictor(self._artifact)
        for start in range(0, len(on.rows), ROWS):
            yield from teacher.predict(take_rows(on.examples, on.rows[start : start + ROWS]))
