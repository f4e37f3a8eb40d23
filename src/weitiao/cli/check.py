"""`weitiao check`: everything that can be known before training; trains nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from weitiao.cli import options

if TYPE_CHECKING:
    from weitiao.recipe import Recipe

TOLD = ("level", "where", "problem", "fix")  # of a finding, to other programs


def check(
    recipe: options.RecipeFile,
    set_: options.Set = None,
    forecast: Annotated[
        bool,
        typer.Option("--forecast/--no-forecast", help="Load the model and try out a few steps: memory and time."),
    ] = True,
    json_: options.Json = False,
) -> None:
    """Check recipe, data and model, and tell what memory and time the run will take; trains nothing.

    \b
    Example:
      weitiao check recipe.yaml
      weitiao check recipe.yaml --set memory=8GB --set time=30m
      weitiao check recipe.yaml --no-forecast

    Exits with 2 when something stands in the way of training.
    """
    from weitiao import run
    from weitiao.cli import show
    from weitiao.recipe import Recipe

    checked = run.check(Recipe.read(recipe, set_ or ()), forecast=forecast)
    errors = [finding for finding in checked.findings if finding.level == "error"]
    if json_:
        found = [{name: vars(finding)[name] for name in TOLD} for finding in checked.findings]
        values = [dict(zip(("key", "value", "origin"), row, strict=True)) for row in resolved(checked.recipe)]
        show.as_json({"ready": not errors, "facts": checked.facts, "findings": found, "recipe": values})
    else:
        show.table(facts(checked.facts))
        typer.echo("\nRecipe (what is not listed has its default)")
        show.table([(f"  {key}", _short(value), origin) for key, value, origin in resolved(checked.recipe)])
        typer.echo("")
        show.findings(checked.findings)
        typer.echo(f"not ready: {len(errors)} error(s)" if errors else f"ready to train: weitiao train {recipe}")
    raise typer.Exit(2 if errors else 0)


def facts(known: dict[str, Any]) -> list[tuple[str, str]]:
    """Return facts as (name, text) rows; a table of splits becomes a row a split, a forecast one of memory and time."""
    from weitiao.trackers import units

    rows: list[tuple[str, str]] = []
    for name, value in known.items():
        if name == "splits" and isinstance(value, dict):
            rows += [(split, _facts(what)) for split, what in value.items()]
        elif name == "forecast":
            rows += zip(("memory", "time"), units.forecast(value), strict=True)
        else:
            rows.append((name.replace("_", " "), _fact(name, value)))
    return rows


def resolved(recipe: Recipe) -> list[tuple[str, Any, str]]:
    """Return (dotted key, value, origin) of every value that is not a default."""
    rows: list[tuple[str, Any, str]] = []

    def walk(value: Any, key: str) -> None:
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                walk(inner, f"{key}.{name}" if key else name)
        elif recipe.origin(key) != "default":
            rows.append((key, value, recipe.origin(key)))

    walk(recipe.to_dict(), "")
    return rows


def _fact(name: str, value: Any) -> str:
    from weitiao.trackers import units

    if name == "disk_needed" and isinstance(value, int):
        return f"{value / 1e6:,.0f} MB"
    if isinstance(value, dict):
        return _facts(value)
    if isinstance(value, list | tuple):
        shown = [str(item) for item in value[:12]]
        more = f", ... ({len(value)} in all)" if len(value) > len(shown) else ""
        return ", ".join(shown) + more
    return units.count(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _facts(values: Any) -> str:
    if not isinstance(values, dict):
        return _fact("", values)
    return ", ".join(f"{name.replace('_', ' ')} {_fact(name, value)}" for name, value in values.items())


def _short(value: Any) -> str:
    import json

    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
