"""The teachers that a recipe names: whether each can teach its student, and those that were trained here."""

from __future__ import annotations

from pathlib import Path

from weitiao.artifacts import run_folder
from weitiao.artifacts.artifact import Artifact, open_artifact
from weitiao.artifacts.run_folder import artifact_folder
from weitiao.errors import RecipeError, WeitiaoError
from weitiao.methods.base import TakesPositions
from weitiao.models import open_pretrained, positions_of
from weitiao.recipe import DistillationSettings, EndpointOptions, ModelSettings, Recipe
from weitiao.records import Pretrained
from weitiao.tasks.base import LearnsFromTeacher, LearnsTexts, LearnsTokens, Task
from weitiao.tasks.prompts import check_prompt
from weitiao.tasks.replies import HEADS


def check_distillation(recipe: Recipe, task: Task, pretrained: Pretrained) -> None:
    """Raise a `RecipeError` where there is no such teacher, or it cannot teach this task."""
    wanted = recipe.distillation
    if wanted is None:
        return
    if wanted.level == "token":
        _check_tokens(wanted, recipe, task, pretrained)
        return
    if isinstance(task, LearnsTexts):
        _check_writer(wanted, recipe, task)
        return
    if not isinstance(task, LearnsFromTeacher):
        fix = "Set distillation.level: token." if isinstance(task, LearnsTokens) else "Take the section out."
        raise RecipeError(f"'{task.name}' cannot learn from a teacher's answers", where="distillation", fix=fix)
    _check_passes(recipe)
    for key in ("prompt", "least_similarity"):
        if getattr(wanted, key) is not None:
            raise _refused(recipe, key, f"'{task.name}' learns a teacher's probabilities, and no texts", "Take it out.")
    if not wanted.teachers:
        raise _refused(recipe, "teacher", f"an endpoint gives texts, and '{task.name}' learns probabilities",
                       "Name a run that learned the same task and labels.")  # fmt: skip
    for teacher in wanted.teachers:
        artifact = open_teacher(teacher, recipe)
        if why := task.knows(artifact.task):
            raise _refused(recipe, "teacher", f"{teacher} cannot teach this: {why}",
                           "Name a run that learned the same task and labels.")  # fmt: skip


def _check_passes(recipe: Recipe) -> None:
    """What compares or mixes examples does not go with a teacher that has seen each as it is."""
    settings, regularization = recipe.training, "training.regularization"
    for name, asked in (("r_drop", settings.regularization.r_drop), ("mixup", settings.regularization.mixup)):
        if asked:
            raise RecipeError("the teacher has seen each example as it is, in one pass",
                              where=f"{recipe.origin(f'{regularization}.{name}')} ({regularization}.{name})",
                              fix="Take it out, or the section distillation.")  # fmt: skip
    if settings.selection.prune:
        raise RecipeError("examples are left out by the loss of their labels alone",
                          where=f"{recipe.origin('training.selection.prune')} (training.selection.prune)",
                          fix="Take it out, or the section distillation.")  # fmt: skip


def _check_writer(wanted: DistillationSettings, recipe: Recipe, task: LearnsTexts) -> None:
    """A teacher of texts is one: an artifact that answers the same examples, a chat model, an endpoint."""
    if wanted.temperature != type(wanted).model_fields["temperature"].default:
        raise _refused(recipe, "temperature", "no probabilities of the teacher are learned, but what it writes",
                       "Take it out, or set distillation.level: token.")  # fmt: skip
    if why := task.untaught:
        raise _refused(recipe, "teacher", why, "Set distillation.level: token.")
    if len(wanted.teachers) > 1:
        raise _refused(recipe, "teacher", f"{len(wanted.teachers)} teachers would write as many texts for an example",
                       "Name one.")  # fmt: skip
    if wanted.prompt is not None:
        check_prompt(wanted.prompt, task.read, where=f"{recipe.origin('distillation.prompt')} (distillation.prompt)")
    if isinstance(wanted.teacher, EndpointOptions):
        try:
            wanted.teacher.secret()
        except RecipeError as error:
            raise _refused(recipe, "teacher", error.problem, error.fix) from None
    for teacher in wanted.teachers:
        if not is_trained(teacher, recipe):
            _check_pretrained(teacher, recipe)
            continue
        other = open_teacher(teacher, recipe).task
        if is_chat(other):
            continue
        if why := task.knows(other):
            raise _refused(recipe, "teacher", f"{teacher} cannot teach this: {why}",
                           "Name a run of the same task or of chat, a chat model, or an endpoint.")  # fmt: skip
        if wanted.prompt is not None:
            raise _refused(recipe, "prompt", f"{teacher} has learned what it is asked", "Take it out.")


