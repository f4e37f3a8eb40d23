"""What to label next, chosen in a process of its own: the model and the pool's vectors leave with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weitiao.labelling.project import AUTO, Project, read_project
from weitiao.labelling.state import State
from weitiao.sources.cache import write_synced
from weitiao.trials import ended

QUEUE = "queue.json"
LEAST = 100  # rows of a queue, so that labelling goes on while the next round trains
TIMES = 3  # rounds that a queue is long enough for
STRATEGIES: Mapping[str, str] = {  # of `auto`, by the kind of answer
    "label": "margin",
    "labels": "entropy",
    "spans": "mnlp",
    "text": "cluster-uncertain",
}


@dataclass(frozen=True)
class Queue:
    """Rows in the order in which they are to be labelled, and what the model guesses of them."""

    number: int = -1  # of the round that it came of
    strategy: str = "random"
    rows: Sequence[str] = ()  # ids
    guesses: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # id -> `Guess` as plain data


def read_queue(project: Project) -> Queue:
    """Return the queue of the newest round that has one; an empty one where there is none."""
    for folder in reversed(project.round_folders):
        try:
            return Queue(**json.loads((folder / QUEUE).read_text(encoding="utf-8")))
        except FileNotFoundError:
            continue
    return Queue()


def choose_queue(project: Project, state: State, number: int, artifact: Path | None) -> Queue:
    """Choose what to label next by a trained model, or without one; rows that somebody has labelled are left out."""
    from weitiao import acquisition

    ruled_out = [row.number for row in project.pool if state.standing(row.id) or state.ruling(row.id)]
    settings, left = project.settings, len(project.pool) - len(ruled_out)
    if not left:
        return Queue(number)
    strategy = STRATEGIES[project.kind.name] if settings.strategy == AUTO else settings.strategy
    chosen = acquisition.choose(
        project.recipe, project.pool.examples, ruled_out, strategy=settings.cold if artifact is None else strategy,
        artifact=artifact, seed=settings.seed + number, number=min(left, max(LEAST, TIMES * settings.every)),
        also=[_inputs(project, row) for row in project.seed("train")],
    )  # fmt: skip
    rows = [project.pool[number].id for number in chosen.rows]
    guesses = [project.kind.guess(each).to_dict() for each in chosen.guesses or ()]
    return Queue(number, chosen.strategy, rows, dict(zip(rows, guesses, strict=False)))


def _inputs(project: Project, row: Mapping[str, Any]) -> dict[str, Any]:
    return {role: row.get(role) or "" for role in project.pool.columns}


def main(_action: str, path: str, _how: str) -> int:
    """Choose for the round in a folder, and write its queue; its model is in `run`, if it trained one."""
    return ended(lambda: _choose(Path(path)))


def _choose(folder: Path) -> None:
    from weitiao import models

    project = read_project(folder.parents[1])
    artifact = folder / "run" / "artifact"
    with models.quiet():
        queue = choose_queue(project, project.state(), int(folder.name),
                             artifact if artifact.exists() else None)  # fmt: skip
    told = {"number": queue.number, "strategy": queue.strategy, "rows": list(queue.rows), "guesses": queue.guesses}
    write_synced(folder / QUEUE, json.dumps(told, ensure_ascii=False))
