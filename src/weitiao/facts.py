"""What the report tells of a run, gathered from the preparation, the events and the measurement."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from weitiao import data
from weitiao.artifacts.artifact import Artifact
from weitiao.artifacts.run_folder import Run
from weitiao.data.audited import Audited
from weitiao.data.made import Made
from weitiao.errors import RunError
from weitiao.evaluation.assess import Measured
from weitiao.evaluation.beside_teacher import BesideTeacher
from weitiao.evaluation.course import Course
from weitiao.evaluation.diagnosis import Diagnosis, diagnose
from weitiao.evaluation.summary import Curves, Elsewhere, Facts, Histogram, SplitFacts, recipe_rows
from weitiao.models import peak_memory
from weitiao.preparation import Preparation
from weitiao.trackers import units
from weitiao.trackers.jsonl import EVENTS, read_events
from weitiao.views import sample_rows, views

LIBRARIES = ("weitiao", "torch", "transformers", "tokenizers", "peft", "datasets", "scikit-learn")
VIEWS = 3  # training examples shown token by token


def gather(
    run: Run, ready: Preparation, measured: Measured | None, also: Sequence[Measured] = (),
    beside: Sequence[BesideTeacher] = (),
) -> Facts:  # fmt: skip
    """Everything for the report; `measured` is the split that the headline is about, `also` stands below it."""
    recipe = ready.recipe
    trainable, parameters = ready.facts["trainable"], ready.facts["parameters"]
    return Facts(
        title=f"{recipe.task.name}: {recipe.model.source}",
        run=run.id,
        task=recipe.task.name,
        model=recipe.model.source,
        method=recipe.method.name,
        created=f"{datetime.fromtimestamp(run.started):%Y-%m-%d %H:%M}",
        max_length=int(recipe.model.max_length),
        splits=[_split(name, ready) for name in ready.splits],
        made=made.history if (made := Made.of(recipe.data.train, recipe.base)) else [],
        audited=Audited.of(recipe.data.train, recipe.base),
        findings=ready.findings,
        diagnosis=diagnosis_of(run, status="finished"),
        curves=Curves.of(read_events(run.folder)),
        course=Course.of(read_events(run.folder)),
        recipe=recipe_rows(recipe),
        recipe_yaml=recipe.to_yaml(),
        summary={"parameters": f"{parameters:,}", "trained": f"{trainable:,} ({trainable / parameters:.1%})"},
        environment=environment(ready.facts) | _beside_forecast(run, ready.facts.get("forecast")),
        views=views(ready, "train", sample_rows(ready, VIEWS)),
        teachers=list(beside),
        also=[Elsewhere(each.split, each.scores, each.baselines, each.comparisons) for each in also],
        **(_measurement(measured) if measured else {}),
    )


def diagnosis_of(run: Run, *, status: str | None = None) -> Diagnosis:
    """Say what is wrong with a run, finished or not, by what is in its folder. `status`: in place of its own."""
    if not (run.folder / EVENTS).exists():
        raise RunError("has no events to go by", where=f"run {run.id}", fix=f"There is no {run.folder / EVENTS}.")
    return diagnose(
        read_events(run.folder), run.scores, run.recipe.to_dict(), status=status or run.status, error=run.error or ""
    )


def evaluation_facts(artifact: Artifact, source: str, measured: Measured) -> Facts:
    """The report of a finished model on a file it was not trained with."""
    recipe = artifact.recipe
    return Facts(
        title=f"{recipe.model.source} on {Path(source).name}",
        run=artifact.folder.parent.name,
        task=recipe.task.name,
        model=recipe.model.source,
        method=recipe.method.name,
        created=f"{datetime.now():%Y-%m-%d %H:%M}",
        max_length=artifact.reader.max_length,
        recipe=recipe_rows(recipe),
        recipe_yaml=recipe.to_yaml(),
        environment=environment({"device": recipe.training.device, "precision": recipe.training.precision}),
        **_measurement(measured),
    )


def _measurement(measured: Measured) -> dict[str, Any]:
    return {name: getattr(measured, name) for name in
            ("split", "scores", "baselines", "comparisons", "notes", "warnings", "mistakes", "samples")}  # fmt: skip


def _split(name: Any, ready: Preparation) -> SplitFacts:
    on = ready.labelled(name)
    examples, features = on.examples, on.features
    lengths = data.column_array(features, "full_length" if "full_length" in features.column_names else "length")
    counts, known = {}, []
    if "label" in examples.column_names:
        counts = data.label_counts(examples)
        known = list(ready.task.head(ready.pretrained.family).config.get("id2label", {}).values())
    return SplitFacts(
        name=name, examples=len(examples), origin=ready.facts["splits"][name]["origin"],
        labels={label: counts.get(label, 0) for label in known},
        median=float(np.median(lengths)), longest=int(lengths.max()),
        cut=data.truncated(features, int(ready.recipe.model.max_length))[0], lengths=Histogram.of(lengths),
    )  # fmt: skip


def environment(summary: Mapping[str, Any]) -> dict[str, str]:
    """Versions, machine, threads and peak memory of this process."""
    import torch

    return {
        **_versions(LIBRARIES),
        "Python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(), "cores": str(os.cpu_count()), "threads": str(torch.get_num_threads()),
        "device": str(summary["device"]), "precision": str(summary["precision"]),
        **({"peak memory": f"{peak / 1e9:.2f} GB"} if (peak := peak_memory()) else {}),
    }  # fmt: skip


def _beside_forecast(run: Run, forecast: Mapping[str, Any] | None) -> dict[str, str]:
    """Memory and time up to the report beside what was forecast of them, where it was."""
    if forecast is None:
        return {}
    peak, told, seconds = peak_memory(), forecast["memory"], time.time() - run.started
    memory = {"peak memory": f"{units.size(peak)} (forecast: {units.size(told)})"} if peak and told else {}
    return memory | {"time": f"{units.duration(seconds)} (forecast: {units.duration(forecast['seconds'])})"}


def _versions(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