def _check_tokens(wanted: DistillationSettings, recipe: Recipe, task: Task, pretrained: Pretrained) -> None:
    """A teacher of tokens reads the same prompts by the same vocabulary."""
    if not isinstance(task, LearnsTokens):
        raise _refused(recipe, "level", f"'{task.name}' does not learn a teacher's next tokens",
                       "Take it out. It can be done where texts are written.")  # fmt: skip
    for key in ("prompt", "least_similarity", "unlabelled"):
        if getattr(wanted, key) is not None:
            raise _refused(recipe, key, "no text of the teacher is learned, but its next tokens of the data's own",
                           "Take it out, or set distillation.level: sequence.")  # fmt: skip
    if recipe.training.regularization.r_drop:
        key = "training.regularization.r_drop"
        raise RecipeError("the teacher goes through each batch once", where=f"{recipe.origin(key)} ({key})",
                          fix="Take it out, or the section distillation.")  # fmt: skip
    if getattr(task.options, "packing", False):
        where = f"{recipe.origin('task.packing')} (task.packing)"
        raise RecipeError("the teacher may not keep examples apart that share a row", where=where,
                          fix="Set packing: false.")  # fmt: skip
    if len(wanted.teachers) != 1 or not is_trained(wanted.teachers[0], recipe):
        raise _refused(recipe, "teacher", "the next tokens of one run are learned", "Name a run of the same task.")
    artifact = open_teacher(wanted.teachers[0], recipe)
    if not task.reads_as(artifact.task):
        raise _refused(recipe, "teacher", f"{wanted.teachers[0]} was trained for other prompts",
                       "Name a run of the same task, and give both the same task.prompt.")  # fmt: skip
    if task.layout == "dialogue" and artifact.reader.tokenizer.chat_template != pretrained.tokenizer.chat_template:
        raise _refused(recipe, "teacher", f"{wanted.teachers[0]} has another chat template than {pretrained.source}",
                       "Take the same tokenizer for both.")  # fmt: skip
    otherwise = "Take a model of the same family of models, or set distillation.level: sequence."
    if artifact.reader.family != pretrained.family:
        raise _refused(recipe, "teacher", f"{wanted.teachers[0]} is of the family {artifact.reader.family}, and "
                       f"{pretrained.source} of {pretrained.family}", otherwise)  # fmt: skip
    own, theirs = pretrained.tokenizer.get_vocab(), artifact.reader.tokenizer.get_vocab()
    unlike = sorted(token for token in own.keys() | theirs.keys() if own.get(token) != theirs.get(token))
    if unlike:
        told = f"{len(unlike):,} tokens are not the same number in both, such as '{unlike[0]}'"
        raise _refused(recipe, "teacher", f"{wanted.teachers[0]} has another vocabulary than {pretrained.source}: "
                       f"{told}", otherwise)  # fmt: skip
    _check_positions(recipe, artifact, pretrained.max_length)


def _check_positions(recipe: Recipe, artifact: Artifact, length: int) -> None:
    """A teacher of tokens reads texts as long as its student does."""
    positions = positions_of(open_pretrained(ModelSettings(source=str(artifact.folder)), base=Path()).config)
    own = artifact.method.positions if isinstance(artifact.method, TakesPositions) else 0
    if positions is not None and length > positions - own:
        key = "model.max_length"
        raise RecipeError(f"texts have up to {length:,} tokens, and the teacher takes {positions - own:,}",
                          where=f"{recipe.origin(key)} ({key})", fix=f"Set {key}: {positions - own}.")  # fmt: skip


def _check_pretrained(teacher: str, recipe: Recipe) -> None:
    where = f"{recipe.origin('distillation.teacher')} (distillation.teacher)"
    try:
        family = open_pretrained(ModelSettings(source=teacher), base=recipe.base).family
    except WeitiaoError as error:
        raise RecipeError(f"{teacher}: {error.problem}", where=where, fix=error.fix) from None
    if family not in HEADS:
        raise _refused(recipe, "teacher", f"{teacher} is an {family}, which writes nothing",
                       "Name a decoder or an encoder-decoder.")  # fmt: skip


def _refused(recipe: Recipe, key: str, problem: str, fix: str) -> RecipeError:
    return RecipeError(problem, where=f"{recipe.origin(f'distillation.{key}')} (distillation.{key})", fix=fix)


def artifact_teachers(recipe: Recipe, task: Task) -> list[tuple[str, Artifact]]:
    """Return those of a recipe's teachers that were trained here and answer as the task does, by their names."""
    named = recipe.distillation.teachers if recipe.distillation else []
    found = [(name, open_teacher(name, recipe)) for name in named if is_trained(name, recipe)]
    return [(name, artifact) for name, artifact in found if _answers_as(task, artifact.task)]


def _answers_as(task: Task, other: Task) -> bool:
    if isinstance(task, LearnsFromTeacher | LearnsTexts):
        return not task.knows(other)
    return isinstance(task, LearnsTokens) and task.reads_as(other)


def is_trained(teacher: str, recipe: Recipe) -> bool:
    """Whether a teacher is a run or an artifact, and not a model as it was pretrained."""
    return run_folder.is_trained(recipe.base / Path(teacher).expanduser())


def is_chat(task: Task) -> bool:
    """Whether models of a task are asked in messages, in whatever words."""
    return task.layout == "dialogue"


def baseline_name(teacher: str) -> str:
    """Return what a teacher is called among the baselines."""
    return f"the teacher {teacher}"


def open_teacher(teacher: str, recipe: Recipe) -> Artifact:
    """Open a run or an artifact that a recipe names as teacher; raises a `RecipeError` where it is none."""
    try:
        return open_artifact(artifact_folder(recipe.base / Path(teacher).expanduser()))
    except WeitiaoError as error:
        where = f"{recipe.origin('distillation.teacher')} (distillation.teacher)"
        raise RecipeError(f"{teacher}: {error.problem}", where=where, fix=error.fix) from None
