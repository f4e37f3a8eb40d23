"""The learning-rate range test: what it suggests, and that a run takes it and says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from weitiao import Recipe, check, train
from weitiao.loading import load_for_training, with_rate
from weitiao.preparation import prepare
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


def test_a_run_takes_what_was_found(recipe_values: Callable[..., dict[str, Any]]) -> None:
    recipe = Recipe(**recipe_values(training__learning_rate="range-test", training__epochs=4))
    assert check(recipe).recipe.training.learning_rate == "range-test"  # found when the weights are there
    found = with_rate(prepare(recipe)).recipe
    rate = found.training.learning_rate
    assert isinstance(rate, float)
    assert 1e-7 < rate < 1
    assert found.origin("training.learning_rate").startswith("auto: ")
    assert "range test of" in found.origin("training.learning_rate")
    run = train(recipe)
    assert run.recipe.training.learning_rate == rate  # the same draws, the same rate
    assert f"learning_rate: {rate}" in (run.folder / "recipe.yaml").read_text()
