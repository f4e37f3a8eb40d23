"""The page of a simulation: one HTML file in the style of the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from weitiao.acquisition.simulated import RANDOM, Course, Simulated, needed_in_words
from weitiao.evaluation import charts
from weitiao.evaluation.comparison_page import MARKS, duration, finding
from weitiao.evaluation.meanings import about
from weitiao.evaluation.page import page, write
from weitiao.evaluation.svg import form_of
from weitiao.evaluation.verdicts import Pair
from weitiao.metrics.words import spoken, written
from weitiao.probing.probed import signed


def write_simulation(found: Simulated, path: Path) -> None:
    """Write the page to `path`, whole or not at all. Raises `OSError` where that cannot be done."""
    write(render(found), path)


def render(found: Simulated) -> str:
    """Return the page as HTML."""
    first = next((course for course in found.courses if course.against is not None), found.courses[0])
    reach = _reach(found)
    return page(
        "simulation.html.j2",
        found=found,
        first=first,
        first_needed=needed_in_words(found, first),
        share=None if found.share(first) is None else f"{found.share(first):.0%}",
        score=spoken(found.score),
        meaning=about(found.score),
        target=written(found.score, found.target),
        courses=[course_row(course, found) for course in found.courses],
        plots=[(course.name, _plot(course, found, reach)) for course in found.courses
               if course.points and course.name != RANDOM],
        sizes=[{"labels": f"{size:,}", "scores": [_cell(course, place, found.score) for course in found.courses]}
               for place, size in enumerate(found.sizes)],
        verdicts=[f"{course.name}: {pair.verdict}" for course in found.courses if (pair := course.against)],
    )  # fmt: skip


def course_row(course: Course, found: Simulated) -> Mapping[str, Any]:
    """Return a strategy as people read it; the terminal shows the same."""
    score = found.score
    return {
        "name": course.name, "problem": course.problem,
        "last": written(score, course.points[-1].mean) if course.points else "–",
        "mean": written(score, course.mean) if course.mean is not None else "–",
        "against": _difference(score, course.against), "interval": _interval(score, course.against),
        "at_end": _difference(score, course.at_end),
        "finding": finding(course.against, turned=False) if course.against else "",
        "mark": MARKS.get(finding(course.against, turned=False), "") if course.against else "",
        "needed": needed_in_words(found, course) or "–", "time": duration(course.seconds),
    }  # fmt: skip


def _difference(score: str, pair: Pair | None) -> str:
    return "" if pair is None else signed(score, pair.difference)


def _interval(score: str, pair: Pair | None) -> str:
    if pair is None or pair.low is None or pair.high is None:
        return ""
    return f"{signed(score, pair.low)} to {signed(score, pair.high)}"


def _cell(course: Course, place: int, score: str) -> str:
    if not course.points:
        return "–"
    point = course.points[place]
    return written(score, point.mean) + (f" ± {signed(score, point.sd).lstrip('+')}" if point.sd is not None else "")


def _reach(found: Simulated) -> tuple[float, float]:
    """The range that all charts share."""
    ends = [end for course in found.courses for _, low, high in _band(course) for end in (low, high)]
    return min(ends), max(ends)


def _band(course: Course) -> list[tuple[float, float, float]]:
    """A standard deviation over seeds to each side."""
    return [(float(p.labels), p.mean - (p.sd or 0.0), p.mean + (p.sd or 0.0)) for p in course.points]


def _plot(course: Course, found: Simulated, reach: tuple[float, float]) -> Markup:
    """A strategy beside random."""
    lines = [
        charts.Line(each.name, [(float(point.labels), point.mean) for point in each.points], kind, dots=True)
        for each, kind in ((found[RANDOM], "other"), (course, "ours"))
    ]
    return charts.line_chart(lines, x_label="labels", y_form=form_of(found.score), band=_band(course), reach=reach)
