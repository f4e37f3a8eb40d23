"""The report of a run for people: one HTML file that needs nothing else, neither network nor library.

What it tells is in `summary`, how it looks in ``templates``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup

from weitiao.evaluation import charts
from weitiao.evaluation.course import Course
from weitiao.evaluation.meanings import about
from weitiao.evaluation.mistakes import Answer
from weitiao.evaluation.page import page, write
from weitiao.evaluation.summary import Curves, Elsewhere, Facts, RecipeRow, SplitFacts, Token, View, interval
from weitiao.evaluation.svg import form_of, number
from weitiao.evaluation.troubles import MEANINGS
from weitiao.metrics.words import greater_is_better, spoken, written
from weitiao.records import Score, Scores

LONGEST_TEXT = 2000  # characters of a text of an example
FOLDED = 320  # characters from which on a text is folded
CHIP = 60  # characters up to which an answer is shown as a label is
MOST_TOKENS = 2000  # of an example
OURS = "this model"
SURE = Markup(
    '<span class="key ours"></span>sure enough to be learned <span class="key other"></span>another label '
    "than the last time"
)
BOTH = Markup('<span class="key ours"></span>validation <span class="key other"></span>training examples')
CONFUSED = 12  # pairs listed
FEW_LABELS = 24  # up to so many labels all are drawn in the data section
LARGEST_HEATMAP = 200  # labels


def write_report(facts: Facts, path: Path) -> None:
    """Write the report to `path`, whole or not at all. Raises `OSError` where that cannot be done."""
    write(render(facts), path)


def write_views(views: Sequence[View], title: str, path: Path) -> None:
    """Write examples token by token to `path` as a page of their own, whole or not at all; raises `OSError`."""
    write(page("views.html.j2", title=title, views=_seen(views)), path)


def render(facts: Facts) -> str:
    """Return the report as HTML. All texts are escaped; a content policy in the page forbids any request."""
    return page("report.html.j2", facts=facts, **_shown(facts))


# --- what the template shows


def _shown(facts: Facts) -> dict[str, Any]:
    details = facts.scores.details if facts.scores else {}
    return {
        "primary": _primary(facts.scores),
        "table": _score_table(facts),
        "estimates": _estimates(facts),
        "panels": _panels(facts),
        "comparisons": sorted(facts.comparisons, key=lambda each: abs(each.difference)),
        "tables": [_table(table) for table in details.get("tables", [])],
        "signatures": dict(details.get("signatures", {})),
        "notes": [*facts.notes, *details.get("notes", [])],
        "also": _elsewhere(facts.also),
        "per_class": _per_class(details),
        "multi_label": details.get("kind") == "multi-label",
        "confused": details.get("confused", [])[:CONFUSED],
        "heatmap": _heatmap(details),
        "calibration": _calibration(details),
        "mistakes": _answers(facts.mistakes),
        "samples": _answers(facts.samples if _are_free(facts.samples) else []),
        "views": _seen(facts.views),
        "label_bars": _label_bars(facts.splits),
        "lengths": _lengths(facts),
        "sections": _sections(facts.recipe),
        "names": list(MEANINGS),
    }


def _primary(scores: Scores | None) -> dict[str, str] | None:
    if scores is None or scores.primary not in scores.values:
        return None
    name = scores.primary
    return {"value": written(name, scores.main), "name": spoken(name), "interval": interval(scores, name)}


def _models(scores: Scores, baselines: Mapping[str, Scores]) -> dict[str, Scores]:
    """This model, then the baselines, the strongest first; those without the primary score last."""
    sign = -1 if scores.greater_is_better else 1

    def rank(item: tuple[str, Scores]) -> tuple[bool, float]:
        found = item[1].values.get(scores.primary)
        return found is None, sign * found.value if found else 0.0

    return {OURS: scores, **dict(sorted(baselines.items(), key=rank))}


def _score_table(facts: Facts) -> dict[str, Any]:
    """Rows of scores, a column a model; a score that only repeats accuracy is left out."""
    if facts.scores is None:
        return {"columns": [], "rows": []}
    scores, models = facts.scores, _models(facts.scores, facts.baselines)
    names = [name for name in scores.values if not _repeats_accuracy(name, scores)]
    names.sort(key=lambda name: name != scores.primary)
    rows = []
    for name in names:
        cells = [_score_cell(name, each.values.get(name)) for each in models.values()]
        told = about(name, str(scores.details.get("kind", "")))
        rows.append({"name": spoken(name), "about": told, "lower": not greater_is_better(name), "cells": cells})
    return {"columns": list(models), "rows": rows}


def _repeats_accuracy(name: str, scores: Scores) -> bool:
    task, dot, own = name.rpartition(".")
    return own == "micro_f1" and f"{task}{dot}accuracy" in scores.values


def _score_cell(name: str, score: Score | None) -> dict[str, str]:
    if score is None:
        return {"value": "–", "interval": ""}
    ends = [written(name, end, unit=False) for end in (score.low, score.high) if end is not None]
    return {"value": written(name, score.value), "interval": " – ".join(ends)}


def _table(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table of a scorer's own, its cells as text; `numbers` says which columns hold nothing but numbers."""
    rows = [[_cell(value) for value in row] for row in table["rows"]]
    columns = zip(*table["rows"], strict=True) if table["rows"] else iter([()] * len(table["columns"]))
    numbers = [all(isinstance(value, int | float | None) for value in column) for column in columns]
    return {**table, "rows": rows, "numbers": numbers, "about": table.get("about", "")}


