"""Methods that go by depth: which layers they take, when these begin to move and how fast."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from weitiao import models
from weitiao.errors import RecipeError
from weitiao.methods.bitfit import BitFit, BitFitOptions
from weitiao.methods.depth import block_names, by_depth
from weitiao.methods.full import Full, FullOptions
from weitiao.methods.gradual import Gradual, GradualOptions
from weitiao.methods.layers import Layers, LayersOptions
from weitiao.recipe import ModelSettings, TrainingSettings
from weitiao.records import Batch, Head
from weitiao.training.loop import Training, train_steps

CLASSIFIER = "AutoModelForSequenceClassification"
WRITER = {"encoder": "AutoModelForMaskedLM", "decoder": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM"}


@pytest.fixture
def loaded(tiny_model: Callable[[str], Path]) -> Callable[..., Any]:
    def load(family: str, auto_class: str = CLASSIFIER) -> Any:
        pretrained = models.open_pretrained(ModelSettings(source=str(tiny_model(family))), base=Path())
        return models.load_model(pretrained, Head(auto_class), seed=0)

    return load


@pytest.mark.parametrize("family", WRITER)
@pytest.mark.parametrize("writes", [False, True])
def test_every_parameter_has_one_depth(loaded: Callable[..., Any], family: str, writes: bool) -> None:
    model = loaded(family, WRITER[family] if writes else CLASSIFIER)
    groups = by_depth(model)
    assert sorted(name for group in groups for name in group) == sorted(name for name, _ in model.named_parameters())
    assert len(groups) == len(block_names(model)) + 2 == (6 if family == "seq2seq" else 4)
    assert all("embed" in name or "shared" in name for name in groups[0])


def test_a_final_norm_goes_with_the_last_block(loaded: Callable[..., Any]) -> None:
    assert "model.norm.weight" in by_depth(loaded("decoder"))[2]
    t5 = by_depth(loaded("seq2seq", WRITER["seq2seq"]))
    assert "encoder.final_layer_norm.weight" in t5[2]
    assert "decoder.final_layer_norm.weight" in t5[4]


def test_what_is_frozen_runs_without_dropout(loaded: Callable[..., Any]) -> None:
    model = Layers(LayersOptions(top=1)).apply(loaded("encoder"))
    model.train()
    dropping = {name for name, m in model.named_modules() if isinstance(m, nn.Dropout) and m.training}
    assert dropping
    assert not any(name.startswith(("bert.embeddings", "bert.encoder.layer.0")) for name in dropping)
    assert any(name.startswith("bert.encoder.layer.1") for name in dropping)


@pytest.mark.parametrize(
    ("options", "problem", "fix"),
    [
        ({"top": 3}, "3 blocks, but the model has 2", "at most 2"),
        ({"pattern": "encodre"}, "'encodre' is found in no parameter name", "Names look like bert."),
        ({"pattern": "layer.("}, "is no regular expression", ""),
    ],
)
def test_layers_that_are_not_there(loaded: Callable[..., Any], options: Any, problem: str, fix: str) -> None:
    with pytest.raises(RecipeError) as error:
        Layers(LayersOptions(**options)).apply(loaded("encoder"))
    assert problem in error.value.problem
    assert fix in error.value.fix


def test_one_way_to_choose_layers() -> None:
    with pytest.raises(ValueError, match="give one of them"):
        LayersOptions(top=1, pattern="x")


def test_no_biases_no_bitfit(loaded: Callable[..., Any]) -> None:
    with pytest.raises(RecipeError) as error:
        BitFit(BitFitOptions()).apply(loaded("decoder"))
    assert "LlamaForSequenceClassification has no biases in its body" in error.value.problem
    assert "norms: true" in error.value.fix


@pytest.fixture
def training(loaded: Callable[..., Any]) -> Callable[[GradualOptions, int], Training]:
    def build(options: GradualOptions, steps: int) -> Training:
        method, model = Gradual(options), loaded("encoder")
        batch = Batch(inputs={"input_ids": torch.tensor([[2, 5, 6, 3]])}, labels=None, targets=1.0, tokens=4, rows=[0])
        return Training(
            model=method.apply(model), loss=lambda outputs, _: outputs.logits.pow(2).sum() + outputs.logits.sum(),
            settings=TrainingSettings(epochs=steps, learning_rate=1e-3, warmup=0, schedule="constant"),
            order=lambda _: [np.array([0])], collate=lambda _: [batch], autocast=nullcontext,
            device=torch.device("cpu"), paces=method.paces(model),
        )  # fmt: skip

    return build


def test_blocks_begin_to_move_from_the_top(training: Callable[..., Training]) -> None:
    """Four depths, half of eight steps to unfreeze: the head at step 1, then a depth about every 4/3 steps."""
    run = training(GradualOptions(unfreeze=0.5), 8)
    names = by_depth(run.model)
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    first: dict[int, int] = {}
    for done in train_steps(run):
        for depth, group in enumerate(names):
            moved = any(not torch.equal(before[name], run.model.get_parameter(name)) for name in group)
            if moved:
                first.setdefault(depth, done.step)
    assert first == {3: 1, 2: 2, 1: 4, 0: 5}  # starts after 0, round(4/3), round(8/3), 4 steps
    assert all(p.requires_grad for p in run.model.parameters())


def test_rates_fall_with_depth(training: Callable[..., Training]) -> None:
    run = training(GradualOptions(layer_decay=0.5, unfreeze=0, head_rate=6), 1)
    next(train_steps(run))
    named = {id(p): name for name, p in run.model.named_parameters()}
    rates = {named[id(p)]: group["lr"] for group in run.optimizer.param_groups for p in group["params"]}
    for depth, group in enumerate(by_depth(run.model)):
        wanted = {1e-3 * 0.5 ** (3 - depth)} if depth < 3 else {6e-3}  # the head is new
        assert {rates[name] for name in group} == wanted


@pytest.mark.parametrize("build", [lambda: Full(FullOptions(head_rate=7)), lambda: Layers(LayersOptions(head_rate=7))])
def test_new_layers_move_at_a_rate_of_their_own(loaded: Callable[..., Any], build: Callable[[], Any]) -> None:
    method = build()
    paces = method.paces(method.apply(loaded("encoder")))
    assert {name.split(".")[-2] for name in paces} == {"dense", "classifier"}  # BERT's pooler and head
    assert {pace.rate for pace in paces.values()} == {7.0}
    assert method.paces(method.apply(loaded("decoder", WRITER["decoder"]))) == {}, "a language model's was pretrained"
