"""What frozen layers give is computed once: the same numbers as without, and nothing below is run again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.samples import varied_reviews
from tests.task_samples import recipe_of
from tests.tiny import tiny_gpt2
from weitiao import Recipe, frozen, models, resume, train
from weitiao.errors import Interrupted, RecipeError
from weitiao.evaluation.evaluate import score
from weitiao.events import Event, FrozenCached, StepDone
from weitiao.frozen import computed_once, while_filling, with_frozen_part
from weitiao.kernels import quick, quickly
from weitiao.kernels.packed_linear import packed_linear
from weitiao.loading import load_for_training
from weitiao.methods.layers import Layers, LayersOptions
from weitiao.preparation import prepare
from weitiao.records import Batch
from weitiao.training.fixed import NothingFixed, find
from weitiao.training.loop import train_steps
from weitiao.training.once import FixedStates, planned, row_keys

PACKS = packed_linear(torch.randn(16, 16), None) is not None
Values = Callable[..., dict[str, Any]]


@pytest.fixture
def values(recipe_values: Values, tmp_path: Path) -> Values:
    """As `recipe_values`, with reviews of many lengths, some of them there twice."""
    file = varied_reviews(tmp_path / "varied.jsonl")

    def build(family: str = "encoder", **changes: Any) -> dict[str, Any]:
        chosen = {"method": {"name": "layers", "top": 1}, "data": {"train": str(file)},
                  "evaluation": {"bootstrap": 0, "baselines": False}}  # fmt: skip
        return recipe_values(family, **(chosen | changes))

    return build


@dataclass
class Done:
    """A training as far as it is compared."""

    losses: list[float]
    scores: list[float]
    recipe: Recipe
    lowest: int = 0  # calls of the lowest matrix once training had begun
    learns_below: bool = False  # whether any output of the lowest matrix had a gradient to compute
    events: list[Event] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)  # that steps were computed with

    @property
    def place(self) -> Any:
        return self.recipe.training.cache_frozen


def trained(recipe: Recipe | dict[str, Any], cache: str, folder: Path) -> Done:
    """Train without artifact and report, and score on validation after it."""
    given = recipe.to_dict() if isinstance(recipe, Recipe) else recipe
    given = {**given, "training": {**given["training"], "cache_frozen": cache}}
    ready = prepare(Recipe(**given))
    training, inference = load_for_training(ready)
    ready, plan = with_frozen_part(ready, training)
    done = Done([], [], ready.recipe)

    def seen(_: Any, __: Any, out: torch.Tensor) -> None:
        done.lowest += bool(done.losses)
        done.learns_below = done.learns_below or out.requires_grad

    lowest = next(module for module in training.model.modules() if type(module).__name__ in ("Linear", "Conv1D"))
    lowest.register_forward_hook(seen)
    stop = threading.Event()
    with (
        quickly(training.model, ready.precision, learns=True),
        computed_once(ready, training, plan, folder / "frozen", done.events.append, stop),
    ):
        for event in train_steps(training):
            done.losses.append(event.loss)
            done.threads.add(torch.get_num_threads())
        if "validation" in ready.features and ready.task.head(ready.pretrained.family).logits == "example":
            scores = score(inference, ready.labelled("validation"), answers=False).scores()
            done.scores = [each.value for each in scores.values.values()]
    return done


@pytest.mark.parametrize("family", ["encoder", "decoder", "seq2seq"])
@pytest.mark.parametrize("method", [{"name": "head"}, {"name": "layers", "top": 1}])
def test_the_same_losses_and_scores_and_nothing_below_is_run(
    values: Values, family: str, method: dict[str, Any], tmp_path: Path
) -> None:
    recipe = values(family, method=method, training={"epochs": 3, "learning_rate": 1e-4, "batch_size": 8, "seed": 7,
                                                     "micro_batch_tokens": 100, "precision": "fp32"})  # fmt: skip
    plain, once = trained(recipe, "never", tmp_path), trained(recipe, "auto", tmp_path)
    assert once.place == "memory"
    assert once.losses == pytest.approx(plain.losses, rel=1e-6, abs=1e-6)
    assert once.scores == pytest.approx(plain.scores, rel=1e-6, abs=1e-6)
    assert (plain.lowest > 0, once.lowest) == (True, 0)
    assert not plain.learns_below
    told = [event for event in once.events if isinstance(event, FrozenCached)]
    assert told[0].done == 0
    assert told[-1].done == told[-1].rows == 54  # of 60, without the test split
    if method["name"] == "head":  # only what the head reads of a text is kept: one token
        assert told[-1].bytes == 54 * 32 * 4


@pytest.mark.parametrize(
    "choice",
    [
        ("token-classification", "layers", "encoder"),
        ("token-classification", "head", "encoder"),
        ("question-answering", "head", "encoder"),
        ("question-answering", "layers", "encoder"),
        ("text-regression", "head", "encoder"),
        ("text-regression", "layers", "decoder"),
        ("text-generation", "layers", "decoder"),
        ("text2text-generation", "layers", "seq2seq"),
    ],
    ids="/".join,
)
def test_other_tasks(choice: tuple[str, str, str], tmp_path: Path, tiny_model: Callable[[str], Path]) -> None:
    recipe = recipe_of(choice, tmp_path, tiny_model).to_dict()
    recipe["method"] = {"name": "head"} if choice[1] == "head" else {"name": "layers", "top": 1}
    recipe["training"] |= {"epochs": 4, "batch_size": 3, "learning_rate": 1e-3}
    plain, once = trained(recipe, "never", tmp_path), trained(recipe, "auto", tmp_path)
    assert once.place == "memory", once.recipe.origin("training.cache_frozen")
    assert once.losses == pytest.approx(plain.losses, rel=2e-6, abs=1e-6)
    assert once.scores == pytest.approx(plain.scores, rel=2e-6, abs=1e-6)
    assert plain.lowest > once.lowest == 0


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_one_thread_where_little_is_left_to_compute(values: Values, tmp_path: Path) -> None:
    """A head's steps take microseconds; blocks that move, or a validation that is read as a whole, want all threads."""
    head = trained(values(method="head", training__epochs=2), "auto", tmp_path)
    assert (head.place, head.threads, torch.get_num_threads()) == ("memory", {1}, 2)
    assert trained(values(training__epochs=2), "auto", tmp_path).threads == {2}
    assert trained(values(method="head", training__epochs=2), "never", tmp_path).threads == {2}


