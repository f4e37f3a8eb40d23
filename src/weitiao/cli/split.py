"""`weitiao split`: cut data into train, validation and test, as files."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from weitiao.cli import options
from weitiao.cli.progress import progress


def split(
    data: options.Given,
    out: options.NewFolder,
    validation: Annotated[
        float | None, typer.Option("--validation", help="Share of the rows for validation; 0.1 when absent.")
    ] = None,
    test: Annotated[float | None, typer.Option("--test", help="Share of the rows for test; 0.1 when absent.")] = None,
    group: Annotated[
        str | None, typer.Option("--group", metavar="COLUMN", help="Rows with the same value stay in one split.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the cut; the recipe's, or 0.")] = None,
    near: Annotated[
        bool, typer.Option("--near/--no-near", help="Texts that are nearly alike stay in one split, too.")
    ] = True,
    task: options.Task = None,
    columns: options.Columns = None,
    label_separator: options.LabelSeparator = None,
    form: options.Form = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Cut data into train, validation and test: by label in like shares, the same text never in two of them.

    \b
    Example:
      weitiao split reviews.csv --out reviews/
      weitiao split letters.jsonl --out letters/ --group author --test 0.2
      weitiao split recipe.yaml --out data/

    The data are not changed. A recipe's section `data` says how to cut as it does for training; options go before it.
    """
    from dataclasses import asdict

    from weitiao.cli import show
    from weitiao.workshop.split import split as run

    asked = {"validation_size": validation, "test_size": test, "group": group, "seed": seed}
    settings: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    with options.naming_columns(), progress(shown=not (quiet or json_)) as tell:
        made = run(data, out, settings, near=near, task=task, columns=options.columns(columns) or None,
                   label_separator=label_separator, form=form, tell=tell)  # fmt: skip
    if json_:
        show.as_json(asdict(made))
    else:
        show.made(made, out)
