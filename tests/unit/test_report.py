"""The report: one self-contained file that escapes what people wrote and tells every number it was given."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.samples import gold_examples
from weitiao.data.made import Made
from weitiao.evaluation.compare import compare
from weitiao.evaluation.intervals import with_intervals
from weitiao.evaluation.meanings import about
from weitiao.evaluation.mistakes import Answer, Chosen, Mistakes, Sameness, never_said
from weitiao.evaluation.report import render, write_report
from weitiao.evaluation.summary import (
    MOST_POINTS,
    Curves,
    Elsewhere,
    Facts,
    Histogram,
    RecipeRow,
    SplitFacts,
    Token,
    TokenRow,
    View,
    recipe_rows,
)
from weitiao.evaluation.svg import columns, number, shorten, ticks
from weitiao.metrics.classification import MultiLabelScorer, SingleLabelScorer
from weitiao.metrics.perplexity import PerplexityScorer
from weitiao.metrics.texts import TextScorer
from weitiao.records import Finding, Score, Scores, Told

LENGTHS = Histogram.of([3, 4, 300])
EVIL = "<script>alert('x')</script> & \"quoted\" <b>bold</b> \x00\x0b!"


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
    made, other = SingleLabelScorer(labels), SingleLabelScorer(labels)
    mistakes = Mistakes(made)
    predictions = []
    for index in said:
        odds = {label: spread + (0.8 if i == index else 0) for i, label in enumerate(labels)}
        predictions.append({"label": labels[index], "score": odds[labels[index]], "probabilities": odds})
    examples = [{**example, "text": f"text {i} {EVIL}"} for i, example in enumerate(gold_examples(labels, gold))]
    made.add(examples, predictions)
    mistakes.add(range(200), examples, predictions)
    most = labels[int(np.bincount(gold).argmax())]
    frequent = {"label": most, "score": 0.5, "probabilities": {label: 1 / len(labels) for label in labels}}
    other.add(examples, [frequent] * 200)
    options = {"rounds": rounds, "confidence": 0.95, "seed": 0}
    comparison = compare(made, other, primary="accuracy", name="majority class", **options)
    top = [dataclasses.replace(answer, where=f"test.csv:{answer.row}") for answer in mistakes.top()]
    return Facts(
        title="Reviews", run="run-1", task="text-classification", model="some/model", method="lora",
        created="2026-11-23 14:15", scores=with_intervals(made, **options),
        baselines={"majority class": with_intervals(other, **options)}, comparisons=[comparison], mistakes=top,
        splits=[
            SplitFacts("train", 12345, "train.csv", dict.fromkeys(labels, 17), 23.0, 311, 41, LENGTHS),
            SplitFacts("test", 200, "held out of train"),
        ],
        max_length=256, findings=[Finding("warning", "data.train x.csv:3", "41 texts are too long", "Cut them.")],
        curves=Curves.of(events()), recipe=[RecipeRow("training.epochs", "7", "recipe.yaml:12")],
        recipe_yaml="training:\n  epochs: 7  # recipe.yaml:12\n", summary={"trained": "0.3 M of 22.7 M"},
        notes=["fitted on a sample"], environment={"torch": "2.13.0", "CPU": "2 threads"},
        samples=[Answer(1, "a sample of labels", ["a"], ["a"], 1.0, 0.9)],
    )  # fmt: skip


def several(labels, thresholds=True):
    random = np.random.default_rng(0)
    gold = random.integers(0, 2, (50, len(labels)))
    made = MultiLabelScorer(labels, thresholds=dict.fromkeys(labels, 0.321) if thresholds else None)
    mistakes = Mistakes(made)
    probabilities = np.clip(gold * 0.6 + random.random((50, len(labels))) * 0.4, 0, 1)
    predictions = [
        {
            "labels": [label for label, p in zip(labels, row, strict=True) if p > 0.5],
            "probabilities": dict(zip(labels, row.tolist(), strict=True)),
        }
        for row in probabilities
    ]
    predictions[0]["labels"] = []
    examples = [{**example, "text": "a text"} for example in gold_examples(labels, gold)]
    made.add(examples, predictions)
    mistakes.add(range(50), examples, predictions)
    scores = with_intervals(made, rounds=20, confidence=0.9, seed=0)
    return Facts(title="Emotions", run="r", task="t", model="m", scores=scores, mistakes=mistakes.top())


def written(rounds=20):
    """A model that writes: no labels, no confidence, long answers, scores where less is better."""
    wanted = ["the cat sat on the mat", f"a dog {EVIL}", "rain " * 100, "line one\nline two"]
    said = ["the cat sat on a mat", "a bird", "snow " * 100, "line one\nline three"]
    examples = [{"source": f"source {i} {EVIL}", "target": text} for i, text in enumerate(wanted)]
    answers = [{"text": text, "loss": 3.0, "tokens": 5} for text in said]
    before = [{"text": f"untouched {i}", "loss": 9.0, "tokens": 5} for i in range(4)]
    scorers = [TextScorer(lambda e: [e["target"]], ["rougeL", "bleu", "chrf", "exact_match"], "en",
                          given=lambda e: e["source"]) for _ in range(2)]  # fmt: skip
    for scorer, predictions in zip(scorers, (answers, before), strict=True):
        scorer.add(examples, predictions)
    mistakes, samples = Mistakes(scorers[0]), Chosen(scorers[0], [0, 2])
    mistakes.add(range(4), examples, answers)
    samples.add(range(4), examples, answers)
    options = {"rounds": rounds, "confidence": 0.95, "seed": 0}
    name = "the model before training"
    drawn = [dataclasses.replace(a, before=[before[a.row]["text"]], where=f"s.jsonl:{a.row}") for a in samples.all()]
    perplexity = Scores("perplexity", {"perplexity": Score(12.3, 11.0, 13.5), "loss": Score(2.5)}, 40, False)
    worse = dataclasses.replace(perplexity, values={"perplexity": Score(99.5), "loss": Score(4.6)})
    return Facts(
        title="Summaries", run="r", task="summarization", model="m", scores=with_intervals(scorers[0], **options),
        baselines={name: with_intervals(scorers[1], **options)},
        comparisons=[compare(*scorers, primary="rougeL", name=name, **options)],
        mistakes=mistakes.top(), samples=drawn,
        also=[Elsewhere("general text", perplexity, {name: worse}, [])],
        splits=[SplitFacts("train", 40, "s.jsonl", {}, 30.0, 60, 0, LENGTHS)], views=[view()],
    )  # fmt: skip


def test_texts_that_are_only_measured_are_no_wrong_answers():
    scorer = PerplexityScorer(lambda example: example["text"])
    examples = [{"text": f"text {i}"} for i in range(3)]
    predictions = [{"loss": loss, "tokens": 10} for loss in (10.0, 60.0, 20.0)]
    scorer.add(examples, predictions)
    mistakes, samples = Mistakes(scorer), Chosen(scorer, [0])
    mistakes.add(range(3), examples, predictions)
    samples.add(range(3), examples, predictions)
    drawn = [dataclasses.replace(samples.all()[0], before=["99.5"])]
    told = text_of(render(Facts("Laws", "r", "language-modeling", "m", scores=scorer.scores(), mistakes=mistakes.top(),
                             samples=drawn)))  # fmt: skip
    hardest, drawn_at_random = told.partition("The hardest texts")[2].split("Texts, drawn at random")
    assert "perplexity" in hardest
    assert re.findall(r"text \d|\d+\.\d+", hardest) == ["403.4", "text 1", "7.39", "text 2", "2.72", "text 0"]
    assert re.findall(r"text \d|\d+\.\d+", drawn_at_random)[:3] == ["2.72", "text 0", "99.5"]
    assert not re.search("worst answers|expected|said|nothing|%", hardest + drawn_at_random[:160])


def test_micro_f1_is_left_out_where_it_is_accuracy_also_of_one_task_of_several():
    values = {name: Score(0.5) for name in ("mean", "a.accuracy", "a.micro_f1", "b.micro_f1", "b.macro_f1")}
    told = text_of(render(Facts("t", "r", "multi-task", "m", scores=Scores("mean", values, 10))))
    assert "micro F1 (b)" in told
    assert "micro F1 (a)" not in told


def test_labels_that_are_never_given_are_named_with_how_often_they_are_right():
    scorer = SingleLabelScorer(["a", "b", "c"])
    said = [("a", "a"), ("b", "a"), ("b", "a"), ("a", "a")]
    scorer.add([{"label": gold} for gold, _ in said],
               [{"label": label, "probabilities": {"a": 0.6, "b": 0.2, "c": 0.2}} for _, label in said])  # fmt: skip
    (warning,) = never_said(scorer.scores())  # nothing is of c
    assert warning.startswith("the model never answers 'b' (right 2 times). ")
    details = {"never_said": {f"label {number}": number for number in range(1, 9)}}
    (warning,) = never_said(Scores("f1", {}, 9, details=details))
    assert "'label 8' (right 8 times), 'label 7'" in warning
    assert "'label 4' (right 4 times), 3 more." in warning
    assert never_said(Scores("f1", {}, 9)) == []


@pytest.mark.parametrize(
    ("said", "expected", "told"),
    [
        ([[]] * 10, [["Place: Rome"], []] * 5, "answers nothing at all on any of the 10 examples"),
        ([["a"]] * 12, [["a"], ["b"]] * 6, "gives all 12 examples the same answer, 'a'"),
        ([["a"]] * 12, [["a"]] * 12, ""),  # it is the right one
        ([["a"]] * 11 + [["b"]], [["a"], ["b"]] * 6, ""),
        ([["a"]] * 9, [["a"], ["b"], ["c"]] * 3, ""),  # few, it may be chance
    ],
)
def test_answers_that_are_all_alike_are_noticed(said, expected, told):
    scorer = SimpleNamespace(tell=lambda example, prediction: Told("text", example, prediction, 0.5))
    alike = Sameness(scorer)
    for start in range(0, len(said), 4):
        batch = slice(start, start + 4)
        alike.add(range(len(said[batch])), expected[batch], said[batch])
    warnings = alike.warnings()
    assert len(warnings) == bool(told)
    assert all(told in warning for warning in warnings)


def view():
    tokens = [Token("<s>", 1, special=True), Token(EVIL, 2), Token("\n", 3), Token("yes", 4, trained=True, target="no")]
    return View("train", 3, "s.jsonl:4", [TokenRow("input", tokens), TokenRow("target", tokens[:1])], length=4)


def entities():
    """Tables of a scorer's own, and mistakes of which some have a confidence."""
    details = {
        "kind": "entities", "notes": [f"a note {EVIL}"], "signatures": {"bleu": f"nrefs:1|{EVIL}"},
        "tables": [
            {"title": f"Each type {EVIL}", "about": "Strict.", "columns": ["type", "F1", "found"],
             "rows": [[EVIL, 0.51239, 1200], ["Place", 0.0, None]]},
            {"title": "Empty", "about": "", "columns": ["a", "b"], "rows": []},
        ],
    }  # fmt: skip
    scores = Scores("f1", {"f1": Score(0.5, 0.4, 0.6), "token_accuracy": Score(0.9)}, 20, True, details)
    mistakes = [
        Answer(0, "in Rome", ["Place: Rome"], ["Place: in Rome"], 0.25, 0.875, where="a.conll:3"),
        Answer(1, "in Oslo", ["Place: Oslo"], [], 0.125, None),
    ]
    baselines = {"unfinished": Scores("f1", {"token_accuracy": Score(0.7)}, 20, True)}
    return Facts("NER", "r", "token-classification", "m", scores=scores, baselines=baselines, mistakes=mistakes,
                 samples=mistakes[1:])  # fmt: skip


