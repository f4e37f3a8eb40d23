"""What can be asked without training: is a recipe sound, how good is a run on other data, what does it predict."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from weitiao import data, models, predictor
from weitiao.artifacts.artifact import Artifact
from weitiao.artifacts.run_folder import artifact_folder, check_output, find_run
from weitiao.consistency import with_unlabelled
from weitiao.errors import DataError, RecipeError, RunError, WeitiaoError
from weitiao.evaluation.assess import Measured, Rivals, Simple, asked_for, assess, assess_baselines
from weitiao.evaluation.diagnosis import Diagnosis
from weitiao.evaluation.evaluate import Inference, Labelled, language_model, untouched
from weitiao.evaluation.report import write_report
from weitiao.evaluation.summary import View
from weitiao.events import Event, Writing
from weitiao.facts import diagnosis_of, evaluation_facts
from weitiao.forecast import within_memory, within_time
from weitiao.frozen import with_frozen_part
from weitiao.loading import load_for_training, with_usual_rate
from weitiao.predictor import Predictor
from weitiao.preparation import Preparation, as_recipe, encode_split, measured_on, open_examples, prepare, refuse_errors
from weitiao.recipe import Recipe
from weitiao.records import SPLITS, Finding, Scores, SplitName
from weitiao.teaching import with_silent_teacher
from weitiao.trackers.base import Tracker
from weitiao.views import chosen_rows, views

ROUNDS = 20  # of reading without the rows found wrong so far: those of dialogues are told one at a time


@dataclass(frozen=True)
class Checked:
    """What `check` found out."""

    recipe: Recipe  # resolved
    findings: list[Finding]
    facts: dict[str, Any]


def diagnose(run: str | Path) -> Diagnosis:
    """Say what went wrong in a run, finished or not, by its events and scores: each with evidence and what to try.

    `run` is its folder, its id or the beginning of that; raises a `RunError` where there is none.
    """
    return diagnosis_of(find_run(run))


@dataclass(frozen=True)
class Evaluation:
    """A run measured on a file."""

    measured: Measured
    precision: str  # what was computed in, and why
    report: Path | None = None  # where the report was written

    @property
    def scores(self) -> Scores:
        """All scores with their intervals."""
        return self.measured.scores

    @property
    def comparisons(self) -> list[Any]:
        """How it compares with the simple baselines fitted on the run's own training data."""
        return self.measured.comparisons

    @property
    def warnings(self) -> list[str]:
        """What makes the scores worth little, such as the same answer to all examples."""
        return self.measured.warnings

    @property
    def notes(self) -> list[str]:
        """What a reader of the scores must know."""
        return self.measured.notes

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return self.measured.to_dict()


def check(recipe: Recipe | Path | str | Mapping[str, Any], *, forecast: bool = True) -> Checked:
    """Find out everything that can be known before training; trains and writes nothing.

    With `forecast` the model is loaded and a few steps are tried out, which leave it as it was: `Checked.facts` then
    tells what the run will take, and `Checked.recipe` what was chosen for it. Raises a `RecipeError` where it does not
    fit into the recipe's `memory` or `time`.
    """
    began = time.monotonic()
    recipe = as_recipe(recipe)
    check_output(recipe)
    with models.quiet():
        ready = with_unlabelled(prepare(recipe), silent=True)
        if forecast and not any(finding.level == "error" for finding in ready.findings):
            ready = _forecast(ready, began)
    return Checked(ready.recipe, ready.findings, ready.facts)


def _forecast(ready: Preparation, began: float) -> Preparation:
    """The preparation with what the run will take in its facts; the rate of a range test stays to be found."""
    known, rate = with_usual_rate(with_silent_teacher(ready)), ready.recipe
    loaded = load_for_training(known, fresh=False)
    known, plan = with_frozen_part(known, loaded[0])
    known, loaded, plan = within_memory(known, loaded, plan)
    known, _ = within_time(known, loaded, plan, began=began, always=True)
    if rate.training.learning_rate == "range-test":
        asked = rate.origin("training.learning_rate")
        known = replace(known, recipe=known.recipe.changed({"training.learning_rate": ("range-test", asked)}),
                        facts=known.facts | {"learning_rate": "range-test"})  # fmt: skip
    return known


