"""The final measure: scores with intervals, beside simple baselines on the same examples, with a verdict in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import registry
from weitiao.data import lines_where
from weitiao.evaluation.baselines import Baseline, measure
from weitiao.evaluation.compare import Comparison, compare
from weitiao.evaluation.evaluate import Inference, score
from weitiao.evaluation.intervals import with_intervals
from weitiao.evaluation.mistakes import ConfidentMistakes, Mistake
from weitiao.recipe import EvaluationSettings
from weitiao.records import Batch, Prediction, Scores, SplitName

if TYPE_CHECKING:
    from datasets import Dataset

    from weitiao.tasks.base import Scorer

CHUNK = 1000  # rows of a split in memory at once


@dataclass(frozen=True)
class Measured:
    """One split: the model's scores, each baseline's, and how they compare."""

    split: str
    scores: Scores
    baselines: dict[str, Scores] = field(default_factory=dict)  # by the baseline's name for people
    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)  # the surest ones

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "split": self.split, "scores": asdict(self.scores),
            "baselines": {name: asdict(scores) for name, scores in self.baselines.items()},
            "comparisons": [comparison.to_dict() for comparison in self.comparisons], "notes": self.notes,
            "mistakes": [asdict(mistake) for mistake in self.mistakes],
        }  # fmt: skip


@dataclass(frozen=True)
class Labelled:
    """A split with its features: what a model or a baseline is measured on."""

    name: str
    examples: Dataset
    features: Dataset


def assess(
    inference: Inference, on: Labelled, settings: EvaluationSettings, seed: int,
    fit_on: Mapping[SplitName, Labelled] | None,
) -> Measured:  # fmt: skip
    """Measure the model on a split; with `fit_on` (train, validation) also the task's baselines."""
    rows: list[int] = []
    sure = ConfidentMistakes(_label_names(inference))

    def see(batch: Batch, predictions: list[Prediction]) -> None:
        rows.extend(batch.rows)
        if sure.labels:
            sure.add(batch.rows, batch.labels, predictions)

    ours = score(inference, on.features, see)
    measured = Measured(on.name, _with_intervals(ours, settings, seed), mistakes=[_told(m, on) for m in sure.top()])
    for name in inference.task.baselines if fit_on and settings.baselines else ():
        baseline = _fitted(name, inference, fit_on or {}, seed)
        other = _measured(baseline, inference, on, np.array(rows))
        measured.baselines[baseline.name] = _with_intervals(other, settings, seed)
        measured.comparisons.append(compare(
            ours, other, primary=measured.scores.primary, rounds=settings.bootstrap, confidence=settings.confidence,
            seed=seed, name=baseline.name,
        ))  # fmt: skip
        measured.notes.extend(f"{baseline.name}: {note}" for note in baseline.notes)
    return measured


def _with_intervals(scorer: Scorer, settings: EvaluationSettings, seed: int) -> Scores:
    return with_intervals(scorer, rounds=settings.bootstrap, confidence=settings.confidence, seed=seed)


def _label_names(inference: Inference) -> list[str]:
    """The names of what is chosen among; none where a task does not choose."""
    return list(inference.task.head.config.get("id2label", {}).values())


def _told(mistake: Mistake, on: Labelled) -> Mistake:
    """The mistake with its text and where it stands."""
    example = on.examples[mistake.row]
    text = " ⏐ ".join(str(example[role]) for role in ("text", "text_pair") if example.get(role))
    return replace(mistake, text=text, where=lines_where(on.examples, [mistake.row]))


def _fitted(name: str, inference: Inference, fit_on: Mapping[SplitName, Labelled], seed: int) -> Baseline:
    """The baseline of that name, fitted on train and tuned on validation as the model was."""
    baseline: Baseline = registry.get("baseline", name)(_label_names(inference), seed=seed)
    baseline.fit(_texts(fit_on["train"]), _labels(inference, fit_on["train"]))
    if "validation" in fit_on:
        baseline.tune(_texts(fit_on["validation"]), _labels(inference, fit_on["validation"]))
    return baseline


def _measured(baseline: Baseline, inference: Inference, on: Labelled, rows: np.ndarray) -> Scorer:
    """The baseline on the same examples in the same order, so that the two can be compared in pairs."""
    ordered = Labelled(on.name, on.examples.select(rows), on.features.select(rows))
    return measure(baseline, _texts(ordered), _labels(inference, ordered), inference.task.scorer())


def _texts(split: Labelled) -> Iterator[str | tuple[str, str]]:
    paired = "text_pair" in split.examples.column_names
    for chunk in split.examples.iter(CHUNK):
        yield from zip(chunk["text"], chunk["text_pair"], strict=True) if paired else chunk["text"]


def _labels(inference: Inference, split: Labelled) -> np.ndarray:
    """The labels as the task's batches hold them: (n,) indices or (n, labels) zeros and ones."""
    parts = []
    for chunk in split.features.select_columns(["input_ids", "labels", "row"]).iter(CHUNK):
        features = [
            {"input_ids": [0], "labels": labels, "row": row}
            for labels, row in zip(chunk["labels"], chunk["row"], strict=True)
        ]
        labels = inference.task.collate(features, inference.tokenizer).labels
        if labels is not None:
            parts.append(labels.numpy())
    return np.concatenate(parts)
