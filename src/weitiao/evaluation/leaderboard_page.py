"""The page of a comparison of runs. What it tells is in `side_by_side`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from weitiao.evaluation import charts
from weitiao.evaluation.comparison_page import duration, shown
from weitiao.evaluation.page import page, write
from weitiao.evaluation.side_by_side import Apart, Duel, Leaderboard
from weitiao.evaluation.svg import form_of
from weitiao.metrics.words import written

SHOWN = 40  # examples that runs disagree about
LONG = 400  # characters of a text from which on it is folded


def write_leaderboard(board: Leaderboard, path: Path) -> None:
    """Write the page to `path`, whole or not at all. Raises `OSError` where that cannot be done."""
    write(render(board), path)


def render(board: Leaderboard) -> str:
    """Return the page as HTML."""
    compared = board.compared
    values = shown(compared)
    for row, cells in zip(compared.rows, values["rows"], strict=True):
        one = row.attempts[0]
        cells["below"] = board.about.get(row.name, "")
        cells["pills"] += ["front"] if row.name in board.front else []
        if one.low is not None and one.high is not None:
            cells["seeds"] = f"{written(compared.score, one.low)} to {written(compared.score, one.high)}"
    return page(
        "leaderboard.html.j2", **{**values, "one_seed": True}, board=board, cost=_cost(board),
        tests=[_test(duel) for duel in board.duels], apart=[_apart(each, board) for each in board.apart[:SHOWN]],
        names=[row.name for row in compared.rows], longest=LONG,
    )  # fmt: skip


def _cost(board: Leaderboard) -> Markup | None:
    compared = board.compared
    known = [row for row in compared.rows if row.mean is not None and row.seconds]
    if len(known) < 2:
        return None
    dots = [charts.Dot(row.name, float(row.seconds or 0), float(row.mean or 0), row.name == compared.recommended)
            for row in known]  # fmt: skip
    sign = 1 if compared.greater_is_better else -1
    on_front = [(dot.x, dot.y) for dot in dots if not any(_beats(other, dot, sign) for other in dots)]
    return charts.by_cost(dots, on_front, x_label="time of training", x_form=duration, y_form=form_of(compared.score))


def _beats(other: charts.Dot, dot: charts.Dot, sign: int) -> bool:
    return other.x <= dot.x and sign * other.y >= sign * dot.y and (other.x, other.y) != (dot.x, dot.y)


def _test(duel: Duel) -> dict[str, Any]:
    odds = f"{duel.odds_ratio:.2f}" if duel.odds_ratio is not None else ""
    return {
        "names": f"{duel.first}, {duel.second}", "test": duel.test, "p": _p(duel.p_value),
        "adjusted": _p(duel.adjusted), "bootstrap": _p(duel.bootstrap_p), "odds": odds,
        "alone": f"{duel.only_first_right:,} / {duel.only_second_right:,}" if odds else "",
        "effect": f"{duel.effect} {duel.effect_size:+.2f}".replace("-", "−") if duel.effect_size is not None else "–",
    }  # fmt: skip


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _apart(each: Apart, board: Leaderboard) -> dict[str, Any]:
    return {
        "where": each.where, "given": each.given, "expected": ", ".join(each.expected),
        "answers": [
            {"name": row.name, "said": ", ".join(each.said[row.name]), "right": each.right[row.name] >= 1,
             "share": "" if each.right[row.name] in (0, 1) else f"{each.right[row.name]:.2f}"}
            for row in board.compared.rows
        ],
    }  # fmt: skip
