"""`weitiao cv`: cross-validation of a recipe, with its own method or several."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from weitiao.cli import options
from weitiao.errors import WeitiaoError

if TYPE_CHECKING:
    from weitiao.evaluation.cross_validated import CrossValidated


def cv(
    recipe: options.RecipeFile,
    folds: Annotated[int, typer.Option("--folds", help="Parts that the training examples are cut into.")] = 5,
    repeats: Annotated[int, typer.Option("--repeats", help="How often they are cut anew.")] = 1,
    methods: Annotated[
        list[str] | None,
        typer.Option("--methods", metavar="LIST", help="Methods, as for compare; the recipe's own when absent."),
    ] = None,
    rope: Annotated[
        float | None,
        typer.Option("--rope", help="Difference that is practically none: 0.01 of accuracy is a point."),
    ] = None,
    keep_test: Annotated[
        bool, typer.Option("--keep-test", help="Leave the share of data.test_size out of all folds.")
    ] = False,
    jobs: Annotated[
        str, typer.Option("--jobs", metavar="N|auto", help="Runs at once; auto: by processors and memory.")
    ] = "auto",
    output: Annotated[Path | None, options.output("cross-validation", "folds")] = None,
    skip_unfit: options.SkipUnfit = False,
    nested: Annotated[
        bool, typer.Option("--nested", help="Carry out the recipe's section `search` inside each fold.")
    ] = False,
    set_: options.Set = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Cross-validate: test every example once, by a model that was trained on the others.

    \b
    Example:
      weitiao cv recipe.yaml --folds 5
      weitiao cv recipe.yaml --folds 5 --repeats 2 --methods head,lora

    Folds are stratified by label and whole by data.group. Stopped, by ctrl-C or otherwise, the same command goes on.
    """
    from weitiao.cli import show
    from weitiao.cross_validating.cross_validation import cross_validate
    from weitiao.recipe import Recipe

    wanted = options.parsed_methods(methods) or None
    found = cross_validate(
        Recipe.read(recipe, set_ or ()), folds, repeats, methods=wanted, rope=rope, keep_test=keep_test,
        jobs=_jobs(jobs), output=output, skip_unfit=skip_unfit, nested=nested,
        show=not quiet,
    )  # fmt: skip
    if json_:
        show.as_json(found.to_dict())
        return
    tell(found)


def _jobs(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not text.isdecimal() or int(text) < 1:
        raise WeitiaoError(f"found '{text}'", where="--jobs", fix="Give a number from 1 up, or auto.")
    return int(text)


def tell(found: CrossValidated) -> None:
    """Print what a cross-validation found."""
    from weitiao.cli import show
    from weitiao.cli.compare import table
    from weitiao.cross_validating.plan import PAGE
    from weitiao.evaluation.cross_validated import ends

    compared = found.compared
    rows, header = table(compared, each="each fold")
    own = {row.name: ends(compared.score, found.intervals.get(row.name)) for row in compared.rows}
    told = [(*row[:2], own.get(row[0][2:], ""), *row[2:]) for row in rows]
    show.table(told, (*header[:2], "interval", *header[2:]), right=range(1, 7))
    for row in compared.rows:
        if row.why_not:
            typer.echo(f"{row.name}: {row.why_not}")
    advice = [*compared.advice, *(each.verdict for each in found.chances)]
    show.conclusion(advice, compared.notes, page=Path(compared.folder) / PAGE)
