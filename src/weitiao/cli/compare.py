"""`weitiao compare`: several methods on one recipe, or runs that are there; which one to take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weitiao.cli import leaderboard, options
from weitiao.errors import WeitiaoError

if TYPE_CHECKING:
    from weitiao.evaluation.compared import Compared

RECIPES = (".yaml", ".yml", ".toml", ".json")


def compare(
    given: Annotated[
        list[str],
        typer.Argument(
            help="A recipe (.yaml, .toml or .json), or two runs or more (ids or folders).", metavar="RECIPE|RUN..."
        ),
    ],
    methods: Annotated[
        list[str] | None,
        typer.Option("--methods", metavar="LIST", help="Methods, with options where wanted; may be given again."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="N", help="How many seeds, or which: --seeds 5,6,7; 3 when absent.")
    ] = None,
    on: Annotated[
        str | None, typer.Option("--on", metavar="DATA", help="Of runs: measure all anew on labelled data.")
    ] = None,
    columns: options.Columns = None,
    output: Annotated[Path | None, options.output("comparison", "comparisons")] = None,
    skip_unfit: options.SkipUnfit = False,
    set_: options.Set = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Tell which of several methods, or of several runs, to take.

    \b
    Example:
      weitiao compare recipe.yaml --methods full,head,lora
      weitiao compare recipe.yaml --methods "full,lora,{name: lora, rank: 4}" --seeds 5
      weitiao compare recipe.yaml --methods "full,{name: lora, training: {learning_rate: 0.001}}"
      weitiao compare recipe.yaml --methods "full,{name: full, as: balanced, task: {class_weights: balanced}}"
      weitiao compare runs/first runs/second runs/third
      weitiao compare runs/first runs/second --on other.csv

    Of a recipe, methods are trained with several seeds on the same splits; stopped, by ctrl-C or otherwise, the same
    command goes on. Runs are compared on the test examples that they share.
    """  # fmt: skip
    recipes = [each for each in given if each.lower().endswith(RECIPES) or Path(each).is_file()]
    if recipes and len(given) > 1:
        raise WeitiaoError(f"'{recipes[0]}' is a recipe, and there are {len(given)} arguments", where="compare",
                           fix="Give one recipe, or runs alone.")  # fmt: skip
    _fitting(bool(recipes), {"--on": on, "--columns": columns}, {"--methods": methods, "--seeds": seeds,
                             "--skip-unfit": skip_unfit, "--set": set_})  # fmt: skip
    if recipes:
        _methods(Path(recipes[0]), methods or [], seeds or "3", output, skip_unfit, set_ or [], quiet, json_)
    else:
        leaderboard.compare_runs(given, on, options.columns(columns), output, quiet=quiet, json_=json_)


def _fitting(recipe: bool, of_runs: dict[str, object], of_recipes: dict[str, object]) -> None:
    """Refuse an option that is for the other kind of comparison."""
    wrong = next((name for name, value in (of_runs if recipe else of_recipes).items() if value), None)
    if wrong:
        what, given = ("runs", "a recipe") if recipe else ("a recipe", "runs")
        raise WeitiaoError(f"is for comparing {what}, and {given} {'is' if recipe else 'are'} given", where=wrong,
                           fix="Leave it out.")  # fmt: skip


def _methods(
    recipe: Path, methods: list[str], seeds: str, output: Path | None, skip_unfit: bool, set_: list[str], quiet: bool,
    json_: bool,
) -> None:  # fmt: skip
    from weitiao import comparison
    from weitiao.cli import show
    from weitiao.recipe import Recipe

    wanted = options.parsed_methods(methods)
    compared = comparison.compare(
        Recipe.read(recipe, set_), wanted, options.parsed_seeds(seeds), output=output, skip_unfit=skip_unfit,
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
    show.conclusion(compared.advice, compared.notes, page=Path(compared.folder) / PAGE)


def table(compared: Compared, *, each: str = "each seed") -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """Return a row a method and a baseline, with the header; `each` is what a score of a method is of."""
    from weitiao.evaluation.comparison_page import against_best, duration, megabytes, share, spread
    from weitiao.metrics.words import spoken, written

    score = compared.score
    rows: list[tuple[str, ...]] = []
    for row in compared.rows:
        found, told = against_best(row, compared)
        taken = "* " if row.name == compared.recommended else "  "
        trains = f"{row.trainable:,} ({share(row)})" if row.trainable is not None else "–"
        scores = " ".join(written(score, value, unit=False) for value in row.scores) if len(row.scores) > 1 else ""
        rows.append((
            taken + row.name, spread(score, row), trains, megabytes(row.peak_memory), duration(row.seconds),
            megabytes(row.saved), scores, f"{found} ({told})" if found else told,
        ))  # fmt: skip
    for other in compared.baselines:
        rows.append((f"  {other.name}", written(score, other.score), *[""] * 4, "", "baseline"))
    return rows, ("  method", spoken(score), "trains", "memory", "time", "to keep", each, "against the best")
