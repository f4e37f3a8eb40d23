"""Everything before the first weight is loaded: read, check and resolve. Nothing is written but caches."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weitiao import data, models, registry, trackers
from weitiao.artifacts.run_folder import RUNS, output_folder
from weitiao.errors import DataError, RecipeError
from weitiao.outline import outline
from weitiao.recipe import Recipe
from weitiao.records import Finding, Pretrained, SplitName
from weitiao.training.loop import planned_steps

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from weitiao.methods.base import Method
    from weitiao.tasks.base import Task

CHECKPOINT_STEPS = 200  # `checkpoint_every: auto`
KEPT_CHECKPOINTS = 4  # the newest two, the best, and the one being written


@dataclass(frozen=True)
class Preparation:
    """A resolved recipe with its data tokenized: all that training needs but the weights."""

    recipe: Recipe
    pretrained: Pretrained
    task: Task
    method: Method
    splits: data.Splits
    features: Mapping[SplitName, Dataset]
    device: torch.device
    precision: str
    findings: list[Finding]
    facts: dict[str, Any]  # what `weitiao check` shows; JSON values
    digest: str  # of examples and base model, so that a run is never resumed on others


def refuse_errors(findings: Iterable[Finding]) -> None:
    """Raise all findings of level ``error`` as one; nothing where there is none."""
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        raise DataError("\n".join(map(str, errors)))


def as_recipe(recipe: Recipe | Path | str | Mapping[str, Any]) -> Recipe:
    """Read a recipe from a file, or make it from plain data."""
    if isinstance(recipe, Recipe):
        return recipe
    return Recipe.read(recipe) if isinstance(recipe, Path | str) else Recipe(**recipe)


def prepare(recipe: Recipe) -> Preparation:
    """Fetch, read, split, check, tokenize and resolve; raises `WeitiaoError` where the work cannot even be checked.

    What can be told together is in `Preparation.findings`.
    """
    task: Task = registry.get("task", recipe.task.name)(recipe.task.options)
    method: Method = registry.get("method", recipe.method.name)(recipe.method.options)
    trackers.require(recipe.trackers)
    device, device_why = models.resolve_device(recipe.training.device)
    precision, precision_why = models.resolve_precision(recipe.training.precision, device)
    splits = data.open_splits(recipe.data, task.columns, base=recipe.base, seed=recipe.training.seed)
    findings = [*splits.findings, *data.check_examples(splits, task.columns)]
    refuse_errors(findings)
    task, learned = task.prepare(splits)
    refuse_errors(learned)
    pretrained = models.open_pretrained(recipe.model, base=recipe.base)
    _check_family(pretrained, task, method, recipe)
    shape = outline(pretrained, task, method)
    counts = {"parameters": shape.parameters, "trainable": shape.trainable}
    values: dict[str, tuple[Any, str]] = {
        "training.device": (device.type if device.index is None else str(device), device_why),
        "training.precision": (precision, precision_why),
        **_length(recipe, pretrained), **_rate(method, pretrained), **_columns(splits.columns),
        **_options(recipe, task),
    }  # fmt: skip
    recipe = recipe.resolved({k: v for k, v in values.items() if _is_auto(recipe, k)})
    length = int(recipe.model.max_length)
    features = {name: encode_split(split, task, pretrained.tokenizer, length) for name, split in splits.items()}
    auto = _steps(recipe, features, pretrained, device)
    recipe = recipe.resolved({k: v for k, v in auto.items() if _is_auto(recipe, k)})
    findings += [
        *learned,
        *shape.findings,
        *_cut(features, splits, int(recipe.model.max_length)),
        *_disk(recipe, counts),
        *_without_validation(recipe, splits),
    ]
    facts = _facts(recipe, pretrained, task, splits, features) | counts | {"disk_needed": disk_needed(**counts)}
    return Preparation(
        recipe, pretrained, task, method, splits, features, device, precision, findings, facts,
        digest=hashlib.sha256(f"{splits.digest} {pretrained.fingerprint}".encode()).hexdigest(),
    )  # fmt: skip


def encode_split(split: Dataset, task: Task, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    """Tokenize a split; cached by content, so that the same work is never done twice."""
    prepared = task.prepared.model_dump(mode="json")
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()  # what the last call left behind; it would be part of the key
    told = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else repr(tokenizer)
    what = [task.name, prepared, told, max_length]
    key = hashlib.sha256(json.dumps(what).encode()).hexdigest()
    return data.encode_split(split, lambda rows: task.encode(rows, tokenizer, max_length), key=key)


def _check_family(pretrained: Pretrained, task: Task, method: Method, recipe: Recipe) -> None:
    for kind, part in (("task", task), ("method", method)):
        if pretrained.family not in part.families:
            raise RecipeError(
                f"'{part.name}' does not work on a model of the family {pretrained.family} ({pretrained.source})",
                where=f"{recipe.origin(kind + '.name')} ({kind})",
                fix=f"It works on: {', '.join(sorted(part.families))}.",
            )  # fmt: skip


# --- auto values


def _is_auto(recipe: Recipe, key: str) -> bool:
    """Whether the recipe leaves a value open: ``auto`` or nothing."""
    node: Any = recipe.to_dict()
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node in ("auto", None)


def _length(recipe: Recipe, pretrained: Pretrained) -> dict[str, tuple[Any, str]]:
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


def _rate(method: Method, pretrained: Pretrained) -> dict[str, tuple[Any, str]]:
    width = int(pretrained.config.get_text_config().hidden_size)
    return {"training.learning_rate": method.learning_rate(pretrained.family, width)}


def _columns(chosen: data.ChosenColumns) -> dict[str, tuple[Any, str]]:
    return {f"data.columns.{role}": (name, chosen.how[role]) for role, name in chosen.names.items()}


def _options(recipe: Recipe, task: Task) -> dict[str, tuple[Any, str]]:
    """What the task settled for its own options when it saw the data."""
    before, after = recipe.task.options.model_dump(mode="json"), task.options.model_dump(mode="json")
    return {f"task.{key}": (after[key], "from the data") for key in before if before[key] != after[key]}


def _steps(
    recipe: Recipe, features: Mapping[SplitName, Dataset], pretrained: Pretrained, device: torch.device
) -> dict[str, tuple[Any, str]]:
    settings, train = recipe.training, features["train"]
    an_epoch = -(-len(train) // settings.batch_size)
    longest = int(data.column_array(train, "length").max())
    per_example = models.activation_bytes(pretrained, longest)
    fits = max(1, int(models.free_memory(device) * 0.4 / per_example))
    size = min(settings.batch_size, fits)
    need = f"{size} examples of {longest} tokens need about {max(size * per_example / 1e9, 0.1):.1f} GB"
    return {
        "training.micro_batch_size": (size, need),
        "training.evaluate_every": (an_epoch, "once an epoch"),
        "training.checkpoint_every": (CHECKPOINT_STEPS, "beside the one at each evaluation"),
    }


# --- findings and facts


def _cut(features: Mapping[SplitName, Dataset], splits: Mapping[SplitName, Dataset], max_length: int) -> list[Finding]:
    """One finding for all splits: how many examples are too long, by how much, and what happens to them."""
    told, where, most = [], "", 0
    for name, split in features.items():
        count, longest, rows = data.truncated(split, max_length)
        if count:
            told.append(f"{count:,} of {len(split):,} {name}")
            where, most = where or f"data.{name} {data.lines_where(splits[name], rows)}", max(most, longest)
    if not told:
        return []
    problem = (f"{', '.join(told)} examples are longer than {max_length} tokens (the longest has {most:,}); "
               "their end is cut")  # fmt: skip
    return [Finding("warning", where, problem, "Shorten the texts, or take a model that reads more at once.")]


def _without_validation(recipe: Recipe, splits: Mapping[SplitName, Dataset]) -> list[Finding]:
    if "validation" in splits:
        return []
    place = "data.validation_size" if recipe.data.validation is None else "data.validation"
    return [Finding("note", place, "there is no validation split: all epochs are run and the last weights are kept")]


def disk_needed(parameters: int, trainable: int) -> int:
    """Bytes a run writes at most: checkpoints (weights and AdamW's two moments, fp32) and the artifact."""
    return KEPT_CHECKPOINTS * 12 * trainable + 4 * (parameters + trainable)


def _disk(recipe: Recipe, counts: Mapping[str, int]) -> list[Finding]:
    folder = RUNS.resolve() if recipe.output is None else output_folder(recipe.base, recipe.output)
    while not folder.exists():
        folder = folder.parent
    needed, free = disk_needed(**counts), shutil.disk_usage(folder).free
    if needed <= free:
        return []
    said = f"the run may write {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free"
    return [Finding("error", "output", said,
                    "Make room, or set `output` to a folder on a larger disk.")]  # fmt: skip


def _facts(
    recipe: Recipe, pretrained: Pretrained, task: Task, splits: Any, features: Mapping[SplitName, Dataset]
) -> dict[str, Any]:
    settings = recipe.training
    steps = planned_steps(-(-len(features["train"]) // settings.batch_size), settings)
    labels = list(task.head.config.get("id2label", {}).values())
    return {
        "task": recipe.task.name, "model": recipe.model.source, "family": pretrained.family,
        "method": recipe.method.name, "precision": settings.precision, "device": settings.device,
        "batch_size": settings.batch_size,
        "micro_batch_size": settings.micro_batch_size, "steps": steps, "learning_rate": settings.learning_rate,
        "max_length": recipe.model.max_length, "columns": dict(recipe.data.columns), "labels": labels,
        "splits": {
            name: {"examples": len(split), "origin": splits.origin[name],
                   "tokens": int(data.column_array(split, "length").sum())}
            for name, split in features.items()
        },
    }  # fmt: skip
