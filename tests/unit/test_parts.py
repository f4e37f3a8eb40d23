"""What is head and what is body, for heads of every kind, and what a method says where there is no head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weitiao import models
from weitiao.errors import RecipeError
from weitiao.methods.head import HeadOnly, HeadOnlyOptions
from weitiao.methods.lora import Lora, LoraOptions
from weitiao.methods.parts import head_modules, vocabulary_module
from weitiao.recipe import ModelSettings
from weitiao.records import Head

HEADS = [
    ("encoder", "AutoModelForSequenceClassification", ["classifier", "bert.pooler"], None),
    ("decoder", "AutoModelForSequenceClassification", ["score"], None),
    ("seq2seq", "AutoModelForSequenceClassification", ["classification_head"], None),
    ("encoder", "AutoModelForTokenClassification", ["classifier"], None),
    ("decoder", "AutoModelForTokenClassification", ["score"], None),
    ("encoder", "AutoModelForQuestionAnswering", ["qa_outputs"], None),
    ("encoder", "AutoModelForMaskedLM", ["cls.predictions.transform"], "cls.predictions.decoder"),
    ("decoder", "AutoModelForCausalLM", [], "lm_head"),
    ("seq2seq", "AutoModelForSeq2SeqLM", [], "lm_head"),
]


@pytest.fixture
def loaded(tiny_model: Callable[[str], Path]) -> Callable[[str, str], Any]:
    def load(family: str, auto_class: str) -> Any:
        pretrained = models.open_pretrained(ModelSettings(source=str(tiny_model(family))), base=Path())
        return models.load_model(pretrained, Head(auto_class), seed=0)

    return load


@pytest.mark.parametrize(("family", "auto_class", "heads", "vocabulary"), HEADS)
def test_heads_are_what_was_not_pretrained(
    loaded: Callable[[str, str], Any], family: str, auto_class: str, heads: list[str], vocabulary: str | None
) -> None:
    model = loaded(family, auto_class)
    assert head_modules(model) == heads
    assert vocabulary_module(model) == vocabulary
    body = {id(p) for p in model.base_model.parameters()}
    for name in heads:
        own = {id(p) for p in model.get_submodule(name).parameters()}
        assert own
        assert "pooler" in name or not own & body


@pytest.mark.parametrize(("family", "auto_class", "heads", "vocabulary"), HEADS)
def test_head_only_moves_the_head_or_refuses(
    loaded: Callable[[str, str], Any], family: str, auto_class: str, heads: list[str], vocabulary: str | None
) -> None:
    model, method = loaded(family, auto_class), HeadOnly(HeadOnlyOptions())
    if not heads:
        with pytest.raises(RecipeError, match="no new head") as caught:
            method.apply(model)
        assert "lora or full" in caught.value.fix
        return
    method.apply(model)
    moving = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert moving == {name for name, _ in model.named_parameters() if name.startswith(tuple(f"{h}." for h in heads))}


@pytest.mark.parametrize(("family", "auto_class", "heads", "vocabulary"), HEADS)
def test_lora_adapts_the_body_alone_and_trains_the_head_whole(
    loaded: Callable[[str, str], Any], family: str, auto_class: str, heads: list[str], vocabulary: str | None
) -> None:
    model = Lora(LoraOptions(rank=2)).apply(loaded(family, auto_class))
    adapted = {name.partition(".lora_A")[0] for name, _ in model.named_parameters() if ".lora_A" in name}
    assert adapted
    for name in (*heads, *([vocabulary] if vocabulary else [])):
        assert not any(f".{name}." in f"{one}." for one in adapted), name
    moving = {name for name, parameter in model.named_parameters() if parameter.requires_grad and ".lora_" not in name}
    for head in heads:
        assert any(f".{head}." in name for name in moving), head
