"""VeRA: its formula, and a projection that is drawn anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from weitiao.methods.vera import Vera, VeraOptions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_bert(tmp_path_factory.mktemp("models") / "bert")


def plain(folder: Path) -> Any:
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(folder).eval()


def test_a_layer_is_the_formula_with_its_part_of_the_one_pair(folder: Path) -> None:
    model: Any = Vera(VeraOptions(rank=8)).apply(plain(folder)).eval()
    layer = model.base_model.model.bert.encoder.layer[0].intermediate.dense
    d, b = layer.vera_lambda_d["default"], layer.vera_lambda_b["default"]
    assert d.tolist() == pytest.approx([0.1] * 8)
    torch.nn.init.uniform_(b)
    x = torch.randn(5, 32)
    whole_a, whole_b = model.base_model.vera_A["default"], model.base_model.vera_B["default"]
    assert (whole_a.shape, whole_b.shape) == ((8, 64), (64, 8))
    wanted = x @ layer.base_layer.weight.T + layer.base_layer.bias
    wanted = wanted + b * ((d * (x @ whole_a[:, :32].T)) @ whole_b.T)
    torch.testing.assert_close(layer(x), wanted)


def test_the_pooler_is_head_and_keeps_its_weights_whole(folder: Path) -> None:
    """PEFT's VeRA cannot be told what to leave out, and a pooler's layer is called as many in the body are."""
    model = Vera(VeraOptions(rank=8)).apply(plain(folder))
    assert not any("pooler" in name and "vera" in name for name, _ in model.named_parameters())


def test_the_pair_follows_from_its_seed(folder: Path, tmp_path: Path) -> None:
    method = Vera(VeraOptions(rank=8, save_projection=False, seed=5))
    model = method.apply(plain(folder)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lambda_b" in name:
                parameter.fill_(0.5)
    method.save(model, tmp_path)
    ids = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(method.load(plain(folder), tmp_path)(ids).logits, model(ids).logits)
