"""`weitiao inspect`: examples exactly as the model sees them, token by token."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weitiao.cli import options

if TYPE_CHECKING:
    from rich.text import Text

    from weitiao.evaluation.summary import Token, View

TRAINED, SPECIAL, TARGET = "bold green", "magenta", "yellow"
BETWEEN, OPEN, CLOSE = "│", "⟦", "⟧"
LEGEND = {
    "trained": f"{OPEN}trained on{CLOSE}",
    "special": "a special token",
    "target": "→what is to be said there",
    "breaks": "↵ a line break",
}


def inspect(
    recipe: options.RecipeFile,
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "train",
    row: Annotated[
        str | None,
        typer.Option("--row", metavar="ROW", help="An example's number in the split, from 1, or its FILE:LINE."),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="How many, from there on; 1 with --row, else 3.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write them there, as one HTML file.")] = None,
    set_: options.Set = None,
    json_: options.Json = False,
) -> None:
    """Show examples as the model sees them: token by token, and which are trained on.

    \b
    Example:
      weitiao inspect recipe.yaml
      weitiao inspect recipe.yaml --split test --row 12
      weitiao inspect recipe.yaml --row reviews.csv:40 --html examples.html

    Rows that cannot be trained on are told, the others are shown; it then exits with 2.
    """
    from dataclasses import asdict

    from weitiao.cli import show
    from weitiao.inspection import inspected
    from weitiao.recipe import Recipe

    seen, errors = inspected(Recipe.read(recipe, set_ or ()), split=split, row=row, count=count)
    if html is not None:
        from weitiao.evaluation.report import write_views

        write_views(seen, f"{recipe.name}: {split}", html)
    if json_:
        show.as_json([asdict(view) for view in seen])
    elif html is not None:
        typer.echo(f"examples  {html}")
    else:
        _print(seen)
    for error in errors:
        typer.echo("error: " + error.replace("\n", "\n  "), err=True)
    raise typer.Exit(2 if errors else 0)


def heading(view: View) -> str:
    """Return what there is to know of an example beside its tokens, in a line."""
    parts = [f"{view.split} row {view.row:,}", view.where]
    if view.parts > 1:
        parts.append(f"part {view.part} of {view.parts}")
    if view.length:
        parts.append(f"{view.length:,} tokens" + (f", {view.trained:,} trained" if view.trained else ""))
    return " · ".join(part for part in (*parts, view.other, view.target, view.note) if part)


def _print(seen: Sequence[View]) -> None:
    from rich.console import Console
    from rich.text import Text

    from weitiao.cli.show import NO_TERMINAL_WIDTH

    width = None if sys.stdout.isatty() else NO_TERMINAL_WIDTH
    console = Console(markup=False, highlight=False, emoji=False, width=width)
    for view in seen:
        console.print(Text(heading(view), style="bold"), soft_wrap=True)
        for row in view.rows:
            if len(view.rows) > 1:
                console.print(Text(f"  {row.name}", style="dim"))
            for line in lines(row.tokens):
                console.print(Text("  ").append(line), overflow="fold")
        console.print()
    tokens = [token for view in seen for row in view.rows for token in row.tokens]
    if legend := _legend(tokens, coloured=console.color_system is not None):
        console.print(legend)


def lines(tokens: Iterable[Token]) -> Iterator[Text]:
    """Yield the tokens as lines, one ending where a token holds a line break.

    Runs of trained tokens stand between ``⟦`` and ``⟧``, so that they are seen without colour as well.
    """
    from rich.text import Text

    line = Text()
    for trained, run in groupby(tokens, key=lambda token: token.trained):
        line.append(OPEN if trained else "", TRAINED)
        for token in run:
            line.append("" if line.plain[-1:] in ("", OPEN, CLOSE) else BETWEEN, "dim")
            line.append(token.shown, SPECIAL if token.special else TRAINED if trained else "")
            line.append(f"→{token.target}" if token.target else "", TARGET)
            if "\n" in token.text:
                yield line
                line = Text()
        line.append(CLOSE if trained else "", TRAINED)
    if line.plain:
        yield line


def _legend(tokens: Sequence[Token], *, coloured: bool) -> Text | None:
    """What the signs mean, of those that are there."""
    from rich.text import Text

    there = {
        "trained": (any(token.trained for token in tokens), TRAINED),
        "special": (coloured and any(token.special for token in tokens), SPECIAL),
        "target": (any(token.target for token in tokens), TARGET),
        "breaks": (any("\n" in token.text for token in tokens), ""),
    }
    shown = [Text(LEGEND[name], style) for name, (seen, style) in there.items() if seen]
    return Text("   ").join(shown) if shown else None
