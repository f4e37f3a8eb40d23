"""The report of a run for people: one HTML file that needs nothing else, neither network nor library.

`Facts` is all it tells, as plain data; the caller keeps `Facts.to_dict()` beside it as ``report.json``.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from weitiao.evaluation import charts
from weitiao.evaluation.charts import clean
from weitiao.evaluation.compare import Comparison
from weitiao.evaluation.mistakes import Mistake
from weitiao.metrics.words import is_share, spoken, written
from weitiao.records import Finding, Score, Scores

if TYPE_CHECKING:
    from weitiao.recipe import Recipe

MOST_POINTS = 400  # of a curve; longer ones are averaged over neighbouring steps
LONGEST_TEXT = 2000  # characters of a mistake's text
CONFUSED = 12  # pairs listed
FEW_LABELS = 24  # up to so many labels all are drawn in the data section
LARGEST_HEATMAP = 200  # labels


@dataclass(frozen=True)
class Histogram:
    """Counts between neighbouring edges: one edge more than counts."""

    edges: list[float]
    counts: list[int]

    @classmethod
    def of(cls, values: Iterable[float], bins: int = 30) -> Histogram:
        """Count values (token lengths) in at most `bins` bins of equal, whole width."""
        array = np.asarray(list(values) if not isinstance(values, np.ndarray) else values, dtype=float)
        low, high = (float(array.min()), float(array.max())) if len(array) else (0.0, 0.0)
        width = max(1.0, float(np.ceil((high - low + 1) / bins)))
        edges = np.arange(low, high + 1 + width, width)
        counts, edges = np.histogram(array, edges)
        last = int(np.flatnonzero(counts).max()) + 1 if counts.any() else 1
        return cls(edges[: last + 1].tolist(), counts[:last].tolist())


@dataclass(frozen=True)
class SplitFacts:
    """One split at a glance. Lengths are in tokens, special tokens included, before anything is cut."""

    name: str
    examples: int
    origin: str  # ``reviews.csv``, ``held out of train (10%)``
    labels: dict[str, int] = field(default_factory=dict)  # label -> examples, in the order of the labels
    median: float | None = None
    longest: int | None = None
    cut: int = 0  # examples longer than the model takes
    lengths: Histogram | None = None


@dataclass(frozen=True)
class Evaluation:
    """Scores on validation at one step."""

    step: int
    scores: dict[str, float]
    best: bool = False


@dataclass(frozen=True)
class Curves:
    """What training looked like, step by step."""

    steps: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    best_step: int | None = None
    ended: str = ""  # why training stopped

    @classmethod
    def of(cls, events: Iterable[Mapping[str, Any]]) -> Curves:
        """Read them from the lines of ``events.jsonl`` (dicts, see `Event.to_dict`).

        A step told twice, as after a resume, counts once, as last told.
        """
        steps: dict[int, tuple[float, float]] = {}
        evaluations: dict[int, Evaluation] = {}
        best, ended = None, ""
        for event in events:
            if event["event"] == "StepDone" and np.isfinite(event["loss"]):
                steps[event["step"]] = (event["loss"], event["learning_rate"])
            elif event["event"] == "Evaluated" and event["split"] == "validation":
                evaluations[event["step"]] = Evaluation(event["step"], dict(event["scores"]), event["best"])
            elif event["event"] == "Stopped":
                best, ended = event["best_step"], event["reason"]
        if best is None:
            best = max((each.step for each in evaluations.values() if each.best), default=None)
        numbers = sorted(steps)
        losses, rates = [steps[n][0] for n in numbers], [steps[n][1] for n in numbers]
        told = [evaluations[n] for n in sorted(evaluations)]
        return cls(_thinned_steps(numbers), _thinned(losses), _thinned(rates), told, best, ended)


@dataclass(frozen=True)
class RecipeRow:
    """One value of the resolved recipe and where it came from."""

    key: str
    value: str
    origin: str


@dataclass(frozen=True)
class Facts:
    """All that a report tells. Every part but the first four may be absent."""

    title: str
    run: str
    task: str
    model: str
    method: str = ""
    created: str = ""  # for people, such as ``2026-11-23 14:15``
    split: str = "test"  # the one that `scores` are on
    scores: Scores | None = None
    baselines: dict[str, Scores] = field(default_factory=dict)  # by their names for people
    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # on the measurement, such as a baseline fitted on a sample
    mistakes: list[Mistake] = field(default_factory=list)
    splits: list[SplitFacts] = field(default_factory=list)
    max_length: int | None = None  # tokens the model reads
    findings: list[Finding] = field(default_factory=list)
    curves: Curves | None = None
    recipe: list[RecipeRow] = field(default_factory=list)
    recipe_yaml: str = ""
    summary: dict[str, str] = field(default_factory=dict)  # a few more facts for the head: ``{"trained": "22.7 M"}``
    environment: dict[str, str] = field(default_factory=dict)  # versions, CPU, threads, seconds, peak memory

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Facts:
        """Read back what `to_dict` gave, so that a report can be drawn again."""
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_python(values)

    @property
    def headline(self) -> str:
        """The primary score in words, with its interval."""
        if self.scores is None or not self.scores.values:
            return "Not measured: there is no split to measure on"
        primary, score = self.scores.primary, self.scores.values[self.scores.primary]
        said = f"{written(primary, score.value)} {spoken(primary)} on {self.scores.examples:,} {self.split} examples"
        return said + (f" ({interval(self.scores, primary)})" if score.low is not None else "")


def recipe_rows(recipe: Recipe) -> list[RecipeRow]:
    """Return the leaves of a resolved recipe with their origins, in its own order."""
    return [RecipeRow(key, value, recipe.origin(key)) for key, value in _leaves(recipe.to_dict(), "")]


def interval(scores: Scores, name: str) -> str:
    """Return a score's interval in words, ``95% interval 91.1 to 93.0``; empty without one."""
    score = scores.values[name]
    if score.low is None or score.high is None:
        return ""
    confidence = scores.details.get("bootstrap", {}).get("confidence")
    level = f"{100 * confidence:g}% " if confidence else ""
    return f"{level}interval {written(name, score.low, unit=False)} to {written(name, score.high, unit=False)}"


