"""One run, told in order: recipe, data, task, model, method, loop, evaluation, artifact, report."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from weitiao import models
from weitiao.artifacts.run_folder import Run, check_output, create_run, find_run, list_runs
from weitiao.consistency import with_unlabelled
from weitiao.errors import RunError
from weitiao.evaluation.evaluate import Inference
from weitiao.evaluation.on_the_way import OnTheWay
from weitiao.events import Event, Found, RunFinished, RunStarted
from weitiao.forecast import again_within_memory, within_memory, within_time
from weitiao.frozen import computed_once, with_frozen_part
from weitiao.inspection import (
    Checked,
    Evaluation,
    Untrained,
    check,
    diagnose,
    evaluate,
    inspect,
    load,
    measure_baselines,
)
from weitiao.kernels import quickly
from weitiao.loading import Loaded, load_for_training, plain, with_rate, with_usual_rate
from weitiao.parallel import Parallel, check_same, first_then_all, join, only_first, watched
from weitiao.preparation import Preparation, as_recipe, prepare, refuse_errors
from weitiao.recipe import Recipe
from weitiao.results import publish
from weitiao.teaching import with_teacher
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
    "Untrained",
    "check",
    "diagnose",
    "evaluate",
    "find_run",
    "inspect",
    "list_runs",
    "load",
    "measure_baselines",
    "resume",
    "train",
]


def train(recipe: Recipe | Path | str | Mapping[str, Any], *, trackers: Iterable[Tracker] = ()) -> Run:
    """Carry out a recipe from data to artifact and report, and return the finished run.

    Raises `WeitiaoError` before anything is written where recipe, data or model cannot be used, and `Interrupted`
    after ctrl-C or SIGTERM: the run can then be resumed.
    """
    began = time.monotonic()
    with models.quiet(), watched():
        recipe = as_recipe(recipe)
        parallel = _joined(recipe)
        parallel.once(lambda: check_output(recipe))
        ready = first_then_all(parallel, lambda: with_unlabelled(with_teacher(_checked(recipe))))
        ready = with_usual_rate(_alike(ready, parallel))
        loaded = load_for_training(ready, parallel=parallel)  # whatever is wrong shows before the run has a folder
        ready, plan = with_frozen_part(ready, loaded[0])
        ready, loaded, plan = within_memory(ready, loaded, plan)
        ready, loaded = with_rate(ready, loaded, recipe.training.learning_rate)
        ready, loaded = within_time(ready, loaded, plan, began=began)
        folder = parallel.once(lambda: str(create_run(ready.recipe, ready.digest).folder))
        return _carry_out(find_run(folder), ready, loaded, plan, trackers)


def resume(run: str | Path, *, trackers: Iterable[Tracker] = ()) -> Run:
    """Go on with a run from its newest undamaged checkpoint to the result it would have had without the stop."""
    found = find_run(run)
    if found.status == "finished":
        raise RunError("is finished: there is nothing to resume", where=f"run {found.id}")
    with models.quiet(), watched():
        parallel = _joined(found.recipe)
        ready = _alike(first_then_all(parallel, lambda: _as_before(found.recipe)), parallel)
        if ready.digest != found.digest:
            raise RunError("its data, model or recipe is not what it was", where=f"run {found.id}",
                           fix="Put the files back as they were, or train anew.")  # fmt: skip
        fresh = Checkpoints(found.checkpoints).newest() is None
        loaded = load_for_training(ready, fresh=fresh, parallel=parallel)
        ready, plan = with_frozen_part(ready, loaded[0])
        again_within_memory(ready, loaded[0])
        return _carry_out(found, ready, loaded, plan, trackers)


def _joined(recipe: Recipe) -> Parallel:
    """This process among those that torchrun started."""
    device, _ = models.resolve_device(recipe.training.device)
    return join(recipe.training.parallel, device)


def _as_before(recipe: Recipe) -> Preparation:
    """The preparation of a run that has begun: what was open in its recipe is settled."""
    return with_unlabelled(with_teacher(prepare(recipe), settled=True), settled=True)


def _checked(recipe: Recipe) -> Preparation:
    ready = prepare(recipe)
    refuse_errors(ready.findings)
    return ready


def _alike(ready: Preparation, parallel: Parallel) -> Preparation:
    """The preparation with what the first process settled for the training: free memory, say, may differ."""
    check_same(parallel, ready.digest, "data and base model")
    own = ready.recipe.to_dict()["training"]
    first = parallel.once(lambda: own)
    other = {f"training.{key}": (value, "of the first process") for key, value in first.items() if value != own[key]}
    return replace(ready, recipe=ready.recipe.resolved(other)) if other else ready


def _untold(_: Event) -> None:
    """What happens is told by the first process."""


def _carry_out(run: Run, ready: Preparation, loaded: Loaded, plan: Plan | None, trackers: Iterable[Tracker]) -> Run:
    start, (training, inference) = time.time(), loaded
    told, parallel = recording(ready.recipe.trackers, run.folder, trackers), training.parallel
    checkpoints = Checkpoints(run.checkpoints)
    with only_first(run.working()), only_first(told, _untold) as record, watched():
        record(RunStarted(run=run.id, folder=str(run.folder), summary=ready.facts))
        for finding in ready.findings:
            record(Found(level=finding.level, where=finding.where, problem=finding.problem, fix=finding.fix))
        way = _measures(inference, ready) if "validation" in ready.features else None
        with (
            quickly(training.model, ready.precision, learns=True),
            recomputed(training.model, ready.recipe.training.checkpoint_activations),
            stop_on_signal() as stop,  # ends with the loop: after it, ctrl-C loses nothing and need not wait
            computed_once(ready, training, plan, run.folder / "frozen", record, stop),
        ):
            measures = (way.on_validation, stop, way.on_train) if way else (None, stop)
            for event in fit(training, checkpoints, *measures):
                record(event)
        trained = plain(ready, inference)
        result = parallel.once(lambda: publish(run, ready, trained, record))
        record(RunFinished(
            run=run.id, artifact=str(run.artifact), report=str(run.report), seconds=time.time() - start,
            **result,
        ))  # fmt: skip
    parallel.once(checkpoints.clear)
    return find_run(run.folder)


def _measures(inference: Inference, ready: Preparation) -> OnTheWay:
    wanted, seed = ready.recipe.evaluation, ready.recipe.data_seed
    return OnTheWay(inference, ready.labelled("validation"), wanted.most, ready.labelled("train"), wanted.seen, seed)
