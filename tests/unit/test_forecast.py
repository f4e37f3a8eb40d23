"""What a run will take, told before it; what is chosen to fit; everything stays as it was."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.samples import varied_reviews
from tests.task_samples import recipe_of
from weitiao import Recipe, check, models, resume, train
from weitiao.batching import micro_batches, training_lengths
from weitiao.errors import Interrupted, RecipeError
from weitiao.events import Event, StepDone, Stopped
from weitiao.forecast import budgets, within_memory, within_time
from weitiao.forecast.ahead import alike, course
from weitiao.forecast.cost import Cost, fitted, telling
from weitiao.forecast.steps import _grown, _Stepping, peak_of, probed
from weitiao.forecast.told import _set_aside, forecast
from weitiao.frozen import with_frozen_part
from weitiao.loading import Loaded, load_for_training
from weitiao.models import memory
from weitiao.preparation import Preparation, prepare
from weitiao.recipe.amounts import bytes_of, seconds_of
from weitiao.records import Batch
from weitiao.training.average import Average
from weitiao.training.fixed import Plan
from weitiao.training.loop import Training
from weitiao.training.once import FixedStates
from weitiao.training.recompute import blocks

Values = Callable[..., dict[str, Any]]
FAMILIES = ("encoder", "decoder", "seq2seq")
QUICK = {"bootstrap": 0, "baselines": False}
LIMIT = "training.checkpoint_activations"


@pytest.fixture
def values(recipe_values: Values, tmp_path: Path) -> Values:
    """As `recipe_values`, with reviews of many lengths."""
    file = varied_reviews(tmp_path / "varied.jsonl")
    return lambda family="encoder", **changes: recipe_values(
        family, **({"data": {"train": str(file)}, "evaluation": QUICK} | changes)
    )


def loaded(values: dict[str, Any]) -> tuple[Preparation, Loaded, Plan | None]:
    ready = prepare(Recipe(**values))
    found = load_for_training(ready)
    ready, plan = with_frozen_part(ready, found[0])
    return ready, found, plan


class Told:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass


def losses(values: dict[str, Any]) -> list[float]:
    told = Told()
    train(values, trackers=[told])
    return [event.loss for event in told.events if isinstance(event, StepDone)]


# --- amounts


@pytest.mark.parametrize(
    ("text", "number"), [("8GB", 8e9), ("1.5 GiB", 1.5 * 2**30), ("512mb", 512e6), ("2TB", 2e12), ("900KB", 9e5)]
)
def test_memory_is_read(text: str, number: float) -> None:
    assert bytes_of(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [("30m", 1800), ("1h30m", 5400), ("1 h 30 min", 5400), ("45s", 45), ("1.5h", 5400), ("1d", 86400)],
)
def test_time_is_read(text: str, number: float) -> None:
    assert seconds_of(text) == number


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("memory", 8, "such as 8GB"),
        ("memory", "8", "such as 8GB"),
        ("memory", "0GB", "more than 0"),
        ("memory", "-3GB", "such as 8GB"),
        ("memory", "8 apples", "'apples' is no unit"),
        ("memory", "1GB 2MB", "such as 8GB"),
        ("time", 30, "such as 30m"),
        ("time", "0s", "more than 0"),
        ("time", "5 parsecs", "'parsecs' is no unit"),
        ("time", "", "such as 30m"),
    ],
)
def test_a_wrong_budget_is_told(key: str, value: Any, told: str, values: Values) -> None:
    with pytest.raises(RecipeError, match=told) as error:
        Recipe(**values(**{key: value}))
    assert str(error.value).startswith(key)
    assert error.value.exit_code == 2


# --- cost


def test_the_cost_of_shapes_is_found_again() -> None:
    shapes = np.array([(8, 16), (8, 64), (4, 200), (32, 10), (2, 500)])
    real = Cost(0.02, 1e-4, 3e-7)
    found = fitted(shapes, [real.of(shape[None]) for shape in shapes])
    assert (found.fixed, found.per_token, found.per_pair) == pytest.approx((0.02, 1e-4, 3e-7), rel=1e-3)
    assert found.of(shapes) == pytest.approx(real.of(shapes))


def test_the_cost_is_found_from_shapes_that_were_timed_together() -> None:
    real = Cost(0.02, 1e-4, 3e-7)
    together = [np.array(each) for each in ([(8, 16), (1, 5)], [(8, 64)], [(4, 200), (4, 100)], [(32, 10)], [(2, 500)])]
    found = fitted(together, [real.of(shapes) for shapes in together])
    assert (found.fixed, found.per_token, found.per_pair) == pytest.approx((0.02, 1e-4, 3e-7), rel=1e-3)


def test_no_part_of_a_cost_is_negative() -> None:
    found = fitted(np.array([(1, 10), (1, 20)]), [0.2, 0.1])
    assert min(found.fixed, found.per_token, found.per_pair) >= 0


def test_the_longest_shape_is_timed_first() -> None:
    shapes = np.array([(9, 9), (8, 30), (2, 100), (3, 100), (32, 10)])
    chosen = telling(shapes, 3)
    assert chosen[0] == 3
    assert len(set(chosen)) == 3
    assert len(telling(shapes, 99)) == len(set(telling(shapes, 99))) <= 5


def test_growth_is_carried_on_where_it_was_seen_and_else_assumed() -> None:
    peaks: list[tuple[int, int | None]] = [(count, 1000 + 10 * count) for count in range(1, 11)]
    assert _grown(500, peaks, 10, 50) == 1100  # all shapes were run
    assert _grown(500, peaks, 14, 50) == 1100 + 4 * 5
    assert _grown(500, peaks[:3], 14, 50) == 1010 + 0.2 * 510
    assert _grown(500, peaks[:1], 1, 1) == 1010
    assert _grown(None, [(1, None)], 3, 9) is None


# --- real steps


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["full", "lora", "head"])
def test_a_forecast_leaves_everything_as_it_was(family: str, method: str, values: Values) -> None:
    ready, (training, inference), plan = loaded(values(family, method=method))
    before = {name: p.detach().clone() for name, p in training.model.named_parameters()}
    draws = (torch.get_rng_state().clone(), random.getstate(), np.random.get_state()[1].copy())
    found = forecast(ready, training, inference, plan)
    assert found.seconds > 0
    assert found.epoch > 0
    assert found.measuring > 0
    assert found.memory is None or found.memory > 50e6
    for name, p in training.model.named_parameters():
        assert torch.equal(p, before[name]), name
        assert p.grad is None
    assert torch.equal(draws[0], torch.get_rng_state())
    assert draws[1] == random.getstate()
    assert (draws[2] == np.random.get_state()[1]).all()
    assert not training.optimizer.state
    assert (training.step, training.epoch, training.batch) == (0, 0, 0)
    assert not [module for module in training.model.modules() if "forward" in vars(module)]


@pytest.mark.parametrize("method", ["full", "lora", "gradual", "adalora"])
def test_a_run_that_was_tried_out_has_the_losses_of_one_that_was_not(
    method: str, values: Values, tmp_path: Path
) -> None:
    kwargs = {
        "method": method,
        "training": {"epochs": 2, "batch_size": 16, "precision": "fp32", "seed": 3, "ema": None},
    }
    plain = losses(values(**kwargs, output=str(tmp_path / "plain")))
    tried = losses(values(**kwargs, output=str(tmp_path / "tried"), time="2h"))
    assert tried == plain


def test_what_takes_part_in_steps_is_left_alone_by_a_forecast(values: Values, tmp_path: Path) -> None:
    settings = {"epochs": 2, "batch_size": 16, "precision": "fp32", "ema": 0.9, "regularization": {"l2": 0.1}}
    plain = losses(values(training=settings, output=str(tmp_path / "plain")))
    assert losses(values(training=settings, output=str(tmp_path / "tried"), time="2h")) == plain


def test_an_average_of_the_weights_counts(values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of its updates, and the weights that are set aside while it is measured."""
    slow_average = 0.5
    real = Average.after_step

    def after_step(self: Average, *more: Any) -> None:
        time.sleep(slow_average)
        real(self, *more)

    monkeypatch.setattr(Average, "after_step", after_step)
    found = {}
    for ema in (None, 0.9):
        ready, (training, inference), plan = loaded(values(training__ema=ema))
        found[ema] = forecast(ready, training, inference, plan), training, ready
    steps = found[0.9][1].steps
    assert found[0.9][0].seconds - found[None][0].seconds > 0.8 * slow_average * steps
    _, training, ready = found[0.9]
    assert _set_aside(ready, training) == 4 * ready.facts["trainable"]
    assert _set_aside(ready, found[None][1]) == 0
    assert training.parts["average"].updates == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("task", ["chat", "summarization", "language-modeling", "question-answering", "multi-task"])
