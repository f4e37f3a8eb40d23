"""Whether a teacher can teach its student, before anything is loaded."""

from __future__ import annotations

from typing import Any

from weitiao import registry
from weitiao.artifacts.artifact import Artifact
from weitiao.errors import RecipeError
from weitiao.matching import matching
from weitiao.methods.base import TakesPositions
from weitiao.models import positions_of
from weitiao.parallel import world_size
from weitiao.recipe import DistillationSettings, EndpointOptions, Recipe
from weitiao.records import Pretrained
from weitiao.tasks.base import AskedInWords, LearnedAlone, LearnsFromTeacher, LearnsTexts, LearnsTokens, Task
from weitiao.tasks.prompts import check_prompt
from weitiao.tasks.replies import HEADS
from weitiao.teachers import (
    is_asked,
    is_chat,
    is_trained,
    open_teacher,
    pretrained_of,
    pretrained_teacher,
    refusal,
    speaks,
)


def check_distillation(recipe: Recipe, task: Task, pretrained: Pretrained) -> None:
    """Raise a `RecipeError` where there is no such teacher, or it cannot teach this task."""
    wanted = recipe.distillation
    if wanted is None:
        return
    if wanted.match is not None:
        _check_match(wanted, recipe, task, pretrained)
    if wanted.level == "token":
        _check_tokens(wanted, recipe, task, pretrained)
        return
    if isinstance(task, LearnsTexts):
        _check_writer(wanted, recipe, task)
        return
    if wanted.match is not None and not (isinstance(task, LearnsFromTeacher) and wanted.outputs):
        return  # of the teacher's answers nothing is learned
    if not isinstance(task, LearnsFromTeacher):
        insides = "Take the section out, or set distillation.match: {}, to learn what goes on inside of the teacher."
        fix = "Set distillation.level: token." if isinstance(task, LearnsTokens) else insides
        raise RecipeError(f"'{task.name}' cannot learn from a teacher's answers", where="distillation", fix=fix)
    _check_passes(recipe)
    if is_asked(recipe):
        _check_asked(wanted, recipe, task)
        return
    for key in ("prompt", "least_similarity"):
        if getattr(wanted, key) is not None:
            raise refusal(recipe, key, f"'{task.name}' learns a teacher's probabilities, and no texts", "Take it out.")
    for teacher in wanted.teachers:
        if len(wanted.teachers) > 1 and speaks(teacher, recipe):
            raise refusal(recipe, "teacher", f"{teacher} is no run of '{task.name}': of several teachers the mean of "
                           "probabilities is learned, and a chat model gives none",
                           "Name runs that learned the same task and labels, or one chat model alone.")  # fmt: skip
        artifact = open_teacher(teacher, recipe)
        if why := task.knows(artifact.task):
            raise refusal(recipe, "teacher", f"{teacher} cannot teach this: {why}",
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


def _check_asked(wanted: DistillationSettings, recipe: Recipe, task: LearnsFromTeacher) -> None:
    """A chat model says of an example what the student learns, if the task can ask for it."""
    runs, name = "Name a run that learned the same task and labels.", getattr(task, "name", "")
    if not isinstance(task, AskedInWords):
        raise refusal(recipe, "teacher", f"'{name}' learns probabilities, which a chat model does not give", runs)
    if why := task.unasked:
        raise refusal(recipe, "teacher", why, runs)
    if wanted.match is not None:
        raise refusal(recipe, "match.outputs", "a chat model gives no probabilities of the labels",
                       "Set distillation.match.outputs: 0.")  # fmt: skip
    if wanted.temperature not in (type(wanted).model_fields["temperature"].default, 1.0):  # 1: as it is written out
        raise refusal(recipe, "temperature", "a chat model names a label, and gives no probabilities", "Take it out.")
    if wanted.least_similarity is not None:
        raise refusal(recipe, "least_similarity", f"'{name}' learns no texts of the teacher", "Take it out.")
    if wanted.prompt is not None:
        read = [column.role for column in task.columns if not column.target]
        task.check_asking(wanted.prompt, read, where=recipe.place("distillation.prompt"))
    _check_key(wanted, recipe)
    for teacher in wanted.teachers:
        if not is_trained(teacher, recipe):
            _check_pretrained(teacher, recipe)


def _check_key(wanted: DistillationSettings, recipe: Recipe) -> None:
    """An endpoint's key is there."""
    if isinstance(wanted.teacher, EndpointOptions):
        try:
            wanted.teacher.secret()
        except RecipeError as error:
            raise refusal(recipe, "teacher", error.problem, error.fix) from None


def _check_writer(wanted: DistillationSettings, recipe: Recipe, task: LearnsTexts) -> None:
    """A teacher of texts is one: an artifact that answers the same examples, a chat model, an endpoint."""
    if wanted.temperature != type(wanted).model_fields["temperature"].default:
        raise refusal(recipe, "temperature", "no probabilities of the teacher are learned, but what it writes",
                       "Take it out, or set distillation.level: token.")  # fmt: skip
    if why := task.untaught:
        raise refusal(recipe, "teacher", why, "Set distillation.level: token.")
    if len(wanted.teachers) > 1:
        raise refusal(recipe, "teacher", f"{len(wanted.teachers)} teachers would write as many texts for an example",
                       "Name one.")  # fmt: skip
    if wanted.prompt is not None:
        check_prompt(wanted.prompt, task.read, where=f"{recipe.origin('distillation.prompt')} (distillation.prompt)")
    _check_key(wanted, recipe)
    for teacher in wanted.teachers:
        if not is_trained(teacher, recipe):
            _check_pretrained(teacher, recipe)
            continue
        other = open_teacher(teacher, recipe).task
        if is_chat(other):
            continue
        if why := task.knows(other):
            raise refusal(recipe, "teacher", f"{teacher} cannot teach this: {why}",
                           "Name a run of the same task or of chat, a chat model, or an endpoint.")  # fmt: skip
        if wanted.prompt is not None:
            raise refusal(recipe, "prompt", f"{teacher} has learned what it is asked", "Take it out.")


def _check_tokens(wanted: DistillationSettings, recipe: Recipe, task: Task, pretrained: Pretrained) -> None:
    """A teacher of tokens reads the same prompts by the same vocabulary."""
    if not isinstance(task, LearnsTokens):
        raise refusal(recipe, "level", f"'{task.name}' does not learn a teacher's next tokens",
                       "Take it out. It can be done where texts are written.")  # fmt: skip
    for key in ("prompt", "least_similarity", "unlabelled"):
        if getattr(wanted, key) is not None:
            raise refusal(recipe, key, "no text of the teacher is learned, but its next tokens of the data's own",
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
        raise refusal(recipe, "teacher", "the next tokens of one run are learned", "Name a run of the same task.")
    artifact = open_teacher(wanted.teachers[0], recipe)
    if not task.reads_as(artifact.task):
        raise refusal(recipe, "teacher", f"{wanted.teachers[0]} was trained for other prompts",
                       "Name a run of the same task, and give both the same task.prompt.")  # fmt: skip
    if task.layout == "dialogue" and artifact.reader.tokenizer.chat_template != pretrained.tokenizer.chat_template:
        raise refusal(recipe, "teacher", f"{wanted.teachers[0]} has another chat template than {pretrained.source}",
                       "Take the same tokenizer for both.")  # fmt: skip
    otherwise = "Take a model of the same family of models, or set distillation.level: sequence."
    _check_same_tokens(recipe, pretrained_of(artifact), pretrained, otherwise, own=_positions_taken(artifact))


def _check_same_tokens(
    recipe: Recipe, theirs: Pretrained, pretrained: Pretrained, otherwise: str, own: int = 0
) -> None:  # fmt: skip
    """A teacher that reads what its student does is of the same family and vocabulary, and takes as much; `own`: the
    positions that its method takes.
    """  # fmt: skip
    teacher = recipe.distillation.teachers[0] if recipe.distillation else ""
    if theirs.family != pretrained.family:
        raise refusal(recipe, "teacher", f"{teacher} is of the family {theirs.family}, and {pretrained.source} of "
                       f"{pretrained.family}", otherwise)  # fmt: skip
    one, other = pretrained.tokenizer.get_vocab(), theirs.tokenizer.get_vocab()
    unlike = sorted(token for token in one.keys() | other.keys() if one.get(token) != other.get(token))
    if unlike:
        told = f"{len(unlike):,} tokens are not the same number in both, such as '{unlike[0]}'"
        raise refusal(recipe, "teacher", f"{teacher} has another vocabulary than {pretrained.source}: {told}",
                       otherwise)  # fmt: skip
    positions, length = positions_of(theirs.config), pretrained.max_length
    if positions is not None and length > positions - own:
        key = "model.max_length"
        raise RecipeError(f"texts have up to {length:,} tokens, and the teacher takes {positions - own:,}",
                          where=f"{recipe.origin(key)} ({key})", fix=f"Set {key}: {positions - own}.")  # fmt: skip


def _positions_taken(artifact: Artifact) -> int:
    return artifact.method.positions if isinstance(artifact.method, TakesPositions) else 0


def _check_match(wanted: DistillationSettings, recipe: Recipe, task: Task, pretrained: Pretrained) -> None:
    """A teacher whose insides are learned is one model, trained here or not, that reads the student's very tokens."""
    assert wanted.match is not None
    if not wanted.match.anything:
        raise refusal(recipe, "match", "hidden, attention, relations and embeddings are all 0",
                       "Give one of them a weight, or take match out.")  # fmt: skip
    _check_beside(wanted, recipe, task, pretrained)
    if len(wanted.teachers) != 1:
        raise refusal(recipe, "teacher", "the insides of one model are learned",
                       "Name one run, or one model as it was pretrained.")  # fmt: skip
    [teacher], methods = wanted.teachers, [(_method(recipe), "student")]
    if is_trained(teacher, recipe):
        artifact = open_teacher(teacher, recipe)
        methods.append((artifact.method, "teacher"))
        if artifact.task.parts:
            raise refusal(recipe, "teacher", f"{teacher} has several heads",
                           f"Name the folder of one in its artifact: {', '.join(artifact.task.parts)}.")  # fmt: skip
    elif isinstance(task, LearnsFromTeacher) and wanted.outputs:
        raise refusal(recipe, "teacher", f"{teacher} is no run, and knows none of the labels",
                       "Name a run of the same task, or set distillation.match.outputs: 0.")  # fmt: skip
    theirs = pretrained_teacher(teacher, recipe)
    _check_same_tokens(recipe, theirs, pretrained, "Take a model with the same tokenizer, or take match out.")
    for method, whose in methods:
        if isinstance(method, TakesPositions):
            raise refusal(recipe, "match", f"the {whose}'s method puts tokens of its own before the text",
                           "Take another method, such as lora, or take match out.")  # fmt: skip
    matching(recipe, pretrained)


def _check_beside(wanted: DistillationSettings, recipe: Recipe, task: Task, pretrained: Pretrained) -> None:
    """What does not go together with states of the same tokens in both models."""
    settings, out = recipe.training, "Take it out, or distillation.match."
    regularization, several = settings.regularization, "the teacher goes through each batch once"
    writes = isinstance(task, LearnsTexts | LearnsTokens)
    learns = isinstance(task, LearnsFromTeacher) or writes
    plain = type(wanted).model_fields["temperature"].default
    refused = [
        ("task.name", bool(task.parts), "several tasks are learned together, and a teacher knows one", out),
        ("model.source", pretrained.family == "seq2seq", f"{pretrained.source} is an encoder-decoder, of which no "
         "insides are learned", "Take an encoder or a decoder, or take distillation.match out."),
        ("task.name", isinstance(task, LearnedAlone), f"'{task.name}' {getattr(task, 'alone', '')}",
         "Take the task language-modeling with distillation.share: 1 to learn a teacher's insides on texts alone."),
        ("task.packing", getattr(task.options, "packing", False), "the teacher may not keep examples apart that share "
         "a row", "Set packing: false."),
        ("training.regularization.r_drop", regularization.r_drop, several, out),
        ("training.regularization.mixup", regularization.mixup, several, out),
        ("training.selection.prune", settings.selection.prune, "examples are left out by the loss of their labels "
         "alone", out),
        ("training.parallel", settings.parallel == "fsdp" and world_size() > 1, "a student's states are read beside "
         "its weights, of which each process has a share only", "Set training.parallel: ddp."),
        ("distillation.level", writes and wanted.level != "token", "a teacher's texts are learned in place of the "
         "data's, and its insides beside the data's own", "Set distillation.level: token."),
        ("distillation.unlabelled", wanted.unlabelled is not None and not (
            isinstance(task, LearnsFromTeacher) and wanted.outputs), "of examples without a label the teacher's "
         "probabilities are learned", "Take it out, or give match.outputs a weight, which text-classification learns."),
        ("distillation.temperature", wanted.temperature != plain and not (learns and wanted.outputs),
         "no probabilities of the teacher are learned", "Take it out."),
        *((f"distillation.{key}", getattr(wanted, key) is not None, "no text of the teacher is learned", "Take it out.")
          for key in ("prompt", "least_similarity")),
    ]  # fmt: skip
    for key, asked, problem, fix in refused:
        if asked:
            raise RecipeError(problem, where=recipe.place(key), fix=fix)


def _method(recipe: Recipe) -> Any:
    return registry.get("method", recipe.method.name)(recipe.method.options)


def _check_pretrained(teacher: str, recipe: Recipe) -> None:
    try:
        family = pretrained_teacher(teacher, recipe).family
    except RecipeError as error:
        raise refusal(recipe, "teacher", f"no run, and no model that can be opened: {error.problem}",
                       error.fix) from None  # fmt: skip
    if family not in HEADS:
        raise refusal(recipe, "teacher", f"{teacher} is an {family}, which writes nothing",
                       "Name a decoder or an encoder-decoder.")  # fmt: skip