def inspect(
    recipe: Recipe | Path | str | Mapping[str, Any],
    *,
    split: str = "train",
    row: int | str | None = None,
    count: int | None = None,
) -> list[View]:
    """Show examples of a split exactly as the model sees them in training; trains and writes nothing.

    Raises a `DataError` where something is wrong with any row; `inspected` shows the others.

    `row` is an example's number in the split, counted from 1, or where it stands: ``reviews.csv:12``; with `count` so
    many from there on. Without `row` the first `count`, 3 where it is not given.
    """
    seen, errors = inspected(recipe, split=split, row=row, count=count)
    if errors:
        raise DataError("\n".join(errors))
    return seen


def inspected(
    recipe: Recipe | Path | str | Mapping[str, Any], *, split: str = "train", row: int | str | None = None,
    count: int | None = None,
) -> tuple[list[View], list[str]]:  # fmt: skip
    """Return examples as `inspect` does, of the rows that are sound, and what is wrong with the others."""
    recipe = as_recipe(recipe)
    with models.quiet():
        ready, errors = _sound(recipe)
        return views(ready, split, chosen_rows(ready, split, row, count)), errors


def _sound(recipe: Recipe) -> tuple[Preparation, list[str]]:
    """Prepare a recipe without the rows that are wrong, and tell what is; raises where it is not about rows."""
    errors: list[str] = []
    without: set[str] = set()
    for _ in range(ROUNDS):
        try:
            return prepare(recipe, without=without), errors
        except DataError as error:
            errors.append(str(error))
            wrong = set(error.rows) - without
            if not wrong and len(errors) == 1:
                raise
            if not wrong:
                break
            without |= wrong
    raise DataError("\n".join(errors))


def load(
    run: str | Path, *, device: str = "auto", precision: str = "auto", trust_remote_code: bool = False
) -> Predictor:
    """Load a run (id or folder) or an artifact folder, ready to predict.

    `precision` is fp32, bf16, or auto: what it was trained and measured in, where this machine multiplies that
    natively, else fp32.
    """
    return predictor.load(artifact_folder(run), device=device, precision=precision, trust_remote_code=trust_remote_code)


@dataclass(frozen=True)
class Untrained:
    """How good the simple baselines of a recipe are."""

    split: str  # what they were measured on
    examples: int
    measured: list[Simple]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        told = [each.to_dict() for each in self.measured]
        return {"split": self.split, "examples": self.examples, "baselines": told, "notes": self.notes}


def measure_baselines(
    recipe: Recipe | Path | str | Mapping[str, Any], *, trackers: Iterable[Tracker] = ()
) -> Untrained:
    """Measure what the model of a recipe will stand beside, on the last split there is: the task's simple baselines and
    those of `evaluation.prompted`. Trains and writes nothing. `trackers` are told of each before it begins.

    Raises a `RecipeError` where there is no split to measure on.
    """
    import torch

    recipe, told = as_recipe(recipe), list(trackers)
    with models.quiet():
        ready = prepare(recipe)
        refuse_errors(ready.findings)
        names: list[SplitName] = [name for name in SPLITS if name in ready.features]
        if names == ["train"]:
            raise RecipeError("there is no validation or test split to measure on", where="data",
                              fix="Set data.test_size, or name data.test.")  # fmt: skip
        settings, seed = ready.recipe.evaluation.model_copy(update={"baselines": True}), ready.recipe.data_seed
        # No model of the task's own is measured: what is asked of this one is how to run another.
        like = Inference(torch.nn.Identity(), ready.task, ready.reader, ready.device, ready.precision)
        asked = cache(lambda: language_model(ready.pretrained, like))
        before = cache(lambda: untouched(ready.pretrained, like, ready.recipe.training.seed))
        rivals = Rivals({name: ready.labelled(name) for name in names if name != "test"}, before,
                        asked_for(settings, ready.task, asked, seed))  # fmt: skip
        on = ready.labelled(names[-1])

        def record(event: Event) -> None:
            for tracker in told:
                tracker.record(event)

        found, notes = assess_baselines(ready.task, on, settings, seed, rivals, record)
    return Untrained(on.name, len(on.sample(settings.most, seed).rows), found, notes)