@pytest.mark.usefixtures("two_threads")
def test_all_threads_where_validation_is_not_kept(
    values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "keeps_validation", lambda _: False)
    assert trained(values(method="head", training__epochs=2), "auto", tmp_path).threads == {2}


@pytest.mark.usefixtures("two_threads")
def test_all_threads_where_a_decoder_reads_what_is_kept(tmp_path: Path, tiny_model: Callable[[str], Path]) -> None:
    """An encoder of speech gives as much for each recording, which is not a vector."""
    choice = ("automatic-speech-recognition", "layers", "seq2seq")
    recipe = recipe_of(choice, tmp_path, tiny_model).to_dict()
    recipe["method"] = {"name": "layers", "top": 1}
    recipe["data"] |= {"validation": None, "validation_size": 0.0}
    recipe["training"] |= {"epochs": 2}
    done = trained(recipe, "auto", tmp_path)
    assert (done.place, done.threads) == ("memory", {2})


def test_nothing_is_laid_out_where_memory_is_scarce(values: Values, tmp_path: Path) -> None:
    ready = prepare(Recipe(**values(training__precision="bf16", training__epochs=2)))
    training, _ = load_for_training(ready)
    ready, plan = with_frozen_part(ready, training)
    assert plan is not None
    for room, laid in ((None, PACKS), (1 << 40, False)):
        with quickly(training.model, "bf16", learns=True), while_filling(replace(training, room=room), plan):
            linear = [each for each in training.model.modules() if type(each) is nn.Linear]
            assert any("forward" in vars(each) for each in linear) == laid
            assert not all("forward" in vars(each) for each in linear)  # what moves is not