def write_report(facts: Facts, path: Path) -> None:
    """Write the report to `path`, whole or not at all. Raises `OSError` where that cannot be done."""
    page = render(facts).encode("utf-8", "replace")
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)  # noqa: PTH101 - a temporary file is private; a report is to be shared
            os.replace(file.name, path)  # noqa: PTH105
        except BaseException:
            os.unlink(file.name)  # noqa: PTH108
            raise


def render(facts: Facts) -> str:
    """Return the report as HTML. All texts are escaped; a content policy in the page forbids any request."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("weitiao.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= {"spoken": spoken, "percent": _percent}
    script = environment.get_template("report.js.j2").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template("report.html.j2")
    return page.render(
        facts=facts,
        script=Markup(script),
        script_hash=digest,
        style=Markup(environment.get_template("report.css").render()),
        **_views(facts),
    )


def _printable(value: Any) -> Any:
    """Keep what no HTML file can hold out of it; `Markup` is clean already."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


# --- what the template shows


def _views(facts: Facts) -> dict[str, Any]:
    details = facts.scores.details if facts.scores else {}
    return {
        "primary": _primary(facts.scores),
        "table": _score_table(facts),
        "estimates": _estimates(facts),
        "panels": _panels(facts),
        "comparisons": sorted(facts.comparisons, key=lambda each: abs(each.difference)),
        "per_class": _per_class(details),
        "multi_label": details.get("kind") == "multi-label",
        "confused": details.get("confused", [])[:CONFUSED],
        "heatmap": _heatmap(details),
        "calibration": _calibration(details),
        "mistakes": [_cut(mistake) for mistake in facts.mistakes],
        "label_bars": _label_bars(facts.splits),
        "lengths": _lengths(facts),
        "sections": _sections(facts.recipe),
    }


def _primary(scores: Scores | None) -> dict[str, str] | None:
    if scores is None or not scores.values:
        return None
    name = scores.primary
    return {"value": written(name, scores.main), "name": spoken(name), "interval": interval(scores, name)}


def _models(facts: Facts) -> dict[str, Scores]:
    """This model, then the baselines, the strongest first."""
    if facts.scores is None:
        return {}
    name, sign = facts.scores.primary, -1 if facts.scores.greater_is_better else 1
    others = sorted(facts.baselines.items(), key=lambda item: sign * item[1].values[name].value)
    return {"this model": facts.scores, **dict(others)}