def test_every_kind_of_task_is_forecast(task: str, tmp_path: Path, tiny_model: Callable[[str], Path]) -> None:
    from weitiao import registry
    from weitiao.records import FAMILIES as KNOWN

    family = next(family for family in KNOWN if family in registry.get("task", task).families)
    checked = check(recipe_of((task, "full", family), tmp_path, tiny_model))
    told = checked.facts["forecast"]
    assert told["seconds"] >= told["epoch"] * told["epochs"] * 0.99
    assert told["free"] > 0


# --- check


def test_check_tells_what_the_run_will_take(values: Values) -> None:
    checked = check(values())
    told = checked.facts["forecast"]
    assert 0 < told["epoch"] < told["seconds"] < 300
    if told["memory"] is not None:
        assert 100e6 < told["memory"] < told["free"]
    assert checked.recipe.training.checkpoint_activations == "never"
    assert not Path(values()["output"]).exists()


def test_check_without_a_forecast_loads_no_weights(values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "load_model", lambda *_, **__: pytest.fail("the model was loaded"))
    checked = check(values(), forecast=False)
    assert "forecast" not in checked.facts


def test_check_leaves_a_range_test_to_training(values: Values) -> None:
    checked = check(values(training__learning_rate="range-test"))
    assert checked.recipe.training.learning_rate == "range-test"
    assert checked.facts["learning_rate"] == "range-test"


