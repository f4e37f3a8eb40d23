"""What teachers say of the training examples, computed once and kept: a student learns it in each epoch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import models
from weitiao.artifacts.artifact import Artifact
from weitiao.combinations import open_teacher
from weitiao.data.arrow import digest
from weitiao.data.kept import Arrays, keeper
from weitiao.data.splits import fingerprint
from weitiao.evaluation.baselines.base import Knows
from weitiao.evaluation.evaluate import Inference, Labelled, take_rows
from weitiao.predictor import Predictor
from weitiao.preparation import Preparation
from weitiao.records import Finding, Prediction, SplitName
from weitiao.sources.digests import file_digest
from weitiao.tasks.base import LearnsFromTeacher

if TYPE_CHECKING:
    from datasets import Dataset

ROWS = 2000  # examples whose answers are kept at once: what was stopped goes on from there
LOGITS = "logits"


def with_teacher(ready: Preparation) -> Preparation:
    """Return the preparation with what the recipe's teachers say of its training examples; itself without any."""
    wanted = ready.recipe.distillation
    if wanted is None or not isinstance(ready.task, LearnsFromTeacher):
        return ready
    artifacts = [open_teacher(teacher, ready.recipe) for teacher in wanted.teachers]
    names = [_weights(artifact) for artifact in artifacts]
    train = ready.splits["train"]
    labels = json.dumps(ready.task.head(ready.pretrained.family).config, sort_keys=True)
    keep, answers = keeper("teachings", digest(fingerprint(train), labels, *names)), _Answers(artifacts)
    parts = []
    for start in range(0, len(train), ROWS):
        end = min(start + ROWS, len(train))
        parts.append(keep(str(start), partial(_taught, ready.task, answers, train, start, end))[LOGITS])
    logits = np.concatenate(parts)
    told = digest(ready.digest, *names)  # a run is not resumed under another teacher
    return replace(ready, taught=logits, digest=told, facts=ready.facts | {"teachers": wanted.teachers})


def with_silent_teacher(ready: Preparation) -> Preparation:
    """Return the preparation as `with_teacher` does, without asking the teachers: for steps that are only tried out.
    What they are not asked is a finding.
    """  # fmt: skip
    wanted = ready.recipe.distillation
    if wanted is None or not isinstance(ready.task, LearnsFromTeacher):
        return ready
    rows = len(ready.splits["train"])
    said = np.zeros((rows, *ready.task.taught([]).shape[1:]), np.float32)
    note = Finding("note", "distillation", f"the teacher's own pass over {rows:,} training examples, done once and "
                   "kept, is not in the forecast")  # fmt: skip
    facts = ready.facts | {"teachers": wanted.teachers}
    return replace(ready, taught=said, findings=[*ready.findings, note], facts=facts)


def teachers(ready: Preparation) -> list[TeacherBaseline]:
    """Return the recipe's teachers, to be measured beside the student."""
    named = ready.recipe.distillation.teachers if ready.recipe.distillation else []
    return [TeacherBaseline(open_teacher(teacher, ready.recipe), teacher) for teacher in named]


class _Answers:
    """Teachers, loaded when the first answer is wanted."""

    def __init__(self, artifacts: list[Artifact]) -> None:
        self._artifacts = artifacts
        self._loaded: list[Predictor] = []

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> Iterator[list[Prediction]]:
        """Yield of each example what each teacher says."""
        with models.quiet():
            self._loaded = self._loaded or [Predictor(artifact) for artifact in self._artifacts]
        yield from map(list, zip(*(teacher.predict(examples) for teacher in self._loaded), strict=True))


def _taught(task: LearnsFromTeacher, answers: _Answers, train: Dataset, start: int, end: int) -> Arrays:
    return {LOGITS: task.taught(answers(take_rows(train, np.arange(start, end))))}


def _weights(artifact: Artifact) -> str:
    """Stands for a teacher: its weights, and what it makes of their outputs."""
    found = hashlib.sha256(json.dumps(artifact.task.prepared.model_dump(mode="json"), sort_keys=True).encode())
    for path in sorted(artifact.folder.rglob("*.safetensors")):
        found.update(bytes.fromhex(file_digest(path)))
    return found.hexdigest()


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
