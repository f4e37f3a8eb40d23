"""How layers fare: norms, updates, what is told and what is not, and how the report shows it."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.watching import Watcher, of
from weitiao import train
from weitiao.evaluation.course import MOST_COLUMNS, Course
from weitiao.evaluation.report import render
from weitiao.evaluation.summary import Curves, Facts
from weitiao.events import Event, LayersMeasured, LayersUnwell
from weitiao.methods.lora import Lora
from weitiao.recipe import TrainingSettings
from weitiao.records import Batch, Pace
from weitiao.training.checkpoint import Checkpoints
from weitiao.training.fit import fit
from weitiao.training.health import Health, gradient_norms, layer_names
from weitiao.training.loop import Training

Spoil = Callable[["Stack"], None]


class Stack(nn.Module):
    """Four blocks over each other, and a part that the loss never sees."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.below = nn.Linear(4, 8)
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))
        self.head, self.unused = nn.Linear(8, 1), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.below(x)
        for block in self.blocks:
            x = x + block(x).tanh()
        return self.head(x).squeeze(-1)


def events(spoil: Spoil, tmp_path: Path, steps: int = 100, paces: dict[str, Pace] | None = None) -> list[Event]:
    torch.manual_seed(1)
    x = torch.randn(8, 4)
    model = Stack()
    spoil(model)
    made = Training(
        model=model, autocast=nullcontext, device=torch.device("cpu"), paces=paces or {},
        settings=TrainingSettings(epochs=steps, learning_rate=1e-3, evaluate_every=1000, checkpoint_every=1000),
        order=lambda _: [np.arange(8)],
        collate=lambda rows: [Batch({"x": x}, x.sum(1), 8.0, 8, rows.tolist())],
        loss=lambda outputs, batch: ((outputs - batch.labels) ** 2).sum(),
    )  # fmt: skip
    return list(fit(made, Checkpoints(tmp_path), None, threading.Event()))


def frozen(model: Stack) -> None:
    model.unused.requires_grad_(False)


def scaled(factor: float, number: int) -> Spoil:
    def spoil(model: Stack) -> None:
        frozen(model)
        for parameter in model.blocks[number].parameters():
            parameter.register_hook(lambda gradient: gradient * factor)

    return spoil


# --- numbers


def test_the_norms_are_those_that_clipping_takes() -> None:
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(n, 3)) for n in (1, 50, 700)]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    norms = gradient_norms(parameters)
    torch.testing.assert_close(norms, torch.stack([p.grad.norm() for p in parameters if p.grad is not None]))
    whole = torch.linalg.vector_norm(norms)
    assert torch.equal(whole, torch.nn.utils.clip_grad_norm_(parameters, math.inf))
    parameters[1].grad = None
    assert gradient_norms(parameters)[1] == 0
    parameters[0].grad = parameters[2].grad = None
    assert gradient_norms(parameters).tolist() == [0, 0, 0]


def test_the_update_is_estimated_from_a_sample() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(500, 400), nn.Linear(3, 2))
    parameters = list(model.parameters())
    health = Health(model, 10)
    health.before(parameters)
    before = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.01 * torch.randn_like(parameter))
    norms = torch.ones(4)
    health.seen(norms, 1)
    (measured,) = health.after(parameters, norms, 1, [])
    assert isinstance(measured, LayersMeasured)

    def exact(*numbers: int) -> float:
        moved = sum(float((parameters[n] - before[n]).square().sum()) for n in numbers)
        return math.sqrt(moved / sum(float(before[n].square().sum()) for n in numbers))

    assert measured.update_ratios["0"] == pytest.approx(exact(0, 1), rel=0.1)
    assert measured.update_ratios["1"] == pytest.approx(exact(2, 3), rel=1e-3)
    assert measured.gradient_norms == pytest.approx({"0": math.sqrt(2), "1": math.sqrt(2)}, rel=1e-3)


def test_layers_have_the_names_that_recipes_use(tiny_model: Callable[[str], Path]) -> None:
    from transformers import AutoModelForSequenceClassification

    def layers(family: str, adapted: bool = False) -> list[str]:
        model: Any = AutoModelForSequenceClassification.from_pretrained(tiny_model(family))
        model = Lora(Lora.Options()).apply(model) if adapted else model
        names = layer_names(model)
        return list(dict.fromkeys(names[name] for name, p in model.named_parameters() if p.requires_grad))

    blocks = ["bert.encoder.layer.0", "bert.encoder.layer.1"]
    assert layers("encoder") == ["bert.embeddings", *blocks, "bert.pooler", "classifier"]
    assert layers("encoder", adapted=True) == [*blocks, "bert.pooler", "classifier"]
    assert layers("decoder", adapted=True) == ["model.layers.0", "model.layers.1", "score"]
    assert {"transformer.encoder.block.0", "transformer.decoder.block.1"} <= set(layers("seq2seq"))


# --- what is told