# --- memory


def fake_peaks(monkeypatch: pytest.MonkeyPatch, base: float, each: float, again: float | None = None) -> None:
    """Steps take `base` and `each` a row, or `again` a row where activations are computed again."""

    def peaks(ready: Preparation, _: Any, counts: list[list[int]], **_more: Any) -> list[list[float]]:
        recomputed = ready.recipe.training.checkpoint_activations == "always"
        row = again if recomputed and again is not None else each
        return [[base + count * row for count in own] for own in counts]

    monkeypatch.setattr(budgets, "peak_of", peaks)
    monkeypatch.setattr(budgets, "forecast", lambda *run: replace(forecast(*run), memory=None))


@pytest.fixture
def much(monkeypatch: pytest.MonkeyPatch) -> None:
    """More memory is free than any budget here."""
    monkeypatch.setattr(models, "free_memory", lambda *_: 64 << 30)


def settle(values: dict[str, Any]) -> Preparation:
    ready, found, plan = loaded(values)
    ready, found, plan = within_memory(ready, found, plan)
    ready, _ = within_time(ready, found, plan, began=time.monotonic())
    return ready


def test_as_many_examples_go_through_at_once_as_fit(
    values: Values, monkeypatch: pytest.MonkeyPatch, much: None
) -> None:
    fake_peaks(monkeypatch, base=1e9, each=1e9)
    recipe = settle(values(memory="6GB")).recipe
    longest = int(recipe.training.micro_batch_tokens) // 4  # 6 GB / 1.05 hold 1 + 4 x 1
    assert recipe.training.micro_batch_tokens == 4 * longest
    assert "4 of the longest examples at once fit into 6.00 GB" in recipe.origin("training.micro_batch_tokens")
    assert recipe.training.checkpoint_activations == "never"
    assert recipe.origin(LIMIT) == "auto: it fits without"


def test_activations_are_computed_again_only_where_one_example_does_not_fit(
    values: Values, monkeypatch: pytest.MonkeyPatch, much: None
) -> None:
    fake_peaks(monkeypatch, base=1e9, each=9e9, again=1e9)
    recipe = settle(values(memory="6GB")).recipe
    assert recipe.training.checkpoint_activations == "always"
    assert recipe.origin(LIMIT) == "auto: one example at a time takes 10.00 GB without"
    assert "4 of the longest" in recipe.origin("training.micro_batch_tokens")


