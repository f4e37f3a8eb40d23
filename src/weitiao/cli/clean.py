"""`weitiao clean`: mend texts, drop rows, mask personal data, rule by rule."""

from __future__ import annotations

from typing import Annotated

import typer

from weitiao.cli import options
from weitiao.cli.progress import progress


def clean(
    data: options.Given,
    out: options.NewFolder,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="RULE=VALUE", help="Switch a rule: --set markup=false --set personal=mask"),
    ] = None,
    task: options.Task = None,
    columns: options.Columns = None,
    label_separator: options.LabelSeparator = None,
    form: options.Form = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Mend texts, drop rows that would spoil training, mask personal data: rule by rule, into new data.

    \b
    Example:
      weitiao clean reviews.csv --out reviews-clean
      weitiao clean data/ --out clean/ --set personal=mask --set near_duplicates=true
      weitiao clean recipe.yaml --out clean/

    The data are not changed. What became of each row stands in OUT/changes.jsonl. The rules are those of a recipe's
    section `clean`: `weitiao schema` and the reference tell them all.
    """
    from dataclasses import asdict

    from weitiao.cli import show
    from weitiao.workshop.clean import clean as run

    given = options.section_values(set_, "clean")
    with options.naming_columns(), progress(shown=not (quiet or json_)) as tell:
        made = run(data, out, given, task=task, columns=options.columns(columns) or None,
                   label_separator=label_separator, form=form, tell=tell)  # fmt: skip
    if json_:
        show.as_json(asdict(made))
    else:
        show.made(made, out)
