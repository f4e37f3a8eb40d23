"""Everything before the first weight is loaded: read, check and resolve. Nothing is written but caches."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from weitiao import auto_values, data, models, registry, trackers
from weitiao.combinations import (
    check_averages,
    check_compared,
    check_consistency,
    check_contrast,
    check_dropout,
    check_family,
    check_heads,
    check_parallel,
    check_prompted,
    check_regularization,
    check_selection,
)
from weitiao.errors import RecipeError, RefusedError, WeitiaoError
from weitiao.evaluation.evaluate import Labelled
from weitiao.forewarnings import forewarnings
from weitiao.methods.base import TakesPositions
from weitiao.outline import outline
from weitiao.recipe import DataSettings, Recipe
from weitiao.records import SPLITS, Finding, Pretrained, Reader, SplitName
from weitiao.teacher_checks import check_distillation
from weitiao.teachers import artifact_teachers
from weitiao.training.loop import planned_steps
from weitiao.training.match import Match

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

    from weitiao.methods.base import Method
    from weitiao.tasks.base import Task

KEPT_CHECKPOINTS = 4  # the newest two, the best, and the one being written


@dataclass(frozen=True)
class Unlabelled:
    """Texts without labels that are learned beside the labelled examples, and copies of them, as features."""

    texts: Dataset
    copies: Dataset  # those of text t are ``t * variants`` and the `variants - 1` behind it
    variants: int


@dataclass(frozen=True)
class Preparation:
    """A resolved recipe with its data tokenized: all that training needs but the weights."""

    recipe: Recipe
    pretrained: Pretrained
    reader: Reader
    task: Task
    method: Method
    splits: data.Splits
    features: Mapping[SplitName, Dataset]
    device: torch.device
    precision: str
    findings: list[Finding]
    facts: dict[str, Any]  # what `weitiao check` shows; JSON values
    also: Mapping[str, Labelled]  # other data to measure on at the end
    digest: str  # of examples and base model, so that a run is never resumed on others
    taught: np.ndarray | None = None  # a teacher's logits of each training example, see `teaching`
    match: Match | None = None  # what is learned of a teacher's insides, see `teaching`
    own: Labelled | None = None  # the training examples that were given, where others are learned: a teacher's
    unlabelled: Unlabelled | None = None  # see `consistency.py`

    @property
    def learned(self) -> dict[str, Dataset]:
        """The features that come by in training, by what they are of."""
        found = {"train": self.features["train"]}
        if self.unlabelled is not None:
            found |= {"texts": self.unlabelled.texts, "copies": self.unlabelled.copies}
        return found

    def pool(self, source: str, where: str, *, answers: bool = False) -> tuple[Dataset, list[Finding]]:
        """Open a file of examples without a target, as `data.open_unlabelled` does: those that stand in no split, and
        in no other data that is measured on.
        """  # fmt: skip
        besides = [on.examples for on in self.also.values()]
        return data.open_unlabelled(source, self.recipe.data, self.task.columns, self.splits, base=self.recipe.base,
                                    where=where, answers=answers, besides=besides)  # fmt: skip

    def labelled(self, name: SplitName) -> Labelled:
        """A split with its features, its targets those that were given."""
        if name == "train" and self.own is not None:
            return self.own
        return Labelled(name, self.splits[name], self.features[name])


def refuse_errors(findings: Iterable[Finding]) -> None:
    """Raise all findings of level ``error`` as one; nothing where there is none."""
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        raise RefusedError("\n".join(map(str, errors)), [row for finding in errors for row in finding.rows])


def as_recipe(recipe: Recipe | Path | str | Mapping[str, Any]) -> Recipe:
    """Read a recipe from a file, or make it from plain data."""
    if isinstance(recipe, Recipe):
        return recipe
    return Recipe.read(recipe) if isinstance(recipe, Path | str) else Recipe(**recipe)


def prepare(recipe: Recipe, *, without: Collection[str] = ()) -> Preparation:
    """Fetch, read, split, check, tokenize and resolve; raises `WeitiaoError` where the work cannot even be checked.

    What can be told together is in `Preparation.findings`. Rows that stand at one of `without` are not read.
    """
    task: Task = registry.get("task", recipe.task.name)(recipe.task.options)
    method: Method = registry.get("method", recipe.method.name)(recipe.method.options)
    trackers.require(recipe.trackers)
    device, device_why = models.resolve_device(recipe.training.device)
    precision, precision_why = models.resolve_precision(recipe.training.precision, device)
    splits, findings = open_examples(recipe, task, without)
    refuse_errors(findings)
    pretrained = models.open_pretrained(recipe.model, base=recipe.base)
    check_family(pretrained, task, method, recipe)
    recipe = auto_values.preset(auto_values.preset(recipe, method, pretrained), task, pretrained)
    task = registry.get("task", recipe.task.name)(recipe.task.options)
    check_contrast(recipe, task, method)
    check_compared(recipe, task)
    check_parallel(recipe, method)
    pretrained = _dropping(pretrained, recipe)
    check_dropout(recipe, task, method, pretrained)
    pretrained = _beside_own_tokens(pretrained, task, method, recipe)
    length = auto_values.length(recipe, pretrained)
    pretrained = auto_values.reading_at_most(pretrained, recipe.model.max_length)
    task, learned = task.prepare(splits, pretrained)
    refuse_errors(learned)
    check_heads(task.head(pretrained.family), method, recipe)
    shape = outline(pretrained, task, method)
    check_regularization(recipe, task, method, shape)
    check_averages(recipe, method, validated="validation" in splits)
    check_selection(recipe, task)
    check_consistency(recipe, task, method)
    check_prompted(recipe, task, pretrained)
    check_distillation(recipe, task, pretrained)
    counts = {"parameters": shape.parameters, "trainable": shape.trainable}
    settings = recipe.training
    needed = disk_needed(
        **counts, models=max(1, len(task.head(pretrained.family).parts)),
        averaged=settings.averaged, soup=settings.soup.best if settings.soup else 0,
    )  # fmt: skip
    rate = auto_values.rate(task, method, pretrained)
    values: dict[str, tuple[Any, str]] = {
        "training.device": (device.type if device.index is None else str(device), device_why),
        "training.precision": (precision, precision_why),
        "training.learning_rate": rate, **length, **auto_values.columns(splits.columns),
        **auto_values.scored(task),
    }  # fmt: skip
    recipe = auto_values.filled(recipe, values).resolved(auto_values.options(recipe, task))
    reader = pretrained.reader(int(recipe.model.max_length))
    features = {name: encode_split(split, task, reader) for name, split in splits.items()}
    refuse_errors(_nothing_left(features))
    also, seen = _also(recipe, task, reader, splits)
    an_epoch = auto_values.epoch_steps(recipe, task, splits, features)
    auto = auto_values.steps(recipe, task, method, features, pretrained, device, an_epoch)
    recipe = auto_values.filled(recipe, auto)
    recipe = auto_values.filled(recipe, {"evaluation.train_examples": auto_values.watched(recipe, task, splits)})
    findings += [
        *learned,
        *shape.findings,
        *forewarnings(recipe, task, method, pretrained, splits, features, disk=needed,
                      steps=planned_steps(an_epoch, recipe.training)),
        *_seen_by_teachers(recipe, task, splits), *seen,
    ]  # fmt: skip
    facts = _facts(recipe, pretrained, task, splits, features, an_epoch) | counts
    facts |= {"head": shape.head, "disk_needed": needed}
    facts["usual_learning_rate"] = rate[0]
    return Preparation(
        recipe, pretrained, reader, task, method, splits, features, device, precision, findings, facts, also,
        digest=hashlib.sha256(f"{splits.digest} {pretrained.fingerprint}".encode()).hexdigest(),
    )  # fmt: skip


def learning(ready: Preparation, train: Dataset, *, settled: bool) -> Preparation:
    """Return the preparation of a training on other examples than were given; these stay for all that measures.

    What the recipe left open is chosen anew for as many of them, unless it is `settled`: the run has begun.
    """
    splits = ready.splits.learning(train, ready.task.columns)
    features = {**ready.features, "train": encode_split(train, ready.task, ready.reader)}
    refuse_errors(_nothing_left(features))
    recipe, an_epoch = ready.recipe, auto_values.epoch_steps(ready.recipe, ready.task, splits, features)
    if not settled:
        auto = auto_values.steps(recipe, ready.task, ready.method, features, ready.pretrained, ready.device, an_epoch)
        recipe = recipe.resolved({k: v for k, v in auto.items() if recipe.origin(k).startswith("auto:")})
    facts = ready.facts | _facts(recipe, ready.pretrained, ready.task, splits, features, an_epoch)
    return replace(ready, recipe=recipe, splits=splits, features=features, facts=facts, own=ready.labelled("train"))


def open_examples(recipe: Recipe, task: Task, without: Collection[str] = ()) -> tuple[data.Splits, list[Finding]]:
    """Open the recipe's data, or that of each of the tasks that are learned together; return what is wrong with it.
    Test is left out where the recipe holds it back.
    """  # fmt: skip
    splits, findings = _opened(recipe, task, without)
    return splits if recipe.evaluation.test else splits.without_test(), findings


def _opened(recipe: Recipe, task: Task, without: Collection[str]) -> tuple[data.Splits, list[Finding]]:
    if not task.parts:
        return _checked(recipe.data, task, recipe, without)
    if recipe.data.fold is not None:
        raise RecipeError("several tasks have their data each by itself, which is not cut into folds together",
                          where="data.fold", fix="Cross-validate each task by itself.")  # fmt: skip
    opened = {name: _checked(part.data, part.task, recipe, without) for name, part in task.parts.items()}
    free = [name for name, part in task.parts.items() if part.data.duplicates == "anywhere"]
    parts, left_out = data.keep_tasks_apart({name: splits for name, (splits, _) in opened.items()}, free)
    findings = [
        replace(finding, where=f"{name}: {finding.where}")
        for name, (_, found) in opened.items()
        for finding in [*found, *left_out[name]]
    ]
    return data.join(parts), findings


def _seen_by_teachers(recipe: Recipe, task: Task, splits: data.Splits) -> list[Finding]:
    """What teachers were trained on and a student is measured by: its scores would be too good."""
    found: list[Finding] = []
    measured: list[SplitName] = [name for name in ("validation", "test") if name in splits]
    for teacher, artifact in artifact_teachers(recipe, task):
        try:
            theirs, _ = open_examples(artifact.recipe, artifact.task)
        except WeitiaoError:  # its data is not at hand
            continue
        for name in measured if theirs.digest == artifact.examples else ():
            count = int(np.isin(splits.text_keys[name], theirs.text_keys["train"]).sum())
            if count:
                level: Literal["error", "warning"] = "error" if recipe.data.fold and name == "test" else "warning"
                whole = len(splits.text_keys[name])
                problem = f"{count:,} of {whole:,} texts of {name} were in the training data of {teacher}"
                where = f"{recipe.origin('distillation.teacher')} (distillation.teacher)"
                found.append(Finding(level, where, f"{problem}: the scores are too good",
                                     "Train both on the same data with the same data.seed."))  # fmt: skip
    return found


def _checked(
    settings: DataSettings, task: Task, recipe: Recipe, without: Collection[str] = ()
) -> tuple[data.Splits, list[Finding]]:
    seed = recipe.data_seed if settings.seed is None else settings.seed
    splits = data.open_splits(settings, task.columns, base=recipe.base, seed=seed, layout=task.layout,
                              without=without)  # fmt: skip
    return splits, [*splits.findings, *data.check_examples(splits, task.columns)]


def encode_split(split: Dataset, task: Task, reader: Reader) -> Dataset:
    """Tokenize a split; cached by content, so that the same work is never done twice."""
    tokenizer = reader.tokenizer
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()  # what the last call left behind; it would be part of the key
    told = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else repr(tokenizer)
    learned = [part.model_dump(mode="json") for part in (task.options, task.prepared)]
    version = importlib.metadata.version("weitiao")  # another one may encode otherwise
    what = [version, task.name, learned, told, tokenizer.chat_template, reader.family, reader.max_length]
    key = hashlib.sha256(json.dumps(what).encode()).hexdigest()
    return data.encode_split(split, lambda rows: task.encode(rows, reader), key=key)


def measured_on(
    settings: DataSettings, source: str, columns: Mapping[str, str | list[str]], task: Task, *, base: Path
) -> DataSettings:
    """The run's data settings with a file in place of train, uncut; its columns where the file has them, too.

    Paths in `settings` are absolute or count from `base`, as `source` does.
    """
    there = data.open_table(source, base=base, layout=task.layout, named={**settings.columns, **columns}).columns
    known = {role: name for role, name in settings.columns.items() if set(data.listed(name)) <= set(there)}
    update = {"train": source, "validation": None, "test": None, "validation_size": 0.0, "test_size": 0.0,
              "group": None, "fold": None, "max_examples": None, "columns": {**known, **columns}}  # fmt: skip
    return settings.model_copy(update=update)


def _also(
    recipe: Recipe, task: Task, reader: Reader, splits: data.Splits
) -> tuple[dict[str, Labelled], list[Finding]]:  # fmt: skip
    """Data to measure on beside the splits, and what of it is learned from; raises where it cannot be used."""
    found: dict[str, Labelled] = {}
    seen: list[Finding] = []
    for name, source in recipe.evaluation.also.items():
        if name in SPLITS:
            raise RecipeError(f"'{name}' is the name of a split", where="evaluation.also", fix="Call it otherwise.")
        settings = measured_on(recipe.data, source, {}, task, base=recipe.base)
        opened, findings = _checked(settings, task, recipe)
        refuse_errors(findings)
        chosen: SplitName = "test" if "test" in opened else "train"
        found[name] = Labelled(name, opened[chosen], encode_split(opened[chosen], task, reader))
        keys = opened.text_keys[chosen]
        if count := int(np.isin(keys, splits.text_keys["train"]).sum()):
            problem = f"{count:,} of {len(keys):,} texts of {name} stand in train, too: its scores are too good"
            seen.append(Finding("warning", recipe.place("evaluation.also"), problem,
                                "Take them out of one of the files."))  # fmt: skip
    return found, seen


def _nothing_left(features: Mapping[SplitName, Dataset]) -> list[Finding]:
    """A split of which every example was left out."""
    return [
        Finding("error", f"data.{name}", "no example is left: all are too long for the model",
                "Raise model.max_length, take a model that reads more at once, or shorten the examples.")
        for name, split in features.items() if not len(split)
    ]  # fmt: skip


def _dropping(pretrained: Pretrained, recipe: Recipe) -> Pretrained:
    """The model with the recipe's dropout in place of its own; raises where it has none of that kind."""
    wanted = recipe.training.regularization
    try:
        config = models.with_dropout(pretrained.config, wanted.dropout, wanted.attention_dropout)
    except RecipeError as error:
        where = f"{recipe.origin(error.where)} ({error.where})"
        raise RecipeError(error.problem, where=where, fix=error.fix) from None
    return replace(pretrained, config=config)