def evaluate(
    run: str | Path,
    source: str,
    *,
    columns: Mapping[str, str | list[str]] | None = None,
    device: str = "auto",
    precision: str = "auto",
    report: str | Path | None = None,
    trackers: Iterable[Tracker] = (),
) -> Evaluation:
    """Measure a run on a labelled file: scores with intervals, beside the baselines where its data is at hand.

    `device` and `precision` are those of `load`. With `report`, the same is written there as one HTML file. `trackers`
    are told of each part before it begins.
    """
    told = list(trackers)

    def record(event: Event) -> None:
        for tracker in told:
            tracker.record(event)

    if report is not None and not Path(report).absolute().parent.is_dir():
        raise RunError("the folder does not exist", where=f"--report {report}", fix="Make it, or name another.")
    loaded = load(run, device=device, precision=precision)
    artifact = loaded.artifact
    recipe = artifact.recipe
    with models.quiet():
        on, texts = labelled_on(artifact, source, columns or {})
        trained = trained_on(artifact)
        rivals = _rivals(loaded, trained) if trained else None
        measured = assess(loaded.inference, on, recipe.evaluation, recipe.data_seed, rivals, record)
    measured.notes.extend(_notes(texts, trained))
    if report is None:
        return Evaluation(measured, loaded.precision_told)
    record(Writing(what="report"))
    write_report(evaluation_facts(artifact, source, measured), Path(report))
    return Evaluation(measured, loaded.precision_told, Path(report))


def labelled_on(artifact: Artifact, source: str, columns: Mapping[str, str | list[str]]) -> tuple[Labelled, np.ndarray]:
    """Open a labelled file as an artifact's task reads it; also a number that stands for the text of each row."""
    recipe = artifact.recipe
    names = recipe.data.label_names and str(recipe.base / recipe.data.label_names)
    settings = recipe.data.model_copy(update={"label_names": names})
    settings = measured_on(settings, source, columns, artifact.task, base=Path())
    splits = data.open_splits(
        settings, artifact.columns, base=Path(), seed=recipe.data_seed, layout=artifact.task.layout
    )
    refuse_errors(data.check_examples(splits, artifact.columns))
    name: SplitName = "test" if "test" in splits else "train"  # a folder may hold several: never its train, then
    on = Labelled(Path(source).name, splits[name], encode_split(splits[name], artifact.task, artifact.reader))
    return on, splits.text_keys[name]


def trained_on(artifact: Artifact) -> data.Splits | None:
    """The splits of the run; None where they are not at hand any more, or not what they were."""
    recipe = artifact.recipe
    try:
        splits, _ = open_examples(recipe, artifact.task)
    except WeitiaoError:
        return None
    return splits if splits.digest == artifact.examples else None


def _labelled(splits: data.Splits, artifact: Artifact) -> dict[SplitName, Labelled]:
    """What baselines are fitted and tuned on."""
    return {
        name: Labelled(name, split, encode_split(split, artifact.task, artifact.reader))
        for name, split in splits.items()
        if name != "test"
    }


def _untouched(loaded: Predictor) -> Inference:
    """The model that the run started from; a `WeitiaoError` where it is not at hand any more."""
    recipe = loaded.artifact.recipe
    return untouched(models.open_pretrained(recipe.model, base=recipe.base), loaded.inference, recipe.training.seed)


def _rivals(loaded: Predictor, trained: data.Splits) -> Rivals:
    """What baselines need: the run's own data, and the model that it started from when it is asked for."""
    recipe, inference = loaded.artifact.recipe, loaded.inference
    asked = cache(lambda: language_model(models.open_pretrained(recipe.model, base=recipe.base), inference))
    prompted = asked_for(recipe.evaluation, inference.task, asked, recipe.data_seed)
    return Rivals(_labelled(trained, loaded.artifact), partial(_untouched, loaded), prompted)


def _notes(texts: np.ndarray, trained: data.Splits | None) -> list[str]:
    """What a reader of the scores must know: no baselines, or texts that the model has learned from."""
    if trained is None:
        return ["the data of the run is not at hand, or not what it was: no baselines beside the scores"]
    return seen_before(texts, trained)


def seen_before(texts: np.ndarray, trained: data.Splits) -> list[str]:
    """Say how many of the texts, by their numbers, a model has learned from; nothing where there are none."""
    seen = int(np.isin(texts, trained.text_keys["train"]).sum())
    many = f"{seen:,} of {len(texts):,} texts"
    return [f"{many} stand in the run's training data as well: the scores are too good"] if seen else []
