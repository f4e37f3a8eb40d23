"""The page of a comparison: one HTML file in the style of the report. What it tells is in `compared`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from weitiao.evaluation import charts
from weitiao.evaluation.compared import Compared, Row
from weitiao.evaluation.meanings import about
from weitiao.evaluation.page import page, write
from weitiao.evaluation.svg import number
from weitiao.evaluation.verdicts import Pair
from weitiao.metrics.words import in_points, scale, spoken, written

MARKS = {"better": "▲", "worse": "▼", "no difference": "≈", "not clear": "?"}
OPPOSITE = {"better": "worse", "worse": "better"}


def write_comparison(compared: Compared, path: Path) -> None:
    """Write the page to `path`, whole or not at all. Raises `OSError` where that cannot be done."""
    write(render(compared), path)


def render(compared: Compared) -> str:
    """Return the page as HTML."""
    return page("comparison.html.j2", **shown(compared))


def shown(compared: Compared) -> dict[str, Any]:
    """Return what the template shows, and those that extend it."""
    there = [row for row in compared.rows if row.mean is not None]
    taken = compared[compared.recommended] if compared.recommended else None
    return {
        "compared": compared,
        "taken": taken,
        "taken_score": written(compared.score, taken.mean) if taken and taken.mean is not None else "",
        "score": spoken(compared.score),
        "meaning": about(compared.score),
        "rows": [_row(row, compared) for row in compared.rows],
        "baselines": [_baseline(each, compared.score) for each in compared.baselines],
        "plot": _plot(compared),
        "pairs": [_cells(row, there, compared) for row in there],
        "verdicts": [f"{pair.first}: {pair.verdict}" for pair in compared.pairs],
        "one_seed": len(compared.seeds) == 1,
        "report": "report.html",
    }


# --- as people read it; the terminal shows the same


def spread(score: str, row: Row) -> str:
    """Return ``81.2% ± 0.4``: the mean over seeds and its standard deviation; ``–`` where there is no score."""
    if row.mean is None:
        return "–"
    return written(score, row.mean) + (f" ± {_size(score, row.sd)}" if row.sd is not None else "")


def megabytes(size: float | None) -> str:
    """Return bytes as ``1.2 MB`` or ``1.34 GB``; ``–`` for none."""
    if size is None:
        return "–"
    if size >= 1e9:
        return f"{size / 1e9:.2f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def duration(seconds: float | None) -> str:
    """Return seconds as ``0.4 s``, ``42 s``, ``3.4 min``, ``2.1 h``; ``–`` for none."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def share(row: Row) -> str:
    """Return the share of the parameters that are trained, with as many digits as it needs."""
    if not row.trainable or not row.parameters:
        return ""
    found = 100 * row.trainable / row.parameters
    return f"{found:.1f}%" if found >= 1 else f"{found:.2g}%"


def against_best(row: Row, compared: Compared) -> tuple[str, str]:
    """Return how a method compares with the best mean: the finding and the distance in words."""
    best = compared.rows[0]
    if row is best:
        return "", "the best mean"
    pair = compared.pair(best.name, row.name)
    if row.mean is None or pair is None:
        return "", ""
    return finding(pair, turned=True), _signed(compared.score, pair, turned=True)


def finding(pair: Pair, *, turned: bool) -> str:
    """Return what was found of the first (`turned`: the second) of a pair; ``not clear`` where the pair by itself would
    be told apart, but not as one of many.
    """  # fmt: skip
    if pair.finding == "no difference" and pair.low is not None and pair.high is not None:
        return "no difference" if pair.low <= 0 <= pair.high else "not clear"
    return OPPOSITE.get(pair.finding, pair.finding) if turned else pair.finding


# --- what the template shows


def _row(row: Row, compared: Compared) -> dict[str, Any]:
    score = compared.score
    found, told = against_best(row, compared)
    pair = compared.pair(compared.rows[0].name, row.name)
    return {
        "name": row.name,
        "below": f"rate {number(row.learning_rate)}" if row.learning_rate else "",
        "taken": row.name == compared.recommended,
        "pills": ["take this"] if row.name == compared.recommended else [],
        "score": spread(score, row),
        "seeds": "  ".join(written(score, value, unit=False) for value in row.scores) if len(row.scores) > 1 else "",
        "trainable": f"{row.trainable:,}" if row.trainable is not None else "–",
        "share": share(row),
        "memory": megabytes(row.peak_memory),
        "time": duration(row.seconds),
        "saved": megabytes(row.saved),
        "keeps": row.keeps if row.saved else "",
        "mark": MARKS.get(found, ""),
        "finding": found,
        "against": told,
        "interval": _interval(score, pair, turned=True) if pair and row.mean is not None else "",
        "out": row.mean is None,
        "why_not": row.why_not,
    }


def _baseline(reference: Any, score: str) -> dict[str, str]:
    ends = [written(score, end, unit=False) for end in (reference.low, reference.high) if end is not None]
    return {"name": reference.name, "score": written(score, reference.score), "interval": " – ".join(ends)}


def _plot(compared: Compared) -> Markup | None:
    score = compared.score
    rows = [
        charts.Spread(
            row.name, row.scores, spread(score, row), chosen=row.name == compared.recommended,
            ends=(row.mean - row.sd, row.mean + row.sd) if row.mean is not None and row.sd else (),
        )
        for row in compared.rows if row.scores
    ]  # fmt: skip
    if not rows:
        return None
    rows += [charts.Spread(b.name, [b.score], written(score, b.score), reference=True) for b in compared.baselines]
    return charts.spreads(rows, score)


def _cells(row: Row, there: list[Row], compared: Compared) -> dict[str, Any]:
    """A row of the table of pairs: this method against each other one, from its own side."""
    cells: list[dict[str, str] | None] = []
    for other in there:
        pair = compared.pair(row.name, other.name)
        if other is row or pair is None:
            cells.append(None)
            continue
        turned = pair.first != row.name
        found = finding(pair, turned=turned)
        cells.append({
            "mark": MARKS.get(found, "–"), "finding": found, "difference": _signed(compared.score, pair, turned),
            "title": f"{pair.first}: {pair.verdict}",
        })  # fmt: skip
    return {"name": row.name, "cells": cells}


def _signed(score: str, pair: Pair, turned: bool) -> str:
    factor, digits = scale(score, pair.difference)
    value = round(factor * (-pair.difference if turned else pair.difference), digits) + 0.0
    return f"{value:+,.{digits}f}".replace("-", "−")


def _interval(score: str, pair: Pair, turned: bool) -> str:
    if pair.low is None or pair.high is None:
        return ""
    factor, digits = scale(score, pair.difference)
    ends = (-pair.high, -pair.low) if turned else (pair.low, pair.high)
    low, high = (f"{round(factor * end, digits) + 0.0:+,.{digits}f}".replace("-", "−") for end in ends)
    return f"{low} to {high}" + (" points" if in_points(score) else "")


def _size(score: str, value: float) -> str:
    factor, digits = scale(score, value)
    return f"{factor * value:,.{digits}f}"
