"""CSV and JSON Lines, as the project's recipe reads them: the pool's columns and one with the answer that holds."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from weitiao.errors import DataError
from weitiao.labelling.acts import Answer
from weitiao.labelling.exchange.base import UNNAMED, Labelled, cells_of
from weitiao.labelling.project import Project

BY = "labelled_by"


def target_column(project: Project) -> str:
    """Return the name of the answers' column: the recipe's, where it names one."""
    named = project.recipe.data.columns.get(project.target)
    return named if isinstance(named, str) and named not in project.pool.columns.values() else project.target


def _records(rows: Iterable[Labelled], project: Project) -> Iterator[tuple[dict[str, Any], Answer]]:
    """Rows whose answer is settled, without and with it."""
    for row in rows:
        if row.settled is not None:
            cells = {project.pool.columns[role]: text for role, text in row.cells.items()}
            yield {**cells, BY: ", ".join(row.settled.by)}, row.settled.answer


class _Table:
    """What both read."""

    def read(self, record: Mapping[str, Any], project: Project, where: str) -> Labelled:
        """A row of data; an empty answer is none."""
        cells = cells_of(record, project, where)
        target = target_column(project)
        cell = record.get(target if target in record else project.target)
        text = next(iter(cells.values()))
        answer = project.kind.read(_cut(cell, project), text, where)
        name = str(record.get(BY) or "").partition(",")[0].strip() or UNNAMED
        return Labelled(cells, {} if answer is None else {name: answer})


class JsonLines(_Table):
    """A row a line; lists stay lists."""

    name: ClassVar[str] = "jsonl"
    suffix: ClassVar[str] = ".jsonl"

    def write(self, path: Path, rows: Iterable[Labelled], project: Project) -> None:
        """Write the rows whose answer is settled."""
        with path.open("w", encoding="utf-8") as file:
            for cells, answer in _records(rows, project):
                record = {**cells, target_column(project): answer}
                file.write(json.dumps(record, ensure_ascii=False) + "\n")


class Csv(_Table):
    """A row a line; several labels of a row with a separator between, spans as JSON."""

    name: ClassVar[str] = "csv"
    suffix: ClassVar[str] = ".csv"

    def read(self, record: Mapping[str, Any], project: Project, where: str) -> Labelled:
        """A row of data; a file without a column of answers is none."""
        target = target_column(project)
        if target not in record and project.target not in record:
            raise DataError(f"has no '{target}'", where=where,
                            fix=f"The columns are: {', '.join(map(str, record))}.")  # fmt: skip
        return super().read(record, project, where)

    def write(self, path: Path, rows: Iterable[Labelled], project: Project) -> None:
        """Write the rows whose answer is settled."""
        target, separator = target_column(project), _separator(project)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [*project.pool.columns.values(), target, BY])
            writer.writeheader()
            for cells, answer in _records(rows, project):
                writer.writerow({**cells, target: _cell(answer, separator)})


def _separator(project: Project) -> str:
    return project.recipe.data.label_separator or "|"


def _cell(answer: Answer, separator: str) -> str:
    if not isinstance(answer, list):
        return str(answer)
    plain = all(isinstance(each, str) and separator not in each for each in answer)
    return separator.join(answer) if plain and answer else json.dumps(answer, ensure_ascii=False)


def _cut(cell: Any, project: Project) -> Any:
    """A cell of several labels as the list that it stands for."""
    if project.kind.name != "labels" or not isinstance(cell, str) or not cell.strip():
        return None if isinstance(cell, str) and not cell.strip() else cell
    if cell.strip().startswith("["):
        try:
            return json.loads(cell)
        except ValueError:
            pass
    return cell.split(_separator(project))
