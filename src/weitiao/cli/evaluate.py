"""`weitiao evaluate`: the scores of a finished run on any labelled file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weitiao.cli import options

if TYPE_CHECKING:
    from weitiao.records import Scores


def evaluate(
    run: Annotated[str, typer.Argument(help="The run's id (its beginning is enough) or folder.", metavar="RUN")],
    data: Annotated[str, typer.Argument(help="A labelled file or folder.", metavar="DATA")],
    columns: options.Columns = None,
    classes: Annotated[bool, typer.Option("--classes", help="Also show each class's scores.")] = False,
    report: Annotated[Path | None, typer.Option("--report", help="Also write a report there, one HTML file.")] = None,
    precision: options.Precision = "auto",
    json_: options.Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Measure a run's model on a labelled file.

    \b
    Example:
      weitiao evaluate 20261103 test.csv
      weitiao evaluate 20261103 test.csv --columns text=review,label=stars --classes

    Progress goes to standard error.
    """
    from weitiao import run as runs
    from weitiao.cli import show
    from weitiao.trackers.console import Console

    trackers = [] if quiet or json_ else [Console()]
    evaluation = runs.evaluate(
        run, data, columns=options.columns(columns) or None, precision=precision, report=report, trackers=trackers
    )
    if json_:
        show.as_json(evaluation.to_dict())
        return
    typer.echo(f"{evaluation.scores.examples:,} examples of {data}, computed in {evaluation.precision}")
    show.scores(evaluation.scores)
    if classes:
        typer.echo("")
        show.table(*per_class(evaluation.scores))
    show.comparisons(comparison.to_dict() for comparison in evaluation.comparisons)
    for warning in evaluation.warnings:
        typer.echo(f"warning: {warning}")
    for note in evaluation.notes:
        typer.echo(f"note: {note}")
    if evaluation.report:
        typer.echo(f"report  {evaluation.report}")


def per_class(scores: Scores) -> tuple[list[list[Any]], list[str]]:
    """Return the per-class table as rows and header; empty where the task has none."""
    known = scores.details.get("per_class") or []
    header = list(known[0]) if known else []
    return [[_cell(row.get(name)) for name in header] for row in known], header


def _cell(value: Any) -> Any:
    return f"{value:.3f}" if isinstance(value, float) else value