def made():
    """Data that was split and then cleaned."""
    first = Made("split", EVIL, "text-classification", "text: a", {}, rows={"train": {"after": 10}})
    return [first, Made("clean", "data/", "text-classification", "text: a", {"spaces": True}, ["a note"],
                        rows={"train": {"before": 1010, "after": 1000}},
                        changes={"spaces": {"changed": 4}, "leakage": {"dropped": 10}})]  # fmt: skip


VARIANTS = {
    "two classes": lambda: single(["no", "yes"]),
    "77 classes": lambda: single([f"intent_{i}" for i in range(77)]),
    "400 classes": lambda: single([f"intent_{i}" for i in range(400)]),
    "Chinese": lambda: single(["正面", "负面", "中性评价但是名字特别特别特别长的一个标签"]),
    "evil": lambda: dataclasses.replace(single([EVIL, "b", "c"]), title=EVIL, run=EVIL, environment={EVIL: EVIL}),
    "no intervals": lambda: single(["a", "b"], rounds=0),
    "no baselines": lambda: dataclasses.replace(single(["a", "b"]), baselines={}, comparisons=[]),
    "one dot": lambda: dataclasses.replace(single(["a", "b"], rounds=0), baselines={}, comparisons=[]),
    "made data": lambda: dataclasses.replace(single(["a", "b"]), made=made()),
    "one epoch": lambda: dataclasses.replace(single(["a", "b"]), curves=Curves.of(events(1, 1))),
    "nothing happened": lambda: dataclasses.replace(single(["a", "b"]), curves=Curves.of([])),
    "all right": lambda: single(["a", "b"], wrong=0),
    "multi-label": lambda: several([f"feeling {i}" for i in range(28)]),
    "multi-label, no thresholds": lambda: several(["a", "b"], thresholds=False),
    "no scores": lambda: Facts(title="t", run="r", task="t", model="m"),
    "another task": lambda: Facts("t", "r", "t", "m", scores=Scores("rmse", {"rmse": Score(0.5)}, 3, False)),
    "text": written,
    "text, no intervals": lambda: written(0),
    "entities": entities,
    "a score that is not there": lambda: Facts("t", "r", "t", "m", scores=Scores("f1", {}, 0)),
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


def test_it_tells_how_the_data_were_made():
    text = text_of(render(VARIANTS["made data"]()))
    assert "weitiao split" in text
    assert "weitiao clean data/ train 1,010 → 1,000 rows; spaces changed 4, leakage dropped 10" in text


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
    mistake = Answer(0, "bad \ud800 text " + "x" * 10_000, ["a"], ["b"], 0.0, 0.9)
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


class Teller:
    """A scorer that tells what stands in the example."""

    def tell(self, example, prediction):
        return Told(example["text"], ["right"], [prediction["said"]], prediction["right"], prediction.get("sure"))


def kept(predictions, limit=2, kind=Mistakes):
    made = kind(Teller(), limit) if kind is Mistakes else kind(Teller(), [3, 1])
    for row, prediction in enumerate(predictions):
        made.add([row], [{"text": f"text {row}"}], [{"said": "x", **prediction}])
    return made


def test_the_surest_mistakes_are_kept_and_the_earlier_of_equals():
    predictions = [{"right": 0.0, "sure": sure} for sure in (0.6, 0.9, 0.7, 0.9, 0.95)]
    predictions[4]["right"] = 1.0
    top = kept(predictions).top()
    assert [(m.row, m.confidence) for m in top] == [(1, 0.9), (3, 0.9)]
    assert top[0] == Answer(1, "text 1", ["right"], ["x"], 0.0, 0.9)


def test_without_a_confidence_the_least_right_are_kept():
    top = kept([{"right": right} for right in (0.5, 1.0, 0.1, 0.3)]).top()
    assert [(m.row, m.right) for m in top] == [(2, 0.1), (3, 0.3)]


def test_chosen_answers_come_by_row():
    assert [answer.row for answer in kept([{"right": 1.0}] * 5, kind=Chosen).all()] == [1, 3]


# --- what writes


def test_answers_before_and_after_stand_side_by_side():
    page = render(written())
    text = text_of(page)
    assert "Answers, drawn at random" in text
    samples = page[page.index('<section id="samples">') :]
    samples = text_of(samples[samples.index("<ol") : samples.index("</section>")])
    for words in ("source 0", "the cat sat on the mat", "the cat sat on a mat", "untouched 0", "untouched 2",
                  "before training", "after training", "expected", "s.jsonl:2"):  # fmt: skip
        assert words in samples, words
    assert "source 1" not in samples
    assert samples.index("expected") < samples.index("before training") < samples.index("after training")


def test_an_empty_answer_is_said_to_be_one():
    answer = Answer(0, "given", ["right"], [" "], 0.0, None, before=[""])
    text = text_of(render(Facts("t", "r", "t", "m", samples=[answer])))
    assert "before training (empty) after training (empty)" in text


def test_the_worst_answers_say_how_right_they_are():
    facts = written()
    text = text_of(render(facts))
    assert "The worst answers" in text
    assert "most confident" not in text
    assert all(f"{100 * answer.right:.1f}%" in text for answer in facts.mistakes)


def test_long_answers_are_folded_and_short_ones_are_chips():
    page = render(written())
    assert page.count("<summary>whole text</summary>") == 4  # the rain and the snow, among mistakes and samples
    assert 'class="label true"' not in page
    assert 'class="label true"' in render(entities())


def test_less_is_better_is_said_and_ranked():
    page = render(written())
    text = text_of(page)
    assert "mean surprise at a token that is to be learned, in nats; lower is better" in text
    assert 'title="lower is better"' in page
    strong, weak = (Scores("perplexity", {"perplexity": Score(value)}, 9, False) for value in (5.0, 50.0))
    ours = Scores("perplexity", {"perplexity": Score(3.0)}, 9, False)
    page = render(Facts("t", "r", "t", "m", scores=ours, baselines={"weak one": weak, "strong one": strong}))
    assert page.index("<th>strong one</th>") < page.index("<th>weak one</th>")


def test_signatures_notes_and_tables_of_a_scorer_are_told():
    text = text_of(render(written()))
    assert "BLEU nrefs:1|case:mixed" in text
    page = render(entities())
    text = text_of(page)
    for words in ("Strict.", "0.512", "1,200", "Place 0.000 –", "a note <script>", "Nothing to list."):
        assert words in text, words
    assert '<button type="button">found</button>' in page


def test_a_baseline_without_a_score_leaves_its_cell_empty():
    text = text_of(render(entities()))
    assert "token accuracy 90.0% 70.0%" in text
    assert re.search(r"F1 50.0% 40.0 – 60.0 –", text)


def test_mistakes_with_and_without_a_confidence():
    text = text_of(render(entities()))
    assert "The most confident mistakes" in text
    assert "87.5%" in text
    assert re.search(r"12\.5% right", text)
    assert "said nothing expected Place: Oslo" in text


def test_what_was_measured_elsewhere_has_a_table():
    text = text_of(render(written()))
    assert re.search(r"general text 40 perplexity ↓ 12.3 11.0 – 13.5 99.5", text)
    assert "Measured elsewhere" not in text_of(render(entities()))


def test_samples_of_labels_are_not_shown():
    assert "a sample of labels" not in render(single(["a", "b"]))


def test_tokens_are_shown_with_a_legend():
    page = render(written())
    assert page.count('title="4"') == 1
    assert '<span class="token trained" title="4">yes<i>no</i></span>' in page
    assert "train row 3" in text_of(page)
    assert "special token" in page
    assert "<h4>target</h4>" in page
    assert "What the model reads" not in render(entities())


def test_no_column_of_labels_where_there_are_none():
    assert "<th>labels</th>" not in render(written())
    assert "<th>labels</th>" in render(single(["a", "b"]))


def test_every_score_has_a_meaning():
    from weitiao.metrics import answers, classification, regression, spans, texts  # noqa: F401

    told = [*texts.TEXT_SCORES, *regression.METRICS, "perplexity", "pseudo_perplexity", "loss", "wer", "cer", "mean",
            "pass_at_1", "partial_f1", "token_accuracy", "has_answer_f1", "no_answer_accuracy"]  # fmt: skip
    told += [*single(["a", "b"]).scores.values, *several(["a", "b"]).scores.values, *written().scores.values]
    assert [name for name in told if not about(name)] == []
    assert about("f1") != about("f1", "entities") != about("f1", "answers")
    assert about("ner.f1", "entities") == about("f1", "entities")
    assert "one of 10 programs" in about("pass_at_10")
    assert about("unheard_of") == ""


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
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(0, 939) == [0, 200, 400, 600, 800]
    assert ticks(3, 3) == [3]
    assert [number(v) for v in (2e-5, 0.25, 1500, 0)] == ["2e-5", "0.25", "1,500", "0"]


def test_labels_are_cut_by_columns():
    assert shorten("short", 10) == "short"
    assert columns("正面ab") == 6
    assert shorten("一二三四五六", 7) == "一二三…"


def test_what_an_audit_of_the_same_files_found_is_shown(recipe_values: Any, tmp_path: Path) -> None:
    from weitiao import audit, train
    from weitiao.data.audited import Audited

    values = recipe_values("encoder", evaluation={"bootstrap": 0, "baselines": False})
    file = Path(values["data"]["train"])
    assert Audited.of(str(file)) is None
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines, lines[1], lines[2]]))
    found = audit(str(file), search_labels=False)
    kept = Audited.of(str(file))
    assert kept is not None
    assert [each.name for each in kept.found] == [each.name for each in found.found]
    run = train(values)
    page = run.report.read_text()
    assert "weitiao audit</code> found" in page
    assert found.found[0].problem[:20] in page
    file.write_text("".join(lines))
    assert Audited.of(str(file)) is None  # other content: not looked at
    assert Audited.of("each task's own") is None


def test_files_are_read_for_an_audit_only_where_one_was_kept_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weitiao import sources
    from weitiao.data.audited import Audited
    from weitiao.sources import digests

    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "FRESH", -1.0)
    read: list[str] = []
    real, fetch = digests.hashlib.file_digest, sources.fetch
    monkeypatch.setattr(digests.hashlib, "file_digest", lambda *given: read.append("read") or real(*given))
    monkeypatch.setattr(sources, "fetch", lambda *given, **more: read.append("fetched") or fetch(*given, **more))
    file, other = tmp_path / "data.csv", tmp_path / "other.csv"
    file.write_bytes(b"x" * (2 << 20))
    other.write_text("text,label\n")
    assert Audited.of(str(file)) is None
    assert Audited.of("hf:some/data") is None
    assert read == []
    Audited(str(other), "2026-11-27").remember()
    assert Audited.of(str(file)) is None
    read.clear()
    assert Audited.of(str(file)) is None
    assert read == ["fetched"]  # known by its size and time
    assert Audited.of(str(other)) is not None
