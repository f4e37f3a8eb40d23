"""The task: encoding, labels, losses, predictions, thresholds, for each family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional

from weitiao.errors import DataError
from weitiao.tasks.text_classification import LabelSet, TextClassification, TextClassificationOptions

LABELS = ["a", "b", "c"]


def task(multi_label: bool = False, **values: Any) -> TextClassification:
    prepared = {key: values.pop(key) for key in ("weights", "thresholds") if key in values}
    options = TextClassificationOptions(metric="macro_f1", multi_label=multi_label, **values)
    return TextClassification(options, LabelSet(labels=LABELS, multi_label=multi_label, **prepared))


def outputs(*rows: list[float]) -> Any:
    return SimpleNamespace(logits=torch.tensor(rows))


@pytest.fixture
def tokenizer(tiny_model: Callable[[str], Path]) -> Callable[[str], Any]:
    from weitiao.models import open_pretrained
    from weitiao.recipe import ModelSettings

    return lambda family: open_pretrained(ModelSettings(source=str(tiny_model(family))), base=Path()).tokenizer


TEXTS = ["the room was great", "the staff was rude and the bed broken and the coffee cold"]


@pytest.mark.parametrize("family", ["encoder", "decoder", "seq2seq"])
def test_encode_cuts_inside_the_special_tokens(family: str, tokenizer: Callable[[str], Any]) -> None:
    words = tokenizer(family)
    whole = task().encode({"text": TEXTS, "label": ["a", "c"]}, words, 64)
    cut = task().encode({"text": TEXTS, "label": ["a", "c"]}, words, 6)
    assert whole["full_length"] == cut["full_length"] == [len(ids) for ids in whole["input_ids"]]
    assert max(len(ids) for ids in cut["input_ids"]) == 6
    assert cut["labels"] == [0, 2]
    special = {words.cls_token_id, words.sep_token_id, words.eos_token_id, words.bos_token_id} - {None}
    ends = {i for i in (whole["input_ids"][1][0], whole["input_ids"][1][-1]) if i in special}
    assert ends <= {cut["input_ids"][1][0], cut["input_ids"][1][-1]}


@pytest.mark.parametrize("family", ["encoder", "decoder", "seq2seq"])
def test_collate_pads_on_the_right_and_masks(family: str, tokenizer: Callable[[str], Any]) -> None:
    words = tokenizer(family)
    encoded = task().encode({"text": TEXTS, "label": ["a", "c"]}, words, 64)
    rows = [{name: values[i] for name, values in encoded.items()} | {"row": 7 + i} for i in range(2)]
    batch = task().collate(rows, words)
    short, long = (len(ids) for ids in encoded["input_ids"])
    assert batch.inputs["input_ids"].shape == (2, long)
    assert batch.inputs["attention_mask"].sum(1).tolist() == [short, long]
    assert batch.inputs["input_ids"][0, short:].eq(words.pad_token_id).all()
    assert batch.tokens == short + long
    assert batch.rows == [7, 8]
    assert batch.labels is not None
    assert batch.labels.tolist() == [0, 2]
    assert "full_length" not in batch.inputs


@pytest.mark.parametrize("family", ["encoder", "decoder", "seq2seq"])
def test_padding_does_not_change_a_prediction(family: str, tiny_model: Callable[[str], Path]) -> None:
    """For a decoder the last real token decides, wherever the padding is."""
    from weitiao.models import load_model, open_pretrained
    from weitiao.recipe import ModelSettings

    pretrained = open_pretrained(ModelSettings(source=str(tiny_model(family))), base=Path())
    model = load_model(pretrained, task().head, seed=1).eval()
    encoded = task().encode({"text": TEXTS}, pretrained.tokenizer, 64)
    rows = [{name: values[i] for name, values in encoded.items()} | {"row": i} for i in range(2)]
    with torch.inference_mode():
        alone = model(**task().collate(rows[:1], pretrained.tokenizer).inputs).logits[0]
        together = model(**task().collate(rows, pretrained.tokenizer).inputs).logits[0]
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-4)


def test_an_end_of_text_inside_a_text_is_only_letters(tokenizer: Callable[[str], Any]) -> None:
    for family in ("decoder", "seq2seq"):
        words = tokenizer(family)
        texts = ["an end </s> in the middle", "no end", "the end " * 30 + "</s>"]
        encoded = task().encode({"text": texts}, words, 16)
        ends = [ids.count(words.eos_token_id) for ids in encoded["input_ids"]]
        assert len(set(ends)) == 1, family


def test_pairs_carry_both_texts(tokenizer: Callable[[str], Any]) -> None:
    words = tokenizer("encoder")
    encoded = task().encode({"text": TEXTS[:1], "text_pair": TEXTS[1:]}, words, 64)
    assert encoded["input_ids"][0].count(words.sep_token_id) == 2
    assert set(encoded["token_type_ids"][0]) == {0, 1}


def test_unknown_label_names_the_line(tokenizer: Callable[[str], Any]) -> None:
    rows = {"text": TEXTS, "label": ["a", "bb"], "__line__": [2, 3], "__file__": ["x.csv", "x.csv"]}
    with pytest.raises(DataError, match="'bb' is not one") as caught:
        task().encode(rows, tokenizer("encoder"), 64)
    assert caught.value.where == "x.csv:3"


def test_loss_is_the_sum_and_targets_its_divisor() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    for options in ({}, {"label_smoothing": 0.1}, {"weights": [1.0, 2.0, 0.5]}):
        made = task(**options)
        batch_labels, targets = made._label_tensor(labels.tolist())
        weight = torch.tensor(options["weights"]) if "weights" in options else None
        smoothing = options.get("label_smoothing", 0.0)
        wanted = functional.cross_entropy(logits, labels, weight=weight, label_smoothing=smoothing)
        found = made.loss(SimpleNamespace(logits=logits), SimpleNamespace(labels=batch_labels)) / targets
        torch.testing.assert_close(found, wanted)


def test_multi_label_loss_is_binary_cross_entropy() -> None:
    logits = torch.randn(2, 3)
    made = task(True)
    hot, targets = made._label_tensor([[0, 2], []])
    assert hot.tolist() == [[1, 0, 1], [0, 0, 0]]
    wanted = functional.binary_cross_entropy_with_logits(logits, hot)
    found = made.loss(SimpleNamespace(logits=logits), SimpleNamespace(labels=hot)) / targets
    torch.testing.assert_close(found, wanted)


def test_predictions() -> None:
    single = task().decode(outputs([0.0, 2.0, 0.0]), None)[0]
    assert single["label"] == "b"
    assert single["score"] == single["probabilities"]["b"]
    assert sum(single["probabilities"].values()) == pytest.approx(1)
    several = task(True, thresholds=[0.5, 0.9, 0.1]).decode(outputs([1.0, 1.0, -1.0]), None)[0]
    assert several["labels"] == ["a", "c"]


def test_tune_moves_thresholds_to_where_f1_is_best() -> None:
    made = task(True)
    scores = [0.30, 0.35, 0.05, 0.10]
    predictions = [{"labels": [], "probabilities": {"a": s, "b": 0.9, "c": 0.01}} for s in scores]
    gold = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 1, 0], [0, 1, 0]]).float()
    tuned = made.tune([(gold, predictions)])
    assert tuned.known.thresholds is not None
    assert 0.10 < tuned.known.thresholds[0] <= 0.30
    assert tuned.known.thresholds[2] == 0.5  # never positive: nothing to learn from
    assert task().tune(iter(())).known.thresholds is None


def test_head_names_the_labels_in_order() -> None:
    head = task().head
    assert head.config["id2label"] == {0: "a", 1: "b", 2: "c"}
    assert head.config["problem_type"] == "single_label_classification"
    assert task(True).head.config["problem_type"] == "multi_label_classification"
