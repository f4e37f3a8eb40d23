"""Argilla 2's JSON, as ``dataset.records.to_json`` writes it: a list of records with `fields`, `responses` by question
(a list of ``value`` and ``user_id``), `suggestions` by question, and `metadata`.

The question is called by the role of the answers. Users are told by UUIDs that mean something on that server alone:
those written here are made of the labellers' names, which stand in `metadata`, as does who ruled. A user has one
response to a question: that of who ruled is the ruling, what they had said before is left out.
"""  # fmt: skip

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from weitiao.artifacts.artifact import write_json
from weitiao.errors import DataError
from weitiao.labelling.acts import Answer
from weitiao.labelling.exchange.base import Labelled, cells_of, labelled
from weitiao.labelling.project import Project

BY, RULED = "labelled_by", "ruled_by"
USERS = uuid.uuid5(uuid.NAMESPACE_DNS, "labellers.weitiao")
AGENT = "weitiao"


class Argilla:
    """Records as Argilla exports and imports them."""

    name: ClassVar[str] = "argilla"
    suffix: ClassVar[str] = ".json"

    def write(self, path: Path, rows: Iterable[Labelled], project: Project) -> None:
        """Write all rows, what each labeller said, and the model's guess as a suggestion."""
        write_json(path, [_record(row, project) for row in rows])

    def read(self, record: Mapping[str, Any], project: Project, where: str) -> Labelled:
        """A record."""
        cells = cells_of(record.get("fields"), project, f"{where} (fields)")
        text = next(iter(cells.values()))
        responses = record.get("responses") or {}
        if not isinstance(responses, Mapping):
            raise DataError("holds no responses by question", where=f"{where} (responses)")
        place = f"{where} (responses.{project.target})"
        if responses and project.target not in responses:
            raise DataError(f"there is no question '{project.target}'", where=place,
                            fix=f"The questions are: {', '.join(responses)}. Call it {project.target}.")  # fmt: skip
        answers, users = [], []
        for response in responses.get(project.target, []):
            if not isinstance(response, Mapping) or "value" not in response:
                raise DataError("is no response", where=place, fix='It needs "value" and "user_id".')
            if response.get("status", "submitted") != "submitted":
                continue
            found = project.kind.read(_read(response["value"], project, place), text, place)
            if found is not None:
                answers.append(found)
                users.append(str(response.get("user_id")))
        metadata = record.get("metadata") or {}
        names = str(metadata.get(BY) or "").split(", ")
        names = names if len(names) == len(answers) and names[0] else users
        ruler = metadata.get(RULED)
        ruling = next((n for n, name in enumerate(names) if ruler and name in (ruler, _user(str(ruler)))), None)
        return labelled(cells, answers, names, ruling)


def _record(row: Labelled, project: Project) -> dict[str, Any]:
    answers, ruled = dict(row.answers), {}
    if row.settled is not None and row.settled.adjudicated:
        [ruler] = row.settled.by
        answers, ruled = answers | {ruler: row.settled.answer}, {RULED: ruler}
    given = [{"value": _value(answer, project), "user_id": _user(name), "status": "submitted"}
             for name, answer in answers.items()]  # fmt: skip
    guess = row.guess and {"value": _value(row.guess["answer"], project), "score": row.guess["confidence"],
                           "agent": AGENT}  # fmt: skip
    return {
        "id": row.id,
        "fields": {project.pool.columns[role]: text for role, text in row.cells.items()},
        "metadata": {BY: ", ".join(answers), **ruled},
        "suggestions": {project.target: guess} if guess else {},
        "responses": {project.target: given} if given else {},
        "vectors": {},
    }


def _user(name: str) -> str:
    return str(uuid.uuid5(USERS, name))


def _value(answer: Answer, project: Project) -> Answer:
    if project.kind.name != "spans":
        return answer
    return [{"start": span["start"], "end": span["end"], "label": span["type"]} for span in answer]


def _read(value: Any, project: Project, where: str) -> Any:
    if project.kind.name == "labels" and not isinstance(value, list):
        raise DataError(f"found {value!r}, not a list of labels", where=where)
    return value
