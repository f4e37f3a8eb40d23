"""A head on a text's vector: the vector is that of its formula on the states that plain transformers computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from weitiao.errors import ModelError
from weitiao.models import load_model, load_saved, open_pretrained
from weitiao.models.sizing import empty_model
from weitiao.recipe import ModelSettings
from weitiao.records import Head, Pooling

TEXTS = ["the room was great", "the staff was rude and the bed broken and the lift slow", "fine"]


def head(pooling: Pooling) -> Head:
    config = {"num_labels": 3, "sentence_pooling": pooling}
    return Head("AutoModelForSequenceClassification", config, pooling=pooling)


@pytest.mark.parametrize("family", ["encoder", "decoder"])
@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_vectors_and_logits_are_those_of_the_formula(
    family: str, pooling: Pooling, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    from transformers import AutoModel

    pretrained = open_pretrained(ModelSettings(source=str(tiny_model(family))), base=Path())
    model = load_model(pretrained, head(pooling), seed=2).eval()
    inputs = pretrained.tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(pretrained.folder).eval()(**inputs).last_hidden_state
        found = model(**inputs)
    ends = [int(mask.sum()) for mask in inputs["attention_mask"]]
    assert len(set(ends)) > 1
    rows = [states[row, :end] for row, end in enumerate(ends)]
    wanted = {
        "mean": [row.mean(0) for row in rows],
        "first": [row[0] for row in rows],
        "last": [row[-1] for row in rows],
    }
    torch.testing.assert_close(found.vectors, torch.stack(wanted[pooling]), rtol=1e-5, atol=1e-6)
    logits = torch.stack(wanted[pooling]) @ model.head.weight.T + model.head.bias  # type: ignore[union-attr, operator]
    torch.testing.assert_close(found.logits, logits, rtol=1e-5, atol=1e-6)
    model.save_pretrained(tmp_path / "saved")  # type: ignore[operator]
    again = load_saved(tmp_path / "saved", head(pooling))
    assert type(again) is type(model)
    with torch.no_grad():
        torch.testing.assert_close(again(**inputs).logits, found.logits)
    shapes = {name: p.shape for name, p in empty_model(pretrained, head(pooling)).named_parameters()}
    assert shapes == {name: p.shape for name, p in model.named_parameters()}


def test_a_text_is_the_same_alone_and_beside_longer_ones(tiny_model: Callable[[str], Path]) -> None:
    pretrained = open_pretrained(ModelSettings(source=str(tiny_model("encoder"))), base=Path())
    model = load_model(pretrained, head("mean"), seed=2).eval()
    with torch.no_grad():
        together = model(**pretrained.tokenizer(TEXTS, padding=True, return_tensors="pt")).logits
        alone = [model(**pretrained.tokenizer([text], return_tensors="pt")).logits[0] for text in TEXTS]
        without_mask = model(input_ids=pretrained.tokenizer([TEXTS[0]], return_tensors="pt")["input_ids"]).logits[0]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(without_mask, alone[0])


def test_a_model_that_is_nothing_of_the_kind_is_refused() -> None:
    from transformers import PreTrainedConfig

    from weitiao.models.pooled import pooled_class

    with pytest.raises(ModelError, match="no sentence vectors"):
        pooled_class(PreTrainedConfig())
