"""Label Studio's JSON: a list of tasks with `data`, `annotations` and `predictions`.

An annotation holds `result`, a list of regions with `from_name`, `to_name`, `type` and `value`: ``choices`` of
`choices`, ``start``, ``end`` and ``labels`` of `labels`, ``text`` of `textarea`. Who annotated is told by a number that
means something on that server alone; names of labellers here are in the task's `meta`. A ruling is an annotation that
is the `ground_truth`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from weitiao.artifacts.artifact import write_json
from weitiao.errors import DataError
from weitiao.labelling.acts import Answer
from weitiao.labelling.exchange.base import Labelled, cells_of, labelled
from weitiao.labelling.project import Project

TYPES: Mapping[str, str] = {"label": "choices", "labels": "choices", "spans": "labels", "text": "textarea"}


class LabelStudio:
    """Tasks as Label Studio exports and imports them."""

    name: ClassVar[str] = "label-studio"
    suffix: ClassVar[str] = ".json"

    def write(self, path: Path, rows: Iterable[Labelled], project: Project) -> None:
        """Write all rows, what each labeller said, and the model's guess as a prediction."""
        write_json(path, [_task(row, project) for row in rows])

    def read(self, record: Mapping[str, Any], project: Project, where: str) -> Labelled:
        """A task."""
        cells = cells_of(record.get("data"), project, f"{where} (data)")
        text = next(iter(cells.values()))
        answers, ruling = list[Answer](), None
        annotations = record.get("annotations") or []
        for number, annotation in enumerate(annotations):
            place = f"{where} (annotations[{number}])"
            if not isinstance(annotation, Mapping) or not isinstance(annotation.get("result", []), list):
                raise DataError("is no annotation", where=place, fix='It needs a list as "result".')
            if annotation.get("was_cancelled"):
                continue
            found = _answer(annotation.get("result", []), project, text, place)
            if found is None:
                continue
            if annotation.get("ground_truth") is True and ruling is None:
                ruling = len(answers)
            answers.append(found)
        meta = record.get("meta") if isinstance(record.get("meta"), Mapping) else {}
        names = meta.get("annotators") if meta else None
        return labelled(cells, answers, names if isinstance(names, list) else [], ruling)


def _task(row: Labelled, project: Project) -> dict[str, Any]:
    text = next(iter(row.cells.values()))
    task: dict[str, Any] = {
        "data": {project.pool.columns[role]: text for role, text in row.cells.items()},
        "meta": {"row": row.id, "annotators": list(row.answers)},
        "annotations": [
            *({"result": _results(answer, project, text), "was_cancelled": False} for answer in row.answers.values()),
            *({"result": [], "was_cancelled": True} for _ in row.skipped),
        ],
    }  # fmt: skip
    if row.settled is not None and row.settled.adjudicated:
        task["annotations"].insert(0, {"result": _results(row.settled.answer, project, text), "was_cancelled": False,
                                       "ground_truth": True})  # fmt: skip
        task["meta"]["annotators"] = [*row.settled.by, *row.answers]
    if row.guess is not None:
        prediction = {"model_version": "weitiao", "result": _results(row.guess["answer"], project, text)}
        score = row.guess["confidence"]
        task["predictions"] = [prediction | ({} if score is None else {"score": score})]
    return task


def _results(answer: Answer, project: Project, text: str) -> list[dict[str, Any]]:
    type = TYPES[project.kind.name]
    of = {"from_name": project.target, "to_name": next(iter(project.pool.columns)), "type": type}
    if type == "labels":
        return [{**of, "id": f"span{number}", "value": {
            "start": span["start"], "end": span["end"], "text": text[span["start"] : span["end"]],
            "labels": [span["type"]]}} for number, span in enumerate(answer)]  # fmt: skip
    value: dict[str, Any] = {"text": [answer]} if type == "textarea" else {
        "choices": answer if isinstance(answer, list) else [answer]}  # fmt: skip
    return [{**of, "value": value}]


def _answer(results: Sequence[Any], project: Project, text: str, where: str) -> Answer | None:
    """The answer of an annotation's regions of the type that is asked for here; None where there are none at all."""
    type = TYPES[project.kind.name]
    values: list[Mapping[str, Any]] = []
    for number, region in enumerate(results):
        if not isinstance(region, Mapping) or not isinstance(region.get("value"), Mapping):
            raise DataError("is no region", where=f"{where}.result[{number}]", fix='It needs "type" and "value".')
        if region.get("type") == type:
            values.append(region["value"])
    if results and not values:
        raise DataError(f"has no region of the type {type}", where=where,
                        fix=f"There is: {', '.join(str(region.get('type')) for region in results)}.")  # fmt: skip
    if type == "labels":
        return project.kind.read([_span(value, where) for value in values], text, where)
    given = [each for value in values for each in _listed(value.get("text" if type == "textarea" else type), where)]
    if project.kind.name == "labels":
        return given
    if len(given) > 1:
        raise DataError(f"holds {len(given)} answers", where=where, fix="Each row has one here.")
    return given[0] if given else None


def _span(value: Mapping[str, Any], where: str) -> dict[str, Any]:
    labels = _listed(value.get("labels"), where)
    if len(labels) != 1:
        raise DataError(f"a span has {len(labels)} labels", where=where, fix="Each has one here.")
    return {"start": value.get("start"), "end": value.get("end"), "type": labels[0]}


def _listed(value: Any, where: str) -> list[str]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise DataError(f"found {value!r}, not a list of texts", where=where)
    return listed
