"""The baselines: simple, but no straw men."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.samples import labelled
from weitiao import registry
from weitiao.evaluation.baselines import labels as module
from weitiao.evaluation.baselines.labels import Majority, TfidfLogistic, features, grams
from weitiao.metrics.classification import MultiLabelScorer, SingleLabelScorer

BANKING = Path(__file__).parents[3] / "shared" / "data" / "banking77"
TEXTS = ["good film", "very good film", "bad film", "so bad a film", "good story", "bad story"]
GOLD = ["pos", "pos", "neg", "neg", "pos", "neg"]


def task(labels, multi_label=False):
    return SimpleNamespace(prepared=SimpleNamespace(labels=labels, multi_label=multi_label))


def examples(texts, gold=None):
    """A split of texts, or of pairs of texts, with their labels."""
    pairs = [text if isinstance(text, tuple) else (text, None) for text in texts]
    gold = gold or [""] * len(texts)
    return labelled(
        {"text": text, **({"text_pair": pair} if pair is not None else {}), "label": label}
        for (text, pair), label in zip(pairs, gold, strict=True)
    )


def fitted(kind, labels, texts, gold, *, multi_label=False, validation=None, seed=0):
    made = kind(task(labels, multi_label), seed=seed)
    on = {"train": examples(texts, gold)} | ({"validation": validation} if validation else {})
    made.fit(on, lambda: pytest.fail("these need no model"))
    return made


def predicted(baseline, texts):
    return list(baseline.predict(examples(texts)))


def test_registry_names_them():
    assert registry.get("baseline", "majority") is Majority
    assert registry.get("baseline", "tfidf") is TfidfLogistic


def test_majority_says_what_is_frequent():
    baseline = fitted(Majority, ["neg", "pos", "unseen"], TEXTS[:5], GOLD[:5])
    assert (
        predicted(baseline, ["anything", "else"])
        == [{"label": "pos", "score": 0.6, "probabilities": {"neg": 0.4, "pos": 0.6, "unseen": 0.0}}] * 2
    )


def test_majority_multi_label_is_the_most_frequent_set():
    gold = [["a", "b"], ["b", "a"], [], ["a"], ["b"]]
    baseline = fitted(Majority, ["a", "b"], ["x"] * 5, gold, multi_label=True)
    assert predicted(baseline, ["y"]) == [{"labels": ["a", "b"], "probabilities": {"a": 0.6, "b": 0.6}}]


def test_only_the_examples_that_count_are_learned_from():
    """Those that were left out as too long, or not drawn, are no part of a baseline either."""
    whole = examples(["x"] * 4, ["a", "a", "a", "b"])
    baseline = Majority(task(["a", "b"]))
    baseline.fit({"train": whole.only(np.array([3]))}, lambda: pytest.fail("no model"))
    assert [p["label"] for p in baseline.predict(whole.only(np.array([0, 2])))] == ["b", "b"]


def test_tfidf_learns_and_gives_probabilities():
    baseline = fitted(TfidfLogistic, ["neg", "pos"], TEXTS, GOLD)
    predictions = predicted(baseline, TEXTS)
    assert [p["label"] for p in predictions] == GOLD
    for prediction in predictions:
        assert sum(prediction["probabilities"].values()) == pytest.approx(1)
        assert prediction["score"] == max(prediction["probabilities"].values())
    assert baseline.notes == []


def test_tfidf_multi_label_tunes_its_thresholds_on_validation():
    labels, gold = ["pos", "neg", "never"], [[name] for name in GOLD]
    validation = examples(TEXTS, gold)
    baseline = fitted(TfidfLogistic, labels, TEXTS, gold, multi_label=True, validation=validation)
    assert baseline.thresholds["never"] == 0.5
    scorer = MultiLabelScorer(labels)
    for chunk in validation.chunks(2):
        scorer.add(chunk, list(baseline.predict(labelled(chunk))))
    assert scorer.compute()["subset_accuracy"] == 1.0


def test_chinese_is_cut_into_characters_and_english_into_words():
    assert grams("Good film") == ["good", "film", "good film"]
    assert grams("好电影") == ["好", "电", "影", "好电", "电影", "好电影"]
    assert grams("iPhone很好 ok") == ["iphone", "很", "好", "很好", "ok"]
    assert grams("，。!") == []


def test_chinese_sentiment_is_learnt():
    texts = ["质量很好", "非常好用", "很喜欢", "质量太差", "非常难用", "不喜欢"]
    baseline = fitted(TfidfLogistic, ["负", "正"], texts, ["正"] * 3 + ["负"] * 3)
    assert [p["label"] for p in predicted(baseline, ["好用", "太差了"])] == ["正", "负"]


def test_pairs_keep_their_sides_apart_and_know_what_they_share():
    assert features(("a cat", "cat b")) == [
        "1:a", "1:cat", "1:a cat", "2:cat", "2:b", "2:cat b", "=:cat",
    ]  # fmt: skip
    pairs = [(f"word{i}", f"word{i if i % 2 else i + 1}") for i in range(40)]
    baseline = fitted(TfidfLogistic, ["other", "same"], pairs, [["other", "same"][i % 2] for i in range(40)])
    assert predicted(baseline, [("word1", "word1")])[0]["label"] == "same"


def test_texts_without_words_and_a_single_class_still_work():
    baseline = fitted(TfidfLogistic, ["a", "b", "c"], ["!", "?", "..."], ["a", "a", "b"])
    assert predicted(baseline, ["!"])[0]["label"] == "a"
    assert "frequent" in baseline.notes[0]
    single = fitted(TfidfLogistic, ["a", "b"], ["one", "two"], ["b", "b"])
    assert [p["label"] for p in predicted(single, ["one", "other"])] == ["b", "b"]


def test_large_training_splits_are_sampled_by_the_seed_and_noted(monkeypatch):
    monkeypatch.setattr(module, "MOST_TEXTS", 50)
    gold = [["bad", "good"][i % 2] for i in range(200)]
    texts = [f"{label} {i}" for i, label in enumerate(gold)]
    found = []
    for seed in (1, 1, 2):
        baseline = fitted(TfidfLogistic, ["bad", "good"], texts, gold, seed=seed)
        found.append(sorted(baseline._vectorizer.vocabulary_))
    assert found[0] == found[1] != found[2]
    assert baseline.notes == ["fitted on a random 50 of the 200 training texts"]
    assert predicted(baseline, ["good"])[0]["label"] == "good"
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    small = fitted(TfidfLogistic, ["bad", "good"], texts[:40], gold[:40])
    assert "of the 40 training texts" in small.notes[0]


@pytest.mark.slow
@pytest.mark.skipif(not BANKING.exists(), reason="../shared/data/banking77 is not here")
def test_banking77_is_a_strong_baseline():
    def read(name):
        with (BANKING / name).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [row["text"] for row in rows], [row["category"] for row in rows]

    texts, gold = read("train.csv")
    baseline = fitted(TfidfLogistic, sorted(set(gold)), texts, gold)
    test = examples(*read("test.csv"))
    scorer = SingleLabelScorer(baseline.labels)
    scorer.add([example for chunk in test.chunks() for example in chunk], list(baseline.predict(test)))
    assert scorer.compute()["accuracy"] > 0.89