def test_what_is_computed_once_gives_way_to_what_is_computed_again(
    values: Values, monkeypatch: pytest.MonkeyPatch, much: None
) -> None:
    fake_peaks(monkeypatch, base=1e9, each=9e9, again=1e9)
    recipe = settle(values(memory="6GB", method={"name": "layers", "top": 1})).recipe
    assert recipe.training.cache_frozen == "never"
    with pytest.raises(RecipeError, match="may take 6"):
        settle(values(memory="6GB", method={"name": "layers", "top": 1}, training__cache_frozen="memory"))


@pytest.mark.parametrize(
    ("changes", "fix"),
    [
        ({}, "model.max_length below"),
        ({"training__checkpoint_activations": "never"}, "training.checkpoint_activations: auto"),
        ({"training__micro_batch_tokens": 900}, "training.micro_batch_tokens: auto"),
        ({}, "training.precision: bf16"),
        ({}, "method: lora"),
    ],
)
def test_what_does_not_fit_is_an_error_before_anything_is_written(
    changes: dict[str, Any], fix: str, values: Values, monkeypatch: pytest.MonkeyPatch, much: None
) -> None:
    fake_peaks(monkeypatch, base=5e9, each=9e9, again=8e9)
    given = values(memory="6GB", **changes)
    with pytest.raises(RecipeError, match=r"needs about .* GB, and may take 6\.00 GB") as error:
        train(given)
    assert fix in error.value.fix
    assert error.value.where == "python (memory)"
    assert error.value.exit_code == 2
    assert not Path(given["output"]).exists()


def test_a_real_budget_that_is_too_small(values: Values) -> None:
    if models.memory_now() is None:
        pytest.skip("this system does not tell the memory of a process")
    with pytest.raises(RecipeError, match="and may take 10 MB"):
        check(values(memory="10MB"))


def test_a_scarce_machine_is_tried_out_without_a_budget(values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "room", lambda _: 1000)
    with pytest.raises(RecipeError, match="may take 0 MB") as error:
        train(values())
    assert error.value.where == "memory"


def test_one_example_of_a_hopeless_size_is_not_tried(
    values: Values, monkeypatch: pytest.MonkeyPatch, much: None
) -> None:
    monkeypatch.setattr(budgets, "peak_of", lambda *_: pytest.fail("it was tried"))
    monkeypatch.setattr(models, "activation_bytes", lambda *_, **__: 1 << 50)
    with pytest.raises(RecipeError, match="needs about"):
        settle(values(memory="6GB"))
    monkeypatch.setattr(models, "activation_bytes", lambda *_, **__: 50 * 10**9)  # over two blocks, 25 each
    with pytest.raises(RecipeError, match=r"needs about 25\.00 GB"):
        settle(values(memory="6GB", training__checkpoint_activations="always"))


def test_peaks_are_told_of_more_and_more_examples(values: Values) -> None:
    ready, (training, _), _ = loaded(values())
    [found] = peak_of(ready, training, [[1, 4]], cut=True)
    assert len(found) == 2
    assert all(not peak or peak > 50e6 for peak in found)


@pytest.mark.parametrize(("takes", "parts"), [(6e9, 1), (12e9, 2), (20e9, 4), (30e9, 0)])
def test_where_a_whole_run_takes_more_than_single_steps_fewer_tokens_go_through_at_once(
    values: Values, monkeypatch: pytest.MonkeyPatch, much: None, takes: float, parts: int
) -> None:
    fake_peaks(monkeypatch, base=1e9, each=0.0)
    whole = int(settle(values(memory="6GB")).recipe.training.micro_batch_tokens)

    def told(ready: Preparation, training: Training, *more: Any) -> Any:
        assert training.collate.tokens == ready.recipe.training.micro_batch_tokens
        share = int(ready.recipe.training.micro_batch_tokens) / whole
        return replace(forecast(ready, training, *more), memory=int(takes * share))

    monkeypatch.setattr(budgets, "forecast", told)
    if not parts:
        with pytest.raises(RecipeError, match=r"needs about 7\.5\d GB, and may take 6\.00 GB"):
            settle(values(memory="6GB"))
        return
    ready = settle(values(memory="6GB"))
    assert ready.recipe.training.micro_batch_tokens == whole // parts
    why = ready.recipe.origin("training.micro_batch_tokens")
    assert (f"with {whole:,} the run would take about" in why) == (parts > 1)
    with pytest.raises(RecipeError, match=r"may take 6\.00 GB") if parts > 1 else nullcontext():
        settle(values(memory="6GB", training__micro_batch_tokens=whole))


