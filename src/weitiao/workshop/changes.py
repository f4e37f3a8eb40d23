"""New data beside what was there: a folder with a file a split, what changed row by row, and how it was made.

::

    reviews-clean/
      train.jsonl  validation.jsonl  test.jsonl     rows as they are now
      changes.jsonl                                 a line for each row that was changed, dropped or added, and the rule
      made.json                                     the command, its settings and source, and the sums
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from weitiao import __version__
from weitiao.data import dialogue
from weitiao.data.arrow import arrow_batches
from weitiao.data.made import MADE, Made
from weitiao.errors import DataError, WeitiaoError
from weitiao.records import FILE, LINE
from weitiao.sources.cache import publishing
from weitiao.workshop.reading import ALL, Part

CHANGES = "changes.jsonl"
FIRST = "train"  # the file's name where data are not split
FileFormat = Literal["jsonl", "csv"]
Action = Literal["changed", "dropped", "added"]
CHUNK = 1000  # rows written at once


@dataclass(frozen=True)
class Change:
    """One row that is not as it was, and why."""

    row: str  # ``reviews.csv:12``; of an added row the one it was made of
    split: str
    action: Action
    rule: str
    told: Mapping[str, Any] = field(default_factory=dict)  # such as column, before and after

    def to_dict(self) -> dict[str, Any]:
        """Return what stands in the file."""
        return {"row": self.row, "split": self.split, "action": self.action, "rule": self.rule, **self.told}


@dataclass(frozen=True, eq=False)
class NewPart:
    """A split as it is to be written: rows of a part, some with new cells."""

    name: str
    part: Part
    rows: np.ndarray  # int64: which rows of the part, in order; a row may come again
    cells: Mapping[int, Mapping[str, Any]]  # place in `rows` -> role -> new cell; none where a row stays as it was

    def counts(self) -> dict[str, int]:
        """Return how many rows it has, and had where it was there before."""
        before = {"before": len(self.part)} if self.name == self.part.name else {}
        return {**before, "after": len(self.rows)}


def check_target(folder: Path) -> None:
    """Raise a `WeitiaoError` where new data cannot be written to `folder`."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise WeitiaoError(f"{folder} is there already", where="--out", fix="Name a new folder, or remove it.")
    if not folder.absolute().parent.is_dir():
        raise WeitiaoError(f"the folder {folder.parent} does not exist", where="--out")


def write_data(
    folder: Path, parts: Sequence[NewPart], changes: Iterable[Change], made: Made, *, form: FileFormat = "jsonl"
) -> Made:
    """Write the folder, whole or not at all; return `made` with the sums. Raises as `check_target` does."""
    check_target(folder)
    if folder.exists():
        folder.rmdir()
    sums: dict[str, Counter[str]] = {}
    with publishing(folder) as inside:
        with (inside / CHANGES).open("w", encoding="utf-8") as file:
            for change in changes:
                sums.setdefault(change.rule, Counter())[change.action] += 1
                file.write(json.dumps(change.to_dict(), ensure_ascii=False) + "\n")
        for part in parts:
            name = FIRST if part.name == ALL else part.name
            _WRITERS[form](inside / f"{name}.{form}", part)
        rows = {part.name: part.counts() for part in parts}
        told = {rule: dict(counts) for rule, counts in sums.items()}
        made = replace(made, weitiao=__version__, rows=rows, changes=told)
        made.write(inside / MADE)
    return made


def form_for(parts: Sequence[Part]) -> FileFormat:
    """Return the format that new data has unless it is named: CSV where all of it is, else JSON Lines."""
    dialogues = any(column.kind == "dialogue" for part in parts for column in part.columns)
    tables = all(part.table.name.lower().endswith((".csv", ".tsv")) for part in parts)
    return "csv" if tables and not dialogues else "jsonl"


# --- rows


def records(part: NewPart) -> Iterator[dict[str, Any]]:
    """Yield each row with the file's own columns, in their order."""
    columns = _written(part.part)
    texts = {str(part.part.names[c.role]) for c in part.part.columns if c.prose and c.kind != "dialogue"}
    for start in range(0, len(part.rows), CHUNK):
        rows = part.rows[start : start + CHUNK]
        for place, record in enumerate(_read(part.part, rows, columns), start):
            for role, cell in part.cells.get(place, {}).items():
                name = _column(part.part, role)
                record[name] = _typed(cell, record[name])
            yield {name: _value(value, nested=name not in texts) for name, value in record.items()}


def _read(part: Part, rows: np.ndarray, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows as they stand in the file, in the order asked for."""
    chosen = part.table.dataset.select_columns(list(columns)).select(rows.tolist())
    found: list[dict[str, Any]] = []
    for batch in arrow_batches(chosen, list(columns)):
        found += batch.to_pylist()
    return found


def _written(part: Part) -> list[str]:
    """The columns that are kept: of dialogues the form that all are read as, not the one that they were in."""
    columns = part.table.columns
    if not any(column.kind == "dialogue" for column in part.columns):
        return columns
    forms = {name for names in dialogue.PARTS.values() for name in names} - {"messages", "tools"}
    return [name for name in columns if name.casefold() not in forms]


def _column(part: Part, role: str) -> str:
    name = part.names[role]
    if not isinstance(name, str):
        raise DataError(f"the role {role} is held by {len(name)} columns, which cannot be written", where=part.name,
                        fix="Put them into one column first.")  # fmt: skip
    return name


def _typed(cell: Any, before: Any) -> Any:
    """A new cell with numbers where there were numbers: roles hold them as text."""
    if isinstance(cell, list) and isinstance(before, list):
        return [_typed(each, before[0] if before else "") for each in cell]
    if isinstance(cell, str) and isinstance(before, int | float) and not isinstance(before, bool):
        return type(before)(cell)
    return cell


def _value(value: Any, *, nested: bool) -> Any:
    """A cell as JSON: what is kept as JSON text because it is nested, as what it is."""
    if nested and isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


# --- files


def _write_jsonl(path: Path, part: NewPart) -> None:
    with path.open("w", encoding="utf-8") as file:
        for record in records(part):
            file.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")


def _write_csv(path: Path, part: NewPart) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _written(part.part))
        writer.writeheader()
        for record in records(part):
            writer.writerow({name: _cell(value) for name, value in record.items()})


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


_WRITERS = {"jsonl": _write_jsonl, "csv": _write_csv}


def places(part: Part) -> Iterator[str]:
    """Yield where each row stands, in order."""
    for batch in arrow_batches(part.dataset, [FILE, LINE]):
        for file, line in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
            yield f"{file}:{line}"
