"""From the trained model to what people get: scores, artifact, model card, report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from weitiao.artifacts.artifact import save_artifact, write_json, write_text
from weitiao.artifacts.card import write_card
from weitiao.artifacts.run_folder import Run
from weitiao.beside_teacher import beside_teachers
from weitiao.evaluation.assess import Measured, Rivals, asked_for, assess
from weitiao.evaluation.evaluate import Inference, Labelled, language_model, settled, tuned, untouched
from weitiao.evaluation.report import write_report
from weitiao.evaluation.summary import Facts
from weitiao.evaluation.verdicts import DRAWN
from weitiao.events import Event, Writing
from weitiao.facts import gather
from weitiao.preparation import Preparation
from weitiao.recipe import EvaluationSettings
from weitiao.records import SPLITS, SplitName
from weitiao.teaching import teachers


def publish(run: Run, ready: Preparation, inference: Inference, record: Callable[[Event], None]) -> dict[str, Any]:
    """Measure, save the artifact and write the report; return what `RunFinished` tells of it.

    `record` is told of each part before it begins: all together may take longer than the training.
    """
    if "validation" in ready.features:
        inference = tuned(inference, ready.labelled("validation"))
    inference = settled(inference)
    rivals = _rivals(inference, ready, ready.recipe.evaluation)
    if ready.recipe.evaluation.baselines:
        rivals = replace(rivals, others=[*rivals.others, *teachers(ready)])
    measured = _measured(inference, ready, rivals, record)
    evaluation, seed = ready.recipe.evaluation, ready.recipe.data_seed
    also = [assess(inference, on, evaluation, seed, rivals, record) for on in ready.also.values()]
    final = measured[-1] if measured else None
    verdicts = [comparison.verdict for comparison in final.comparisons] if final else []
    task, family = inference.task, ready.pretrained.family
    about = partial(write_card, run.id, ready.recipe, task, family, final.scores if final else None,
                    final.split if final else "")  # fmt: skip
    scores = {each.split: each.to_dict() for each in (*measured, *also)}
    write_json(run.folder / "scores.json", scores)
    if final:
        write_json(run.folder / DRAWN, {name: drawn.to_dict() for name, drawn in final.drawn.items()})
    record(Writing(what="model"))
    save_artifact(
        run.artifact, model=inference.model, method=ready.method, task=inference.task,
        reader=ready.reader, pretrained=ready.pretrained, recipe=ready.recipe, scores=scores, card=about(verdicts),
        examples=ready.splits.digest,
    )  # fmt: skip
    beside = beside_teachers(run, ready, final, record) if final else []
    if beside and final:
        scores[final.split] |= {"beside_teachers": [each.to_dict() for each in beside]}
        write_json(run.folder / "scores.json", scores)
        write_text(run.artifact / "README.md", about([*verdicts, *(each.told for each in beside)]))
    record(Writing(what="report"))
    write_reports(gather(run, ready, final, also, beside), run.folder)
    if final is None:
        return {}
    primary = final.scores.values[final.scores.primary]
    run.note(primary=final.scores.primary, score=primary.value, low=primary.low, high=primary.high)
    return {"primary": final.scores.primary, "score": primary.value}


def _measured(
    inference: Inference, ready: Preparation, rivals: Rivals, record: Callable[[Event], None]
) -> list[Measured]:
    """The validation split, then the test split; the last one measured stands beside the baselines."""
    settings, seed = ready.recipe.evaluation, ready.recipe.data_seed
    there: list[SplitName] = [name for name in SPLITS if name in ready.features and name != "train"]
    found = [
        assess(inference, ready.labelled(name), settings, seed, rivals if name == there[-1] else None, record)
        for name in there
    ]
    if "validation" in there:
        found[0].notes.append("validation also chose the step that is kept: its scores are a little too good")
    return found


def beside_baselines(inference: Inference, ready: Preparation) -> Measured:
    """Measure a model on the last split that is there, and the simple baselines with it."""
    last = [name for name in SPLITS if name in ready.features][-1]
    settings = ready.recipe.evaluation.model_copy(update={"baselines": True})
    return assess(
        inference, ready.labelled(last), settings, ready.recipe.data_seed, _rivals(inference, ready, settings)
    )


def on_test(inference: Inference, ready: Preparation) -> Measured:
    """Measure a model on the test split as the recipe's `evaluation` says."""
    settings, seed = ready.recipe.evaluation, ready.recipe.data_seed
    return assess(inference, ready.labelled("test"), settings, seed, _rivals(inference, ready, settings))


def _rivals(inference: Inference, ready: Preparation, settings: EvaluationSettings) -> Rivals:
    """The splits that baselines are fitted on, and the untouched model, loaded when it is first asked for."""
    fit_on: dict[SplitName, Labelled] = {name: ready.labelled(name) for name in ready.features if name != "test"}
    before = cache(lambda: untouched(ready.pretrained, inference, ready.recipe.training.seed))
    asked = cache(lambda: language_model(ready.pretrained, inference))
    return Rivals(fit_on, before, asked_for(settings, inference.task, asked, ready.recipe.data_seed))


def write_reports(facts: Facts, folder: Path) -> None:
    """Write the report for people and, beside it, the same as JSON."""
    write_json(folder / "report.json", facts.to_dict())
    write_report(facts, folder / "report.html")
