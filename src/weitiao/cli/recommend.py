"""`weitiao recommend`: which model to take for data on this machine, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weitiao.cli import options
from weitiao.errors import WeitiaoError

if TYPE_CHECKING:
    from weitiao.recommendation import Choice, Recommendation

NAMED = 6  # models of a group that was ruled out, named in the terminal


def recommend(
    data: Annotated[str, typer.Argument(help="File or folder of examples; also hf:, ms:, pypi:.", metavar="DATA")],
    task: options.ModelTask = None,
    columns: options.Columns = None,
    memory: Annotated[
        str | None,
        typer.Option("--memory", metavar="AMOUNT", help="Most that training may take: 8GB. All that is free."),
    ] = None,
    time: Annotated[
        str | None, typer.Option("--time", metavar="TIME", help="Longest that training may take: 30m, 1h30m.")
    ] = None,
    language: options.Language = None,
    licence: options.Licence = None,
    family: options.Family = None,
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--models", metavar="FOLDER", help="Your models: a folder of one, or of several; may be given again."
        ),
    ] = None,
    context: Annotated[int, typer.Option("--context", metavar="N", help="Tokens it must read at once at least.")] = 0,
    at_hand: Annotated[bool, typer.Option("--at-hand", help="Only models on this machine.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Try out a few real steps of the models on this machine, as `check` does.")
    ] = False,
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Try the models on this machine on the data, by short runs; needs --output."),
    ] = False,
    methods: Annotated[
        list[str] | None,
        typer.Option("--methods", metavar="LIST", help="Methods to try with --probe; each model's own when absent."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="TIME", help="Time for all of --probe: 20m, 1h.")
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", help="How many models to tell.")] = 5,
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Write the page, its numbers and recipe.yaml there."),
    ] = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Recommend a model for data on this machine, with memory and time and the reason for each.

    \b
    Example:
      weitiao recommend reviews.csv
      weitiao recommend reviews.csv --memory 8GB --time 1h --licence open --output choice
      weitiao recommend 评论.csv --language zh --models ~/models
      weitiao recommend reviews.csv --models ~/models --probe --methods head,full --budget 30m --output choice
      weitiao recommend pairs.tsv --task translation --columns source=en,target=zh

    Nothing is fetched; nothing is trained but by --probe. Stopped then, the same command goes on.
    """
    from weitiao import recommendation
    from weitiao.cli import show
    from weitiao.recommendation.measuring import with_measured
    from weitiao.recommendation.page import check_out, publish

    tried = options.parsed_methods(methods)
    _check_probe(probe, tried, budget, out)
    if out is not None:
        check_out(out)
    with options.naming_columns():
        found = recommendation.recommend(
            data, task=task, columns=options.columns(columns), memory=memory, time=time, language=language,
            licence=licence, family=family, models=models or (), context=context, here=at_hand, top=top, out=out,
        )  # fmt: skip
    if measure:
        found = with_measured(found, tell=None if quiet or json_ else lambda text: typer.echo(text, err=True))
    if probe and out is not None:
        from weitiao.recommendation.probed import with_probed

        found = with_probed(found, out, tried, time=budget, show=not (quiet or json_))
    if out is not None:
        publish(found, out)
    if json_:
        show.as_json(found.to_dict())
        return
    tell(found, out)


def _check_probe(probe: bool, methods: list[Any], budget: str | None, out: Path | None) -> None:
    if probe and out is None:
        raise WeitiaoError("its runs have to be kept", where="--probe", fix="Say where: --output FOLDER.")
    for option, value in (("--methods", methods), ("--budget", budget)):
        if value and not probe:
            raise WeitiaoError("is for --probe alone", where=option, fix="Add --probe, or leave it out.")


def tell(found: Recommendation, out: Path | None) -> None:
    """Print what is recommended."""
    from weitiao.cli import show
    from weitiao.recommendation.page import seen

    show.table(seen(found))
    for note in found.notes:
        typer.echo(note)
    typer.echo("")
    show.table(
        map(row, found.choices),
        ("model", "method", "parameters", "memory", "time", "from – to", "why"),
        right=[2, 3, 4],
    )
    for choice in found.choices:
        if choice.alike:
            typer.echo(f"  like {choice.entry.id}: {', '.join(choice.alike[:NAMED])}")
    typer.echo("")
    for sentence in found.advice:
        typer.echo(sentence)
    typer.echo("\nRuled out")
    for group in found.ruled_out:
        named = ", ".join(group.models[:NAMED]) + (", ..." if len(group.models) > NAMED else "")
        typer.echo(f"  {len(group.models):3} {group.reason}: {named}")
    if out is None:
        typer.echo("\n--output FOLDER writes a page and a recipe of the first, to be trained as it is.")
        return
    from weitiao.recommendation.page import PAGE, RECIPE

    typer.echo(f"\npage      {out / PAGE}\nrecipe    {out / RECIPE}; next: weitiao check {out / RECIPE}")


def row(choice: Choice) -> tuple[str, ...]:
    """A model of the shortlist as a row."""
    from weitiao.trackers.units import count, duration, size

    mark = "* " if choice.entry.here else "  "
    found = choice.estimate
    ends = "tried out" if found.measured else f"{duration(found.low)} – {duration(found.high)}"
    return (mark + choice.source, choice.method, count(choice.entry.parameters), size(found.memory),
            duration(found.seconds), ends, "; ".join(choice.reasons))  # fmt: skip
