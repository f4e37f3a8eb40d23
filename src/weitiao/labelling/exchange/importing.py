"""Labels from a file into a project, all or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from weitiao import registry
from weitiao.data.formats.detect import format_of
from weitiao.errors import DataError, nearest
from weitiao.labelling.acts import Act, checked_name
from weitiao.labelling.exchange.base import UNNAMED
from weitiao.labelling.exchange.formats import format_called
from weitiao.labelling.pool import row_digest
from weitiao.labelling.project import Project
from weitiao.labelling.state import State

IMPORTER = "import"  # who adds labels that a file brings
READ_AS = {"csv": None, "jsonl": "jsonl", "label-studio": "json", "argilla": "json"}


@dataclass(frozen=True)
class Imported:
    """What came of it."""

    answers: int
    elsewhere: int  # rows with an answer that are not in the pool
    empty: int  # rows without an answer
    known: int  # answers that had been imported before
    new_labels: Sequence[str] = ()


def import_labels(
    project: Project, file: Path, form: str, *, annotator: str | None = None, add_labels: bool = False
) -> Imported:
    """Take the answers and rulings of a file over as `annotator` gave them, or as the file says. Rows are known by
    their texts.

    All are kept or none; the same file again adds nothing. Raises `DataError` with file and line for what is no row of
    the format, an answer that is none, or, without `add_labels`, a label that is not known.
    """
    format, kind = format_called(form), project.kind
    known = list(dict.fromkeys([*project.labels, *project.state().labels]))
    labels, acts, counts = list(known), list[Act](), {"elsewhere": 0, "empty": 0}
    there, seen = project.pool.by_id, Counter[str]()  # how often each text came
    for where, record in _records(file, form):
        labelled = format.read(record, project, where)
        said = labelled.said()
        if not said:
            counts["empty"] += 1
            continue
        digest = row_digest(labelled.cells)
        row = f"{digest}-{seen[digest]}" if f"{digest}-{seen[digest]}" in there else digest
        seen[digest] += 1
        if row not in there:
            counts["elsewhere"] += 1
            continue
        people = {name for _, name, _ in said}
        for act, name, answer in said:
            if kind.labelled:
                _check_labels(kind.labels_in(answer), labels, where, add_labels)
            kept, who = kind.checked(answer, there[row].text, labels, where), _name(name, annotator, people)
            acts.append(Act(act, who, row, answer=kept, source=file.name,
                            id=_id(act, file.name, row, who, repr(kept))))  # fmt: skip
    if not acts and counts["elsewhere"]:
        raise DataError("none of its rows is in the pool", where=file.name,
                        fix=f"Its texts have to be those of {project.pool.source}, to the character.")  # fmt: skip
    return _kept(project, acts, labels[len(known) :], counts)


def _kept(project: Project, acts: list[Act], added: list[str], counts: dict[str, int]) -> Imported:
    log, state = project.log, State()
    new: list[Act] = []

    def make(news: Sequence[Act]) -> list[Act]:
        state.add(news)
        missing = [label for label in added if label not in state.labels]
        new.extend(act for act in acts if act.id not in state.seen)
        return [*(Act("new-label", IMPORTER, answer=label) for label in missing), *new] if new else []

    if acts:
        log.append(make)
    return Imported(len(new), counts["elsewhere"], counts["empty"], len(acts) - len(new), added if new else ())


def _records(file: Path, form: str) -> Iterator[tuple[str, Any]]:
    """Each record of a file with where it stands."""
    if not file.is_file():
        raise DataError("there is no such file", where=str(file))
    reading = READ_AS[form]
    found = registry.get("format", reading) if reading else format_of(file)
    for number, record in found.read(file):
        yield f"{file.name}:{number}", record


def _check_labels(given: Sequence[Any], labels: list[str], where: str, add: bool) -> None:
    for label in given:
        if label in labels:
            continue
        if not add or not isinstance(label, str):
            raise DataError(f"unknown label {label!r}", where=where,
                            fix=f"{nearest(str(label), labels)} --add-labels takes new ones over.")  # fmt: skip
        labels.append(checked_name(label, where))


def _name(name: str, annotator: str | None, people: Collection[str]) -> str:
    if annotator is None:
        return checked_name(name, "annotator")
    given = checked_name(annotator, "--as")
    return given if len(people) == 1 or name == UNNAMED else checked_name(f"{given} {name}", "--as")


def _id(*parts: str) -> str:
    return blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
