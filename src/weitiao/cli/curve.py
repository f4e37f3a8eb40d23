"""`weitiao curve`: a learning curve, and whether more data is worth labelling."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weitiao.cli import options
from weitiao.errors import WeitiaoError

if TYPE_CHECKING:
    from weitiao.probing.learned import LearningCurve


def curve(
    recipe: options.RecipeFile,
    sizes: Annotated[
        str | None,
        typer.Option("--sizes", metavar="LIST", help="Training rows: 250,500,1000; halves of all of them when absent."),
    ] = None,
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="N", help="How many trainings of each size, or which seeds: 5,6,7")
    ] = "3",
    output: Annotated[Path | None, options.output("curve", "curves")] = None,
    set_: options.Set = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Train on growing parts of the data, and tell what more of it would bring.

    \b
    Example:
      weitiao curve recipe.yaml
      weitiao curve recipe.yaml --sizes 250,500,1000,2000 --seeds 5

    All sizes are measured on the same test examples. Stopped, by ctrl-C or otherwise, the same command goes on.
    """
    from weitiao.cli import show
    from weitiao.probing.curve import learning_curve
    from weitiao.recipe import Recipe

    found = learning_curve(
        Recipe.read(recipe, set_ or ()), sizes=_sizes(sizes), seeds=options.parsed_seeds(seeds), output=output,
        show=not quiet,
    )  # fmt: skip
    if json_:
        show.as_json(found.to_dict())
        return
    tell(found)


def tell(found: LearningCurve) -> None:
    """Print what a learning curve found."""
    from weitiao.cli import show
    from weitiao.metrics.words import spoken, written
    from weitiao.probing.curve import PAGE
    from weitiao.probing.probed import interval, signed

    score = found.score
    rows = [
        (
            f"{point.rows:,}",
            written(score, point.mean),
            "",
            " ".join(written(score, v, unit=False) for v in point.scores),
        )
        for point in found.points
    ]
    rows += [
        (f"{each.rows:,}", written(score, each.value), interval(score, each.low, each.high),
         f"forecast: {signed(score, each.gain)} ({signed(score, each.gain_low)} to {signed(score, each.gain_high)})")
        for each in found.ahead
    ]  # fmt: skip
    show.table(rows, ("rows", spoken(score), "interval", "each training"), right=range(3))
    show.conclusion(found.advice, found.notes, page=Path(found.folder) / PAGE)


def _sizes(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        fix = "Give numbers of training rows: 250,500,1000."
        raise WeitiaoError(f"found '{text}'", where="--sizes", fix=fix) from None
