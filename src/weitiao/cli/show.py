"""What commands print for people: tables and facts on standard output, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from weitiao.data.made import Made
from weitiao.metrics.words import figure
from weitiao.records import Finding, Score, Scores
from weitiao.trackers.units import score

ACTIONS = ("changed", "dropped", "added")
NO_TERMINAL_WIDTH = 10_000  # in a pipe a row stays one line


def table(rows: Iterable[Sequence[Any]], header: Sequence[str] = (), right: Iterable[int] = ()) -> None:
    """Print rows in aligned columns (East Asian text counts double); the column numbers in `right` align right."""
    from rich.console import Console
    from rich.table import Table

    width = None if sys.stdout.isatty() else NO_TERMINAL_WIDTH
    console = Console(markup=False, highlight=False, emoji=False, width=width)
    drawn = Table(box=None, show_header=bool(header), pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    rows = [[("-" if cell is None else str(cell)) for cell in row] for row in rows]
    for number in range(max([len(header), *map(len, rows)], default=0)):
        title = header[number] if number < len(header) else ""
        drawn.add_column(title, justify="right" if number in set(right) else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    with console.capture() as capture:
        console.print(drawn)
    typer.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def made(made: Made, folder: Path) -> None:
    """Print what a command of the workshop did to how many rows, and where the new data are."""
    table([(name, f"{rows['after']:,} rows", f"of {rows['before']:,}" if "before" in rows else "")
           for name, rows in made.rows.items()])  # fmt: skip
    typer.echo(f"read as {made.task}: {made.columns}")
    for note in made.notes:
        typer.echo(f"note: {note}")
    rules = [(rule, *(counts.get(action, 0) for action in ACTIONS)) for rule, counts in made.changes.items()]
    typer.echo("")
    if rules:
        table([(rule, *(f"{n:,}" if n else "" for n in counts)) for rule, *counts in rules], ("rule", *ACTIONS),
              right=[1, 2, 3])  # fmt: skip
    else:
        typer.echo("No row was changed.")
    typer.echo(f"\ndata      {folder}\nchanges   {folder / 'changes.jsonl'}")


def conclusion(advice: Iterable[str], notes: Iterable[str], **files: Path) -> None:
    """Print what follows from a table, and where it all is."""
    typer.echo("")
    for sentence in advice:
        typer.echo(sentence)
    for note in notes:
        typer.echo(f"note: {note}")
    typer.echo("")
    for what, path in files.items():
        typer.echo(f"{what:10}{path}")


def as_json(value: Any) -> None:
    """Print a value as indented JSON."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def scores(scores: Scores) -> None:
    """Print all scores with their intervals, the primary one first."""
    names = [scores.primary, *[name for name in scores.values if name != scores.primary]]
    rows = []
    for name in names:
        value = scores.values[name]
        ends = [figure(end, beside=value.value) for end in (value.low, value.high) if end is not None]
        rows.append((name, score(value.value), " to ".join(ends)))
    table(rows, ("score", "value", "interval"))


def stored_scores(stored: Mapping[str, Any]) -> Scores:
    """Return scores as they stand in a run's `scores.json`."""
    values = {name: Score(**value) for name, value in stored["values"].items()}
    return Scores(**{**stored, "values": values})


def comparisons(compared: Iterable[Mapping[str, Any]]) -> None:
    """Print each baseline with its score and how the model compares with it, in words."""
    rows = [(row["name"], f"{row['score']} {score(row['other'])}", row["verdict"]) for row in compared]
    if rows:
        typer.echo("")
        table(rows, ("baseline", "its score", "the model is"))


def findings(found: Iterable[Finding]) -> None:
    """Print errors first, then warnings, then notes, each with its fix."""
    order = ("error", "warning", "note")
    for finding in sorted(found, key=lambda f: order.index(f.level)):
        colour = {"error": typer.colors.RED, "warning": typer.colors.YELLOW}.get(finding.level)
        place = f"{finding.where}: " if finding.where else ""
        typer.echo(f"{typer.style(finding.level, fg=colour)}: {place}{finding.problem}")
        if finding.fix:
            typer.echo(f"  {finding.fix}")