def test_frozen_matrices_are_laid_out_while_all_rows_are_computed(
    values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only then: what computes afterwards has its gradients, and nothing is held twice."""
    multiplied = list[bool]()
    plain = quick._without_gradient

    def noted(module: nn.Linear, *given: Any) -> torch.Tensor:
        assert module.weight.dtype == torch.bfloat16
        multiplied.append(torch.is_grad_enabled())
        return plain(module, *given)

    monkeypatch.setattr(quick, "_without_gradient", noted)
    monkeypatch.setattr(
        "weitiao.kernels.packed_linear.packed_linear", lambda w, b: lambda x: functional.linear(x, w, b)
    )
    ready = prepare(Recipe(**values(training__precision="bf16", training__epochs=2)))
    training, _ = load_for_training(ready)
    ready, plan = with_frozen_part(ready, training)
    before = len(multiplied)
    with (
        quickly(training.model, "bf16", learns=True),
        computed_once(ready, training, plan, tmp_path / "frozen", lambda _: None, threading.Event()),
    ):
        assert len(multiplied) > before
        assert not any(multiplied)
        assert not [each for each in training.model.modules() if type(each) is nn.Linear and "forward" in vars(each)]


def test_bf16(values: Values, tmp_path: Path) -> None:
    recipe = values(training__precision="bf16", training__epochs=2)
    plain, once = trained(recipe, "never", tmp_path), trained(recipe, "memory", tmp_path)
    assert once.losses == pytest.approx(plain.losses, rel=2e-2)
    assert once.lowest == 0


def test_on_disk_as_in_memory(values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = values(training__micro_batch_tokens=400)
    in_memory = trained(recipe, "auto", tmp_path)
    monkeypatch.setattr(frozen, "_memory", lambda _: 1000)
    lying = list[int]()
    on_disk = trained(recipe, "auto", tmp_path)
    assert on_disk.place == "disk"
    assert "disk has" in on_disk.recipe.origin("training.cache_frozen")
    assert on_disk.losses == in_memory.losses
    assert not (tmp_path / "frozen").exists()

    class Watcher:
        def record(self, event: Event) -> None:
            if isinstance(event, StepDone):
                lying.extend(file.stat().st_size for file in (tmp_path / "run" / "frozen").iterdir())

        def close(self) -> None: ...

    run = train(recipe, trackers=[cast("Any", Watcher())])
    assert run.recipe.training.cache_frozen == "disk"
    assert min(lying) > 1000
    assert not (run.folder / "frozen").exists()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"method": {"name": "full"}}, "no layer is frozen"),
        ({"method": {"name": "lora"}}, "stands on the embeddings"),
        ({"method": {"name": "bitfit"}}, "stands on the embeddings"),
        ({"training__epochs": 1}, "each example comes by once"),
    ],
)
def test_where_nothing_is_gained(values: Values, changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    done = trained(values(**changes), "auto", tmp_path)
    assert done.place == "never"
    assert why in done.recipe.origin("training.cache_frozen")
    assert not done.events


def test_no_room(values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "free_memory", lambda *_: 1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**9})())
    assert trained(values(), "auto", tmp_path).place == "disk"
    ready = prepare(Recipe(**values()))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    ready, plan = with_frozen_part(ready, load_for_training(ready)[0])
    assert plan is None
    assert ready.recipe.training.cache_frozen == "never"
    assert "more than a quarter" in ready.recipe.origin("training.cache_frozen")


def test_masks_drawn_at_random_are_no_fixed_input(tmp_path: Path, tiny_model: Callable[[str], Path]) -> None:
    recipe = recipe_of(("language-modeling", "layers", "encoder"), tmp_path, tiny_model).to_dict()
    recipe["method"], recipe["training"]["epochs"] = {"name": "layers", "top": 1}, 2
    done = trained(recipe, "auto", tmp_path)
    assert done.place == "never"
    assert "another input each time" in done.recipe.origin("training.cache_frozen")


def test_several_tasks_do_without(tmp_path: Path, tiny_model: Callable[[str], Path]) -> None:
    recipe = recipe_of(("multi-task", "head", "encoder"), tmp_path, tiny_model).to_dict()
    recipe["training"]["epochs"] = 2
    assert "several tasks" in trained(recipe, "auto", tmp_path).recipe.origin("training.cache_frozen")


def test_asking_for_what_cannot_be(values: Values) -> None:
    recipe = Recipe(**values(method={"name": "lora"}, training__cache_frozen="memory"))
    with pytest.raises(RecipeError, match="nothing can be computed once") as error:
        train(recipe)
    assert "training.cache_frozen" in str(error.value.where)
    assert "auto" in error.value.fix
    assert not Path(values()["output"]).exists()


def test_resumed_it_is_the_same_bit_for_bit(values: Values, tmp_path: Path) -> None:
    def losses(run: Any) -> dict[int, float]:
        events = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
        return {event["step"]: event["loss"] for event in events if event["event"] == "StepDone"}

    class Stopper:
        def record(self, event: Event) -> None:
            if isinstance(event, StepDone) and event.step == 5:
                raise KeyboardInterrupt

        def close(self) -> None: ...

    changes = {"training__checkpoint_every": 2, "training__epochs": 3}
    whole = train(values(output=str(tmp_path / "whole"), **changes))
    assert whole.recipe.training.cache_frozen == "memory"
    with pytest.raises(Interrupted):
        train(values(output=str(tmp_path / "cut"), **changes), trackers=[cast("Any", Stopper())])
    cut = resume(tmp_path / "cut")
    assert losses(cut) == losses(whole)
    assert cut.score == whole.score


def test_stopped_while_it_is_computed(values: Values, tmp_path: Path) -> None:
    ready = prepare(Recipe(**values()))
    training, _ = load_for_training(ready)
    ready, plan = with_frozen_part(ready, training)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted), computed_once(ready, training, plan, tmp_path / "x", lambda _: None, stop):
        pass
    assert not [module for module in training.model.modules() if "forward" in vars(module)]
    assert not training.model._forward_pre_hooks


# --- what a model is looked at for


def batch(ids: Sequence[Sequence[int]], width: int | None = None) -> Batch:
    width = width or max(map(len, ids))
    padded = torch.tensor([[*row, *[0] * (width - len(row))] for row in ids])
    inputs = {"input_ids": padded, "attention_mask": (padded != 0).long()}
    return Batch(inputs=inputs, labels=None, targets=1.0, tokens=1, rows=list(range(len(ids))))


class Small(nn.Module):
    """Embeddings, a frozen layer that may look at its neighbours in the batch, and a layer that moves."""

    def __init__(self, *, neighbours: bool = False, noise: float = 0.0) -> None:
        super().__init__()
        self.embed, self.below, self.top = nn.Embedding(50, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.noise, self.neighbours = nn.Dropout(noise), neighbours
        self.embed.requires_grad_(False)
        self.below.requires_grad_(False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        states = self.embed(input_ids)
        if self.neighbours:
            states = states - states.mean(0, keepdim=True)
        states = self.below(self.noise(states)).tanh()
        return {"logits": self.top((states * attention_mask[..., None]).sum(1))}


ROWS = [[3, 4], [5, 6, 7], [8], [9, 10, 11, 12, 13], [14, 15]]
GROUPS = [np.array([0, 1]), np.array([2, 3, 4])]


def of_rows(rows: np.ndarray) -> Batch:
    return batch([ROWS[row] for row in rows])


def test_what_is_read_of_a_model() -> None:
    plan = find(Small(), [of_rows(rows) for rows in GROUPS], nullcontext)
    assert list(plan.calls) == [("embed", 0), ("below", 0)]
    assert [(leaf.sizes, leaf.read) for leaf in plan.read] == [(("rows", "tokens", 8), "all")]
    assert plan.bytes(5, 13) == 13 * 8 * 4
    assert planned(Small(), of_rows, GROUPS, nullcontext).calls.keys() == plan.calls.keys()


def test_only_a_forward_of_the_whole_model_over_known_rows_is_served() -> None:
    model = Small()
    states = FixedStates(model, planned(model, of_rows, GROUPS, nullcontext))
    with states.serving():
        for _ in states.fill(map(of_rows, GROUPS), nullcontext):
            pass
        real = model.below.weight.detach().clone()
        model(**of_rows(np.array([4, 0])).inputs)
        assert (states.served, model.below(torch.ones(1, 8)).shape) == (1, (1, 8))
        assert torch.equal(model.below(torch.eye(8)), real.T + model.below.bias)
        model(**batch([ROWS[0], [21, 22, 23]]).inputs)  # one of the two is new
        assert states.served == 1


def test_a_model_that_mixes_rows_is_found_out_by_its_numbers() -> None:
    with pytest.raises(NothingFixed, match="answers otherwise"):
        planned(Small(neighbours=True), of_rows, GROUPS, nullcontext)


def test_dropout_below_is_not_fixed() -> None:
    with pytest.raises(NothingFixed, match="stands on the embeddings"):
        planned(Small(noise=0.5), of_rows, GROUPS, nullcontext)


def test_looking_leaves_random_numbers_and_gradients_alone() -> None:
    model = Small()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    planned(model, of_rows, GROUPS, nullcontext)
    assert torch.equal(before, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not [module for module in model.modules() if "forward" in vars(module)]


def test_a_row_is_known_however_it_is_padded() -> None:
    narrow, wide = (row_keys(batch(ROWS, width).inputs) for width in (5, 9))
    assert narrow == wide
    assert len(set(narrow)) == len(ROWS)
    masked = batch(ROWS, 5).inputs
    masked["attention_mask"][1, 0] = 0
    assert [one == other for one, other in zip(row_keys(masked), narrow, strict=True)] == [True, False, *[True] * 3]
    assert row_keys(masked | {"decoder_input_ids": torch.ones(5, 3)}) == row_keys(masked)


def test_rows_to_look_at_differ_in_length() -> None:
    for lengths in ([5] * 30 + [6, 7], [3, *[8] * 9], list(range(1, 40)), [4, 4, 4, 4, 9]):
        one, other = (np.array(lengths)[rows].max() for rows in frozen._unlike(np.array(lengths)))
        assert one < other
    assert [len(rows) for rows in frozen._unlike(np.full(6, 5))] == [2, 3]


def test_dropout_between_frozen_embeddings_and_the_blocks_is_off(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model = Layers(LayersOptions(top=1)).apply(
        AutoModelForSequenceClassification.from_pretrained(tiny_gpt2(tmp_path / "gpt2"))
    )
    model.train()
    assert not cast("Any", model).transformer.drop.training
    assert cast("Any", model).transformer.h[1].mlp.dropout.training
