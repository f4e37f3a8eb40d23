"""`weitiao train`: fine-tune as the recipe says, or go on with a run that was stopped."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weitiao.cli import options
from weitiao.errors import WeitiaoError
from weitiao.parallel import rank
from weitiao.records import SPLITS

if TYPE_CHECKING:
    from weitiao.run import Run
    from weitiao.trackers.base import Tracker


def train(
    recipe: Annotated[
        Path | None, typer.Argument(help="The recipe: .yaml, .toml or .json.", metavar="RECIPE", show_default=False)
    ] = None,
    set_: options.Set = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="RUN", help="Go on with a run that was stopped: its id or folder."),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print every event as a line of JSON, and nothing else.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress; print only the run's folder at the end.")
    ] = False,
) -> None:
    """Fine-tune, evaluate, write model and report.

    \b
    Example:
      weitiao train recipe.yaml
      weitiao train recipe.yaml --set training.epochs=5 --set method=lora
      weitiao train --resume 20261103

    Ctrl-C saves a checkpoint first. Progress goes to standard error.
    """
    if (recipe is None) == (resume is None) or (resume and set_):
        raise WeitiaoError(
            "takes a recipe, or --resume RUN, and not both" if not (resume and set_) else "--resume takes no --set",
            where="weitiao train",
            fix="A resumed run goes on with the recipe it was started with.",
        )
    run = _run(recipe, resume, set_ or [], _trackers(json_, quiet))
    if rank() > 0:
        return  # the first process tells
    if quiet and not json_:
        typer.echo(run.folder)
    elif not json_:
        for line in summary(run):
            typer.echo(line, err=True)


def _run(recipe: Path | None, resume: str | None, overrides: list[str], trackers: list[Tracker]) -> Run:
    from weitiao import run
    from weitiao.recipe import Recipe

    try:
        if resume is not None:
            return run.resume(resume, trackers=trackers)
        assert recipe is not None
        return run.train(Recipe.read(recipe, overrides), trackers=trackers)
    finally:
        for tracker in trackers:
            tracker.close()


def _trackers(json_: bool, quiet: bool) -> list[Tracker]:
    from weitiao.trackers.console import Console
    from weitiao.trackers.jsonl import JsonStream

    if json_:
        return [JsonStream(sys.stdout)]
    return [] if quiet else [Console()]


def summary(run: Run) -> list[str]:
    """Return the last lines of a training: the score, where everything is, and what to do next."""
    from weitiao.trackers import units

    lines = []
    if run.primary:
        split = [name for name in run.scores if name in SPLITS][-1]
        lines = [f"{run.primary}  {units.score(run.score, run.low, run.high)} on {split}", *_verdicts(run, split)]
        for name in [name for name in run.scores if name not in SPLITS]:  # what `evaluation.also` asks for
            value = run.scores[name]["scores"]["values"][run.primary]
            lines += [f"          {units.score(value['value'], value['low'], value['high'])} on {name}"]
            lines += _verdicts(run, name)
        lines += _beside_teachers(run, split)
    lines += _diagnosed(run)
    for name, path in paths(run).items():
        lines.append(f"{name:<9} {path}")
    folder = shlex.quote(str(run.folder))  # an id is found in runs/ alone
    lines.append(f"next      weitiao predict {folder} {_input(run)}   |   weitiao evaluate {folder} DATA")
    return lines


def _diagnosed(run: Run) -> list[str]:
    """What went wrong, in three lines at most; nothing where the run's events are gone."""
    from weitiao.errors import RunError
    from weitiao.run import diagnose

    try:
        told = diagnose(run.folder).lines()
    except RunError:
        return []
    return [f"diagnosis {told[0]}", *(f"          {line}" for line in told[1:])]


def _input(run: Run) -> str:
    """What `weitiao predict` takes of this task: a text is not enough where a model reads more than one."""
    from weitiao import registry

    task = registry.get("task", run.task)
    if task.layout == "audio":
        return "SOUND.wav"
    given = [column for column in task.columns if not column.target and column.role in run.recipe.data.columns]
    return "FILE" if len(given) > 1 and task.layout != "dialogue" else '"a text"'


def _verdicts(run: Run, name: str) -> list[str]:
    """How the model compares with each baseline, and what makes its scores worth little."""
    measured = run.scores[name]
    verdicts = [comparison["verdict"] for comparison in measured["comparisons"]]
    return [f"          {line}" for line in (*verdicts, *(f"warning: {told}" for told in measured["warnings"]))]


def _beside_teachers(run: Run, name: str) -> list[str]:
    """What a student keeps of its teachers, and what it saves."""
    from weitiao.evaluation.beside_teacher import BesideTeacher

    known = run.scores[name].get("beside_teachers", [])
    return [f"          {BesideTeacher.from_dict(each).told}" for each in known]


def paths(run: Any) -> dict[str, Path]:
    """Return what a run has on disk by name: model, report, events."""
    known = {"model": "artifact", "report": "report.html", "events": "events.jsonl", "recipe": "recipe.yaml"}
    return {name: run.folder / path for name, path in known.items() if (run.folder / path).exists()}
