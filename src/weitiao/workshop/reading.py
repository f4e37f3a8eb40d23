"""Data as the workshop reads it: parts of it (splits, or all), columns by their roles, each value as one text.

What a command is given is data (a file, a folder, a folder of splits) or a recipe that names them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import registry
from weitiao.data import ChosenColumns, Table, choose_columns, open_table, rename
from weitiao.data.arrow import arrow_batches, digest, fingerprint, select_rows
from weitiao.data.formats.detect import splits_in
from weitiao.data.guess import guess_separator, guess_task
from weitiao.data.keys import input_keys, mixed
from weitiao.data.made import Made
from weitiao.data.table import laid_out, locate
from weitiao.errors import DataError
from weitiao.recipe import DataSettings, Recipe
from weitiao.records import FILE, LINE, SPLITS, Column, Finding, SplitName

if TYPE_CHECKING:
    from datasets import Dataset

ALL = "data"  # the name of the only part, where data are not split
RECIPES = (".yaml", ".yml", ".toml")  # what ends so is a recipe; .json is data
Named = Mapping[str, str | list[str]]
Tell = Callable[[str, int, int], None]  # (what is done, how many of it, of how many)


@dataclass(frozen=True, eq=False)
class Part:
    """A split, or all rows: a data set with a column a role, `LINE` and `FILE`."""

    name: str
    dataset: Dataset
    columns: tuple[Column, ...]  # those that are there
    table: Table  # the same rows with all columns of the file
    names: Mapping[str, str | list[str]]  # role -> the file's column, or columns

    @cached_property
    def keys(self) -> np.ndarray:
        """`input_keys` of the rows."""
        return input_keys(self.dataset, self.columns)

    @property
    def inputs(self) -> tuple[Column, ...]:
        """The columns of text that a model reads."""
        return tuple(column for column in self.columns if _is_text(column) and not column.target)

    @property
    def targets(self) -> tuple[Column, ...]:
        """The columns of text that a model learns to write."""
        return tuple(column for column in self.columns if _is_text(column) and column.target)

    @property
    def label(self) -> Column | None:
        """The column of labels."""
        return next((column for column in self.columns if column.kind == "label"), None)

    def texts(self, columns: Sequence[Column], rows: np.ndarray | None = None) -> Iterator[list[list[str]]]:
        """Yield the texts of `columns` for some rows in order, a batch at a time: a list a column."""
        data = self.dataset if rows is None else select_rows(self.dataset, rows, digest(self.digest, rows.tobytes()))
        for batch in arrow_batches(data, [column.role for column in columns]):
            yield [[as_text(v, c) for v in batch.column(c.role).to_pylist()] for c in columns]

    def joined(self, columns: Sequence[Column], rows: np.ndarray | None = None) -> Iterator[list[str]]:
        """The same with the texts of a row as one, a line each."""
        for batch in self.texts(columns, rows):
            yield batch[0] if len(batch) == 1 else ["\n".join(row) for row in zip(*batch, strict=True)]

    def read(self, rows: np.ndarray) -> list[str]:
        """Return the texts that a model reads of some rows, in order."""
        return [text for batch in self.joined(self.inputs, rows) for text in batch]

    def sample(self, most: int, seed: int) -> np.ndarray:
        """Return the numbers of at most `most` rows, drawn by `seed`, in order."""
        rows = np.arange(len(self))
        if len(rows) <= most:
            return rows
        return np.sort(np.argsort(mixed(rows.astype(np.uint64), seed))[:most])

    def where(self, row: int) -> str:
        """Return where a row stands: ``reviews.csv:12``."""
        stands = self.dataset.select_columns([LINE, FILE])[int(row)]
        return f"{stands[FILE]}:{stands[LINE]}"

    @property
    def digest(self) -> str:
        """Stands for the rows and their columns."""
        return fingerprint(self.dataset)

    def __len__(self) -> int:
        return len(self.dataset)


@dataclass(frozen=True, eq=False)
class Opened:
    """What was opened, and how its columns were told."""

    task: str
    parts: list[Part]  # splits in their order, or all rows as one
    columns: ChosenColumns
    notes: list[Finding]  # what formats and columns leave to be checked
    separator: str | None = None  # what cuts label cells


def open_parts(
    source: str,
    *,
    task: str | None = None,
    named: Named | None = None,
    separator: str | None = None,
    labelled: bool = True,
    others: Mapping[SplitName, str] | None = None,
    base: Path = Path(),
) -> Opened:
    """Open a file or a folder; a folder that holds splits is opened as these.

    Without `labelled` only the columns that a model reads are opened. `task` is guessed from the columns where it is
    not given, and what cuts label cells from the cells. `others`: splits that stand elsewhere, `source` being train.
    Raises `SourceError` or `DataError` where the data cannot be read or a column that the task needs is not there.
    """
    named = named or {}
    path, inside = locate(source, base=base)
    splits = [inside] if inside else [split for split in SPLITS if split in splits_in(path)]
    first = open_table(source, base=base, split=splits[0] if splits else None)
    task = task or guess_task(first, named)
    kind = registry.get("task", task)
    columns = [column for column in kind.columns if labelled or not column.target]
    named = {role: name for role, name in named.items() if labelled or role in {column.role for column in columns}}
    asked: dict[str, str] = dict.fromkeys([*splits] if splits else ["train" if others else ALL], source)
    for split, other in (others or {}).items():
        asked[split] = other
    tables = {
        name: open_table(asked[name], base=base, split=_held(name, asked[name], base), layout=kind.layout, named=named)
        for name in sorted(asked, key=[*SPLITS, ALL].index)
    }
    first = next(iter(tables.values()))
    chosen = choose_columns(first, columns, laid_out(kind.layout, named))
    separator = separator or guess_separator(first, chosen)
    parts = [_part(name, table, chosen, columns, separator) for name, table in tables.items()]
    notes = [note for table in tables.values() for note in table.notes] + chosen.findings
    return Opened(task, parts, chosen, list(dict.fromkeys(notes)), separator)


def _held(name: str, source: str, base: Path) -> SplitName | None:
    """The split of that name, where a source holds several."""
    path, inside = locate(source, base=base)
    return inside or next((split for split in splits_in(path) if split == name), None)


@dataclass(frozen=True, eq=False)
class Given:
    """What a command of the workshop was given: data by a name, or a recipe that says where they are."""

    source: str
    settings: DataSettings
    task: str | None
    base: Path
    recipe: Recipe | None = None

    def made(self, command: str, opened: Opened, settings: Mapping[str, Any], notes: Sequence[str] = ()) -> Made:
        """Return what is to be told of new data that a command makes of what was opened."""
        before = Made.of(self.settings.train, self.base)
        return Made(
            command, self.source, opened.task, str(opened.columns), settings,
            notes=[*map(str, opened.notes), *notes], before=asdict(before) if before else None,
        )  # fmt: skip

    def with_settings(self, settings: DataSettings) -> Given:
        """Return the same with other settings."""
        return replace(self, settings=settings)

    def open(self, *, labelled: bool = True) -> Opened:
        """Open all that is named, as `open_parts` does."""
        others: dict[SplitName, str] = {}
        if self.settings.validation is not None:
            others["validation"] = self.settings.validation
        if self.settings.test is not None:
            others["test"] = self.settings.test
        return open_parts(
            self.settings.train, task=self.task, named=self.settings.columns, others=others,
            separator=self.settings.label_separator, labelled=labelled, base=self.base,
        )  # fmt: skip


def given(
    source: str | Path | Recipe, *, task: str | None = None, columns: Named | None = None, separator: str | None = None
) -> Given:
    """Read what a command was given. `task`, `columns` and `separator` go before those of a recipe.

    Raises `RecipeError` for a recipe that is none, and `DataError` for one whose tasks bring their own data.
    """
    own: dict[str, Any] = {"columns": dict(columns or {})} | ({"label_separator": separator} if separator else {})
    if not isinstance(source, Recipe) and not str(source).lower().endswith(RECIPES):
        return Given(str(source), DataSettings(train=str(source), **own), task, Path())
    recipe = source if isinstance(source, Recipe) else Recipe.read(source)
    if recipe.task.options.brings_data:
        raise DataError("its tasks name their own data", where="data", fix="Give the data of one of them.")
    settings = recipe.data.model_copy(update=own | {"columns": {**recipe.data.columns, **own["columns"]}})
    return Given(settings.train, settings, task or recipe.task.name, recipe.base, recipe)


def _part(name: str, table: Table, chosen: ChosenColumns, columns: Sequence[Column], separator: str | None) -> Part:
    kept = tuple(column for column in columns if column.role in chosen.names)
    settings = DataSettings(train=table.name, label_separator=separator)
    return Part(name, rename(table, chosen.names, settings, columns=kept), kept, table, chosen.names)


def _is_text(column: Column) -> bool:
    return column.kind in ("text", "any", "dialogue") and column.prose


# --- values as text


def as_text(value: Any, column: Column) -> str:
    """Return a cell as one text: lists item after item, a dialogue turn after turn, nothing as the empty text."""
    if value is None:
        return ""
    if column.kind == "dialogue":
        return "\n".join(content for _, content in turns(value))
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(as_text(each, column) for each in value)
    return json.dumps(value, ensure_ascii=False, default=str)


def turns(value: str | None) -> list[tuple[str, str]]:
    """Return a dialogue as (role, text) of each message; content in parts is joined, no content is the empty text."""
    found = []
    for message in json.loads(value) if value else []:
        content = message.get("content")
        if isinstance(content, list):
            content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        found.append((str(message.get("role", "")), str(content or "")))
    return found