def _cell(value: Any) -> dict[str, Any]:
    if value is None:
        return {"text": "–", "value": -1}
    if isinstance(value, float):
        return {"text": f"{value + 0.0:.3f}" if abs(value) < 10 else f"{value:,.1f}", "value": value}
    return {"text": f"{value:,}" if isinstance(value, int) else str(value), "value": value}


def _elsewhere(also: Sequence[Elsewhere]) -> dict[str, Any] | None:
    """A row a data set: the primary score of this model and of each baseline, and the verdicts."""
    measured = [each for each in also if each.scores.primary in each.scores.values]
    if not measured:
        return None
    columns = list(dict.fromkeys(name for each in measured for name in _models(each.scores, each.baselines)))
    rows = []
    for each in measured:
        models, name = _models(each.scores, each.baselines), each.scores.primary
        cells = [_score_cell(name, models[c].values.get(name) if c in models else None) for c in columns]
        rows.append({
            "name": each.name, "score": spoken(name), "lower": not greater_is_better(name), "cells": cells,
            "examples": each.scores.examples, "verdicts": [comparison.verdict for comparison in each.comparisons],
        })  # fmt: skip
    return {"columns": columns, "rows": rows}


def _estimates(facts: Facts) -> Markup | None:
    if facts.scores is None or not facts.scores.values:
        return None
    name = facts.scores.primary
    found = {label: each.values.get(name) for label, each in _models(facts.scores, facts.baselines).items()}
    rows = [
        charts.Estimate(label, score.value, score.low, score.high, ours=label == OURS)
        for label, score in found.items()
        if score is not None
    ]
    if not rows or (len(rows) == 1 and rows[0].low is None):
        return None  # one dot says nothing
    return charts.estimates(rows, name)


def _panels(facts: Facts) -> list[tuple[str, str, Markup]]:
    """Training curves: (title, what to know, chart)."""
    curves = facts.curves
    if curves is None:
        return []
    panels = [_loss_panel(curves)] if curves.steps else []
    primary = facts.scores.primary if facts.scores else None
    for name in dict.fromkeys(name for name in (primary, "log_loss", "loss") if name):
        panels += _evaluation_panel(curves, name, marked=name == primary)
    panels += _unlabelled_panel(curves)
    panels += _layer_panels(facts.course) if facts.course else []
    if curves.steps:
        rate = charts.Line("learning rate", list(zip(curves.steps, curves.learning_rate, strict=True)), "other")
        panels.append(("Learning rate", "", charts.line_chart([rate], x_label="step")))
    return panels


