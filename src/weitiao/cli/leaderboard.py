"""Runs that are there, compared: the part of `weitiao compare` that trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weitiao.evaluation.side_by_side import Leaderboard


def compare_runs(
    runs: Sequence[str], on: str | None, columns: Mapping[str, str], output: Path | None, *, quiet: bool, json_: bool
) -> None:
    """Compare runs and print what was found."""
    from weitiao import leaderboard
    from weitiao.cli import show

    board = leaderboard.compare_runs(runs, on=on, columns=dict(columns), output=output, show=not quiet)
    if json_:
        show.as_json(board.to_dict())
        return
    tell(board)


def tell(board: Leaderboard) -> None:
    """Print what a comparison of runs found."""
    from weitiao.cli import show
    from weitiao.evaluation.comparison_page import against_best, duration, megabytes, share
    from weitiao.leaderboard import PAGE
    from weitiao.metrics.words import spoken, written

    compared, rows = board.compared, []
    for row in compared.rows:
        one = row.attempts[0]
        found, told = against_best(row, compared)
        interval = [written(compared.score, end, unit=False) for end in (one.low, one.high) if end is not None]
        rows.append((
            ("* " if row.name == compared.recommended else "  ") + row.name, board.about[row.name],
            written(compared.score, one.score or 0.0), " to ".join(interval),
            f"{row.trainable:,} ({share(row)})" if row.trainable is not None else "–", megabytes(row.peak_memory),
            duration(row.seconds), megabytes(row.saved), "front" if row.name in board.front else "",
            f"{found} ({told})" if found else told,
        ))  # fmt: skip
    header = ("  run", "what", spoken(compared.score), "interval", "trains", "memory", "time", "to keep", "",
              "against the best")  # fmt: skip
    show.table(rows, header, right=(2, 4, 5, 6, 7))
    counts = board.counts
    about = (f"Of {compared.examples:,} examples of {compared.split} all have {counts['all right']:,} right, "
               f"none has {counts['none right']:,}; they disagree about {counts['apart']:,}.")  # fmt: skip
    show.conclusion([*compared.advice, about], compared.notes, page=Path(compared.folder) / PAGE)
