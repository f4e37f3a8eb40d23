"""From the trained model to what people get: scores, artifact, model card, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weitiao.artifacts.artifact import save_artifact, write_json
from weitiao.artifacts.card import write_card
from weitiao.artifacts.run_folder import Run
from weitiao.evaluation.assess import Labelled, Measured, assess
from weitiao.evaluation.evaluate import Inference, tuned
from weitiao.evaluation.report import Facts, write_report
from weitiao.facts import gather
from weitiao.preparation import Preparation
from weitiao.records import SplitName


def publish(run: Run, ready: Preparation, inference: Inference) -> dict[str, Any]:
    """Measure, save the artifact and write the report; return what `RunFinished` tells of it."""
    if "validation" in ready.features:
        inference = tuned(inference, ready.features["validation"])
    measured = _measured(inference, ready)
    final = measured[-1] if measured else None
    verdicts = [comparison.verdict for comparison in final.comparisons] if final else []
    card = write_card(
        run.id, ready.recipe, inference.task, final.scores if final else None, final.split if final else "", verdicts
    )
    scores = {each.split: each.to_dict() for each in measured}
    write_json(run.folder / "scores.json", scores)
    save_artifact(
        run.artifact, model=inference.model, method=ready.method, task=inference.task,
        tokenizer=ready.pretrained.tokenizer, recipe=ready.recipe, scores=scores, card=card,
        examples=ready.splits.digest,
    )  # fmt: skip
    write_reports(gather(run, ready, final), run.folder)
    if final is None:
        return {}
    primary = final.scores.values[final.scores.primary]
    run.note(primary=final.scores.primary, score=primary.value, low=primary.low, high=primary.high)
    return {"primary": final.scores.primary, "score": primary.value}


def _measured(inference: Inference, ready: Preparation) -> list[Measured]:
    """The validation split, then the test split; the last one measured stands beside the baselines."""
    splits = {name: Labelled(name, ready.splits[name], ready.features[name]) for name in ready.features}
    fit_on: dict[SplitName, Labelled] = {name: split for name, split in splits.items() if name != "test"}
    there = [name for name in ("validation", "test") if name in splits]
    found = [
        assess(inference, splits[name], ready.recipe.evaluation, ready.recipe.training.seed,
               fit_on if name == there[-1] else None)
        for name in there
    ]  # fmt: skip
    if "validation" in there:
        found[0].notes.append("validation also chose the step that is kept: its scores are a little too good")
    return found


def write_reports(facts: Facts, folder: Path) -> None:
    """Write the report for people and, beside it, the same as JSON."""
    write_json(folder / "report.json", facts.to_dict())
    write_report(facts, folder / "report.html")
