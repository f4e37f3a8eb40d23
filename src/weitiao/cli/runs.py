"""`weitiao runs`: what was run, with its score; `weitiao runs show ID`: one of them in full."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from weitiao.cli import options

if TYPE_CHECKING:
    from weitiao.run import Run
    from weitiao.standings import Standing

FACTS = ("id", "status", "started", "task", "model", "method", "seconds", "folder", "error")
SHOWN = 5  # scores of each evaluation; all are in events.jsonl

app = typer.Typer(rich_markup_mode=None)
Folder = Annotated[Path, typer.Option("--folder", help="Where the runs are.")]


@app.callback(invoke_without_command=True)
def runs(
    context: typer.Context,
    folder: Folder = Path("runs"),
    by: Annotated[
        Literal["score", "time", "memory"] | None,
        typer.Option("--by", help="Runs of the same data and score together, in this order; else the newest first."),
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="Only the best by score, and what is not distinguishable from it.")
    ] = False,
    task: Annotated[str | None, typer.Option("--task", help="Only runs of this task.")] = None,
    json_: options.Json = False,
) -> None:
    """List the runs with their scores; a leaderboard with --by.

    \b
    Example:
      weitiao runs
      weitiao runs --by score --task text-classification
      weitiao runs --best
      weitiao runs show 20261103
    """
    if context.invoked_subcommand is not None:
        return
    from weitiao import registry
    from weitiao.cli import show
    from weitiao.run import list_runs

    if task is not None:
        registry.get("task", task)
    known = [run for run in list_runs(folder) if task in (None, run.task)]
    if by or best:
        _leaderboard(known, by or "score", best, json_)
    elif json_:
        show.as_json([to_dict(run) for run in known])
    elif not known:
        typer.echo(f"no runs{f' of {task}' if task else ''} in {folder}; `weitiao train RECIPE` makes one", err=True)
    else:
        header = ("id", "status", "task", "model", "method", "score", "time")
        show.table([row(run) for run in known], header)


@app.command("show")
def show_run(
    run: Annotated[str, typer.Argument(help="Id (its beginning is enough) or folder.", metavar="RUN")],
    json_: options.Json = False,
) -> None:
    """Show one run: scores, paths, evaluations, recipe.

    \b
    Example:
      weitiao runs show 20261103
    """
    from weitiao.cli import show
    from weitiao.cli.train import paths
    from weitiao.run import find_run

    found = find_run(run)
    history = evaluations(found)
    if json_:
        files = {name: str(path) for name, path in paths(found).items()}
        more = {"scores": found.scores, "evaluations": history, "recipe": found.recipe.to_dict()}
        show.as_json({**to_dict(found), "paths": files, **more})
        return
    known = to_dict(found)
    facts = [(name, _told(name, known[name])) for name in FACTS if known[name] is not None]
    show.table([*facts, *paths(found).items()])
    for split, measured in found.scores.items():
        typer.echo(f"\n{split}: {measured['scores']['examples']:,} examples")
        show.scores(show.stored_scores(measured["scores"]))
        show.comparisons(measured["comparisons"])
    if history:
        typer.echo("")
        first = history[0]
        names = [first["primary"], *[name for name in first["scores"] if name != first["primary"]]][:SHOWN]
        rows = [(e["step"], e["split"], *[_number(e["scores"].get(name)) for name in names]) for e in history]
        show.table(rows, ("step", "split", *names), right=[0])
    typer.echo(f"\n{found.recipe.to_yaml()}", nl=False)


def row(run: Run) -> tuple[Any, ...]:
    """Return a run as a row of the table."""
    from weitiao.trackers import units

    score = f"{run.primary} {units.score(run.score, run.low, run.high)}" if run.score is not None else "-"
    seconds = units.duration(run.seconds) if run.seconds is not None else "-"
    return (run.id, run.status, run.task, run.model, run.method, score, seconds)


def _leaderboard(known: list[Run], by: Literal["score", "time", "memory"], best: bool, json_: bool) -> None:
    from weitiao.cli import show
    from weitiao.standings import standings

    groups = standings(known, by)
    if best:
        groups = [
            [each for each in group if each.best or each.finding in ("no difference", "not tested")] for group in groups
        ]
    if json_:
        told = ({**to_dict(each.run), "data": each.data, "best": each.best, "finding": each.finding,
                 "verdict": each.verdict} for group in groups for each in group)  # fmt: skip
        show.as_json(list(told))
        return
    if not groups:
        typer.echo("no finished run with a score", err=True)
    for number, group in enumerate(groups):
        one = group[0].run
        typer.echo(f"{chr(10) if number else ''}{one.task}, {one.primary}, data {group[0].data}: {len(group)} run"
                   f"{'s' if len(group) > 1 else ''}")  # fmt: skip
        show.table(map(_standing, group), ("id", "model", "method", "score", "time", "memory", "against the best"))


def _standing(each: Standing) -> tuple[Any, ...]:
    from weitiao.trackers import units

    run = each.run
    seconds = units.duration(run.seconds) if run.seconds is not None else "-"
    memory = units.size(run.peak_memory) if run.peak_memory is not None else "-"
    told = "the best" if each.best else each.verdict if each.finding == "not tested" else each.finding
    return (run.id, run.model, run.method, units.score(run.score, run.low, run.high), seconds, memory, told)


def to_dict(run: Run) -> dict[str, Any]:
    """Return a run as plain JSON values."""
    return {name: str(value) if name == "folder" else value for name, value in vars(run).items()}


def evaluations(run: Run) -> list[dict[str, Any]]:
    """Return the evaluations of a run in order, from its events."""
    from weitiao.trackers.jsonl import EVENTS, read_events

    if not (run.folder / EVENTS).exists():
        return []
    return [event for event in read_events(run.folder) if event["event"] == "Evaluated"]


def _told(name: str, value: Any) -> str:
    from weitiao.trackers import units

    if name == "started":
        return f"{datetime.fromtimestamp(value):%Y-%m-%d %H:%M:%S}"
    return units.duration(value) if name == "seconds" else _number(value)


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