def _score_table(facts: Facts) -> dict[str, Any]:
    """Rows of scores, a column a model; a score that only repeats accuracy is left out."""
    if facts.scores is None:
        return {"columns": [], "rows": []}
    models = _models(facts)
    names = [name for name in facts.scores.values if name != "micro_f1" or "accuracy" not in facts.scores.values]
    names.sort(key=lambda name: name != facts.scores.primary if facts.scores else False)
    rows = []
    for name in names:
        cells = [_score_cell(name, scores.values.get(name)) for scores in models.values()]
        rows.append({"name": spoken(name), "about": ABOUT.get(name, ""), "cells": cells})
    return {"columns": list(models), "rows": rows}


def _score_cell(name: str, score: Score | None) -> dict[str, str]:
    if score is None:
        return {"value": "–", "interval": ""}
    ends = [written(name, end, unit=False) for end in (score.low, score.high) if end is not None]
    return {"value": written(name, score.value), "interval": " – ".join(ends)}


def _estimates(facts: Facts) -> Markup | None:
    if facts.scores is None or not facts.scores.values:
        return None
    name = facts.scores.primary
    models = _models(facts)
    found = {label: scores.values.get(name) for label, scores in models.items()}
    rows = [
        charts.Estimate(label, score.value, score.low, score.high, ours=label == "this model")
        for label, score in found.items()
        if score is not None
    ]
    if len(rows) == 1 and rows[0].low is None:
        return None  # one dot says nothing
    return charts.estimates(rows, form=lambda value: written(name, value), tick_form=_form(name), share=is_share(name))


def _panels(facts: Facts) -> list[tuple[str, str, Markup]]:
    """Training curves: (title, what to know, chart)."""
    curves = facts.curves
    if curves is None:
        return []
    panels = [_loss_panel(curves)] if curves.steps else []
    primary = facts.scores.primary if facts.scores else None
    for name in dict.fromkeys(name for name in (primary, "log_loss") if name):
        panels += _evaluation_panel(curves, name, marked=name == primary)
    if curves.steps:
        rate = charts.Line("learning rate", list(zip(curves.steps, curves.learning_rate, strict=True)), "other")
        panels.append(("Learning rate", "", charts.line_chart([rate], x_label="step")))
    return panels


def _loss_panel(curves: Curves) -> tuple[str, str, Markup]:
    loss = charts.Line("each step", list(zip(curves.steps, curves.loss, strict=True)))
    if len(curves.steps) <= 20:
        return "Training loss", "", charts.line_chart([loss], x_label="step")
    smooth = charts.Line("smoothed", list(zip(curves.steps, _smoothed(curves.loss), strict=True)))
    lines = [dataclasses.replace(loss, kind="faint"), smooth]
    return "Training loss", "faint: each step, strong: smoothed", charts.line_chart(lines, x_label="step")


def _evaluation_panel(curves: Curves, name: str, *, marked: bool) -> list[tuple[str, str, Markup]]:
    points = [(each.step, each.scores[name]) for each in curves.evaluations if each.scores.get(name) is not None]
    if not points:
        return []
    best = next((point for point in points if point[0] == curves.best_step), None)
    word = f"best: {written(name, best[1])}, step {best[0]:,}" if best else ""
    line = charts.Line(spoken(name), points, "ours" if marked else "other", dots=True)
    form = _form(name)
    chart = charts.line_chart([line], x_label="step", y_form=form, mark=(best, word) if best and marked else None)
    return [(f"Validation {spoken(name)}", "", chart)]


def _form(name: str) -> Callable[[float], str]:
    """How to write the ticks: shares as percent, with as many digits as a tick has."""
    return (lambda value: f"{round(100 * value, 2):g}%") if is_share(name) else charts.number