def _beside_own_tokens(pretrained: Pretrained, task: Task, method: Method, recipe: Recipe) -> Pretrained:
    """The model as it takes text beside a method's own tokens; raises where they leave too little room for it."""
    if not isinstance(method, TakesPositions):
        return pretrained
    if any(getattr(one.options, "packing", False) for one in (task, *(part.task for part in task.parts.values()))):
        fix = "Leave `packing` out, or take a method without virtual tokens, such as lora."
        raise RecipeError(f"'{method.name}' puts its tokens before a row, and not before each example in it",
                          where="task.packing", fix=fix)  # fmt: skip
    positions, wanted, own = models.positions_of(pretrained.config), recipe.model.max_length, method.positions
    if positions is None:
        return pretrained
    room, least = positions - own, pretrained.tokenizer.num_special_tokens_to_add() + 1
    told = f"{own} virtual tokens of '{method.name}' and"
    if room < least:
        raise RecipeError(f"{told} {least} of text are more than the {positions} that {pretrained.source} takes",
                          where=f"{recipe.origin('method.tokens')} (method.tokens)",
                          fix=f"Take {positions - least} virtual tokens or fewer.")  # fmt: skip
    if wanted != "auto" and room < wanted <= pretrained.max_length:
        fewer = f", or method.tokens to {positions - wanted} or less" if wanted < positions else ""
        raise RecipeError(f"{told} {wanted} of text are more than the {positions} that {pretrained.source} takes",
                          where=f"{recipe.origin('model.max_length')} (model.max_length)",
                          fix=f"Set model.max_length to {room} or less{fewer}.")  # fmt: skip
    return replace(pretrained, max_length=min(room, pretrained.max_length))


