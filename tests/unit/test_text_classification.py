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
from weitiao.records import Batch, Family, Reader
from weitiao.tasks.text_classification import LabelSet, TextClassification, TextClassificationOptions

LABELS = ["a", "b", "c"]


def task(multi_label: bool = False, **values: Any) -> TextClassification:
    prepared = {key: values.pop(key) for key in ("weights", "thresholds") if key in values}
    options = TextClassificationOptions(metric="macro_f1", multi_label=multi_label, **values)
    return TextClassification(options, LabelSet(labels=LABELS, multi_label=multi_label, **prepared))


class Model(torch.nn.Module):
    """Answers with logits that are given, whatever it is asked."""

    def __init__(self, *rows: list[float]) -> None:
        super().__init__()
        self.rows = torch.tensor(rows)

    def forward(self, **_: Any) -> Any:
        return SimpleNamespace(logits=self.rows)


EMPTY = Batch({}, None, 0.0, 0, [])
ANY: Reader = Reader("encoder", None, 64)  # type: ignore[arg-type]  # nothing is read


@pytest.fixture
def reader(tiny_model: Callable[[str], Path]) -> Callable[..., Reader]:
    from weitiao.models import open_pretrained
    from weitiao.recipe import ModelSettings

    def opened(family: Family, max_length: int = 64) -> Reader:
        return open_pretrained(ModelSettings(source=str(tiny_model(family))), base=Path()).reader(max_length)

    return opened


TEXTS = ["the room was great", "the staff was rude and the bed broken and the coffee cold"]


@pytest.mark.parametrize("family", ["encoder", "decoder", "seq2seq"])
def test_encode_cuts_inside_the_special_tokens(family: Family, reader: Callable[..., Reader]) -> None:
    words = reader(family).tokenizer
    whole = task().encode({"text": TEXTS, "label": ["a", "c"]}, reader(family))
    cut = task().encode({"text": TEXTS, "label": ["a", "c"]}, reader(family, 6))
    assert whole["full_length"] == cut["full_length"] == [len(ids) for ids in whole["input_ids"]]
    assert max(len(ids) for ids in cut["input_ids"]) == 6
    assert cut["labels"] == [0, 2]
    special = {words.cls_token_id, words.sep_token_id, words.eos_token_id, words.bos_token_id} - {None}
    ends = {i for i in (whole["input_ids"][1][0], whole["input_ids"][1][-1]) if i in special}
    assert ends <= {cut["input_ids"][1][0], cut["input_ids"][1][-1]}


@pytest.mark.parametrize("family", ["encoder", "decoder", "seq2seq"])
def test_collate_pads_on_the_right_and_masks(family: Family, reader: Callable[..., Reader]) -> None:
    encoded = task().encode({"text": TEXTS, "label": ["a", "c"]}, reader(family))
    rows = [{name: values[i] for name, values in encoded.items()} | {"row": 7 + i} for i in range(2)]
    batch = task().collate(rows, reader(family))
    short, long = (len(ids) for ids in encoded["input_ids"])
    assert batch.inputs["input_ids"].shape == (2, long)
    assert batch.inputs["attention_mask"].sum(1).tolist() == [short, long]
    assert batch.inputs["input_ids"][0, short:].eq(reader(family).tokenizer.pad_token_id).all()
    assert batch.tokens == short + long
    assert batch.rows == [7, 8]
    assert batch.features == rows
    assert batch.labels is not None
    assert batch.labels.tolist() == [0, 2]
    assert "full_length" not in batch.inputs


@pytest.mark.parametrize("family", ["encoder", "decoder", "seq2seq"])
def test_padding_does_not_change_a_prediction(family: Family, tiny_model: Callable[[str], Path]) -> None:
    """For a decoder the last real token decides, wherever the padding is."""
    from weitiao.models import load_model, open_pretrained
    from weitiao.recipe import ModelSettings

    pretrained = open_pretrained(ModelSettings(source=str(tiny_model(family))), base=Path())
    model = load_model(pretrained, task().head(family), seed=1).eval()
    reader = pretrained.reader(64)
    encoded = task().encode({"text": TEXTS}, reader)
    rows = [{name: values[i] for name, values in encoded.items()} | {"row": i} for i in range(2)]
    with torch.inference_mode():
        alone, together = (
            task().predict(model, task().collate(chosen, reader), reader)[0]["probabilities"]
            for chosen in (rows[:1], rows)
        )
    assert alone == pytest.approx(together, abs=1e-5)


def test_an_end_of_text_inside_a_text_is_only_letters(reader: Callable[..., Reader]) -> None:
    for family in ("decoder", "seq2seq"):
        words = reader(family)
        texts = ["an end </s> in the middle", "no end", "the end " * 30 + "</s>"]
        encoded = task().encode({"text": texts}, reader(family, 16))
        ends = [ids.count(words.tokenizer.eos_token_id) for ids in encoded["input_ids"]]
        assert len(set(ends)) == 1, family


def test_pairs_carry_both_texts(reader: Callable[..., Reader]) -> None:
    encoded = task().encode({"text": TEXTS[:1], "text_pair": TEXTS[1:]}, reader("encoder"))
    assert encoded["input_ids"][0].count(reader("encoder").tokenizer.sep_token_id) == 2
    assert set(encoded["token_type_ids"][0]) == {0, 1}


def test_unknown_label_names_the_line(reader: Callable[..., Reader]) -> None:
    rows = {"text": TEXTS, "label": ["a", "bb"], "__line__": [2, 3], "__file__": ["x.csv", "x.csv"]}
    with pytest.raises(DataError, match="'bb' is not one") as caught:
        task().encode(rows, reader("encoder"))
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
    single = task().predict(Model([0.0, 2.0, 0.0]), EMPTY, ANY)[0]
    assert single["label"] == "b"
    assert single["score"] == single["probabilities"]["b"]
    assert sum(single["probabilities"].values()) == pytest.approx(1)
    several = task(True, thresholds=[0.5, 0.9, 0.1]).predict(Model([1.0, 1.0, -1.0]), EMPTY, ANY)[0]
    assert several["labels"] == ["a", "c"]


def test_tune_moves_thresholds_to_where_f1_is_best() -> None:
    made = task(True)
    scores = [0.30, 0.35, 0.05, 0.10]
    predictions = [{"labels": [], "probabilities": {"a": s, "b": 0.9, "c": 0.01}} for s in scores]
    examples = [{"label": names} for names in (["a", "b"], ["a", " b"], ["b"], ["b"])]
    tuned = made.tune([(examples[:2], predictions[:2]), (examples[2:], predictions[2:])])
    assert tuned.known.thresholds is not None
    assert 0.10 < tuned.known.thresholds[0] <= 0.30
    assert tuned.known.thresholds[2] == 0.5  # never positive: nothing to learn from
    assert task().tune(iter(())).known.thresholds is None


def test_head_names_the_labels_in_order() -> None:
    head = task().head("encoder")
    assert head.config["id2label"] == {0: "a", 1: "b", 2: "c"}
    assert head.config["problem_type"] == "single_label_classification"
    assert task(True).head("decoder").config["problem_type"] == "multi_label_classification"
