"""Stochastic weight averaging and soups: each against a plain computation, through a whole run, stopped and resumed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.same import same_weights_when_resumed
from tests.unit.test_recovery import training, weights
from tests.watching import Stopper, Watcher, of
from weitiao import check, load, resume, train
from weitiao.errors import Interrupted, RecipeError
from weitiao.events import Evaluated, SoupMade, StepDone
from weitiao.recipe import SoupSettings, SwaSettings, TrainingSettings
from weitiao.records import Score, Scores
from weitiao.training.average import Average, Even
from weitiao.training.checkpoint import Checkpoints
from weitiao.training.fit import Progress, fit
from weitiao.training.loop import Training
from weitiao.training.optimizer import rate_factor

Values = Callable[..., dict[str, Any]]


@pytest.fixture
def quick(recipe_values: Values) -> Values:
    """A recipe of a few short epochs; `training` adds to its settings."""

    def build(family: str = "encoder", training: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        settings = {"epochs": 4, "learning_rate": 3e-3, "batch_size": 16, "seed": 7, "precision": "fp32",
                    "patience": None}  # fmt: skip
        evaluation = {"bootstrap": 0, "baselines": False}
        return recipe_values(family, training=settings | (training or {}), evaluation=evaluation, **changes)

    return build


# --- SWA


def test_the_even_average_is_the_mean_of_the_last_share_of_the_steps() -> None:
    model = nn.Linear(3, 2)
    torch.manual_seed(0)
    average, seen = Average(Even(SwaSettings(share=0.25)), model), []
    for step in range(1, 41):
        with torch.no_grad():
            model.weight.copy_(torch.randn(2, 3))
        average.after_step(model, step, 40)
        seen.append(model.weight.detach().clone())
        if step <= 30:
            with average.in_place(model):
                assert torch.equal(model.weight, seen[-1])  # the model stands for itself
    mean = torch.stack(seen[30:]).double().mean(0)
    assert average.updates == 10
    with average.in_place(model):
        torch.testing.assert_close(model.weight.detach().double(), mean, rtol=1e-6, atol=1e-6)
    assert torch.equal(model.weight, seen[-1])
    average.put(model)
    torch.testing.assert_close(model.weight.detach().double(), mean, rtol=1e-6, atol=1e-6)


def test_of_cycles_only_the_ends_are_averaged() -> None:
    wanted = Even(SwaSettings(share=0.5, cycle=4))
    assert [step for step in range(1, 21) if wanted(1, step, 20)] == [14, 18]
    assert Even(SwaSettings(share=0.01))(1, 20, 20) == 1.0  # one at least


def test_the_rate_stays_where_it_was_or_falls_in_cycles() -> None:
    usual = {"epochs": 1, "warmup": 0.1, "patience": None}
    plain = [rate_factor(step, 40, TrainingSettings(**usual)) for step in range(40)]
    for schedule in ("linear", "cosine", "constant"):
        alone = [rate_factor(step, 40, TrainingSettings(**usual, schedule=schedule)) for step in range(40)]
        found = [rate_factor(s, 40, TrainingSettings(**usual, schedule=schedule, swa=SwaSettings())) for s in range(40)]
        assert found[:30] == alone[:30]
        assert found[30:] == [alone[30]] * 10
    half = [rate_factor(s, 40, TrainingSettings(**usual, swa=SwaSettings(rate=0.5))) for s in range(40)]
    assert half[:30] == plain[:30]
    assert half[30:] == [0.5] * 10
    cyclic = [rate_factor(s, 40, TrainingSettings(**usual, swa=SwaSettings(rate=0.4, cycle=5))) for s in range(40)]
    assert cyclic[30:35] == pytest.approx([0.4 * (1 - t + 0.05 * t) for t in (0.2, 0.4, 0.6, 0.8, 1.0)])
    assert cyclic[35:] == cyclic[30:35]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_keeps_the_mean_of_its_last_weights_and_resumes_bit_for_bit(
    method: str, quick: Values, tmp_path: Path
) -> None:
    values = quick("encoder", {"swa": {"share": 0.4}, "checkpoint_every": 3}, method=method)
    steps = check(values).facts["steps"]
    whole = same_weights_when_resumed(values, tmp_path, 2, steps - 2)  # before it begins, and within
    assert load(whole.folder).predict(["a text"])


def test_the_mean_of_a_run_is_the_plain_one_of_its_weights(tmp_path: Path) -> None:
    made = training()
    made.parts = {"average": Average(Even(SwaSettings(share=0.3)), made.model)}
    made.settings = made.settings.model_copy(update={"swa": SwaSettings(share=0.3)})
    seen = [weights(made) for event in fit(made, Checkpoints(tmp_path), None, threading.Event())
            if isinstance(event, StepDone)]  # fmt: skip
    assert len(seen) == 20
    for name, value in weights(made).items():
        mean = torch.stack([each[name] for each in seen[14:]]).mean(0)
        torch.testing.assert_close(value, mean, rtol=1e-6, atol=1e-6)


# --- soups


def souped(folder: Path, values: list[float], **settings: Any) -> tuple[Training, SoupMade, dict[int, Any]]:
    """A run of evaluations at each 2nd of 20 steps with these scores, those of the soup behind them."""
    made, left = training(), iter(values)
    made.parts = {}
    made.settings = made.settings.model_copy(
        update={"evaluate_every": 2, "patience": None, "soup": SoupSettings(**settings)}
    )
    at: dict[int, Any] = {}

    def evaluate() -> Scores:
        return Scores("accuracy", {"accuracy": Score(next(left))}, examples=1)

    events = []
    for event in fit(made, Checkpoints(folder), evaluate, threading.Event()):
        events.append(event)
        if isinstance(event, Evaluated):
            at[event.step] = weights(made)
    (soup,) = of(SoupMade, events)
    return made, soup, at


def mean_of(at: dict[int, Any], steps: list[int]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([at[step][name] for step in steps]).mean(0) for name in at[steps[0]]}


COURSE = [0.1, 0.5, 0.9, 0.3, 0.8, 0.2, 0.7, 0.4, 0.6, 0.0]  # at the steps 2, 4, ..., 20


def test_a_uniform_soup_is_the_plain_mean_of_the_best(tmp_path: Path) -> None:
    made, soup, at = souped(tmp_path, [*COURSE, 0.9, 0.85], best=3, recipe="uniform")
    assert soup.candidates == soup.taken == [6, 10, 14]
    assert (soup.best, soup.score) == (0.9, 0.85)
    for name, value in mean_of(at, [6, 10, 14]).items():
        torch.testing.assert_close(weights(made)[name], value, rtol=1e-6, atol=1e-6)


def test_a_greedy_soup_takes_what_does_not_make_it_worse(tmp_path: Path) -> None:
    # the best alone, with the second: better; with the third: worse; with the fourth: the same
    made, soup, at = souped(tmp_path, [*COURSE, 0.9, 0.92, 0.91, 0.92], best=4)
    assert soup.candidates == [6, 10, 14, 18]
    assert soup.taken == [6, 10, 18]
    assert (soup.best, soup.score) == (0.9, 0.92)
    for name, value in mean_of(at, [6, 10, 18]).items():
        torch.testing.assert_close(weights(made)[name], value, rtol=1e-5, atol=1e-6)


def test_a_greedy_soup_that_nothing_helps_is_the_best_checkpoint(tmp_path: Path) -> None:
    made, soup, at = souped(tmp_path, [*COURSE, 0.9, 0.5, 0.5, 0.5, 0.5], best=5)
    assert soup.taken == [6]
    for name, value in at[6].items():
        assert torch.equal(weights(made)[name], value)


def test_a_soup_of_more_than_there_are_is_one_of_all(tmp_path: Path) -> None:
    _, soup, _ = souped(tmp_path, [*COURSE, 0.9, *[0.95] * 9], best=30)
    assert soup.wanted == 30
    assert len(soup.candidates) == len(soup.taken) == 10


def test_the_best_are_ranked_as_the_one_that_is_kept() -> None:
    progress, found = Progress(), [(0.5, 0.3), (0.7, 0.9), (0.7, 0.4), (0.2, 0.1)]
    for step, (accuracy, loss) in enumerate(found, 1):
        progress.take(Scores("accuracy", {"accuracy": Score(accuracy), "loss": Score(loss)}, 1), step)
    assert progress.best(3) == [3, 2, 1]
    assert progress.best_step == 3
    lower = Progress()
    for step, loss in enumerate([0.5, 0.2, 0.9], 1):
        lower.take(Scores("loss", {"loss": Score(loss)}, 1, greater_is_better=False), step)
    assert lower.best(2) == [2, 1]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_soup_is_made_in_a_run_and_again_after_a_stop(method: str, quick: Values, tmp_path: Path) -> None:
    soup_of_all = {"best": 3, "recipe": "uniform"}
    values = quick("encoder", {"soup": soup_of_all, "evaluate_every": 2, "checkpoint_every": 3}, method=method)
    watcher = Watcher()
    whole = train({**values, "output": str(tmp_path / "whole")}, trackers=[watcher])
    (soup,) = of(SoupMade, watcher.seen)
    assert len(soup.taken) == 3
    assert soup.best == max(event.scores["accuracy"] for event in of(Evaluated, watcher.seen))
    with pytest.raises(Interrupted):
        train({**values, "output": str(tmp_path / "cut")}, trackers=[Stopper(5)])
    cut = resume(tmp_path / "cut")
    files = [run.artifact / "model.safetensors" for run in (whole, cut)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert load(whole.folder).predict(["a text"])
    assert "the model kept is the mean of those" in whole.report.read_text()


def test_what_does_not_go_together_is_refused(quick: Values) -> None:
    def refused(where: str, training: dict[str, Any], **changes: Any) -> str:
        with pytest.raises(RecipeError) as caught:
            check(quick("encoder", training, **changes))
        assert where in caught.value.where
        assert caught.value.fix
        return caught.value.problem

    assert "ema averages" in refused("training.swa", {"ema": 0.9, "swa": {}})
    assert "swa averages" in refused("training.soup", {"swa": {}, "soup": {}})
    assert "ema averages" in refused("training.soup", {"ema": 0.9, "soup": {}})
    assert "adalora" in refused("training.soup", {"soup": {}}, method="adalora")
    assert "validation" in refused("training.soup", {"soup": {}}, data__validation_size=0.0)
    with pytest.raises(RecipeError, match=r"training.soup.best: found 1"):
        check(quick("encoder", {"soup": {"best": 1}}))
    with pytest.raises(RecipeError, match=r"Did you mean 'share'"):
        check(quick("encoder", {"swa": {"shar": 0.5}}))


def told(values: dict[str, Any]) -> Iterator[str]:
    for each in check(values).findings:
        yield f"{each.where}: {each.problem}"


def test_too_few_evaluations_and_cycles_are_told_before(quick: Values) -> None:
    assert any("training has 4 evaluations" in each for each in told(quick("encoder", {"soup": {"best": 9}})))
    assert not any("soup" in each for each in told(quick("encoder", {"soup": {"best": 4}})))
    long = {"swa": {"cycle": 500}}
    assert any("nothing will be averaged" in each for each in told(quick("encoder", long)))
    patient = {"swa": {}, "patience": 3}
    assert any(each.startswith("training.patience") for each in told(quick("encoder", patient)))


def test_averages_take_room_on_the_disk(quick: Values) -> None:
    plain, swa, soup = (
        check(quick("encoder", settings)).facts["disk_needed"] for settings in ({}, {"swa": {}}, {"soup": {}})
    )
    assert plain < swa
    assert plain < soup
