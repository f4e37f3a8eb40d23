"""What goes out of a project and comes into one: rows with the answers that labellers gave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from weitiao.errors import DataError
from weitiao.labelling.acts import Answer, Kind
from weitiao.labelling.project import Project
from weitiao.labelling.state import Settled

UNNAMED = "imported"  # a labeller of whom a file tells nothing


@dataclass(frozen=True)
class Labelled:
    """A row with all that was said of it."""

    cells: Mapping[str, str]  # role -> text, of what a model reads
    answers: Mapping[str, Answer] = field(default_factory=dict)  # annotator -> answer
    settled: Settled | None = None  # going out: what holds
    skipped: Sequence[str] = ()  # annotators
    guess: Mapping[str, Any] | None = None  # going out: the model's
    id: str = ""
    ruled: tuple[str, Answer] | None = None  # coming in: who ruled, and the answer that holds

    def said(self) -> list[tuple[Kind, str, Answer]]:
        """Coming in: all that was said of it, with who said it; the ruling last."""
        said: list[tuple[Kind, str, Answer]] = [("label", name, answer) for name, answer in self.answers.items()]
        if self.ruled is not None:
            said.append(("adjudicate", *self.ruled))
        return said


class Exchange(Protocol):
    """A format: one class in a file of its own."""

    name: ClassVar[str]
    suffix: ClassVar[str]

    def write(self, path: Path, rows: Iterable[Labelled], project: Project) -> None:
        """Write rows to a file that is not there yet."""

    def read(self, record: Mapping[str, Any], project: Project, where: str) -> Labelled:
        """Return what a record of a file tells, answers not checked yet; a `DataError` at `where` for one that tells
        nothing of such a row.
        """  # fmt: skip


def cells_of(values: Any, project: Project, where: str) -> dict[str, str]:
    """Return role -> text of a record's values, which stand under the pool's column names or under the roles."""
    if not isinstance(values, Mapping):
        raise DataError("holds no texts", where=where, fix=f"It needs: {', '.join(project.pool.columns.values())}.")
    cells = {}
    for role, column in project.pool.columns.items():
        name = column if column in values else role
        if name not in values:
            raise DataError(f"has no '{column}'", where=where,
                            fix=f"The columns are: {', '.join(map(str, values))}.")  # fmt: skip
        cells[role] = "" if values[name] is None else str(values[name])
    return cells


def labelled(cells: Mapping[str, str], answers: Sequence[Answer], names: Sequence[str], ruling: int | None) -> Labelled:
    """Return what came in of a row: answers in the file's order, of which the one with the number `ruling` rules.

    Labellers without a name are numbered.
    """
    if len(names) != len(answers):
        names = [UNNAMED if len(answers) == 1 else f"{UNNAMED}-{number}" for number in range(1, len(answers) + 1)]
    given = list(zip(names, answers, strict=True))
    ruled = None if ruling is None else given.pop(ruling)
    return Labelled(cells, dict(given), ruled=ruled)
