"""`weitiao baselines`: how good simple baselines are on a recipe's data, without training."""

from __future__ import annotations

import typer

from weitiao.cli import options


def baselines(
    recipe: options.RecipeFile,
    set_: options.Set = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Measure the simple baselines that a model will stand beside. Trains and writes nothing.

    \b
    Example:
      weitiao baselines recipe.yaml
      weitiao baselines recipe.yaml --set "evaluation.prompted=[label-words, nearest-examples]"

    On test, or on validation where there is no test. Progress goes to standard error.
    """
    from weitiao import run
    from weitiao.cli import show
    from weitiao.metrics.words import figure, spoken
    from weitiao.recipe import Recipe
    from weitiao.trackers.console import Console
    from weitiao.trackers.units import duration, score

    trackers = [] if quiet or json_ else [Console()]
    found = run.measure_baselines(Recipe.read(recipe, set_ or ()), trackers=trackers)
    if json_:
        show.as_json(found.to_dict())
        return
    typer.echo(f"{found.examples:,} examples of {found.split}")
    rows = []
    for each in found.measured:
        main = each.scores.values[each.scores.primary]
        ends = [figure(end, beside=main.value) for end in (main.low, main.high) if end is not None]
        rows.append((each.name, score(main.value), " to ".join(ends), duration(each.seconds), each.knows))
    primary = spoken(found.measured[0].scores.primary) if found.measured else ""
    show.table(rows, ("baseline", primary, "interval", "time", "knows"), right=(1, 3))
    for note in [*found.notes, *(f"{each.name}: {note}" for each in found.measured for note in each.notes)]:
        typer.echo(f"note: {note}")