def _layer_panels(course: Course) -> list[tuple[str, str, Markup]]:
    """Heat-maps by layer and step, where there is anything to see."""
    panels = []
    for title, what, rows in (
        ("Gradient by layer", "its norm before clipping", course.gradient_norms),
        ("Update by layer", "its size as a share of the weights'", course.update_ratios),
    ):
        there = [value for row in rows for value in row if value]
        if there:
            low, high = (number(float(f"{end:.2g}")) for end in (min(there), max(there)))
            told = f"{what}; from {low} to {high}, darker is more"
            panels.append((title, told, charts.by_layer(course.layers, course.steps, rows)))
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
    lines = [charts.Line("validation", points, "ours", dots=True)]
    seen = [(each.step, each.train[name]) for each in curves.evaluations if each.train.get(name) is not None]
    lines += [charts.Line("training examples", seen, "other", dots=True)] if seen else []
    mark = (best, word) if best and marked else None
    chart = charts.line_chart(lines, x_label="step", y_form=form_of(name), mark=mark)
    if not seen:
        return [(f"Validation {spoken(name)}", "", chart)]
    return [(f"{spoken(name)[:1].upper()}{spoken(name)[1:]}", BOTH, chart)]


def _unlabelled_panel(curves: Curves) -> list[tuple[str, str, Markup]]:
    """How sure the model was of texts without labels, where there were any."""
    if not curves.unlabelled:
        return []
    lines = [charts.Line("sure", [(each.step, each.sure) for each in curves.unlabelled], "ours", dots=True)]
    changed = [(each.step, each.changed) for each in curves.unlabelled if each.changed is not None]
    lines += [charts.Line("another label", changed, "other", dots=True)] if changed else []
    return [("Texts without labels", SURE, charts.line_chart(lines, x_label="step", y_form=form_of("accuracy")))]


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


# --- answers


def _are_free(answers: Sequence[Answer]) -> bool:
    """Whether they are worth reading without being mistakes: where none has a confidence, as labels have."""
    return any(answer.confidence is None for answer in answers)


def _answers(answers: Sequence[Answer]) -> dict[str, Any] | None:
    """Answers to be read; `chips`: each is as short as a label is, `sure`: the model says how sure it is, `measure`:
    what the texts are measured by where none of them is answered.
    """  # fmt: skip
    if not answers:
        return None
    said = [text for each in answers for text in (*each.expected, *each.said, *each.before)]
    return {
        "rows": [{**asdict(each), "given": _cut(each.given), "expected": [_cut(text) for text in each.expected],
                  "said": [_cut(text) for text in each.said], "before": [_cut(text) for text in each.before]}
                 for each in answers],
        "chips": all(len(text) <= CHIP and "\n" not in text for text in said),
        "sure": any(each.confidence is not None for each in answers),
        "before": any(each.before for each in answers),
        "expected": any(each.expected for each in answers),
        "measure": answers[0].measure if len({each.measure for each in answers}) == 1 else "",
    }  # fmt: skip


def _cut(text: str) -> dict[str, Any]:
    """A text, cut where it is endless, and whether it is folded; one that nothing stands in says so."""
    if not text.strip():
        return {"text": "(empty)", "long": False}
    kept = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " …"
    return {"text": kept, "long": len(kept) > FOLDED or kept.count("\n") > 5}


# --- tokens


def _seen(views: Sequence[View]) -> dict[str, Any] | None:
    """Examples token by token, and which signs the legend has to explain."""
    if not views:
        return None
    tokens = [token for view in views for row in view.rows for token in row.tokens]
    return {
        "examples": [
            {"view": view, "rows": [{"name": row.name, "tokens": [_token(t) for t in row.tokens[:MOST_TOKENS]],
                                     "more": len(row.tokens) - MOST_TOKENS} for row in view.rows]}
            for view in views
        ],
        "trained": any(token.trained for token in tokens),
        "special": any(token.special for token in tokens),
        "target": any(token.target for token in tokens),
    }  # fmt: skip


def _token(token: Token) -> dict[str, Any]:
    kind = " ".join(name for name in ("trained", "special") if getattr(token, name))
    return {"text": token.shown, "class": kind, "id": token.id, "target": token.target,
            "breaks": "\n" in token.text}  # fmt: skip


# --- the data


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


def _smoothed(values: Sequence[float]) -> list[float]:
    """Exponential moving average over about a fortieth of the curve, started without bias."""
    keep = 1 - 1 / max(2.0, len(values) / 40)
    total, weight, smooth = 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        smooth.append(total / weight)
    return smooth
