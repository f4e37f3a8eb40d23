"""What can be told of a run before its first step that does not stop it: what is cut, too little room, what a setting
will not do.
"""  # fmt: skip

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from weitiao import data, models
from weitiao.artifacts.run_folder import RUNS, output_folder
from weitiao.data.made import Made
from weitiao.methods.base import Method
from weitiao.recipe import Recipe
from weitiao.records import Finding, Pretrained, SplitName
from weitiao.tasks.base import Task

if TYPE_CHECKING:
    from datasets import Dataset


def forewarnings(
    recipe: Recipe, task: Task, method: Method, pretrained: Pretrained, splits: data.Splits,
    features: Mapping[SplitName, Dataset], *, steps: int, disk: int,
) -> list[Finding]:  # fmt: skip
    """Return what is to be told of a prepared run of so many steps that may write so many bytes to the `disk`."""
    sources = {name: part.data.train for name, part in task.parts.items()} or {"": recipe.data.train}
    commands = {name: _commands(source, recipe) for name, source in sources.items()}
    return [
        *_cut(features, splits, task, int(recipe.model.max_length)),
        *_disk(recipe, disk),
        *_without_validation(recipe, splits),
        *_not_done(recipe, set.intersection(*commands.values())),
        *_cut_from_copies(splits, commands),
        *_without_dropout(recipe, pretrained, method),
        *_averaged(recipe, steps),
    ]


def _cut(
    features: Mapping[SplitName, Dataset], splits: Mapping[SplitName, Dataset], task: Task, max_length: int
) -> list[Finding]:
    """How many examples are too long, by how much, and what happens to them; which were left out."""
    told, where, most, findings = [], "", 0, []
    for name, split in features.items():
        count, longest, rows = data.truncated(split, max_length)
        if count:
            told.append(f"{count:,} of {len(splits[name]):,} {name}")
            where, most = where or f"data.{name} {data.lines_where(splits[name], rows)}", max(most, longest)
        left_out = np.setdiff1d(np.arange(len(splits[name])), data.column_array(split, "row"))
        if len(left_out):
            at = f"data.{name} {data.lines_where(splits[name], left_out)}"
            problem = f"{len(left_out):,} of {len(splits[name]):,} {name} examples do not fit and are left out"
            fix = "What is to be learned would lose its end. Raise model.max_length if it can be."
            findings.append(Finding("warning", at, problem, fix))
    if told:
        problem = f"{', '.join(told)} examples are longer than {max_length} tokens (the longest has {most:,}); "
        fix = "Shorten the texts, or take a model that reads more at once." if task.loses else ""
        findings.insert(0, Finding("warning" if task.loses else "note", where, problem + task.too_long, fix))
    return findings


def _disk(recipe: Recipe, needed: int) -> list[Finding]:
    folder = RUNS.resolve() if recipe.output is None else output_folder(recipe.base, recipe.output)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed <= free:
        return []
    said = f"the run may write {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free"
    return [Finding("error", "output", said,
                    "Make room, or set `output` to a folder on a larger disk.")]  # fmt: skip


def _without_validation(recipe: Recipe, splits: Mapping[SplitName, Dataset]) -> list[Finding]:
    if "validation" in splits:
        return []
    place = "data.validation_size" if recipe.data.validation is None else "data.validation"
    return [Finding("note", place, "there is no validation split: all epochs are run and the last weights are kept")]


def _commands(source: str, recipe: Recipe) -> set[str]:
    """What made data."""
    made = Made.of(source, recipe.base)
    return {each.command for each in made.history} if made else set()


def _not_done(recipe: Recipe, done: Collection[str]) -> list[Finding]:
    """Sections of the recipe that make better data, where the data were not made by them."""
    return [
        Finding("note", name, f"training takes the data as they are; `weitiao {name}` does what this section says")
        for name in ("clean", "augment") if getattr(recipe, name) is not None and name not in done
    ]  # fmt: skip


def _cut_from_copies(splits: data.Splits, commands: Mapping[str, Collection[str]]) -> list[Finding]:
    """Splits that are cut from data with examples made of others: what is measured on may have copies in train."""
    findings = []
    for name, made_by in commands.items():
        cut = splits.parts.get(name, splits).cut
        if not cut or "augment" not in made_by:
            continue
        problem = (
            f"{' and '.join(cut)} {'are' if len(cut) > 1 else 'is'} cut from data that `weitiao augment` made: copies "
            "of what is measured on may be trained on, and scores be too good"
        )
        fix = "Split the data into files first (`weitiao split`), then augment these."
        findings.append(Finding("warning", f"{name}: data.train" if name else "data.train", problem, fix))
    return findings


def _without_dropout(recipe: Recipe, pretrained: Pretrained, method: Method) -> list[Finding]:
    """Without any dropout the two passes of R-Drop are the same."""
    wanted = recipe.training.regularization
    if not wanted.r_drop or wanted.mixout or models.drops(pretrained.config, method.options):
        return []
    return [Finding("warning", "training.regularization.r_drop", "there is no dropout: both passes give the same",
                    "Set training.regularization.dropout, or the method's own.")]  # fmt: skip


def _averaged(recipe: Recipe, steps: int) -> list[Finding]:
    """Where the weights to average may turn out fewer than asked for."""
    settings, findings = recipe.training, []
    evaluations = -(-steps // int(settings.evaluate_every))
    if settings.soup and settings.soup.best > evaluations:
        problem = f"{settings.soup.best} checkpoints are wanted, and training has {evaluations} evaluations: no more "
        findings.append(Finding("note", "training.soup.best", problem + "can be averaged",
                                "Set training.evaluate_every to fewer steps."))  # fmt: skip
    if settings.swa and settings.patience is not None:
        problem = f"training may end before its last {settings.swa.share:.0%}, which training.swa averages"
        findings.append(Finding("note", "training.patience", problem, "Set training.patience: null."))
    cycle = settings.swa.cycle if settings.swa else None
    if settings.swa and cycle and cycle > settings.swa.share * steps:
        problem = f"a cycle of {cycle} steps does not fit into the last {settings.swa.share:.0%} of {steps}"
        findings.append(Finding("warning", "training.swa.cycle", f"{problem}: nothing will be averaged",
                                "Set fewer steps, or raise training.swa.share."))  # fmt: skip
    return findings
