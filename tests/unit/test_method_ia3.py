"""IA3: its formula, the layers it finds, and what it says where it finds none."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests import tiny
from weitiao.errors import RecipeError
from weitiao.methods.ia3 import Ia3, Ia3Options


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoModelForSequenceClassification

    return lambda: AutoModelForSequenceClassification.from_pretrained(
        tiny.tiny_bert(tmp_path_factory.mktemp("models") / "bert")
    ).eval()


def test_keys_values_and_inner_activations_are_scaled_as_in_the_formula(plain: Any) -> None:
    model: Any = Ia3(Ia3Options()).apply(plain()).eval()
    block = model.base_model.model.bert.encoder.layer[1]
    for layer in (block.attention.self.key, block.output.dense):
        torch.nn.init.uniform_(layer.ia3_l["default"], 0.5, 1.5)
    x, inner = torch.randn(5, 32), torch.randn(5, 64)
    key, last = block.attention.self.key, block.output.dense
    wanted = key.ia3_l["default"].flatten() * (x @ key.base_layer.weight.T + key.base_layer.bias)
    torch.testing.assert_close(key(x), wanted)
    wanted = (inner * last.ia3_l["default"].flatten()) @ last.base_layer.weight.T + last.base_layer.bias
    torch.testing.assert_close(last(inner), wanted)
    assert not hasattr(block.attention.output.dense, "ia3_l")  # ends in the same words, and is no feed-forward layer
    assert not hasattr(block.attention.self.query, "ia3_l")


def test_vectors_do_not_decay(plain: Any) -> None:
    model = Ia3(Ia3Options()).apply(plain())
    paces = Ia3(Ia3Options()).paces(model)
    assert len(paces) == 6
    assert not any(pace.decays for pace in paces.values())


def test_layers_can_be_named_and_have_to_be_there(plain: Any) -> None:
    model = Ia3(Ia3Options(targets=["query"], feedforward=[])).apply(plain())
    assert sum("ia3_l" in name for name, _ in model.named_parameters()) == 2
    with pytest.raises(RecipeError, match="no linear layer is called 'valeu'") as caught:
        Ia3(Ia3Options(feedforward=["valeu"])).apply(plain())
    assert caught.value.where == "method.feedforward"
