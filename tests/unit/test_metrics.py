"""Scores equal scikit-learn's, in bounded memory, fast enough for a bootstrap."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from tests.samples import gold_examples
from weitiao.metrics.classification import Calibration, MultiLabelScorer, SingleLabelScorer, ThresholdTuner
from weitiao.metrics.words import distance, greater_is_better, probability, spoken, written
from weitiao.records import Told


def names(count):
    return [f"label {i}" for i in range(count)]


def single(labels, gold, probabilities, chunk=7):
    scorer = SingleLabelScorer(labels)
    for start in range(0, len(gold), chunk):
        part = probabilities[start : start + chunk]
        predictions = [
            {"label": labels[row.argmax()], "score": row.max(), "probabilities": dict(zip(labels, row, strict=True))}
            for row in part
        ]
        scorer.add(gold_examples(labels, gold[start : start + chunk]), predictions)
    return scorer


def multi(labels, gold, probabilities, threshold=0.5, chunk=7, **options):
    scorer = MultiLabelScorer(labels, **options)
    for start in range(0, len(gold), chunk):
        predictions = [
            {
                "labels": [label for label, p in zip(labels, row, strict=True) if p >= threshold],
                "probabilities": dict(zip(labels, row.tolist(), strict=True)),
            }
            for row in probabilities[start : start + chunk]
        ]
        scorer.add(gold_examples(labels, gold[start : start + chunk]), predictions)
    return scorer


@st.composite
def drawn(draw):
    count, classes = draw(st.integers(1, 40)), draw(st.integers(2, 6))
    return count, classes, np.random.default_rng(draw(st.integers(0, 10_000))), draw(st.booleans())


def sklearn_single(gold, predicted, probabilities, classes):
    expected = {"accuracy": sk.accuracy_score(gold, predicted), "micro_f1": sk.accuracy_score(gold, predicted)}
    for kind in ("macro", "weighted"):
        expected[f"{kind}_f1"] = sk.f1_score(gold, predicted, average=kind, zero_division=0)
    expected["macro_precision"] = sk.precision_score(gold, predicted, average="macro", zero_division=0)
    expected["macro_recall"] = sk.recall_score(gold, predicted, average="macro", zero_division=0)
    expected["log_loss"] = sk.log_loss(gold, y_proba=probabilities, labels=range(classes))
    if classes == 2:
        for name, score in (("f1", sk.f1_score), ("precision", sk.precision_score), ("recall", sk.recall_score)):
            expected[name] = score(gold, predicted, pos_label=1, labels=[0, 1], zero_division=0)
        if len(set(gold)) == 2:
            expected["roc_auc"] = sk.roc_auc_score(gold, probabilities[:, 1])
    return expected


@settings(max_examples=25, deadline=None)
@given(drawn())
def test_single_label_scores_are_those_of_scikit_learn(case):
    count, classes, random, ties = case
    gold = random.integers(0, classes, count)
    probabilities = random.dirichlet(np.ones(classes), count)
    if ties:
        probabilities = np.eye(classes)[random.integers(0, classes, count)]  # certain, so clipped, and tied
    scorer = single(names(classes), gold, probabilities)
    predicted = probabilities.argmax(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert scorer.compute() == pytest.approx(sklearn_single(gold, predicted, probabilities, classes), abs=1e-12)
        rows = random.integers(0, count, count)
        expected = sklearn_single(gold[rows], predicted[rows], probabilities[rows], classes)
    assert scorer.compute(rows) == pytest.approx(expected, abs=1e-12)
    details = scorer.scores().details
    assert details["confusion"] == sk.confusion_matrix(gold, predicted, labels=range(classes)).tolist()
    assert scorer.outcomes().tolist() == (gold == predicted).tolist()


@settings(max_examples=25, deadline=None)
@given(drawn())
def test_multi_label_scores_are_those_of_scikit_learn(case):
    count, classes, random, empty = case
    gold = (random.random((count, classes)) < (0.0 if empty else 0.3)).astype(int)
    probabilities = random.random((count, classes))
    predicted = probabilities >= 0.5
    expected = {
        f"{kind}_{name}": score(gold, predicted, average=kind, zero_division=0)
        for kind in ("macro", "micro", "weighted")
        for name, score in (("f1", sk.f1_score), ("precision", sk.precision_score), ("recall", sk.recall_score))
        if kind != "weighted" or name == "f1"
    }
    expected["subset_accuracy"] = sk.accuracy_score(gold, predicted)
    expected["hamming_loss"] = sk.hamming_loss(gold, predicted)
    expected["log_loss"] = np.mean(
        [sk.log_loss(gold[:, i], y_proba=probabilities[:, i], labels=[0, 1]) for i in range(classes)]
    )
    scorer = multi(names(classes), gold, probabilities)
    assert scorer.compute() == pytest.approx(expected, abs=1e-12)
    assert scorer.compute(np.arange(count)) == pytest.approx(expected, abs=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = [sk.f1_score(g, p, zero_division=1) for g, p in zip(gold, predicted, strict=True)]
    assert scorer.outcomes() == pytest.approx(samples, abs=1e-12)


def test_a_label_missing_only_from_a_resample_does_not_pull_macro_f1_down():
    gold = np.array([[1, 0], [1, 0], [0, 1]])
    scorer = multi(["often", "once"], gold, gold.astype(float))
    assert scorer.compute(np.array([0, 1, 1]))["macro_f1"] == 1.0


def test_scores_say_per_class_and_calibration():
    scorer = single(["a", "b"], [0, 0, 1, 1], np.array([[0.9, 0.1], [0.2, 0.8], [0.2, 0.8], [0.2, 0.8]]))
    scores = scorer.scores()
    assert scores.main == 0.75
    assert scores.examples == 4
    rows = scores.details["per_class"]
    assert rows[1] == {
        "label": "b", "precision": 2 / 3, "recall": 1.0, "f1": 0.8, "support": 2, "predicted": 3,
    }  # fmt: skip
    assert scores.details["confused"] == [{"gold": "a", "predicted": "b", "examples": 1, "share": 0.5}]
    assert scores.details["ece"] == pytest.approx((3 * abs(0.8 - 2 / 3) + abs(0.9 - 1)) / 4)


def test_multi_label_details_and_subset_outcomes():
    gold = np.array([[1, 1], [1, 0], [0, 0]])
    thresholds = {"a": 0.5, "b": 0.25}
    said = np.array([[0.9, 0.9], [0.9, 0.9], [0.1, 0.1]])
    scorer = multi(["a", "b"], gold, said, primary="subset_accuracy", thresholds=thresholds)
    assert scorer.outcomes().tolist() == [1.0, 0.0, 1.0]
    assert [row["threshold"] for row in scorer.scores().details["per_class"]] == [0.5, 0.25]
    assert [row["support"] for row in scorer.scores().details["per_class"]] == [2, 1]


def test_adding_after_scoring_counts():
    scorer = single(["a", "b"], [0], np.array([[0.9, 0.1]]))
    assert scorer.compute()["accuracy"] == 1.0
    scorer.add([{"label": "b"}], [{"label": "a", "score": 0.6, "probabilities": {"a": 0.6, "b": 0.4}}])
    assert scorer.compute()["accuracy"] == 0.5


def test_no_examples_and_wrong_counts():
    assert SingleLabelScorer(["a", "b"]).compute() == {}
    assert SingleLabelScorer(["a", "b"]).scores().examples == 0
    assert MultiLabelScorer(["a", "b"]).compute() == {}
    for scorer in (SingleLabelScorer(["a", "b"]), MultiLabelScorer(["a", "b"])):
        with pytest.raises(ValueError, match=r"shorter|0 predictions"):
            scorer.add([{"label": "a"}, {"label": "b"}], [])


def test_a_single_label_is_told_with_its_confidence():
    example = {"text": "a", "text_pair": "b", "label": " x "}
    said = {"label": "y", "score": 0.8, "probabilities": {"x": 0.2, "y": 0.8}}
    told = SingleLabelScorer(["x", "y"]).tell(example, said)
    assert told == Told("a ⏐ b", ["x"], ["y"], 0.0, 0.8)
    assert SingleLabelScorer(["x", "y"]).tell({"text": "a", "label": "y"}, said).right == 1.0


def test_several_labels_are_told_by_the_one_that_is_most_wrong():
    said = {"labels": ["a", "b"], "probabilities": {"a": 0.9, "b": 0.7, "c": 0.1}}
    told = MultiLabelScorer(["a", "b", "c"]).tell({"text": "t", "label": ["a", "c"]}, said)
    assert (told.expected, told.said, told.right) == (["a", "c"], ["a", "b"], 0.5)
    assert told.sure == 0.9  # c was missed at 0.1, which is worse than b given at 0.7
    assert (
        MultiLabelScorer(["a"]).tell({"text": "t", "label": []}, {"labels": [], "probabilities": {"a": 0.1}}).right == 1
    )


def test_a_thousand_resamples_are_fast():
    random = np.random.default_rng(0)
    scorer = single(names(77), random.integers(0, 77, 3000), random.dirichlet(np.ones(77), 3000), chunk=500)
    start = time.process_time()
    for _ in range(1000):
        scorer.compute(random.integers(0, 3000, 3000))
    assert time.process_time() - start < 2


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60))
def test_thresholds_are_as_good_as_any(seed, count):
    random = np.random.default_rng(seed)
    gold = (random.random((count, 2)) < 0.4).astype(int)
    probabilities = np.round(random.random((count, 2)), 3)
    tuner = ThresholdTuner(["a", "b"])
    for start in range(0, count, 9):
        part = slice(start, start + 9)
        tuner.add(
            gold_examples("ab", gold[part]), [{"probabilities": {"a": a, "b": b}} for a, b in probabilities[part]]
        )
    for i, threshold in enumerate(tuner.thresholds().values()):
        said = probabilities[:, i, None] >= np.append(tuner.edges[1:-1], threshold)
        hits = (said & (gold[:, i, None] == 1)).sum(0)
        f1 = 2 * hits / np.maximum(said.sum(0) + gold[:, i].sum(), 1)
        assert f1[-1] == pytest.approx(f1.max())
        if not gold[:, i].any():
            assert threshold == 0.5


def test_thresholds_stay_at_a_half_where_nothing_is_better():
    tuner = ThresholdTuner(["a"])
    tuner.add(gold_examples("a", [[1], [0]]), [{"probabilities": {"a": 0.9}}, {"probabilities": {"a": 0.1}}])
    assert tuner.thresholds() == {"a": 0.5}
    tuner.add(gold_examples("a", [[1], [1]]), [{"probabilities": {"a": 0.3}}, {"probabilities": {"a": 0.3}}])
    assert tuner.thresholds()["a"] == pytest.approx(0.2, abs=0.002)  # the middle between 0.1 and 0.3


def test_calibration_is_zero_when_confidence_is_honest():
    calibration = Calibration()
    calibration.add(np.array([0.75] * 4 + [1.0]), np.array([1, 1, 1, 0, 1]))
    assert calibration.error() == 0.0
    assert [row["examples"] for row in calibration.table()] == [4, 1]
    assert Calibration().error() == 0.0


def test_words():
    assert spoken("macro_f1") == "macro F1"
    assert spoken("roc_auc") == "ROC AUC"
    assert (written("accuracy", 0.9213), written("log_loss", 0.31416)) == ("92.1%", "0.3142")
    assert distance("accuracy", -0.041) == "4.1 points of accuracy"
    assert (probability(0.0001), probability(0.02), probability(0.4)) == ("p < 0.001", "p = 0.020", "p = 0.40")
    assert not greater_is_better("log_loss")


def test_neither_metrics_nor_evaluation_parts_import_torch():
    parts = (
        "metrics.classification evaluation.intervals evaluation.compare evaluation.baselines.labels evaluation.report"
    )
    code = "import sys\n" + "\n".join(f"import weitiao.{part}" for part in parts.split())
    code += "\nassert not {'torch', 'sklearn', 'transformers', 'jinja2'} & set(sys.modules), 'imported something heavy'"
    subprocess.run([sys.executable, "-c", code], check=True)
