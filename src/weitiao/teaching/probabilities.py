"""Teachers' probabilities of each training example, and of examples that have no label."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import data, models
from weitiao.artifacts.artifact import Artifact
from weitiao.data.arrow import digest, fingerprint
from weitiao.data.kept import Arrays, keeper
from weitiao.predictor import Predictor
from weitiao.preparation import Preparation, learning
from weitiao.records import Finding, Prediction, target_role
from weitiao.sources.digests import file_digest
from weitiao.tasks.base import LearnsFromTeacher
from weitiao.teachers import open_teacher, teacher_names

if TYPE_CHECKING:
    from datasets import Dataset

ROWS = 2000  # examples whose answers are kept at once: what was stopped goes on from there
LOGITS = "logits"


def with_probabilities(ready: Preparation, *, settled: bool) -> Preparation:
    """Return the preparation with the logits that the teachers give its training examples together."""
    wanted, task = ready.recipe.distillation, ready.task
    assert wanted is not None
    assert isinstance(task, LearnsFromTeacher)
    artifacts = [open_teacher(teacher, ready.recipe) for teacher in wanted.teachers]
    names = [weights_of(artifact) for artifact in artifacts]
    labels = json.dumps(ready.task.head(ready.pretrained.family).config, sort_keys=True)
    answers = _Answers(artifacts)

    def asked(rows: Dataset) -> np.ndarray:
        keep = keeper("teachings", digest(fingerprint(rows), labels, *names))
        parts = []
        for start in range(0, len(rows), ROWS):
            end = min(start + ROWS, len(rows))
            parts.append(keep(str(start), partial(_taught, task, answers, rows, start, end))[LOGITS])
        return np.concatenate(parts)

    logits = asked(ready.splits["train"])
    more, findings = unlabelled(ready)
    told = [ready.digest, *names]  # a run is not resumed under another teacher
    facts = ready.facts | {"teachers": teacher_names(ready.recipe)}
    ready = replace(ready, findings=[*ready.findings, *findings], facts=facts)
    if more is not None:
        own = asked(more)
        ready, logits = with_more(ready, more, own, settled=settled), np.concatenate([logits, own])
        told.append(fingerprint(more))
    return replace(ready, taught=logits, digest=digest(*told))


def with_no_probabilities(ready: Preparation) -> Preparation:
    """Return the preparation as `with_probabilities` does, with zeros for logits: no teacher is asked."""
    assert ready.recipe.distillation is not None
    assert isinstance(ready.task, LearnsFromTeacher)
    shape = ready.task.taught([]).shape[1:]
    more, findings = unlabelled(ready)
    facts = ready.facts | {"teachers": teacher_names(ready.recipe)}
    ready = replace(ready, findings=[*ready.findings, *findings], facts=facts)
    if more is not None:
        ready = with_more(ready, more, np.zeros((len(more), *shape), np.float32), settled=False)
    rows = len(ready.splits["train"])
    note = Finding("note", "distillation", f"the teacher's own pass over {rows:,} training examples, done once and "
                   "kept, is not in the forecast")  # fmt: skip
    return replace(ready, taught=np.zeros((rows, *shape), np.float32), findings=[*ready.findings, note])


def unlabelled(ready: Preparation) -> tuple[Dataset | None, list[Finding]]:
    """The recipe's examples without a target, and what was left out of them; None where it names none."""
    wanted = ready.recipe.distillation
    if wanted is None or wanted.unlabelled is None:
        return None, []
    where = f"{ready.recipe.origin('distillation.unlabelled')} (distillation.unlabelled)"
    return ready.pool(wanted.unlabelled, where)


def with_more(ready: Preparation, more: Dataset, logits: np.ndarray, *, settled: bool) -> Preparation:
    """The preparation with examples that have no label behind its own. They are given the likeliest one, so that they
    are encoded and weighed as others are; it is not learned.
    """  # fmt: skip
    task, train = ready.task, ready.splits["train"]
    assert isinstance(task, LearnsFromTeacher)
    role = target_role(task.columns)
    read = [name for name in train.column_names if name in more.column_names and not name.startswith("__")]
    values = [*train[role], *task.likeliest(logits)]
    joined = data.with_targets(train, more, read, role, values)
    return learning(ready, joined, settled=settled)


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


def _taught(task: LearnsFromTeacher, answers: _Answers, rows: Dataset, start: int, end: int) -> Arrays:
    return {LOGITS: task.taught(answers(data.take_rows(rows, np.arange(start, end))))}


def weights_of(artifact: Artifact) -> str:
    """Stands for a teacher: its weights, and what it makes of their outputs."""
    found = hashlib.sha256(json.dumps(artifact.task.prepared.model_dump(mode="json"), sort_keys=True).encode())
    for path in sorted(artifact.folder.rglob("*.safetensors")):
        found.update(bytes.fromhex(file_digest(path)))
    return found.hexdigest()