def test_what_few_examples_take_does_not_tell_what_many_do(
    values: Values, monkeypatch: pytest.MonkeyPatch, much: None
) -> None:
    """Of one and two the peak may be that of the gradients."""

    def peaks(_ready: Any, _training: Any, counts: list[list[int]], **_: Any) -> list[list[float]]:
        return [[1e9 + max(1e9, count * 0.3e9) for count in own] for own in counts]

    monkeypatch.setattr(budgets, "peak_of", peaks)
    monkeypatch.setattr(budgets, "forecast", lambda *run: replace(forecast(*run), memory=None))
    monkeypatch.setattr(budgets, "_wished", lambda *_: 8)
    ready = settle(values(memory="3GB"))
    longest = int(training_lengths(ready).max())
    assert ready.recipe.training.micro_batch_tokens == 5 * longest  # they take 2.5 GB, and 8 of them 3.4 GB


def test_as_many_are_tried_as_by_the_formula_fit_into_half_of_what_is_free(
    values: Values, monkeypatch: pytest.MonkeyPatch, much: None
) -> None:
    monkeypatch.setattr(budgets, "_known", lambda _: 0)
    monkeypatch.setattr(models, "activation_bytes", lambda *_, **__: 600_000_000)
    tried: list[list[int]] = []

    def peaks(_ready: Any, _training: Any, counts: list[list[int]], **_: Any) -> list[list[float]]:
        tried.extend(counts)
        return [[0.0 for _ in own] for own in counts]  # as where the system does not tell

    monkeypatch.setattr(budgets, "peak_of", peaks)
    for wish in (8, 3, 1):
        monkeypatch.setattr(budgets, "_wished", lambda *_, wish=wish: wish)
        settle(values(memory="6GB"))
    assert tried == [[1, 2, 5], [1, 2, 3], [1]]


def out_of_memory(monkeypatch: pytest.MonkeyPatch, gives_out: Callable[[Training, Batch], bool]) -> None:
    """Get no memory in the steps that are tried out, in the backward of some micro-batches."""
    real = _Stepping.__init__

    def init(self: _Stepping, ready: Preparation, training: Training) -> None:
        def loss(outputs: Any, batch: Batch) -> torch.Tensor:
            if gives_out(training, batch):
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
            return training.loss(outputs, batch)

        real(self, ready, replace(training, loss=loss))

    monkeypatch.setattr(_Stepping, "__init__", init)


def test_more_than_got_memory_does_not_fit(values: Values, monkeypatch: pytest.MonkeyPatch, much: None) -> None:
    """And nothing of the step that did not end is left."""
    ready, (training, _), _ = loaded(values())
    longest = int(training_lengths(ready).max())
    out_of_memory(monkeypatch, lambda _, batch: batch.inputs["input_ids"].numel() > 4 * longest)
    [found] = peak_of(ready, training, [[1, 4, 5, 6]], cut=True)
    assert [math.isfinite(peak) for peak in found] == [True, True, False, False]
    assert all(p.grad is None for p in training.model.parameters())
    monkeypatch.setattr(budgets, "_wished", lambda *_: 5)
    ready = settle(values(memory="6GB"))
    assert ready.recipe.training.micro_batch_tokens == 4 * longest
    assert ready.recipe.origin(LIMIT) == "auto: it fits without"


