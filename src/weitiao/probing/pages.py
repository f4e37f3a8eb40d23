"""The pages of a probe and of a learning curve: one HTML file each, in the style of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from weitiao.evaluation import charts
from weitiao.evaluation.comparison_page import MARKS, duration, finding, share, spread
from weitiao.evaluation.meanings import about
from weitiao.evaluation.page import page, write
from weitiao.evaluation.svg import form_of
from weitiao.metrics.words import figure, spoken, written
from weitiao.probing.learned import LearningCurve
from weitiao.probing.probed import Probed, Round, Standing, Transfer, interval, listed, signed


def write_probe(probed: Probed, path: Path) -> None:
    """Write the page to `path`, whole or not at all. Raises `OSError` where that cannot be done."""
    write(render_probe(probed), path)


def write_curve(curve: LearningCurve, path: Path) -> None:
    """Write the page to `path`, whole or not at all. Raises `OSError` where that cannot be done."""
    write(render_curve(curve), path)


# --- a probe


def render_probe(probed: Probed) -> str:
    """Return the page of a probe as HTML."""
    taken = probed[probed.recommended] if probed.recommended else None
    return page(
        "probe.html.j2",
        probed=probed,
        taken=taken,
        taken_score=written(probed.score, taken.row.mean) if taken and taken.row.mean is not None else "",
        score=spoken(probed.score),
        meaning=about(probed.score),
        standings=[standing(each, probed) for each in probed.standings],
        plot=_estimates(probed),
        models=[transfer(each) for each in probed.models],
        linear_score=next((spoken(each.linear.score) for each in probed.models if each.linear), ""),
        rounds=[_round(number, each) for number, each in enumerate(probed.rounds, 1)],
        baselines=[{"name": each.name, "score": written(probed.score, each.score),
                    "interval": interval(probed.score, each.low, each.high)} for each in probed.baselines],
        verdicts=[f"{pair.first}: {pair.verdict}" for pair in probed.pairs],
        used=duration(probed.seconds),
    )  # fmt: skip


def standing(each: Standing, probed: Probed) -> dict[str, Any]:
    """Return a candidate as people read it; the terminal shows the same."""
    score, row, pair = probed.score, each.row, each.against
    found = "" if pair is None else finding(pair, turned=True)
    first = each.rung is not None and pair is None
    return {
        "name": each.name, "taken": each.name == probed.recommended, "out": row.mean is None, "why_not": row.why_not,
        "score": spread(score, row), "interval": interval(score, each.low, each.high),
        "seeds": "  ".join(written(score, value, unit=False) for value in row.scores) if len(row.scores) > 1 else "",
        "rows": f"{each.rows:,}" if each.rows else "–", "final": each.in_final,
        "mark": MARKS.get(found, ""), "finding": found,
        "against": "the best" + ("" if each.in_final else " of its rung") if first else
                   "" if pair is None else signed(score, -pair.difference),
        "trains": f"{row.trainable:,}" if row.trainable else "–", "share": share(row), "time": duration(row.seconds),
    }  # fmt: skip


def transfer(each: Transfer) -> dict[str, Any]:
    """Return what a model's frozen features tell as people read it; the terminal shows the same."""
    linear = each.linear
    return {
        "name": each.model, "source": each.source, "problem": each.problem,
        "linear": written(linear.score, linear.value) if linear else "–",
        "interval": interval(linear.score, linear.low, linear.high) if linear else "",
        "log_me": "–" if each.log_me is None else f"{each.log_me:.3f}",
        "h_score": "–" if each.h_score is None else figure(each.h_score, 2),
        "width": "–" if each.width is None else f"{each.width:,}",
        "examples": "–" if each.examples is None else f"{each.examples:,}",
    }  # fmt: skip


def _estimates(probed: Probed) -> Markup | None:
    """The candidates of the deciding rung with their intervals, beside the baselines."""
    rows = [charts.Estimate(each.name, each.row.mean, each.low, each.high, ours=each.name == probed.recommended)
            for each in probed.standings if each.in_final and each.row.mean is not None]  # fmt: skip
    if not any(row.ours for row in rows):
        return None
    rows += [charts.Estimate(each.name, each.score, each.low, each.high) for each in probed.baselines]
    return charts.estimates(rows, probed.score)


def _round(number: int, each: Round) -> dict[str, Any]:
    return {
        "number": number, "rows": f"{each.rows:,}", "entrants": len(each.entrants), "names": listed(each.entrants),
        "epochs": f"× {each.stretch:g}" if each.stretch != 1 else "as in the recipe",
        "seeds": len(each.seeds) if each.seeds else f"part of {len(each.planned_seeds)}",
        "unfinished": listed(each.unfinished) if each.unfinished else "",
    }  # fmt: skip


# --- a learning curve


def render_curve(curve: LearningCurve) -> str:
    """Return the page of a learning curve as HTML."""
    last, twice = curve.points[-1], curve.ahead[0]
    return page(
        "curve.html.j2",
        curve=curve,
        score=spoken(curve.score),
        meaning=about(curve.score),
        now=written(curve.score, last.mean),
        twice={"value": written(curve.score, twice.value), "interval": interval(curve.score, twice.low, twice.high)},
        plot=_growth(curve),
        points=[
            {"rows": f"{point.rows:,}", "score": written(curve.score, point.mean), "fitted": point.fitted,
             "sd": "" if point.sd is None else signed(curve.score, point.sd).lstrip("+"),
             "each": "  ".join(written(curve.score, value, unit=False) for value in point.scores)}
            for point in curve.points
        ],
        ahead=[
            {"rows": f"{each.rows:,}", "times": each.times, "score": written(curve.score, each.value),
             "interval": interval(curve.score, each.low, each.high), "gain": signed(curve.score, each.gain),
             "gains": f"{signed(curve.score, each.gain_low)} to {signed(curve.score, each.gain_high)}"}
            for each in curve.ahead
        ],
        formula=formula(curve),
    )  # fmt: skip


def formula(curve: LearningCurve) -> str:
    """Return the fitted law with its numbers."""
    law, sign = curve.law, "−" if curve.greater_is_better else "+"
    return f"{law['a']:.4g} {sign} {law['b']:.3g} · (n / {law['N']:,.0f})^−{law['c']:.2g}"


def _growth(curve: LearningCurve) -> Markup:
    points = [(float(point.rows), point.scores) for point in curve.points]
    marks = [*(float(point.rows) for point in curve.points), *(float(each.rows) for each in curve.ahead)]
    return charts.growth(points, curve.band, known_to=curve.law["N"], marks=marks, x_label="training rows",
                         y_form=form_of(curve.score))  # fmt: skip
