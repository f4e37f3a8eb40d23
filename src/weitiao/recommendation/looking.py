"""Data looked at before there is a model: what task it is for, how much there is, in which languages, how long."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from weitiao import registry
from weitiao.errors import DataError, WeitiaoError
from weitiao.recommendation.languages import Letters, languages_of, letters_of
from weitiao.recommendation.proposal import Look
from weitiao.workshop.reading import as_text

if TYPE_CHECKING:
    from datasets import Dataset

    from weitiao.data.columns import ChosenColumns
    from weitiao.data.table import Table

SAMPLE = 1_000  # rows whose length is counted, and whose language is looked at


@dataclass(frozen=True)
class Texts:
    """What a sample of the rows holds."""

    read: tuple[Letters, ...]  # what a model is given of each row
    written: tuple[Letters, ...]  # what it is to write
    languages: tuple[str, ...]  # ISO 639 codes, the most frequent first
    pair: str = ""  # of rows with a text to be read and one to be written in another language: zh-en
    unsure: bool = False  # whether the language was only told by its letters


def look_at(data: str, folder: Path, task: str | None, named: dict[str, str]) -> tuple[Look, list[str]]:
    """Read the data and guess what a recipe in `folder` needs to say; also return notes for people.

    Raises `SourceError` or `DataError` where the data cannot be read or no column fits.
    """
    found, _, notes = look_closely(data, folder, task, named)
    return found, notes


def look_closely(
    data: str, folder: Path, task: str | None, named: dict[str, str]
) -> tuple[Look, Texts, list[str]]:  # fmt: skip
    """The same, and how long the texts are and in which languages."""
    task, table, chosen = _chosen(data, task, named)
    texts = texts_of(task, table, chosen)
    found, notes = _look(data, folder, task, table, chosen, texts.languages)
    return found, texts, notes


def _look(
    data: str, folder: Path, task: str, table: Table, chosen: ChosenColumns, languages: tuple[str, ...]
) -> tuple[Look, list[str]]:
    from weitiao.data.guess import guess_separator
    from weitiao.data.labels import label_counts

    separator = guess_separator(table, chosen)
    counts = label_counts(_renamed(table, chosen, separator)) if "label" in chosen.names else {}
    if counts:
        _refuse_free_text(counts, len(table.dataset), chosen)
    neighbours, notes = _neighbours(data, chosen)
    used = [name for value in chosen.names.values() for name in ([value] if isinstance(value, str) else value)]
    found = Look(
        task=task,
        train=seen_from(folder, data),
        rows=len(table.dataset),
        columns=chosen.names,
        how=chosen.how,
        others=[name for name in table.columns if name not in used],
        labels=_sorted(counts),
        languages=languages,
        neighbours={split: seen_from(folder, path) for split, path in neighbours.items()},
        separator=separator,
        writes="encoder" not in registry.get("task", task).families,
    )
    findings = [*table.notes, *chosen.findings]
    return found, [f"{f.level}: {f}" for f in findings] + notes


def _chosen(data: str, task: str | None, named: dict[str, str]) -> tuple[str, Table, ChosenColumns]:
    """Return the task wanted, or the one the data looks made for, with the table as it reads it and its columns."""
    from weitiao.data.columns import choose_columns
    from weitiao.data.guess import guess_task
    from weitiao.data.table import laid_out, open_table

    if task is None:
        task = guess_task(open_table(data), named)
    kind = registry.get("task", task)
    if kind.Options.brings_data:
        raise WeitiaoError(f"a recipe for '{task}' names data for each of its tasks", where="--task",
                           fix="Start from recipes/multi-task.yaml.")  # fmt: skip
    table = open_table(data, layout=kind.layout, named=named)
    return task, table, choose_columns(table, kind.columns, laid_out(kind.layout, named), where="--columns")


def _renamed(table: Table, chosen: ChosenColumns, separator: str | None) -> Dataset:
    from weitiao.data.labels import rename
    from weitiao.recipe import DataSettings

    return rename(table, {"label": chosen.names["label"]}, DataSettings(train=table.name, label_separator=separator))


def _refuse_free_text(counts: dict[str, int], rows: int, chosen: ChosenColumns) -> None:
    if len(counts) > max(20, rows / 2):
        raise DataError(
            f"'{chosen.names['label']}' has {len(counts):,} different values in {rows:,} rows: these are no labels",
            where="--columns",
            fix="Name the column that holds the labels: --columns label=COLUMN",
        )


def _sorted(counts: dict[str, int]) -> dict[str, int]:
    """Labels as a run sorts them: numbers by value, then names."""

    def key(label: str) -> tuple[bool, float, str]:
        number = re.fullmatch(r"[-+]?\d+(\.\d+)?", label) is not None
        return (not number, float(label) if number else 0.0, label)

    return {label: counts[label] for label in sorted(counts, key=key)}


def _neighbours(data: str, chosen: ChosenColumns) -> tuple[dict[str, str], list[str]]:
    """Return split -> path of the validation and test data beside the training data, and notes on what was left out."""
    from weitiao.data.table import open_table

    found, notes = {}, []
    for split, path in _candidates(Path(data)).items():
        try:
            columns = open_table(path, limit=100).columns
        except WeitiaoError as error:
            notes.append(f"note: {path} is not used for {split}: {error.problem}")
            continue
        wanted = [name for value in chosen.names.values() for name in ([value] if isinstance(value, str) else value)]
        missing = [name for name in wanted if name not in columns]
        if missing:
            notes.append(f"note: {path} is not used for {split}: it has no column '{missing[0]}'")
        else:
            found[split] = path
    return found, notes


def _candidates(path: Path) -> dict[str, str]:
    """Return split -> file or folder whose name differs from the training data's in the split's name alone."""
    from weitiao.data.formats.detect import split_of, splits_in

    if path.is_dir():
        inside = splits_in(path)
        return {split: f"{path}/{split}" for split in ("validation", "test") if split in inside}
    if not path.is_file() or split_of(path.name) != "train":
        return {}
    found: dict[str, str] = {}
    for file in sorted(path.parent.iterdir()):
        split = split_of(file.name)
        if split in ("validation", "test") and file.is_file() and _besides_split(file) == _besides_split(path):
            found.setdefault(split, str(file))
    return found


def _besides_split(path: Path) -> tuple[list[str], str]:
    from weitiao.data.formats.detect import split_of

    words = [word for word in re.split(r"[^a-z]+", path.stem.lower()) if word and split_of(word) is None]
    return words, path.suffix.lower()


def seen_from(folder: Path, data: str) -> str:
    """Return a path as a recipe in `folder` must write it; what is no local path stays as it is."""
    path = Path(data)
    if path.is_absolute() or not path.exists():
        return data
    return Path(os.path.relpath(path, folder)).as_posix()


def moved(look: Look, old: Path, new: Path) -> Look:
    """Return what was seen for a recipe in another folder: local paths count from there."""

    def there(path: str) -> str:
        local = Path(os.path.normpath((old / path).absolute()))  # `old` may not be there yet
        return Path(os.path.relpath(local, new.resolve())).as_posix() if local.exists() else path

    return replace(look, train=there(look.train), neighbours={k: there(path) for k, path in look.neighbours.items()})


def texts_of(task: str, table: Table, chosen: ChosenColumns) -> Texts:
    """Look at a sample of the rows, spread over the table."""
    columns = registry.get("task", task).columns
    step = max(1, len(table.dataset) // SAMPLE)
    rows = table.dataset[::step] if len(table.dataset) else {}
    told: dict[bool, list[list[str]]] = {False: [], True: []}
    for column in columns:
        names = chosen.names.get(column.role)
        if names is None or column.kind not in ("text", "any", "dialogue") or not column.prose:
            continue
        for name in [names] if isinstance(names, str) else names:
            told[column.target].append([as_text(value, column) for value in rows.get(name, [])])
    read, written = (["\n".join(cells) for cells in zip(*told[side], strict=True)] for side in (False, True))
    given, unsure = languages_of(read)
    wanted, _ = languages_of(written)
    pair = f"{given[0]}-{wanted[0]}" if given and wanted and given[0] != wanted[0] else ""
    return Texts(
        tuple(map(letters_of, read)), tuple(map(letters_of, written)), tuple(dict.fromkeys([*given, *wanted])), pair,
        unsure,
    )  # fmt: skip
