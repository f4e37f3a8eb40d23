"""The final measure: scores with intervals, beside simple baselines on the same examples, with a verdict in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import registry
from weitiao.evaluation.baselines import measure
from weitiao.evaluation.compare import Comparison, compare
from weitiao.evaluation.evaluate import Inference, score
from weitiao.evaluation.intervals import with_intervals
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

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "split": self.split, "scores": asdict(self.scores),
            "baselines": {name: asdict(scores) for name, scores in self.baselines.items()},
            "comparisons": [comparison.to_dict() for comparison in self.comparisons], "notes": self.notes,
        }  # fmt: skip


@dataclass(frozen=True)
class Labelled:
    """A split with its features: what a model or a baseline is measured on."""

    name: str
    examples: Dataset
    features: Dataset


def assess(
    inference: Inference, on: Labelled, settings: EvaluationSettings, seed: int,
    fit_on: Mapping[SplitName, Labelled] | None, *each: Callable[[Batch, list[Prediction]], None],
) -> Measured:  # fmt: skip
    """Measure the model on a split; with `fit_on` (train, validation) also the task's baselines.

    `each` sees every batch as it goes by.
    """
    rows: list[int] = []
    ours = score(inference, on.features, lambda batch, _: rows.extend(batch.rows), *each)
    scores = with_intervals(ours, rounds=settings.bootstrap, confidence=settings.confidence, seed=seed)
    if not fit_on or not settings.baselines:
        return Measured(on.name, scores)
    baselines, comparisons, notes = {}, [], []
    for name in inference.task.baselines:
        baseline = registry.get("baseline", name)(list(inference.task.head.config["id2label"].values()), seed=seed)
        train = fit_on["train"]
        baseline.fit(_texts(train), _labels(inference, train))
        if "validation" in fit_on:
            baseline.tune(_texts(fit_on["validation"]), _labels(inference, fit_on["validation"]))
        other = _measured(baseline, inference, on, np.array(rows))
        baselines[baseline.name] = with_intervals(
            other, rounds=settings.bootstrap, confidence=settings.confidence, seed=seed
        )
        comparisons.append(compare(
            ours, other, primary=scores.primary, rounds=settings.bootstrap, confidence=settings.confidence,
            seed=seed, name=baseline.name,
        ))  # fmt: skip
        notes += [f"{baseline.name}: {note}" for note in baseline.notes]
    return Measured(on.name, scores, baselines, comparisons, notes)


def _measured(baseline: Any, inference: Inference, on: Labelled, rows: np.ndarray) -> Scorer:
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