# --- facts


def disk_needed(
    parameters: int, trainable: int, models: int = 1, *, averaged: bool = False, soup: int = 0
) -> int:  # fmt: skip
    """Bytes a run writes at most: checkpoints (weights and AdamW's two moments, fp32; the weights' average, too, where
    they are `averaged`), so many more where a `soup` is made of them, and the artifact, which holds so many whole
    `models`.
    """
    return (KEPT_CHECKPOINTS + soup) * (16 if averaged else 12) * trainable + 4 * (models * parameters + trainable)


def _facts(
    recipe: Recipe, pretrained: Pretrained, task: Task, splits: Any, features: Mapping[SplitName, Dataset],
    an_epoch: int,
) -> dict[str, Any]:  # fmt: skip
    settings = recipe.training
    steps = planned_steps(an_epoch, settings)
    labels = list(task.head(pretrained.family).config.get("id2label", {}).values())
    return {
        "task": recipe.task.name, "model": recipe.model.source, "family": pretrained.family,
        "method": recipe.method.name, "precision": settings.precision, "device": settings.device,
        "batch_size": settings.batch_size,
        "micro_batch_tokens": settings.micro_batch_tokens, "steps": steps, "learning_rate": settings.learning_rate,
        "max_length": recipe.model.max_length, "columns": dict(recipe.data.columns), "labels": labels,
        "splits": {
            name: {"examples": len(splits[name]), "origin": splits.origin[name],
                   "tokens": int(data.column_array(split, "length").sum())}
            for name, split in features.items()
        },
    }  # fmt: skip
