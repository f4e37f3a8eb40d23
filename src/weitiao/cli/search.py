"""`weitiao search`: better settings for a recipe, by trials."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weitiao.cli import options

if TYPE_CHECKING:
    from weitiao.searching.searched import Searched


def search(
    recipe: Annotated[Path, typer.Argument(help="The recipe, with a section `search`.", metavar="RECIPE")],
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="Trials at most.")] = None,
    time: Annotated[
        str | None, typer.Option("--time", metavar="1h30m", help="Longest time for all trials together.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Trials at once on this machine.")] = None,
    storage: Annotated[
        str | None, typer.Option("--storage", metavar="URL", help="Database for workers on several machines.")
    ] = None,
    output: Annotated[Path | None, options.output("search", "searches")] = None,
    set_: options.Set = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Look for better settings among those that the recipe's section `search` names.

    \b
    Example:
      weitiao search recipe.yaml --trials 30
      weitiao search recipe.yaml --time 2h --workers 2
      weitiao search recipe.yaml --storage postgresql://me@db/searches --output shared/searches/a

    No trial looks at the test split; the best one is measured there once. Stopped, by ctrl-C or otherwise, the same
    command goes on; given again while it runs, it works along.
    """
    from weitiao.cli import show
    from weitiao.recipe import Recipe
    from weitiao.searching.search import search as run

    searched = run(
        Recipe.read(recipe, set_ or ()), output=output, trials=trials, time=time, workers=workers, storage=storage,
        show=not quiet,
    )  # fmt: skip
    if json_:
        show.as_json(searched.to_dict())
        return
    tell(searched)


def tell(searched: Searched) -> None:
    """Print what a search found."""
    from weitiao.cli import show
    from weitiao.searching.finishing import BEST, PAGE
    from weitiao.searching.searched import table

    rows, header = table(searched)
    show.table(rows, header, right=range(1, len(header) - 1))
    folder = Path(searched.folder)
    show.conclusion(searched.advice, searched.notes, recipe=folder / BEST, page=folder / PAGE)
