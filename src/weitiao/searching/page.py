"""The page of a search: one HTML file in the style of the report. What it tells is in `searched`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from weitiao.evaluation import charts, svg
from weitiao.evaluation.comparison_page import duration
from weitiao.evaluation.meanings import about
from weitiao.evaluation.page import page, write
from weitiao.metrics.words import spoken, written
from weitiao.recipe import Dimension
from weitiao.searching.searched import Searched, State, Tried, ended, ordered, table
from weitiao.searching.space import names_of, told, value_told

KINDS = {"finished": "ours", "pruned": "faint", "same": "other"}  # of dots
BEST = "picked"
WORDS: dict[str, State] = {
    "came to their end": "finished", "stopped early": "pruned", "the same as another": "same", "failed": "failed",
    "not finished": "unfinished",
}  # fmt: skip


def write_search(searched: Searched, path: Path) -> None:
    """Write the page to `path`, whole or not at all. Raises `OSError` where that cannot be done."""
    write(render(searched), path)


def render(searched: Searched) -> str:
    """Return the page as HTML."""
    score, test = searched.score, searched.test
    rows, header = table(searched)
    names = names_of(list(searched.space))
    return page(
        "search.html.j2",
        searched=searched,
        score=spoken(score),
        meaning=about(score),
        figure=written(score, test.value if test else searched.validation),
        interval=[written(score, end, unit=False) for end in (test.low, test.high) if end is not None] if test else [],
        validation=written(score, searched.validation),
        baselines=[(name, written(score, value)) for name, value in searched.baselines.items()],
        settings=[(key, value_told(value)) for key, value in searched.values.items()],
        rows=[(row, trial.number, _run(trial)) for row, trial in zip(rows, ordered(searched), strict=True)],
        header=header,
        history=_history(searched),
        importance=charts.bars([(names[key], share, f"{share:.0%}") for key, share in searched.importance.items()]),
        parallel=_parallel(searched),
        slices=[(names[key], _slice(searched, key, names[key])) for key in searched.space],
        counts={word: count for word, state in WORDS.items() if (count := searched.count(state))},
        steps=f"{searched.steps:,}",
        spared=f"{searched.spared:.0%}",
        time=duration(searched.seconds),
        pruning=searched.pruning["name"],
    )


def _run(trial: Tried) -> str:
    return trial.runs[0] if trial.runs and trial.state == "finished" else ""


# --- charts


def _told(searched: Searched, trial: Tried) -> str:
    value = "" if trial.score is None else f"{written(searched.score, trial.score)}: "
    how = ended(trial)
    return f"trial {trial.number}: {value}{told(trial.point)}" + (f" ({how})" if how else "")


def _kind(searched: Searched, trial: Tried) -> str:
    return BEST if trial.number == searched.best else KINDS.get(trial.state, "faint")


def _scored(searched: Searched) -> list[Tried]:
    """Trials with a score, those that are to be seen best last."""
    there = [trial for trial in searched.trials if trial.score is not None]
    order = {"pruned": 0, "unfinished": 0, "same": 1, "finished": 2}
    return sorted(there, key=lambda trial: (trial.number == searched.best, order.get(trial.state, 0)))


def _history(searched: Searched) -> Markup:
    spots = [
        charts.Spot(trial.number, trial.score or 0.0, _told(searched, trial), _kind(searched, trial))
        for trial in _scored(searched)
    ]
    line: list[svg.Point] = []
    last = max(trial.number for trial in searched.trials)
    for number, best in searched.so_far():
        line += [(number, line[-1][1])] if line else []
        line.append((number, best))
    line.append((last, line[-1][1]))
    return charts.scatter(spots, x_label="trial", y_form=svg.form_of(searched.score), line=line)


def _scale(dimension: Dimension) -> tuple[Callable[[Any], float], list[tuple[float, str]]]:
    """How a dimension's values are laid out, and ticks."""
    if dimension.kind == "choices":
        choices = list(dimension.choices or [])
        return (lambda value: float(choices.index(value))), [(float(i), value_told(v)) for i, v in enumerate(choices)]
    low, high = dimension.ends
    if dimension.logarithmic:
        powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
        marks = [10.0**power for power in powers]
        marks = marks if len(marks) > 1 else [low, high]
        return math.log10, [(math.log10(mark), svg.number(mark)) for mark in marks]
    return float, [(mark, svg.number(mark)) for mark in svg.ticks(low, high)]


def _slice(searched: Searched, key: str, name: str) -> Markup | None:
    place, ticks = _scale(Dimension(**searched.space[key]))
    spots = [
        charts.Spot(place(trial.point[key]), trial.score or 0.0, _told(searched, trial), _kind(searched, trial))
        for trial in _scored(searched) if key in trial.point
    ]  # fmt: skip
    if not spots:
        return None
    return charts.scatter(spots, x_label=name, y_form=svg.form_of(searched.score), x_ticks=ticks)


def _parallel(searched: Searched) -> Markup | None:
    trials = [trial for trial in _scored(searched) if trial.state in ("finished", "pruned")]
    keys = list(searched.space)
    if len(trials) < 2 or len(keys) < 2:
        return None
    scores = [trial.score or 0.0 for trial in trials]
    low, high = min(scores), max(scores)
    uprights, places = [], []
    for key in keys:
        axis, found = _upright(key, searched, names_of(keys)[key])
        uprights.append(axis)
        places.append(found)
    ends = [(0.0, written(searched.score, low)), (1.0, written(searched.score, high))]
    uprights.append(charts.Upright(spoken(searched.score), ends))
    strands = []
    for trial in trials:
        share = ((trial.score or 0.0) - low) / (high - low) if high > low else 1.0
        good = share if searched.greater_is_better else 1 - share
        at = [found(trial.point[key]) if key in trial.point else None
              for key, found in zip(keys, places, strict=True)]  # fmt: skip
        picked = trial.number == searched.best
        strands.append(charts.Strand([*at, share], _told(searched, trial), BEST if picked else "ours",
                                     1.0 if picked else 0.08 + 0.6 * good**2))  # fmt: skip
    return charts.parallel(uprights, strands)


def _upright(key: str, searched: Searched, name: str) -> tuple[charts.Upright, Callable[[Any], float]]:
    dimension = Dimension(**searched.space[key])
    place, ticks = _scale(dimension)
    ends: Sequence[float]
    if dimension.kind == "choices":
        ends = (0.0, float(max(len(dimension.choices or []) - 1, 1)))
    else:
        ends = tuple(place(end) for end in dimension.ends)
        ticks = [(place(end), svg.number(end)) for end in dimension.ends]
    low, high = ends

    def share(value: float) -> float:
        return (value - low) / (high - low)

    return charts.Upright(name, [(share(at), word) for at, word in ticks]), lambda value: share(place(value))
