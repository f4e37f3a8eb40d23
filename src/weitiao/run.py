"""One run, told in order: recipe, data, task, model, method, loop, evaluation, artifact, report."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from weitiao import models
from weitiao.artifacts.run_folder import Run, check_output, create_run, find_run, list_runs
from weitiao.errors import RunError
from weitiao.evaluation.evaluate import Inference, score, tuned
from weitiao.events import Found, RunFinished, RunStarted
from weitiao.forecast import within_budgets
from weitiao.frozen import computed_once, with_frozen_part
from weitiao.inspection import Checked, Evaluation, check, evaluate, inspect, load
from weitiao.kernels import quickly
from weitiao.loading import Loaded, load_for_training, with_rate
from weitiao.preparation import Preparation, as_recipe, prepare, refuse_errors
from weitiao.recipe import Recipe
from weitiao.records import Scores
from weitiao.results import publish
from weitiao.trackers import recording
from weitiao.trackers.base import Tracker
from weitiao.training.checkpoint import Checkpoints
from weitiao.training.fit import fit, stop_on_signal
from weitiao.training.fixed import Plan
from weitiao.training.recompute import recomputed

__all__ = [
    "Checked",
    "Evaluation",
    "Run",
    "check",
    "evaluate",
    "find_run",
    "inspect",
    "list_runs",
    "load",
    "resume",
    "train",
]


def train(recipe: Recipe | Path | str | Mapping[str, Any], *, trackers: Iterable[Tracker] = ()) -> Run:
    """Carry out a recipe from data to artifact and report, and return the finished run.

    Raises `WeitiaoError` before anything is written where recipe, data or model cannot be used, and `Interrupted`
    after ctrl-C or SIGTERM: the run can then be resumed.
    """
    began = time.monotonic()
    with models.quiet():
        recipe = as_recipe(recipe)
        check_output(recipe)
        ready = prepare(recipe)
        refuse_errors(ready.findings)
        ready = with_rate(ready)
        loaded = load_for_training(ready)  # whatever is wrong shows before the run has a folder
        ready, plan = with_frozen_part(ready, loaded[0])
        ready, loaded, plan = within_budgets(ready, loaded, plan, began=began)
        return _carry_out(create_run(ready.recipe, ready.digest), ready, loaded, plan, trackers)


def resume(run: str | Path, *, trackers: Iterable[Tracker] = ()) -> Run:
    """Go on with a run from its newest undamaged checkpoint to the result it would have had without the stop."""
    found = find_run(run)
    if found.status == "finished":
        raise RunError("is finished: there is nothing to resume", where=f"run {found.id}")
    with models.quiet():
        ready = prepare(found.recipe)
        if ready.digest != found.digest:
            raise RunError("its data, model or recipe is not what it was", where=f"run {found.id}",
                           fix="Put the files back as they were, or train anew.")  # fmt: skip
        fresh = Checkpoints(found.checkpoints).newest() is None
        loaded = load_for_training(ready, fresh=fresh)
        ready, plan = with_frozen_part(ready, loaded[0])
        return _carry_out(found, ready, loaded, plan, trackers)


def _carry_out(run: Run, ready: Preparation, loaded: Loaded, plan: Plan | None, trackers: Iterable[Tracker]) -> Run:
    start, (training, inference) = time.time(), loaded
    with run.working(), recording(ready.recipe.trackers, run.folder, trackers) as record:
        record(RunStarted(run=run.id, folder=str(run.folder), summary=ready.facts))
        for finding in ready.findings:
            record(Found(level=finding.level, where=finding.where, problem=finding.problem, fix=finding.fix))
        validate = partial(_validated, inference, ready) if "validation" in ready.features else None
        with (
            quickly(training.model, ready.precision, learns=True),
            recomputed(training.model, ready.recipe.training.checkpoint_activations),
            stop_on_signal() as stop,  # ends with the loop: after it, ctrl-C loses nothing and need not wait
            computed_once(ready, training, plan, run.folder / "frozen", record, stop),
        ):
            for event in fit(training, Checkpoints(run.checkpoints), validate, stop):
                record(event)
        result = publish(run, ready, inference, record)
        record(RunFinished(
            run=run.id, artifact=str(run.artifact), report=str(run.report), seconds=time.time() - start,
            **result,
        ))  # fmt: skip
    Checkpoints(run.checkpoints).clear()
    return find_run(run.folder)


def _validated(inference: Inference, ready: Preparation) -> Scores:
    """Score on validation by the decision rule that would ship: thresholds settled there, as at the end."""
    validation = ready.labelled("validation")
    sample = validation.sample(ready.recipe.evaluation.most, ready.recipe.data_seed)
    return score(tuned(inference, validation), sample, answers=False).scores()