def _per_class(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The labels in their own order; where there are many, the weakest first."""
    rows = list(details.get("per_class", []))
    return sorted(rows, key=lambda row: row["f1"]) if len(rows) > FEW_LABELS else rows


def _heatmap(details: Mapping[str, Any]) -> Markup | None:
    matrix = details.get("confusion")
    return charts.heatmap(details["labels"], matrix) if matrix and len(matrix) <= LARGEST_HEATMAP else None


def _calibration(details: Mapping[str, Any]) -> dict[str, Any] | None:
    """The expected calibration error in words, with its diagram."""
    bins = details.get("reliability")
    if not bins:
        return None
    whole = sum(each["examples"] for each in bins)
    excess = sum(each["examples"] * (each["confidence"] - each["right"]) for each in bins) / whole
    side = "about as sure as it may be" if abs(excess) < 0.01 else "too sure" if excess > 0 else "not sure enough"
    said, right = (sum(each["examples"] * each[key] for each in bins) / whole for key in ("confidence", "right"))
    return {"ece": details["ece"], "side": side, "said": said, "right": right, "chart": charts.reliability(bins)}


def _cut(mistake: Mistake) -> dict[str, Any]:
    text = mistake.text if len(mistake.text) <= LONGEST_TEXT else mistake.text[:LONGEST_TEXT] + " …"
    return {**asdict(mistake), "text": text, "long": len(text) > 320}


def _label_bars(splits: Sequence[SplitFacts]) -> dict[str, Any] | None:
    """Bars of the training split's labels: all of a few, else the largest and the smallest ones."""
    split = next((split for split in splits if split.labels), None)
    if split is None:
        return None
    whole = max(split.examples, 1)
    rows = [(label, float(count), f"{count:,} ({count / whole:.1%})") for label, count in split.labels.items()]
    if len(rows) <= FEW_LABELS:
        return {"split": split.name, "parts": [("", charts.bars(rows))], "count": len(rows)}
    rows.sort(key=lambda row: -row[1])
    ends = [("Largest", charts.bars(rows[:10])), ("Smallest", charts.bars(rows[-10:]))]
    return {"split": split.name, "parts": ends, "count": len(rows)}


def _lengths(facts: Facts) -> tuple[str, Markup] | None:
    split = facts.splits[0] if facts.splits else None
    if split is None or split.lengths is None or not split.lengths.counts:
        return None
    drawn = charts.histogram(split.lengths.edges, split.lengths.counts, x_label="tokens", limit=facts.max_length)
    return split.name, drawn


def _sections(rows: Sequence[RecipeRow]) -> dict[str, list[RecipeRow]]:
    """The recipe's rows by their first word."""
    sections: dict[str, list[RecipeRow]] = {}
    for row in rows:
        first, _, rest = row.key.partition(".")
        sections.setdefault(first if rest else "", []).append(RecipeRow(rest or first, row.value, row.origin))
    return sections


# --- small sums


def _leaves(value: Any, key: str) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [leaf for name, inner in value.items() for leaf in _leaves(inner, f"{key}.{name}" if key else str(name))]
    if isinstance(value, list):
        return [(key, ", ".join(map(str, value)) or "none")]
    words = {None: "none", True: "yes", False: "no"}
    return [(key, words[value] if value is None or isinstance(value, bool) else str(value))]


def _group(length: int) -> int:
    return -(-length // MOST_POINTS) or 1


def _thinned(values: list[float]) -> list[float]:
    """Average groups of neighbours so that at most `MOST_POINTS` are left."""
    size = _group(len(values))
    return [float(np.mean(values[i : i + size])) for i in range(0, len(values), size)]


def _thinned_steps(steps: list[int]) -> list[int]:
    size = _group(len(steps))
    return [steps[min(i + size, len(steps)) - 1] for i in range(0, len(steps), size)]


def _smoothed(values: Sequence[float]) -> list[float]:
    """Exponential moving average over about a fortieth of the curve, started without bias."""
    keep = 1 - 1 / max(2.0, len(values) / 40)
    total, weight, smooth = 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        smooth.append(total / weight)
    return smooth


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


ABOUT = {
    "accuracy": "share of examples whose label is right",
    "macro_f1": "mean of the labels' F1: rare labels count as much as frequent ones",
    "micro_f1": "F1 over all decisions together",
    "weighted_f1": "mean of the labels' F1, weighted by how frequent they are",
    "macro_precision": "mean over labels: of what was called so, the share that is so",
    "macro_recall": "mean over labels: of what is so, the share that was found",
    "micro_precision": "of all labels predicted, the share that is right",
    "micro_recall": "of all labels there are, the share that was found",
    "precision": "of what was called positive (the second label), the share that is",
    "recall": "of what is positive, the share that was found",
    "f1": "harmonic mean of precision and recall of the positive label",
    "roc_auc": "chance that a positive example is scored above a negative one",
    "subset_accuracy": "share of examples with all labels right",
    "hamming_loss": "share of wrong yes/no decisions; lower is better",
    "log_loss": "mean surprise at the true label, in nats; lower is better",
}  # fmt: skip
"""What each score means, in words."""
