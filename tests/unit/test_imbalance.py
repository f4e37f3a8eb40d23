"""Weights of classes and the focal loss, each against its formula in plain numpy, and through a whole run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.samples import reviews
from tests.unit.test_text_classification import task
from weitiao import check
from weitiao.errors import RecipeError
from weitiao.loading import load_for_training
from weitiao.preparation import as_recipe, prepare
from weitiao.tasks.imbalance import class_weights, effective_number, focal
from weitiao.training.loop import train_steps

COUNTS = {"a": 1000, "b": 100, "c": 5}
EXAMPLES = sum(COUNTS.values())

Values = Callable[..., dict[str, Any]]


def weights_of(wanted: Any, multi_label: bool = False) -> list[float]:
    found = class_weights(wanted, list(COUNTS), COUNTS, EXAMPLES, multi_label=multi_label)
    assert found is not None
    return found


# --- weights


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.999, 0.9999])
def test_effective_numbers_are_the_sum_they_stand_for(beta: float) -> None:
    for n in (1, 5, 1000):
        assert effective_number(n, beta) == pytest.approx(sum(beta**i for i in range(n)), rel=1e-9)
    found = np.array(weights_of(beta))
    wanted = np.array([(1 - beta) / (1 - beta**n) for n in COUNTS.values()])
    np.testing.assert_allclose(found, wanted / wanted.sum() * 3, rtol=1e-9)
    assert found.mean() == pytest.approx(1)


def test_effective_numbers_lie_between_alike_and_balanced() -> None:
    np.testing.assert_allclose(weights_of(1e-9), [1, 1, 1], rtol=1e-6)
    balanced = np.array(weights_of("balanced"))
    np.testing.assert_allclose(balanced, [EXAMPLES / 3 / n for n in COUNTS.values()])
    np.testing.assert_allclose(weights_of(1 - 1e-9), balanced / balanced.mean(), rtol=1e-3)


def test_of_several_labels_positives_weigh_against_negatives() -> None:
    beta = 0.99
    found = weights_of(beta, multi_label=True)
    for weight, n in zip(found, COUNTS.values(), strict=True):
        assert weight == pytest.approx((1 - beta ** (EXAMPLES - n)) / (1 - beta**n), rel=1e-9)
    np.testing.assert_allclose(weights_of(1 - 1e-9, True), weights_of("balanced", True), rtol=1e-3)


def test_written_weights_are_as_before() -> None:
    assert weights_of({"c": 3.0}) == [1.0, 1.0, 3.0]
    assert class_weights(None, ["a"], COUNTS, EXAMPLES, multi_label=False) is None
    with pytest.raises(RecipeError, match="unknown label 'd'"):
        weights_of({"d": 1.0})
    with pytest.raises(RecipeError, match="weight 0"):
        weights_of({"a": 0.0})


# --- focal loss


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
def test_focal_loss_of_one_label_is_the_formula(gamma: float, weights: list[float] | None) -> None:
    torch.manual_seed(0)
    logits, labels = 3 * torch.randn(6, 3), torch.tensor([0, 2, 1, 1, 0, 2])
    made = task(focal=gamma, weights=weights)
    outputs, batch = SimpleNamespace(logits=logits), SimpleNamespace(labels=labels)
    p = np.exp(logits.double().numpy())
    p = (p / p.sum(1, keepdims=True))[range(6), labels.tolist()]
    wanted = -((1 - p) ** gamma) * np.log(p) * np.array(weights or [1.0] * 3)[labels.tolist()]
    found = made.losses(outputs, batch)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-7)
    assert float(made.loss(outputs, batch)) == pytest.approx(wanted.sum(), rel=1e-4)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
def test_focal_loss_of_several_labels_is_the_formula(weights: list[float] | None) -> None:
    torch.manual_seed(0)
    logits, hot = 3 * torch.randn(5, 3), torch.tensor(np.random.default_rng(0).integers(0, 2, (5, 3))).float()
    made = task(True, focal=2.0, weights=weights)
    p, y = 1 / (1 + np.exp(-logits.double().numpy())), hot.numpy()
    right = np.where(y == 1, p, 1 - p)
    wanted = -((1 - right) ** 2) * np.log(right) * np.where(y == 1, weights or [1.0] * 3, 1.0)
    found = made.losses(SimpleNamespace(logits=logits), SimpleNamespace(labels=hot))
    np.testing.assert_allclose(found.numpy(), wanted.sum(1), rtol=1e-4, atol=1e-7)


def test_focal_loss_at_0_is_cross_entropy_and_has_a_gradient_where_the_model_is_sure() -> None:
    logits = torch.tensor([[80.0, 0.0, 0.0], [0.0, 80.0, 0.0]], requires_grad=True)  # sure and right, sure and wrong
    batch = SimpleNamespace(labels=torch.tensor([0, 0]))
    plain = task().losses(SimpleNamespace(logits=logits), batch)
    torch.testing.assert_close(task(focal=0.0).losses(SimpleNamespace(logits=logits), batch), plain)
    for gamma in (0.5, 2.0):
        found = task(focal=gamma).loss(SimpleNamespace(logits=logits), batch)
        (gradient,) = torch.autograd.grad(found, logits)
        assert bool(torch.isfinite(gradient).all())
        assert float(gradient[1].abs().sum()) > 0
    assert float(focal(torch.tensor(0.0), 2.0)) < 1e-15


def test_focal_loss_and_label_smoothing_do_not_go_together(recipe_values: Values) -> None:
    options = {"name": "text-classification", "focal": 2.0, "label_smoothing": 0.1}
    with pytest.raises(RecipeError, match=r"task\.focal.*one right answer"):
        check(recipe_values(task=options))


# --- whole runs


@pytest.mark.parametrize(
    "options", [{"focal": 2.0}, {"class_weights": 0.9}, {"focal": 1.0, "class_weights": "balanced"}]
)
@pytest.mark.parametrize("multi_label", [False, True])
def test_a_batch_cut_in_pieces_gives_the_same_step(
    options: dict[str, Any], multi_label: bool, recipe_values: Values, tmp_path: Path
) -> None:
    import json

    file = tmp_path / "rows.jsonl"
    rows = [{"text": text, "label": ([] if i % 7 == 0 else [label]) if multi_label else label}
            for i, (text, label) in enumerate(reviews(40)) if label == "good" or i % 3]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen = []
    for tokens in (100_000, 20):
        training = {"epochs": 2, "learning_rate": 1e-3, "batch_size": 8, "micro_batch_tokens": tokens, "seed": 1,
                    "precision": "fp32", "regularization": {"dropout": 0.0, "attention_dropout": 0.0}}  # fmt: skip
        values = recipe_values(
            task={"name": "text-classification", **options}, data={"train": str(file)}, training=training
        )
        training, _ = load_for_training(prepare(as_recipe(values)))
        seen.append([(done.loss, done.gradient_norm) for _, done in zip(range(4), train_steps(training), strict=False)])
    np.testing.assert_allclose(seen[0], seen[1], rtol=2e-4, atol=1e-6)


def test_focal_loss_and_effective_numbers_are_learned(recipe_values: Values) -> None:
    options = {"name": "text-classification", "focal": 2.0, "class_weights": 0.99, "metric": "macro_f1"}
    made, _ = load_for_training(prepare(as_recipe(recipe_values(task=options, training__epochs=10))))
    losses = [done.loss for done in train_steps(made)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


@pytest.mark.parametrize("wrong", [1.0, 0.0, -0.5, "even"])
def test_a_beta_lies_between_0_and_1(wrong: Any, recipe_values: Values) -> None:
    with pytest.raises(RecipeError, match="class_weights"):
        check(recipe_values(task={"name": "text-classification", "class_weights": wrong}))
