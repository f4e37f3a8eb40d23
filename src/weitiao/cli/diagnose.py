"""`weitiao diagnose`: what went wrong in a run, with the evidence and what to try next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from weitiao.cli import options

if TYPE_CHECKING:
    from weitiao.evaluation.diagnosis import Diagnosis


def diagnose(
    run: Annotated[str, typer.Argument(help="Id (its beginning is enough) or folder.", metavar="RUN")],
    json_: options.Json = False,
) -> None:
    """Say what went wrong in a run, finished or not, and what to try next.

    \b
    Example:
      weitiao diagnose 20261103

    It goes by the run's events and scores alone; nothing is computed anew.
    """
    from weitiao.cli import show
    from weitiao.run import diagnose as diagnosis_of

    found = diagnosis_of(run)
    if json_:
        show.as_json(found.to_dict())
    else:
        tell(found)


def tell(found: Diagnosis) -> None:
    """Print a diagnosis in full."""
    typer.echo(found.verdict)
    for trouble in found.troubles:
        mildly = ", mildly" if trouble.level == "mild" else ""
        typer.echo(f"\n{trouble.name}{mildly}: {trouble.meaning}")
        for line in trouble.evidence:
            typer.echo(f"  {line}")
        for change in trouble.next:
            typer.echo(f"  try  {change}" + (f"   ({change.why})" if change.why else ""))
        for line in trouble.also:
            typer.echo(f"  {line}")
    for note in found.notes:
        typer.echo(f"\nnote: {note}")