def test_a_healthy_run_is_measured_and_nothing_told(tmp_path: Path) -> None:
    found = events(frozen, tmp_path)
    measured = of(LayersMeasured, found)
    assert [each.step for each in measured] == list(range(4, 101, 4))
    assert list(measured[0].gradient_norms) == ["below", "blocks.0", "blocks.1", "blocks.2", "blocks.3", "head"]
    assert of(LayersUnwell, found) == []


@pytest.mark.parametrize(
    ("factor", "trouble", "layer"), [(1e-7, "vanishing", 1), (1e5, "exploding", 2), (0.0, "dead", 3)]
)
def test_a_layer_in_trouble_is_named_once(factor: float, trouble: str, layer: int, tmp_path: Path) -> None:
    told = of(LayersUnwell, events(scaled(factor, layer), tmp_path))
    assert [(each.trouble, each.layers) for each in told] == [(trouble, [f"blocks.{layer}"])]
    assert told[0].fix
    assert told[0].step == (28 if trouble == "dead" else 12)  # a quarter of the run; three measurements


def test_what_the_loss_does_not_see_is_dead_unless_it_is_frozen(tmp_path: Path) -> None:
    told = of(LayersUnwell, events(lambda _: None, tmp_path / "a"))
    assert [(each.trouble, each.layers) for each in told] == [("dead", ["unused"])]
    assert of(LayersUnwell, events(frozen, tmp_path / "b")) == []
    assert of(LayersUnwell, events(lambda _: None, tmp_path / "c", steps=15)) == []  # too short to tell


def test_what_waits_for_its_turn_is_neither_measured_nor_dead(tmp_path: Path) -> None:
    paces = {f"blocks.0.{name}": Pace(start=0.6) for name in ("weight", "bias")}
    found = events(frozen, tmp_path, paces=paces)
    measured = {each.step: each.gradient_norms for each in of(LayersMeasured, found)}
    assert "blocks.0" not in measured[60]
    assert measured[64]["blocks.0"] > 0
    assert of(LayersUnwell, found) == []


# --- the report


def test_the_report_draws_the_layers_and_tells_what_went_wrong() -> None:
    told: list[dict[str, Any]] = [
        {"event": "StepDone", "step": 1, "loss": 1.0, "learning_rate": 0.1},
        *(
            {"event": "LayersMeasured", "step": step, "gradient_norms": {"low": 1e-6 * step, "top": 1.0},
             "update_ratios": {"low": 0.0, "top": 1e-3}}
            for step in range(1, 61)
        ),
        {"event": "LayersMeasured", "step": 60, "gradient_norms": {"low": 5.0, "top": 1.0}, "update_ratios": {}},
        {"event": "LayersUnwell", "step": 9, "trouble": "vanishing", "layers": ["low"], "problem": "too small",
         "fix": "Do <this>."},
        {"event": "LossSpiked", "step": 30, "loss": 9.0, "usual": 1.0, "skipped": True},
        *({"event": "StepSkipped", "step": step, "trouble": "non-finite", "layers": ["top"]} for step in (5, 6, 5)),
        {"event": "RolledBack", "step": 40, "to_step": 20, "trouble": "spike", "rate": 0.5, "left": 1},
    ]  # fmt: skip
    course = Course.of(told)
    assert course.layers == ["low", "top"]
    assert len(course.steps) == 20 <= MOST_COLUMNS
    assert [finding.where for finding in course.troubles] == ["low, step 9", "step 40", "steps 5, 6", "step 30"]
    page = render(Facts("t", "r", "k", "m", curves=Curves.of(told), course=course))
    assert page.count("heat-map by layer and step") == 2
    assert "top, step 2: 1" in page
    assert 'class="wrong"' in page  # an update of nothing
    for text in ("Too small. <span", "Do &lt;this&gt;.", "Training went back to step 20, at 0.5", "loss spike was",
                 "2 steps were skipped", "the gradient in top", "the gradients of 1 were dropped"):  # fmt: skip
        assert text in page, text
    assert Facts.from_dict(json.loads(json.dumps(Facts("t", "r", "k", "m", course=course).to_dict()))).course == course


def test_a_run_without_measurements_has_no_empty_panels() -> None:
    assert Course.of([]) == Course()
    page = render(Facts("t", "r", "k", "m", curves=Curves.of([]), course=Course()))
    assert "by layer" not in page


def test_measurements_leave_the_file_of_events_small(recipe_values: Callable[..., dict[str, Any]]) -> None:
    watcher = Watcher()
    values = recipe_values(evaluation={"bootstrap": 0, "baselines": False})
    values["training"] |= {"epochs": 30, "patience": None}
    run = train(values, trackers=[watcher])
    assert 13 <= len(of(LayersMeasured, watcher.seen)) <= 25
    lines = (run.folder / "events.jsonl").read_text().splitlines()
    sizes = {kind: sum(len(line) for line in lines if f'"{kind}"' in line) for kind in ("LayersMeasured", "StepDone")}
    assert sizes["LayersMeasured"] < sizes["StepDone"] / 2
