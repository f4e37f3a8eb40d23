"""The learning-rate range test: what it suggests, and that a run takes it and says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from weitiao import Recipe, check, loading, train
from weitiao.batching import training_lengths
from weitiao.forecast import budgets
from weitiao.loading import Loaded, load_for_training, with_rate, with_usual_rate
from weitiao.preparation import Preparation, prepare
from weitiao.training.loop import Training, train_steps
from weitiao.training.range_test import SPAN, range_test, smoothed, suggested


def test_a_third_of_the_rate_with_the_lowest_loss() -> None:
    rates = [10.0**power for power in range(-6, 0)]
    assert suggested(rates, [1.0, 1.0, 0.7, 0.1, 0.9, 9.0]) == pytest.approx(3e-4)
    assert suggested(rates, [1.0] * 6) is None
    assert suggested(rates, [1.0, 1.2, 1.5, 2.0, 3.0, 9.0]) is None
    assert suggested(rates[:2], [1.0, 0.1]) is None


def test_smoothing_is_corrected_for_its_start() -> None:
    assert smoothed([3.0, 3.0, 3.0]) == pytest.approx([3.0, 3.0, 3.0])


def test_the_rate_rises_evenly_in_its_logarithm(recipe_values: Callable[..., dict[str, Any]]) -> None:
    training, _ = load_for_training(prepare(Recipe(**recipe_values())))
    rates, losses = range_test(training, 1e-3, steps=9)
    assert len(rates) == len(losses) == 9
    assert rates[0] == pytest.approx(1e-3 / SPAN)
    assert rates[4] == pytest.approx(1e-3)
    assert rates[8] == pytest.approx(1e-3 * SPAN)


def ranged(recipe: Recipe) -> tuple[Preparation, Loaded]:
    ready = with_usual_rate(prepare(recipe))
    return with_rate(ready, load_for_training(ready), recipe.training.learning_rate)


def losses_of(training: Training) -> list[float]:
    return [event.loss for event in train_steps(training)]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_after_the_test_all_is_as_at_the_start(recipe_values: Callable[..., dict[str, Any]], method: str) -> None:
    """The run is the very one that the found rate as a number gives: weights, order, dropout, average."""
    values = {"method": {"name": method}, "training__ema": 0.9, "training__epochs": 1}
    ready, (training, _) = ranged(Recipe(**recipe_values(**values, training__learning_rate="range-test")))
    rate = ready.recipe.training.learning_rate
    found = losses_of(training)
    plainly, _ = load_for_training(prepare(Recipe(**recipe_values(**values, training__learning_rate=rate))))
    assert found == losses_of(plainly)
    assert len(found) > 3
    averages = [each.parts["average"].state(each.model) for each in (training, plainly)]
    assert all(torch.equal(averages[0][name], averages[1][name]) for name in averages[0])


def test_a_run_takes_what_was_found(recipe_values: Callable[..., dict[str, Any]]) -> None:
    recipe = Recipe(**recipe_values(training__learning_rate="range-test", training__epochs=4))
    assert check(recipe).recipe.training.learning_rate == "range-test"  # found when the weights are there
    found = ranged(recipe)[0].recipe
    rate = found.training.learning_rate
    assert isinstance(rate, float)
    assert 1e-7 < rate < 1
    assert found.origin("training.learning_rate").startswith("auto: ")
    assert "range test of" in found.origin("training.learning_rate")
    run = train(recipe)
    assert run.recipe.training.learning_rate == rate  # the same draws, the same rate
    assert f"learning_rate: {rate}" in (run.folder / "recipe.yaml").read_text()


def test_a_test_that_breaks_at_once_leaves_the_usual_rate(
    recipe_values: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "range_test", lambda *_: ([], []))
    ready, _ = ranged(Recipe(**recipe_values(training__learning_rate="range-test")))
    assert "did not fall in a range test of 0 steps" in ready.recipe.origin("training.learning_rate")


def test_the_test_stays_within_the_memory_that_the_run_may_take(
    recipe_values: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made with the micro-batches that were chosen to fit."""
    seen: list[int] = []

    def tested(training: Training, usual: float) -> tuple[list[float], list[float]]:
        seen.extend(len(training.collate(rows)) for rows in training.order(0))
        return [usual], [1.0]

    monkeypatch.setattr(loading, "range_test", tested)
    monkeypatch.setattr(budgets, "_most_tokens", lambda ready, *_: (2 * int(training_lengths(ready).max()), [0.0]))
    values = {"training__learning_rate": "range-test", "training__epochs": 1, "memory": "8GB"}
    train(Recipe(**recipe_values(**values)))
    assert min(seen[:-1]) > 1  # 16 examples a step, two of the longest at once
