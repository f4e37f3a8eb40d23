"""A student measured beside its teachers: how large each is, and how fast on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from weitiao import models
from weitiao.artifacts.artifact import Artifact, open_artifact
from weitiao.artifacts.run_folder import Run
from weitiao.data import take_rows
from weitiao.evaluation.assess import Measured
from weitiao.evaluation.beside_teacher import BesideTeacher
from weitiao.events import Event, Timing
from weitiao.predictor import Predictor
from weitiao.preparation import Preparation
from weitiao.records import FILE, LINE
from weitiao.teachers import artifact_teachers, baseline_name

EXAMPLES = 256  # that the speed is measured on, at most
FIRST = 8  # of them that both answer beforehand, which says how many there is time for
SECONDS = 2.0  # that the slower of both may take for a turn
TURNS = 5
SLICE = 64  # examples that one answers before the other does: as many as are predicted together

Clock = Callable[[], float]


def beside_teachers(
    run: Run, ready: Preparation, measured: Measured, record: Callable[[Event], None],
    clock: Clock = time.perf_counter,
) -> list[BesideTeacher]:  # fmt: skip
    """Set a student, whose artifact has been saved, beside each of the recipe's teachers; nothing without any.

    Both are loaded as for anybody who predicts, and answer the same examples of the split `measured` in turns, so that
    what else the machine does slows both down.
    """
    if not (teachers := artifact_teachers(ready.recipe, ready.task)):
        return []
    found, device = [], ready.recipe.training.device
    with models.quiet():
        student, parameters = _loaded(artifact := open_artifact(run.artifact), device)
        examples = _examples(ready, measured.split)
        for named, other in teachers:
            record(Timing(teacher=named))
            teacher, theirs = _loaded(other, device)
            rates, count = in_turns([student.predict, teacher.predict], examples, clock)
            primary = measured.scores.primary
            scores = measured.baselines.get(baseline_name(named))
            score = scores.values.get(primary) if scores else None
            found.append(BesideTeacher(
                teacher=named, split=measured.split, score=primary if score else "",
                score_here=measured.scores.main if score else None, score_there=score.value if score else None,
                parameters_here=parameters, parameters_there=theirs,
                bytes_here=artifact.size, bytes_there=other.size, examples=count,
                precision_here=student.precision, precision_there=teacher.precision,
                rates_here=rates[0], rates_there=rates[1],
            ))  # fmt: skip
    return found


def in_turns(
    sides: Sequence[Callable[[Sequence[Any]], Any]], examples: Sequence[Any], clock: Clock
) -> tuple[list[list[float]], int]:
    """Return of each side its examples a second, turn by turn, and how many examples a turn had.

    Within a turn they take `SLICE` examples each in turns, too, so that what else the machine does falls on both; who
    begins changes. Before the first turn both have answered all: what is made on first use is made, and not counted.
    """
    first = examples[:FIRST]
    for side in sides:
        side(first)
    slowest = max(_seconds(side, first, clock) for side in sides)
    count = min(len(examples), max(len(first), int(SECONDS / max(slowest, 1e-9) * len(first))))
    chosen = examples[:count]
    for side in sides:
        side(chosen)
    rates: list[list[float]] = [[] for _ in sides]
    for turn in range(TURNS):
        taken = [0.0] * len(sides)
        for number, start in enumerate(range(0, count, SLICE)):
            for at in sorted(range(len(sides)), reverse=bool((turn + number) % 2)):
                taken[at] += _seconds(sides[at], chosen[start : start + SLICE], clock)
        for own, seconds in zip(rates, taken, strict=True):
            own.append(count / max(seconds, 1e-9))
    return rates, count


def _seconds(side: Callable[[Sequence[Any]], Any], examples: Sequence[Any], clock: Clock) -> float:
    began = clock()
    side(examples)
    return clock() - began


def _loaded(artifact: Artifact, device: str) -> tuple[Predictor, int]:
    """Ready to predict, and its number of parameters."""
    model = artifact.load_model()
    return Predictor(artifact, device=device, model=model), sum(each.numel() for each in model.parameters())


def _examples(ready: Preparation, split: Any) -> list[dict[str, Any]]:
    """Examples of a split, drawn by the seed of the data, as they are asked: from no file."""
    on = ready.labelled(split)
    on = on.sample(EXAMPLES, ready.recipe.data_seed)
    asked = take_rows(on.examples, on.rows)
    return [{name: value for name, value in each.items() if name not in (LINE, FILE)} for each in asked]
