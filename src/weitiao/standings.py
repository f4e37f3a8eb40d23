"""Runs in order of their scores, those of the same data and score together; nothing is trained or predicted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from weitiao.artifacts.run_folder import Run
from weitiao.evaluation.compare import Finding
from weitiao.evaluation.verdicts import DRAWN, Drawn, compare_with_first, read_drawn
from weitiao.metrics.words import greater_is_better

By = Literal["score", "time", "memory"]


@dataclass(frozen=True)
class Standing:
    """A run among those that were measured on the same examples of test, or validation, by the same score."""

    run: Run
    data: str  # stands for the examples, as they were split
    best: bool  # by the score
    finding: Finding | None = None  # against the best one, over the examples; None of the best itself
    verdict: str = ""


def standings(runs: Sequence[Run], by: By = "score") -> list[list[Standing]]:
    """Return the finished runs in groups of the same task, data and score, each sorted; the group of the newest first.

    What is not distinguishable from the best of its group is told where both keep their scores on the same bootstrap
    samples, which models with another tokenizer may not.
    """
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        data = _data(run)
        if run.status == "finished" and run.score is not None and run.primary and data:
            groups.setdefault((run.task, run.primary, data), []).append(run)
    return [_ordered(_judged(data, members), by) for (_, _, data), members in groups.items()]


def _data(run: Run) -> str:
    """What stands for the examples that a run was trained and measured on; "" where its artifact is gone."""
    try:
        stored = json.loads((run.artifact / "weitiao" / "task.json").read_text(encoding="utf-8"))
        return str(stored["examples"])[:8]
    except (OSError, ValueError, KeyError):
        return ""


def _judged(data: str, runs: Sequence[Run]) -> list[Standing]:
    sign = -1 if greater_is_better(str(runs[0].primary)) else 1
    best, *others = sorted(runs, key=lambda run: sign * (run.score or 0.0))
    drawn = {str(run.folder): kept for run in (best, *others) if (kept := _drawn(run)) is not None}
    ours = drawn.get(str(best.folder))
    alike = {
        name: [each] for name, each in drawn.items() if ours and (each.which, each.score) == (ours.which, ours.score)
    }
    pairs = compare_with_first(alike, best.recipe.evaluation.confidence) if len(alike) > 1 else []
    told = {pair.second: pair for pair in pairs}
    found = [Standing(best, data, best=True)]
    for run in others:
        pair = told.get(str(run.folder))
        if pair is None:
            verdict = f"not tested: `weitiao compare {best.id} {run.id}` does"
            found.append(Standing(run, data, best=False, finding="not tested", verdict=verdict))
            continue
        finding: Finding = {"better": "worse", "worse": "better"}.get(pair.finding, pair.finding)  # type: ignore[assignment]
        found.append(Standing(run, data, best=False, finding=finding, verdict=f"{best.id}: {pair.verdict}"))
    return found


def _drawn(run: Run) -> Drawn | None:
    try:
        return read_drawn(run.folder / DRAWN).get("")
    except (OSError, ValueError, TypeError):
        return None


def _ordered(group: list[Standing], by: By) -> list[Standing]:
    if by == "score":
        return group
    return sorted(group, key=lambda each: _cost(each.run, by))


def _cost(run: Run, by: By) -> float:
    cost = run.seconds if by == "time" else run.peak_memory
    return float("inf") if cost is None else cost
