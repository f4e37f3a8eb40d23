"""What a recipe leaves open, settled by model, data and machine: each value with its origin in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from weitiao import data, models
from weitiao.combinations import check_whole_steps, comparing
from weitiao.errors import RecipeError
from weitiao.methods.base import Presets
from weitiao.recipe import Recipe
from weitiao.records import Pretrained, SplitName
from weitiao.tasks.base import ScalesRate
from weitiao.training.order import times_of

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

    from weitiao.methods.base import Method
    from weitiao.tasks.base import Task

CHECKPOINT_STEPS = 200  # `checkpoint_every: auto`
CPU_TOKENS = 4096  # of a micro-batch: more are no quicker on a CPU (docs/log.md) and cost memory
WATCHED = 64, 500  # `evaluation.train_examples: auto`, at least and at most
WATCHED_SHARE = 0.05  # of the time of training that they take
WHOLE = "the examples of a step are compared with one another"  # why it is not cut


def preset(recipe: Recipe, chosen: Method | Task, pretrained: Pretrained) -> Recipe:
    """Return the recipe with what a method, or a task, takes where nothing is said."""
    if not isinstance(chosen, Presets):
        return recipe
    open_there = {key: value for key, value in chosen.presets(pretrained).items()
                  if recipe.has(key) and recipe.origin(key) == "default"}  # fmt: skip
    return recipe.resolved(open_there)


def filled(recipe: Recipe, values: Mapping[str, tuple[Any, str]]) -> Recipe:
    """Return the recipe with those of the values that it leaves open: ``auto`` or nothing."""
    return recipe.resolved({key: value for key, value in values.items() if _is_open(recipe, key)})


def _is_open(recipe: Recipe, key: str) -> bool:
    node: Any = recipe.to_dict()
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node in ("auto", None)


def length(recipe: Recipe, pretrained: Pretrained) -> dict[str, tuple[Any, str]]:
    """What `model.max_length: auto` becomes; raises where the recipe asks for more than there is room for."""
    wanted = recipe.model.max_length
    if wanted != "auto" and wanted > pretrained.max_length:
        raise RecipeError(
            f"{wanted} tokens, but {pretrained.source} takes {pretrained.max_length}",
            where=f"{recipe.origin('model.max_length')} (model.max_length)", fix="Use that number or less, or `auto`.",
        )  # fmt: skip
    special = pretrained.tokenizer.num_special_tokens_to_add()
    if wanted != "auto" and wanted <= special:
        raise RecipeError(f"{wanted} tokens leave no room for text beside {special} special ones",
                          where=f"{recipe.origin('model.max_length')} (model.max_length)")  # fmt: skip
    return {"model.max_length": (pretrained.max_length, f"what {pretrained.source} takes")}


def reading_at_most(pretrained: Pretrained, wanted: int | str) -> Pretrained:
    """The model as the recipe has it read: what a task settles by the length must hold for what is encoded."""
    return pretrained if wanted == "auto" else replace(pretrained, max_length=int(wanted))


def rate(task: Task, method: Method, pretrained: Pretrained) -> tuple[float, str]:
    """What `training.learning_rate: auto` becomes."""
    width = int(pretrained.config.get_text_config().hidden_size)
    usual, why = method.learning_rate(pretrained.family, width)
    if not isinstance(task, ScalesRate):
        return usual, why
    return float(f"{task.rate_scale * usual:.2g}"), f"{task.name}: {task.rate_scale:g} of the rate for {why}"


def columns(chosen: data.ChosenColumns) -> dict[str, tuple[Any, str]]:
    """Which columns were taken for the roles."""
    return {f"data.columns.{role}": (name, chosen.how[role]) for role, name in chosen.names.items()}


def options(recipe: Recipe, task: Task) -> dict[str, tuple[Any, str]]:
    """Return what the task settled for its own options when it saw the data."""
    before, after = recipe.task.options.model_dump(mode="json"), task.options.model_dump(mode="json")
    return {f"task.{key}": (after[key], "from the data") for key in before if before[key] != after[key]}


def scored(task: Task) -> dict[str, tuple[Any, str]]:
    """What `evaluation.examples: auto` becomes."""
    most = task.examples_scored
    return {
        "evaluation.examples": (most or "all", "measuring an example takes time" if most else "measuring takes little")
    }


def watched(recipe: Recipe, task: Task, splits: Mapping[SplitName, Dataset]) -> tuple[int, str]:
    """What `evaluation.train_examples: auto` becomes: to predict an example takes about a third of what it takes to
    train on it.
    """  # fmt: skip
    every = recipe.training.batch_size * int(recipe.training.evaluate_every)  # examples between evaluations
    if "validation" not in splits:
        return 0, "there is no validation split"
    if task.examples_scored is not None:
        return 0, "measuring an example takes time"
    most = recipe.evaluation.most or len(splits["validation"])
    wanted = max(WATCHED[0], min(most, WATCHED[1], int(3 * WATCHED_SHARE * every)))
    return min(wanted, len(splits["train"])), "as many as validation has, where they take little"


def epoch_steps(recipe: Recipe, task: Task, splits: data.Splits, features: Mapping[SplitName, Dataset]) -> int:
    """Steps of an epoch of all its rows, but for smaller batches where several tasks have their own."""
    train, settings = features["train"], recipe.training
    times = times_of(train, splits["train"], task.columns, settings.selection)
    rows = len(train) if times is None else data.rows_in_epoch(times)
    return -(-rows // settings.batch_size)


def steps(
    recipe: Recipe, task: Task, method: Method, features: Mapping[SplitName, Dataset], pretrained: Pretrained,
    device: torch.device, an_epoch: int,
) -> dict[str, tuple[Any, str]]:  # fmt: skip
    """What becomes of the numbers that go by the steps of an epoch, of which there are `an_epoch`, and by memory."""
    settings, train = recipe.training, features["train"]
    longest = int(data.column_array(train, "length").max())
    positions = longest + models.heard(pretrained)
    per_example = models.activation_bytes(pretrained, longest, precision=settings.precision)
    per_example *= settings.regularization.passes
    most = settings.batch_size * positions
    check_whole_steps(recipe, task, method, positions, most)
    free = models.free_memory(device)
    fits = int(min(free, recipe.memory_bytes or free) * 0.4 / per_example) * positions
    tokens = max(positions, min(most, fits, CPU_TOKENS if device.type == "cpu" else most))
    need = f"they need about {max(tokens / positions * per_example / 1e9, 0.1):.1f} GB"
    return {
        "training.micro_batch_tokens": (most, WHOLE) if comparing(task, method) else (tokens, need),
        "training.evaluate_every": (an_epoch, "once an epoch"),
        "training.checkpoint_every": (CHECKPOINT_STEPS, "beside the one at each evaluation"),
    }
