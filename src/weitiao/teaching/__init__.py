"""What teachers say of the training examples, computed once and kept: a student learns it in each epoch."""

from __future__ import annotations

from weitiao.preparation import Preparation
from weitiao.tasks.base import AskedInWords, LearnsFromTeacher, LearnsTexts
from weitiao.teachers import artifact_teachers, is_asked
from weitiao.teaching import answers, probabilities, texts
from weitiao.teaching.baseline import TeacherBaseline
from weitiao.teaching.in_memory import with_insides, with_teacher_beside

__all__ = ["TeacherBaseline", "teachers", "with_silent_teacher", "with_teacher"]


def with_teacher(ready: Preparation, *, settled: bool = False) -> Preparation:
    """Return the preparation with what the recipe's teacher says of its training examples; itself without any.

    `settled`: the recipe's ``auto`` values stay what they are, as in a run that goes on.
    """
    if ready.recipe.distillation is None:
        return ready
    if _beside(ready):
        return with_insides(with_teacher_beside(ready))
    if isinstance(ready.task, LearnsTexts):
        return texts.with_texts(ready, settled=settled)
    if isinstance(ready.task, AskedInWords) and is_asked(ready.recipe):
        return answers.with_answers(ready, settled=settled)
    assert isinstance(ready.task, LearnsFromTeacher)
    return with_insides(probabilities.with_probabilities(ready, settled=settled))


def with_silent_teacher(ready: Preparation) -> Preparation:
    """Return the preparation as `with_teacher` does, without asking the teacher: for steps that are only tried out.
    What it is not asked is a finding.
    """  # fmt: skip
    if ready.recipe.distillation is None:
        return ready
    if _beside(ready):
        return with_insides(with_teacher_beside(ready))
    if isinstance(ready.task, LearnsTexts):
        return texts.with_own_texts(ready)
    if isinstance(ready.task, AskedInWords) and is_asked(ready.recipe):
        return answers.with_no_answers(ready)
    assert isinstance(ready.task, LearnsFromTeacher)
    return with_insides(probabilities.with_no_probabilities(ready))


def _beside(ready: Preparation) -> bool:
    """Whether all that is learned of the teacher is what it computes beside its student."""
    wanted = ready.recipe.distillation
    assert wanted is not None
    insides = wanted.match is not None and not (wanted.outputs and isinstance(ready.task, LearnsFromTeacher))
    return wanted.level == "token" or insides


def teachers(ready: Preparation) -> list[TeacherBaseline]:
    """Return the recipe's teachers that answer as the student does, to be measured beside it."""
    return [TeacherBaseline(artifact, name) for name, artifact in artifact_teachers(ready.recipe, ready.task)]
