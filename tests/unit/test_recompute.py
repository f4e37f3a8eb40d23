"""Activations that are computed again in backward: the same losses, the same gradients, less memory between the two."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from weitiao import Recipe, check, train
from weitiao.errors import RecipeError
from weitiao.events import Event, StepDone
from weitiao.kernels import quickly
from weitiao.loading import load_for_training
from weitiao.preparation import prepare
from weitiao.training.loop import train_steps
from weitiao.training.optimizer import trainable
from weitiao.training.recompute import blocks, recomputed

Values = Callable[..., dict[str, Any]]
FAMILIES = ("encoder", "decoder", "seq2seq")
QUICK = {"bootstrap": 0, "baselines": False}


class Told:
    def __init__(self) -> None:
        self.losses: list[float] = []

    def record(self, event: Event) -> None:
        if isinstance(event, StepDone):
            self.losses.append(event.loss)

    def close(self) -> None:
        pass


def settings(wanted: str, precision: str = "fp32", **more: Any) -> dict[str, Any]:
    return {"epochs": 1, "batch_size": 8, "seed": 7, "precision": precision, "checkpoint_activations": wanted, **more}


def steps(values: dict[str, Any]) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses and weights of an epoch by our kernels."""
    ready = prepare(Recipe(**values))
    training, _ = load_for_training(ready)
    wanted = ready.recipe.training.checkpoint_activations
    with quickly(training.model, ready.precision, learns=True), recomputed(training.model, wanted):
        losses = [event.loss for event in train_steps(training) if isinstance(event, StepDone)]
    return losses, {name: p.detach().clone() for name, p in trainable(training.model).items()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["full", "lora", "head"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_losses_and_weights_are_the_same(family: str, method: str, precision: str, recipe_values: Values) -> None:
    dropout = {"regularization": {"dropout": 0.2}}
    plain, weights = steps(recipe_values(family, method=method, training=settings("never", precision, **(
        dropout if family != "decoder" else {}))))  # fmt: skip
    again, others = steps(recipe_values(family, method=method, training=settings("always", precision, **(
        dropout if family != "decoder" else {}))))  # fmt: skip
    assert again == plain
    for name, weight in weights.items():
        assert torch.equal(weight, others[name]), name


def test_dropout_is_drawn_alike_the_second_time(recipe_values: Values) -> None:
    drops = {"dropout": 0.3, "attention_dropout": 0.3}
    plain, _ = steps(recipe_values(training=settings("never", regularization=drops)))
    again, _ = steps(recipe_values(training=settings("always", regularization=drops)))
    assert again == plain
    other, _ = steps(
        recipe_values(training=settings("never", regularization={"dropout": 0.0, "attention_dropout": 0.0}))
    )
    assert other != plain


@pytest.mark.parametrize("more", [{"r_drop": 1.0}, {"l2_sp": 0.1}])
def test_it_goes_with_regularization(more: dict[str, float], recipe_values: Values) -> None:
    plain, _ = steps(recipe_values(training=settings("never", regularization=more)))
    again, _ = steps(recipe_values(training=settings("always", regularization=more)))
    assert again == plain


@pytest.mark.parametrize("family", FAMILIES)
def test_less_is_kept_between_forward_and_backward(family: str, recipe_values: Values) -> None:
    ready = prepare(Recipe(**recipe_values(family)))
    training, _ = load_for_training(ready)
    batch = training.collate(training.order(0)[0])[0]
    training.model.train()

    def kept(wanted: str) -> int:
        """Bytes that autograd keeps outside of the blocks that are computed again."""
        found: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with recomputed(training.model, wanted), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss = training.loss(training.forward(training.model, batch), batch)
        assert loss.requires_grad
        return sum(found.values())

    assert kept("always") < 0.75 * kept("never")


def test_everything_is_as_before_afterwards(recipe_values: Values) -> None:
    model = load_for_training(prepare(Recipe(**recipe_values())))[0].model
    found = blocks(model)
    assert len(found) == 2
    before = [dict(vars(block)) for block in found]
    with ExitStack() as stack:
        stack.enter_context(recomputed(model, "always"))
        assert all(block.gradient_checkpointing for block in found)
    assert [dict(vars(block)) for block in found] == before


def test_a_model_without_blocks_is_told() -> None:
    with (
        pytest.raises(RecipeError, match="no blocks that can be computed again"),
        recomputed(nn.Linear(2, 2), "always"),
    ):
        pass
    with recomputed(nn.Linear(2, 2), "never"):
        pass


def test_a_whole_run_has_the_same_losses(recipe_values: Values, tmp_path: Path) -> None:
    told = {}
    for wanted in ("never", "always"):
        told[wanted] = Told()
        values = recipe_values(training=settings(wanted), evaluation=QUICK, output=str(tmp_path / wanted))
        run = train(values, trackers=[told[wanted]])
        assert run.recipe.training.checkpoint_activations == wanted
    assert told["always"].losses == told["never"].losses


@pytest.mark.parametrize(
    ("family", "changes"),
    [("decoder", {"method": "prefix"}), ("encoder", {"training": settings("always", regularization={"mixout": 0.5})})],
)
def test_what_does_not_go_with_it_is_refused(
    family: str, changes: dict[str, Any], recipe_values: Values, tmp_path: Path
) -> None:
    """`transformers` leaves a prefix out of such blocks, mixout's weights are gone in backward: no silent error."""
    values = recipe_values(family, **({"training": settings("always")} | changes), output=str(tmp_path / "run"))
    with pytest.raises(RecipeError, match=r"does not give the same|gone in backward") as error:
        train(values)
    assert "training.checkpoint_activations" in error.value.where
    assert not (tmp_path / "run").exists()


def test_what_is_computed_once_does_not_go_with_it(recipe_values: Values) -> None:
    layers = {"name": "layers", "top": 1}
    checked = check(recipe_values(method=layers, training=settings("always", epochs=3)))
    assert checked.recipe.training.cache_frozen == "never"
    assert "computed again" in checked.recipe.origin("training.cache_frozen")
    with pytest.raises(RecipeError, match="nothing can be computed once: the blocks are computed again"):
        check(recipe_values(method=layers, training=settings("always", epochs=3, cache_frozen="memory")))
