"""`weitiao adapters`: several runs on one base made into one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weitiao.errors import WeitiaoError

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the new model; must not hold anything.")]


@app.callback()
def adapters() -> None:
    """Average runs, or stack them on one another.

    \b
    Example:
      weitiao adapters average RUN RUN --output averaged
      weitiao adapters stack DOMAIN-RUN TASK-RUN --output stacked
    """


@app.command("average")
def average(
    runs: Annotated[list[str], typer.Argument(help="Ids or folders of two runs or more.", metavar="RUN RUN...")],
    output: Output,
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="LIST", help="One for each run, 0.7,0.3; equal when absent.")
    ] = None,
) -> None:
    """Make a model whose weights are the mean of several runs' weights.

    \b
    Example:
      weitiao adapters average 20261103 20261104 --weights 0.7,0.3 --output averaged

    The runs share base, task, labels and method; seed, data and training may differ.
    """
    from weitiao import composition

    _tell(composition.average(runs, output=output, weights=parsed_weights(weights)))


@app.command("stack")
def stack(
    runs: Annotated[list[str], typer.Argument(help="Ids or folders, the lowest first.", metavar="RUN RUN...")],
    output: Output,
) -> None:
    """Put the last run's adapter and head onto the base as the runs before it have changed it.

    \b
    Example:
      weitiao adapters stack DOMAIN-RUN TASK-RUN --output stacked

    All were trained on one base. The tasks may differ: the result has the last one's.
    """
    from weitiao import composition

    _tell(composition.stack(runs, output=output))


def parsed_weights(given: str | None) -> list[float] | None:
    """Return ``0.7,0.3`` as numbers; raises `WeitiaoError` for anything else."""
    if given is None:
        return None
    try:
        return [float(part) for part in given.split(",")]
    except ValueError:
        raise WeitiaoError(f"found '{given}'", where="--weights", fix="Write numbers: --weights 0.7,0.3") from None


def _tell(output: Path) -> None:
    typer.echo(f"model  {output}")
    typer.echo(f"It is not measured yet: weitiao evaluate {output} your_labelled_file.csv")
