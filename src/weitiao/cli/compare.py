"""`weitiao compare`: several methods on one recipe, a few seeds each; which one to take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weitiao.cli import options

if TYPE_CHECKING:
    from weitiao.evaluation.compared import Compared


def compare(
    recipe: Annotated[Path, typer.Argument(help="The recipe: .yaml, .toml or .json.", metavar="RECIPE")],
    methods: Annotated[
        list[str] | None,
        typer.Option("--methods", metavar="LIST", help="Methods, with options where wanted; may be given again."),
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", metavar="N", help="How many seeds, or which: --seeds 5,6,7")] = "3",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the comparison; one under comparisons/ when absent."),
    ] = None,
    skip_unfit: Annotated[
        bool, typer.Option("--skip-unfit", help="Leave methods out that do not fit the model or the task.")
    ] = False,
    set_: options.Set = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Train several methods with several seeds, and tell which one to take.

    \b
    Example:
      weitiao compare recipe.yaml --methods full,head,lora
      weitiao compare recipe.yaml --methods "full,lora,{name: lora, rank: 4}" --seeds 5
      weitiao compare recipe.yaml --methods "full,{name: lora, training: {learning_rate: 0.001}}"
      weitiao compare recipe.yaml --methods "full,{name: full, as: balanced, task: {class_weights: balanced}}"

    All are trained on the same splits. Stopped, by ctrl-C or otherwise, the same command goes on.
    """
    from weitiao import comparison
    from weitiao.cli import show
    from weitiao.recipe import Recipe

    wanted = options.parsed_list(methods or [], "--methods", "full,head,lora")
    compared = comparison.compare(
        Recipe.read(recipe, set_ or ()), wanted, options.parsed_seeds(seeds), output=output, skip_unfit=skip_unfit,
        show=not quiet,
    )  # fmt: skip
    if json_:
        show.as_json(compared.to_dict())
        return
    tell(compared)


def tell(compared: Compared) -> None:
    """Print what a comparison found."""
    from weitiao.cli import show
    from weitiao.comparison import PAGE

    show.table(*table(compared), right=range(1, 6))
    for row in compared.rows:
        if row.why_not:
            typer.echo(f"{row.name}: {row.why_not}")
    typer.echo("")
    for sentence in compared.advice:
        typer.echo(sentence)
    typer.echo(f"\npage      {Path(compared.folder) / PAGE}")


def table(compared: Compared) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """Return a row a method and a baseline, with the header."""
    from weitiao.evaluation.comparison_page import against_best, duration, megabytes, share, spread
    from weitiao.metrics.words import spoken, written

    score = compared.score
    rows: list[tuple[str, ...]] = []
    for row in compared.rows:
        found, told = against_best(row, compared)
        taken = "* " if row.name == compared.recommended else "  "
        trains = f"{row.trainable:,} ({share(row)})" if row.trainable is not None else "–"
        seeds = " ".join(written(score, value, unit=False) for value in row.scores) if len(row.scores) > 1 else ""
        rows.append((
            taken + row.name, spread(score, row), trains, megabytes(row.peak_memory), duration(row.seconds),
            megabytes(row.saved), seeds, f"{found} ({told})" if found else told,
        ))  # fmt: skip
    for each in compared.baselines:
        rows.append((f"  {each.name}", written(score, each.score), *[""] * 4, "", "baseline"))
    return rows, ("  method", spoken(score), "trains", "memory", "time", "to keep", "each seed", "against the best")
