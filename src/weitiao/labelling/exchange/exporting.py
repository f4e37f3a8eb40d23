"""What was labelled, as a file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from weitiao.errors import WeitiaoError
from weitiao.labelling.choosing import read_queue
from weitiao.labelling.exchange.base import Labelled
from weitiao.labelling.exchange.formats import format_called
from weitiao.labelling.project import Project
from weitiao.labelling.state import State


def export(project: Project, out: Path, form: str) -> Counter[str]:
    """Write what was labelled to a new file; return how many rows are ``settled``, ``disputed`` (labellers differ, and
    nobody ruled: they have no answer) and in other states.

    ``csv`` and ``jsonl`` hold the rows that have an answer, adjudicated or the majority's; ``label-studio`` and
    ``argilla`` what each labeller said of each row. Raises `WeitiaoError` where the file is there already.
    """  # fmt: skip
    format = format_called(form)
    if out.exists():
        raise WeitiaoError(f"{out} is there already", where="--out", fix="Name a new file.")
    state = project.state()
    counts: Counter[str] = Counter()
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        format.write(part, _rows(project, state, counts), project)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return counts


def _rows(project: Project, state: State, counts: Counter[str]) -> Iterator[Labelled]:
    queue = read_queue(project)
    for row in project.pool:
        standing = state.standing(row.id)
        settled = state.settled(row.id)
        if not standing and settled is None:
            continue
        counts["settled" if settled else "disputed" if state.is_disputed(row.id) else "skipped or unsure"] += 1
        given = [act.guess for act in standing.values() if act.guess]
        skipped = [name for name, act in standing.items() if act.act != "label"]
        guess = given[0] if given else queue.guesses.get(row.id)
        yield Labelled(row.cells, state.answers(row.id), settled, skipped, guess, row.id)
