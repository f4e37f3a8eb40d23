"""The teachers that a recipe names: who they are, and those that were trained here, opened."""

from __future__ import annotations

from pathlib import Path

from weitiao.artifacts import run_folder
from weitiao.artifacts.artifact import Artifact, open_artifact
from weitiao.artifacts.run_folder import artifact_folder
from weitiao.errors import RecipeError, WeitiaoError
from weitiao.models import open_pretrained
from weitiao.recipe import EndpointOptions, ModelSettings, Recipe
from weitiao.records import Pretrained
from weitiao.tasks.base import LearnsFromTeacher, LearnsTexts, LearnsTokens, Task


def open_teacher(teacher: str, recipe: Recipe) -> Artifact:
    """Open a run or an artifact that a recipe names as teacher; raises a `RecipeError` where it is none."""
    try:
        return open_artifact(artifact_folder(recipe.base / Path(teacher).expanduser()))
    except WeitiaoError as error:
        raise refusal(recipe, "teacher", f"{teacher}: {error.problem}", error.fix) from None


def pretrained_teacher(teacher: str, recipe: Recipe) -> Pretrained:
    """Return the model of a run, or one as it was pretrained, before its weights; a `RecipeError` where it is none."""
    if is_trained(teacher, recipe):
        return pretrained_of(open_teacher(teacher, recipe))
    try:
        return open_pretrained(ModelSettings(source=teacher), base=recipe.base)
    except WeitiaoError as error:
        raise refusal(recipe, "teacher", f"{teacher}: {error.problem}", error.fix) from None


def pretrained_of(artifact: Artifact) -> Pretrained:
    """An artifact's model, as one to start from."""
    return open_pretrained(ModelSettings(source=str(artifact.folder)), base=Path())


def artifact_teachers(recipe: Recipe, task: Task) -> list[tuple[str, Artifact]]:
    """Return those of a recipe's teachers that were trained here and answer as the task does, by their names."""
    named = recipe.distillation.teachers if recipe.distillation else []
    found = [(name, open_teacher(name, recipe)) for name in named if is_trained(name, recipe)]
    return [(name, artifact) for name, artifact in found if _answers_as(task, artifact.task)]


def _answers_as(task: Task, other: Task) -> bool:
    if isinstance(task, LearnsFromTeacher | LearnsTexts):
        return not task.knows(other)
    if isinstance(task, LearnsTokens):
        return task.reads_as(other)
    family = min(task.families)  # a head's labels are the same in all
    same = type(other) is type(task) and other.options == task.options
    return same and other.head(family).config == task.head(family).config


def is_trained(teacher: str, recipe: Recipe) -> bool:
    """Whether a teacher is a run or an artifact, and not a model as it was pretrained."""
    return run_folder.is_trained(recipe.base / Path(teacher).expanduser())


def is_asked(recipe: Recipe) -> bool:
    """Whether the teacher, as far as it is there, is a chat model that is asked in words: here, or an endpoint."""
    wanted = recipe.distillation
    if wanted is None or len(wanted.teachers) > 1:
        return False
    return all(speaks(teacher, recipe) for teacher in wanted.teachers)


def is_chat(task: Task) -> bool:
    """Whether models of a task are asked in messages, in whatever words."""
    return task.layout == "dialogue"


def teacher_names(recipe: Recipe) -> list[str]:
    """Return what a recipe's teachers are called."""
    wanted = recipe.distillation
    if wanted is None:
        return []
    return [wanted.teacher.model] if isinstance(wanted.teacher, EndpointOptions) else wanted.teachers


def baseline_name(teacher: str) -> str:
    """Return what a teacher is called among the baselines."""
    return f"the teacher {teacher}"


def refusal(recipe: Recipe, key: str, problem: str, fix: str) -> RecipeError:
    """Return the error of a setting of `distillation`."""
    return RecipeError(problem, where=recipe.place(f"distillation.{key}"), fix=fix)


def speaks(teacher: str, recipe: Recipe) -> bool:
    """Whether a teacher is a model that is asked in words: of the task chat, or as it was pretrained."""
    return not is_trained(teacher, recipe) or is_chat(open_teacher(teacher, recipe).task)
