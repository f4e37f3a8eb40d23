"""The baselines: simple, but no straw men."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from weitiao import registry
from weitiao.evaluation import baselines
from weitiao.evaluation.baselines import Majority, TfidfLogistic, features, grams, measure
from weitiao.metrics.classification import MultiLabelScorer, SingleLabelScorer

BANKING = Path(__file__).parents[3] / "shared" / "data" / "banking77"
TEXTS = ["good film", "very good film", "bad film", "so bad a film", "good story", "bad story"]
GOLD = [1, 1, 0, 0, 1, 0]


def test_registry_names_them():
    assert registry.get("baseline", "majority") is Majority
    assert registry.get("baseline", "tfidf") is TfidfLogistic


def test_majority_says_what_is_frequent():
    baseline = Majority(["neg", "pos", "unseen"])
    baseline.fit(TEXTS[:5], GOLD[:5])
    assert baseline.predict(["anything"]) == [
        {"label": "pos", "score": 0.6, "probabilities": {"neg": 0.4, "pos": 0.6, "unseen": 0.0}}
    ]


def test_majority_multi_label_is_the_most_frequent_set():
    baseline = Majority(["a", "b"])
    baseline.fit(["x"] * 5, [[1, 1], [1, 1], [0, 0], [1, 0], [0, 1]])
    assert baseline.predict(["y"]) == [{"labels": ["a", "b"], "probabilities": {"a": 0.6, "b": 0.6}}]


def test_tfidf_learns_and_gives_probabilities():
    baseline = TfidfLogistic(["neg", "pos"])
    baseline.fit(iter(TEXTS), GOLD)
    predictions = baseline.predict(TEXTS)
    assert [p["label"] for p in predictions] == [["neg", "pos"][i] for i in GOLD]
    for prediction in predictions:
        assert sum(prediction["probabilities"].values()) == pytest.approx(1)
        assert prediction["score"] == max(prediction["probabilities"].values())
    assert baseline.notes == []


def test_tfidf_multi_label_tunes_its_thresholds_on_validation():
    labels = np.array([[g, 1 - g, 0] for g in GOLD])
    baseline = TfidfLogistic(["pos", "neg", "never"])
    baseline.fit(TEXTS, labels)
    baseline.tune(TEXTS, labels)
    assert baseline.thresholds["never"] == 0.5
    scores = measure(baseline, TEXTS, labels, MultiLabelScorer(baseline.labels), chunk=2).compute()
    assert scores["subset_accuracy"] == 1.0


def test_chinese_is_cut_into_characters_and_english_into_words():
    assert grams("Good film") == ["good", "film", "good film"]
    assert grams("好电影") == ["好", "电", "影", "好电", "电影", "好电影"]
    assert grams("iPhone很好 ok") == ["iphone", "很", "好", "很好", "ok"]
    assert grams("，。!") == []


def test_chinese_sentiment_is_learnt():
    texts = ["质量很好", "非常好用", "很喜欢", "质量太差", "非常难用", "不喜欢"]
    baseline = TfidfLogistic(["负", "正"])
    baseline.fit(texts, [1, 1, 1, 0, 0, 0])
    assert [p["label"] for p in baseline.predict(["好用", "太差了"])] == ["正", "负"]


def test_pairs_keep_their_sides_apart_and_know_what_they_share():
    assert features(("a cat", "cat b")) == [
        "1:a", "1:cat", "1:a cat", "2:cat", "2:b", "2:cat b", "=:cat",
    ]  # fmt: skip
    pairs = [(f"word{i}", f"word{i if i % 2 else i + 1}") for i in range(40)]
    baseline = TfidfLogistic(["other", "same"])
    baseline.fit(pairs, [i % 2 for i in range(40)])
    assert baseline.predict([("word1", "word1")])[0]["label"] == "same"


def test_texts_without_words_and_a_single_class_still_work():
    baseline = TfidfLogistic(["a", "b", "c"])
    baseline.fit(["!", "?", "..."], [0, 0, 1])
    prediction = baseline.predict(["!"])[0]
    assert prediction["label"] == "a"
    assert "frequent" in baseline.notes[0]
    single = TfidfLogistic(["a", "b"])
    single.fit(["one", "two"], [1, 1])
    assert [p["label"] for p in single.predict(["one", "other"])] == ["b", "b"]
    assert single.predict([]) == []


def test_large_training_splits_are_sampled_by_the_seed_and_noted(monkeypatch):
    monkeypatch.setattr(baselines, "MOST_TEXTS", 50)
    texts = [("good" if i % 2 else "bad") + f" {i}" for i in range(200)]
    fitted = []
    for seed in (1, 1, 2):
        baseline = TfidfLogistic(["bad", "good"], seed=seed)
        baseline.fit(iter(texts), [i % 2 for i in range(200)])
        fitted.append(sorted(baseline._vectorizer.vocabulary_))
    assert fitted[0] == fitted[1] != fitted[2]
    assert baseline.notes == ["fitted on a random 50 of the 200 training texts"]
    assert baseline.predict(["good"])[0]["label"] == "good"
    monkeypatch.setattr(baselines, "MOST_BYTES", 100)
    small = TfidfLogistic(["bad", "good"])
    small.fit(texts[:40], [i % 2 for i in range(40)])
    assert "of the 40 training texts" in small.notes[0]


@pytest.mark.slow
@pytest.mark.skipif(not BANKING.exists(), reason="../shared/data/banking77 is not here")
def test_banking77_is_a_strong_baseline():
    def read(name):
        with (BANKING / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    train, test = read("train.csv"), read("test.csv")
    labels = sorted({row["category"] for row in train})
    baseline = TfidfLogistic(labels)
    baseline.fit([row["text"] for row in train], [labels.index(row["category"]) for row in train])
    gold = [labels.index(row["category"]) for row in test]
    scorer = measure(baseline, (row["text"] for row in test), gold, SingleLabelScorer(labels))
    assert scorer.compute()["accuracy"] > 0.89
