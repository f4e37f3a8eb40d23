"""The report: one self-contained file that escapes what people wrote and tells every number it was given."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from weitiao.evaluation import charts
from weitiao.evaluation.baselines import Majority, measure
from weitiao.evaluation.compare import compare
from weitiao.evaluation.intervals import with_intervals
from weitiao.evaluation.mistakes import ConfidentMistakes, Mistake
from weitiao.evaluation.report import (
    MOST_POINTS,
    Curves,
    Facts,
    Histogram,
    RecipeRow,
    SplitFacts,
    recipe_rows,
    render,
    write_report,
)
from weitiao.metrics.classification import MultiLabelScorer, SingleLabelScorer
from weitiao.records import Finding, Score, Scores

LENGTHS = Histogram.of([3, 4, 300])
EVIL = "<script>alert('x')</script> & \"quoted\" <b>bold</b> \x00\x0b"


def events(steps=60, epochs=3):
    for step in range(1, steps + 1):
        yield {"event": "StepDone", "step": step, "loss": 2 / step, "learning_rate": 2e-5 * (1 - step / steps)}
        if step % (steps // epochs) == 0:
            scores = {"accuracy": 0.5 + step / steps / 4, "macro_f1": 0.4, "log_loss": 1 / step}
            yield {"event": "Evaluated", "split": "validation", "step": step, "scores": scores, "best": True}
    yield {"event": "Stopped", "step": steps, "reason": "all planned steps done", "best_step": steps}


def single(labels, rounds=50, seed=0, wrong=0.3):
    random = np.random.default_rng(seed)
    gold = random.integers(0, len(labels), 200)
    said = np.where(random.random(200) < wrong, random.integers(0, len(labels), 200), gold)
    spread = 0.2 / len(labels)
    made, mistakes = SingleLabelScorer(labels), ConfidentMistakes(labels)
    predictions = []
    for index in said:
        odds = {label: spread + (0.8 if i == index else 0) for i, label in enumerate(labels)}
        predictions.append({"label": labels[index], "score": odds[labels[index]], "probabilities": odds})
    made.add(gold, predictions)
    mistakes.add(range(200), gold, predictions)
    baseline = Majority(labels)
    baseline.fit([], gold)
    other = measure(baseline, [""] * 200, gold, SingleLabelScorer(labels))
    options = {"rounds": rounds, "confidence": 0.95, "seed": 0}
    comparison = compare(made, other, primary="accuracy", name=baseline.name, **options)
    top = [dataclasses.replace(m, text=f"text {m.row} {EVIL}", where=f"test.csv:{m.row}") for m in mistakes.top()]
    return Facts(
        title="Reviews", run="run-1", task="text-classification", model="some/model", method="lora",
        created="2026-11-23 14:15", scores=with_intervals(made, **options),
        baselines={baseline.name: with_intervals(other, **options)}, comparisons=[comparison], mistakes=top,
        splits=[
            SplitFacts("train", 12345, "train.csv", dict.fromkeys(labels, 17), 23.0, 311, 41, LENGTHS),
            SplitFacts("test", 200, "held out of train"),
        ],
        max_length=256, findings=[Finding("warning", "data.train x.csv:3", "41 texts are too long", "Cut them.")],
        curves=Curves.of(events()), recipe=[RecipeRow("training.epochs", "7", "recipe.yaml:12")],
        recipe_yaml="training:\n  epochs: 7  # recipe.yaml:12\n", summary={"trained": "0.3 M of 22.7 M"},
        notes=["fitted on a sample"], environment={"torch": "2.13.0", "CPU": "2 threads"},
    )  # fmt: skip


def several(labels, thresholds=True):
    random = np.random.default_rng(0)
    gold = random.integers(0, 2, (50, len(labels)))
    made = MultiLabelScorer(labels, thresholds=dict.fromkeys(labels, 0.321) if thresholds else None)
    mistakes = ConfidentMistakes(labels)
    probabilities = np.clip(gold * 0.6 + random.random((50, len(labels))) * 0.4, 0, 1)
    predictions = [
        {
            "labels": [label for label, p in zip(labels, row, strict=True) if p > 0.5],
            "probabilities": dict(zip(labels, row.tolist(), strict=True)),
        }
        for row in probabilities
    ]
    predictions[0]["labels"] = []
    made.add(gold, predictions)
    mistakes.add(range(50), gold, predictions)
    scores = with_intervals(made, rounds=20, confidence=0.9, seed=0)
    return Facts(title="Emotions", run="r", task="t", model="m", scores=scores, mistakes=mistakes.top())


VARIANTS = {
    "two classes": lambda: single(["no", "yes"]),
    "77 classes": lambda: single([f"intent_{i}" for i in range(77)]),
    "400 classes": lambda: single([f"intent_{i}" for i in range(400)]),
    "Chinese": lambda: single(["正面", "负面", "中性评价但是名字特别特别特别长的一个标签"]),
    "evil": lambda: dataclasses.replace(single([EVIL, "b", "c"]), title=EVIL, run=EVIL, environment={EVIL: EVIL}),
    "no intervals": lambda: single(["a", "b"], rounds=0),
    "no baselines": lambda: dataclasses.replace(single(["a", "b"]), baselines={}, comparisons=[]),
    "one dot": lambda: dataclasses.replace(single(["a", "b"], rounds=0), baselines={}, comparisons=[]),
    "one epoch": lambda: dataclasses.replace(single(["a", "b"]), curves=Curves.of(events(1, 1))),
    "nothing happened": lambda: dataclasses.replace(single(["a", "b"]), curves=Curves.of([])),
    "all right": lambda: single(["a", "b"], wrong=0),
    "multi-label": lambda: several([f"feeling {i}" for i in range(28)]),
    "multi-label, no thresholds": lambda: several(["a", "b"], thresholds=False),
    "no scores": lambda: Facts(title="t", run="r", task="t", model="m"),
    "another task": lambda: Facts("t", "r", "t", "m", scores=Scores("rmse", {"rmse": Score(0.5)}, 3, False)),
}


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def drawn(request):
    facts = VARIANTS[request.param]()
    return facts, render(facts)


def test_nothing_is_loaded_from_elsewhere(drawn):
    _, page = drawn
    assert not re.search(r"https?:|//\w|@import|url\(", page.replace(EVIL, ""))
    assert not re.search(r"<(link|img|iframe|object|embed|base|form)\b", page)
    assert "default-src 'none'" in page


def test_the_only_script_is_the_one_the_policy_allows(drawn):
    _, page = drawn
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert not re.search(r"<[^>]+\son\w+\s*=", page)


def test_every_chart_is_well_formed(drawn):
    _, page = drawn
    found = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    for svg in found:
        tree = ElementTree.fromstring(svg)
        assert tree.get("viewBox")
        assert "nan" not in svg.lower().replace("finance", "")
        numbers = [float(v) for e in tree.iter() for k, v in e.attrib.items() if k in ("width", "height", "r")]
        assert all(value >= 0 for value in numbers)
    assert len(found) == page.count("<svg")


def test_facts_survive_json(drawn):
    facts, page = drawn
    read = Facts.from_dict(json.loads(json.dumps(facts.to_dict(), allow_nan=False)))
    assert read == facts
    assert render(read) == page


def text_of(page):
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def test_all_that_was_given_is_told():
    facts = single(["no", "yes"])
    page = render(facts)
    text = text_of(page)
    for score in facts.scores.values.values():
        assert f"{100 * score.value:.1f}%" in text or f"{score.value:.4f}" in text
    for row in facts.scores.details["per_class"]:
        for key in ("precision", "recall", "f1"):
            assert f"{100 * row[key]:.1f}%" in text
    for row in facts.scores.details["confusion"]:
        assert all(f">{count}</text>" in page for count in row if count)
    verdict, _, evidence = facts.comparisons[0].verdict.partition(" (")
    assert verdict[1:] in text
    assert evidence[:-1] in text
    told = [
        "12,345", "311", "41", "train.csv", "held out of train", "41 texts are too long. Cut them.",
        "data.train x.csv:3",
        "recipe.yaml:12", "0.3 M of 22.7 M", "2.13.0", "2 threads", "fitted on a sample", "60 steps", "step 60",
        "lora", "some/model", "run-1", "2026-11-23 14:15", "majority class", "all planned steps done",
    ]  # fmt: skip
    assert [words for words in told if words not in text] == []
    assert all(mistake.where in text for mistake in facts.mistakes)


def test_headline_is_a_sentence():
    headline = single(["no", "yes"]).headline
    assert re.fullmatch(r"\d+\.\d% accuracy on 200 test examples \(95% interval \d+\.\d to \d+\.\d\)", headline)
    assert "Not measured" in Facts(title="t", run="r", task="t", model="m").headline


def test_what_people_wrote_is_escaped():
    page = VARIANTS["evil"]()
    page = render(page)
    assert "<script>alert" not in page
    assert "<b>bold" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]", page)


def test_lone_surrogates_and_long_texts_can_be_written(tmp_path):
    mistake = Mistake(0, ["a"], ["b"], 0.9, "bad \ud800 text " + "x" * 10_000)
    path = tmp_path / "report.html"
    write_report(Facts(title="t", run="r", task="t", model="m", mistakes=[mistake]), path)
    page = path.read_text(encoding="utf-8")
    assert "bad \ufffd text" in page
    assert "x" * 1900 in page
    assert "x" * 2100 not in page


def test_a_report_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("before")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError, match="no"):
        write_report(VARIANTS["no scores"](), path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "before"


def test_large_label_sets_stay_readable():
    page = render(VARIANTS["77 classes"]())
    assert "Weakest first" in page
    assert 'aria-label="confusion matrix"' in page
    assert 'aria-label="confusion matrix"' not in render(VARIANTS["400 classes"]())
    assert "Most confused" in render(VARIANTS["400 classes"]())


def test_thresholds_and_missing_labels_are_told_for_multi_label():
    page = render(VARIANTS["multi-label"]())
    assert "0.321" in page
    assert "no label" in page
    assert "What is taken for what" not in page


def test_curves_are_thinned_and_resumed_steps_count_once():
    told = [*events(3000, 3), {"event": "StepDone", "step": 3000, "loss": 9.0, "learning_rate": 0.0}]
    curves = Curves.of(told)
    assert len(curves.steps) == len(curves.loss) <= MOST_POINTS
    assert curves.steps[-1] == 3000
    assert curves.loss[-1] > 1
    assert [each.step for each in curves.evaluations] == [1000, 2000, 3000]
    broken = Curves.of([{"event": "StepDone", "step": 1, "loss": float("nan"), "learning_rate": 0.1}])
    assert broken.steps == []


def test_confident_mistakes_keep_the_surest():
    mistakes = ConfidentMistakes(["a", "b"], limit=2)
    for row, sure in enumerate([0.6, 0.9, 0.7, 0.9]):
        mistakes.add([row], [0], [{"label": "b", "probabilities": {"a": 1 - sure, "b": sure}}])
    mistakes.add([9], [1], [{"label": "b", "probabilities": {"a": 0.0, "b": 1.0}}])
    assert [(m.row, m.confidence) for m in mistakes.top()] == [(1, 0.9), (3, 0.9)]
    assert mistakes.top()[0] == Mistake(1, ["a"], ["b"], 0.9)


def test_confident_mistakes_of_several_labels():
    mistakes = ConfidentMistakes(["a", "b", "c"])
    prediction = {"labels": ["a", "c"], "probabilities": {"a": 0.9, "b": 0.3, "c": 0.8}}
    mistakes.add([4, 5], np.array([[1, 1, 0], [1, 0, 1]]), [prediction, prediction])
    assert mistakes.top() == [Mistake(4, ["a", "b"], ["a", "c"], 0.8)]


def test_recipe_rows_have_values_and_origins(monkeypatch):
    class Recipe:
        def to_dict(self):
            return {"task": {"name": "x", "labels": []}, "training": {"epochs": 3, "clip_norm": None, "deep": True}}

        def origin(self, key):
            return f"origin of {key}"

    assert [(row.key, row.value) for row in recipe_rows(Recipe())] == [
        ("task.name", "x"), ("task.labels", "none"), ("training.epochs", "3"), ("training.clip_norm", "none"),
        ("training.deep", "yes"),
    ]  # fmt: skip
    assert recipe_rows(Recipe())[0].origin == "origin of task.name"


def test_histogram_counts_everything_in_whole_tokens():
    histogram = Histogram.of(np.array([5, 5, 6, 90]))
    assert sum(histogram.counts) == 4
    assert len(histogram.edges) == len(histogram.counts) + 1
    assert all(edge == int(edge) for edge in histogram.edges)
    assert Histogram.of([7]).counts == [1]
    assert Histogram.of([]).counts == [0]


def test_ticks_are_round():
    assert charts.ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert charts.ticks(0, 939) == [0, 200, 400, 600, 800]
    assert charts.ticks(3, 3) == [3]
    assert [charts.number(v) for v in (2e-5, 0.25, 1500, 0)] == ["2e-5", "0.25", "1,500", "0"]


def test_labels_are_cut_by_columns():
    assert charts.shorten("short", 10) == "short"
    assert charts.columns("正面ab") == 6
    assert charts.shorten("一二三四五六", 7) == "一二三…"