def test_where_one_example_gets_no_memory_activations_are_computed_again(
    values: Values, monkeypatch: pytest.MonkeyPatch, much: None
) -> None:
    def kept(training: Training, _: Batch) -> bool:
        return not any(block.gradient_checkpointing for block in blocks(training.model))

    out_of_memory(monkeypatch, kept)
    given = values(memory="6GB", method={"name": "lora", "rank": 1})
    recipe = settle(given).recipe
    assert recipe.training.checkpoint_activations == "always"
    assert recipe.origin(LIMIT) == "auto: one example at a time takes more than there is without"
    out_of_memory(monkeypatch, lambda *_: True)
    with pytest.raises(RecipeError, match="needs more memory than there is, and may take 6") as error:
        train(given)
    assert "model.max_length below" in error.value.fix
    assert "so that what fits is chosen" not in error.value.fix  # it was
    assert "lora" not in error.value.fix
    assert not Path(given["output"]).exists()


@pytest.mark.parametrize("tokens", [100, 4096])
def test_the_gradients_lie_there_where_steps_go_through_in_parts(tokens: int, values: Values) -> None:
    """As in the training, where those of the parts before do."""
    ready, (training, _), plan = loaded(values(training__micro_batch_tokens=tokens, training__batch_size=8))
    behind: list[tuple[int, ...]] = []

    def forward(model: Any, batch: Batch) -> Any:
        if any(p.grad is not None for p in model.parameters()):
            behind.append(tuple(batch.inputs["input_ids"].shape))
        return training.forward(model, batch)

    watched = replace(training, forward=forward)
    batches = micro_batches(ready)
    probed(ready, watched, plan, course(batches, training.order, 2), seconds=0.0)
    [group] = alike(batches, training.order.ahead(0))
    heaviest = len(group.heaviest(tokens)[0]), group.longest
    assert heaviest[0] == min(8, tokens // group.longest)
    assert (heaviest in behind) == (tokens == 100)
    behind.clear()
    peak_of(ready, watched, [[1, 8]], cut=True)
    assert {(1, group.longest), (8, group.longest)} <= set(behind)
    behind.clear()
    peak_of(ready, watched, [[1, 8]], cut=False)
    assert (8, group.longest) not in behind  # these are a whole step


@pytest.fixture
def head_run(values: Values) -> dict[str, Any]:
    """A run in which what frozen layers give is computed once."""
    still = {"dropout": 0.0, "attention_dropout": 0.0}
    return values(method={"name": "layers", "top": 1}, training__cache_frozen="memory", training__regularization=still)


def test_the_peak_is_that_of_computing_once_where_this_takes_more(
    head_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if models.memory_now() is None:
        pytest.skip("this system does not tell the memory of a process")
    real, size = FixedStates._keep, 400 << 20

    def keep(self: FixedStates, batch: Batch) -> None:
        assert torch.ones(size, dtype=torch.uint8).numel() == size
        real(self, batch)

    ready, (training, _), plan = loaded(head_run)
    assert plan is not None
    before = models.memory_now() or 0
    monkeypatch.setattr(FixedStates, "_keep", keep)
    found = probed(ready, training, plan, course(micro_batches(ready), training.order, 2), seconds=0.0)
    assert (found.peak or 0) - before > 0.8 * size


def test_a_lack_of_memory_in_computing_once_is_told(head_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    ready, (training, _), plan = loaded(head_run)
    monkeypatch.setattr(FixedStates, "_keep", keep)
    with pytest.raises(RecipeError, match=r"not enough memory for \d+ examples of \d+ tokens at once") as error:
        probed(ready, training, plan, course(micro_batches(ready), training.order, 2))
    assert error.value.where == "memory"


def test_the_peak_of_memory_can_be_restarted() -> None:
    if not models.restart_peak():
        pytest.skip("this system does not")
    block = torch.ones(64 << 20, dtype=torch.uint8)
    high = models.peak_memory()
    del block
    assert models.restart_peak()
    low = models.peak_memory()
    assert low is not None
    assert high is not None
    assert high - low > 48 << 20
    assert low >= (models.memory_now() or 0) * 0.9


def test_memory_where_the_system_tells_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    monkeypatch.setattr(memory, "CLEAR", tmp_path / "gone" / "clear")
    assert models.memory_now() is None
    assert models.restart_peak() is False


# --- time


def slow(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    """Forecasts of so many seconds for 2 epochs."""
    told = {"memory": None, "free": 1, "seconds": 100.0, "epoch": 40.0, "start": 0.0, "measuring": 20.0, "last": 20.0,
            "epochs": 2.0} | seconds  # fmt: skip
    from weitiao.forecast import Forecast

    monkeypatch.setattr(budgets, "forecast", lambda *_: Forecast(**told))  # type: ignore[arg-type]


def test_fewer_epochs_are_run_where_not_all_fit(values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch)
    ready, found, plan = loaded(values(time="70s"))
    ready, found, plan = within_memory(ready, found, plan)
    ready, (training, _) = within_time(ready, found, plan, began=time.monotonic())
    # 95% of 70 s less 20 s are 46.5 s: 1.16 of the epochs of 40 s, in whole steps
    assert 1.0 <= ready.recipe.training.epochs <= 1.17
    assert training.steps == round(ready.recipe.training.epochs * len(training.order(0)))
    assert training.settings.epochs == ready.recipe.training.epochs
    assert ready.facts["steps"] == training.steps
    assert ready.facts["forecast"]["seconds"] < 70
    assert "2 epochs take about 100 s, more than time: 70s" in ready.recipe.origin("training.epochs")
    told = [finding for finding in ready.findings if "(time)" in finding.where]
    assert [finding.level for finding in told] == ["warning"]
    assert training.deadline is not None


def test_all_epochs_are_run_where_they_fit(values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch)
    ready, found, plan = loaded(values(time="1h"))
    ready, found, plan = within_memory(ready, found, plan)
    ready, _ = within_time(ready, found, plan, began=time.monotonic())
    assert ready.recipe.training.epochs == 2
    assert not [finding for finding in ready.findings if "(time)" in finding.where]


def test_too_little_time_for_a_single_step(values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch)
    given = values(time="15s")
    with pytest.raises(RecipeError, match="with a single step") as error:
        train(given)
    assert error.value.where == "python (time)"
    assert not Path(given["output"]).exists()


def test_training_ends_by_the_clock_and_is_measured(values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, seconds=1.0, epoch=0.1, last=29.9)  # the clock has run out after 0.1 s of training
    told = Told()
    run = train(values(time="30s", training__epochs=200), trackers=[told])
    stopped = next(event for event in told.events if isinstance(event, Stopped))
    assert "the time is up after" in stopped.reason
    assert run.status == "finished"
    assert run.scores["test"]


def test_a_resumed_run_does_the_steps_that_are_left(
    values: Values, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow(monkeypatch)

    class Interrupting(Told):
        def record(self, event: Event) -> None:
            super().record(event)
            if isinstance(event, StepDone) and event.step == 2:
                import os
                import signal

                os.kill(os.getpid(), signal.SIGINT)

    given = values(time="70s")
    with pytest.raises(Interrupted):
        train(given, trackers=[Interrupting()])
    run = resume(given["output"])
    assert run.status == "finished"
    assert run.recipe.training.epochs < 2


# --- what is told


def test_the_forecast_is_told_at_the_start_and_in_the_report(values: Values) -> None:
    told = Told()
    run = train(values(time="1h"), trackers=[told])
    summary = told.events[0].to_dict()["summary"]
    assert summary["forecast"]["seconds"] > 0
    report = json.loads((run.folder / "report.json").read_text())["environment"]
    assert "forecast: " in report["time"]
    if summary["forecast"]["memory"]:
        assert "forecast: " in report["peak memory"]


def test_a_plain_run_is_not_tried_out(values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "forecast", lambda *_: pytest.fail("it was tried out"))
    told = Told()
    train(values(), trackers=[told])
    assert "forecast" not in told.events[0].to_dict()["summary"]


def test_the_steps_that_are_timed_are_few(values: Values) -> None:
    ready, (training, _), plan = loaded(values(training__batch_size=2))
    ahead = course(training.collate, training.order, 2)  # type: ignore[arg-type]
    found = probed(ready, training, plan, ahead, seconds=0.0)
    assert found.cost.of(np.array([(2, 20)])) > 0
    assert replace(found, update=0.5).seconds([np.array([(2, 20)])]) > 0.5
