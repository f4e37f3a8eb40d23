"""AdaLoRA: the penalty, the ranks that go, and a run that is stopped and goes on bit for bit."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.tiny import tiny_bert
from weitiao.methods.adalora import Adalora, AdaloraOptions
from weitiao.recipe import TrainingSettings
from weitiao.records import Batch
from weitiao.training.checkpoint import Checkpoints, restore
from weitiao.training.fit import fit
from weitiao.training.loop import Training, train_steps

STEPS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("models") / "bert")


def training_of(folder: Path, **options: Any) -> Training:
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    plain = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)
    method = Adalora(AdaloraOptions(rank=2, init_rank=4, **options))
    model = method.apply(plain)
    inputs = {"input_ids": torch.arange(40).reshape(4, 10) % 30 + 5}
    batch = Batch(inputs=inputs, labels=torch.tensor([0, 1, 2, 0]), targets=4.0, tokens=40, rows=[])
    return Training(
        model=model, settings=TrainingSettings(epochs=STEPS, learning_rate=1e-2, warmup=0.0, schedule="constant"),
        order=lambda _: [torch.arange(4).numpy()], collate=lambda _: [batch], autocast=torch.enable_grad,
        loss=lambda outputs, batch: nn.functional.cross_entropy(outputs.logits, batch.labels, reduction="sum"),
        device=torch.device("cpu"), parts={"method": method},
    )  # fmt: skip


def ranks(model: nn.Module) -> list[int]:
    return [int((p != 0).sum()) for name, p in model.named_parameters() if ".lora_E." in name]


def test_the_penalty_is_that_of_peft(folder: Path) -> None:
    training = training_of(folder)
    model: Any = training.model
    inputs = training.collate(torch.arange(4).numpy())[0].inputs
    labels = torch.tensor([0, 1, 2, 0])
    without = nn.functional.cross_entropy(model.eval()(**inputs).logits, labels)
    ours = training.parts["method"].penalty(model)
    assert float(ours.detach()) > 0
    torch.testing.assert_close(model(**inputs, labels=labels).loss - without, ours)
    assert Adalora(AdaloraOptions(orth_reg_weight=0)).penalty(model) is None


def test_ranks_go_until_as_many_are_left_as_asked_for(folder: Path) -> None:
    training = training_of(folder, tinit=0.2, tfinal=0.3)
    left = []
    for _ in train_steps(training):
        left.append(sum(ranks(training.model)))
    layers = len(ranks(training.model))
    assert left[:2] == [4 * layers] * 2
    assert left == sorted(left, reverse=True)
    assert left[6:] == [2 * layers] * 4


def test_only_the_ranks_that_are_left_are_saved(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    training = training_of(folder)
    early = None
    for done in train_steps(training):
        if done.step == 4:
            early = {name: p.detach().clone() for name, p in training.model.named_parameters()}
    assert early is not None
    for name, p in training.model.named_parameters():  # as where step 4 was the best
        p.data.copy_(early[name])
    assert 2 * len(ranks(training.model)) < sum(ranks(training.model))
    training.parts["method"].save(training.model, tmp_path)  # type: ignore[attr-defined]
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert sum(t.shape[0] for name, t in stored.items() if name.endswith("lora_A")) == sum(ranks(training.model))


@pytest.mark.parametrize("stop", [1, 5, 9])
def test_a_stopped_run_goes_on_bit_for_bit(folder: Path, tmp_path: Path, stop: int) -> None:
    whole = training_of(folder)
    losses = [done.loss for done in train_steps(whole)]
    first, checkpoints = training_of(folder), Checkpoints(tmp_path)
    for done in train_steps(first):
        if done.step == stop:
            checkpoints.save(first, {}, keep={stop})
            break
    second = training_of(folder)
    newest = checkpoints.newest()
    assert newest is not None
    restore(second, newest)
    assert [done.loss for done in train_steps(second)] == losses[stop:]
    for (name, one), other in zip(whole.model.named_parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert whole.parts["method"].state(whole.model).keys() == second.parts["method"].state(second.model).keys()


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_run_of_few_steps_works(folder: Path, epochs: int) -> None:
    training = training_of(folder)
    training.settings = training.settings.model_copy(update={"epochs": epochs})
    assert len(list(train_steps(training))) == epochs


@pytest.mark.parametrize(
    ("options", "told"),
    [({"rank": 8, "init_rank": 8}, "more than `rank`"), ({"tinit": 0.5, "tfinal": 0.5}, "no steps")],
)
def test_options_that_leave_nothing_to_choose_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        AdaloraOptions.model_validate(options)


def test_a_run_rolled_back_to_the_start_is_the_one_that_begins_there(folder: Path, tmp_path: Path) -> None:
    """Ranks and the averages of importance, too; only the rate is lower."""

    def run(made: Training, name: str) -> dict[str, torch.Tensor]:
        made.settings = made.settings.model_copy(update={"evaluate_every": 100, "checkpoint_every": 100})
        torch.manual_seed(3)
        list(fit(made, Checkpoints(tmp_path / name), None, threading.Event()))
        return {name: value.clone() for name, value in made.model.state_dict().items()}

    troubled, slow = training_of(folder), training_of(folder)
    plain = troubled.loss
    troubled.loss = lambda outputs, batch: plain(outputs, batch) * (math.nan if at_risk() else 1.0)

    def at_risk() -> bool:
        return troubled.step >= 6 and not troubled.recovery.roll_backs

    def fresh() -> nn.Module:
        model = training_of(folder).model
        torch.manual_seed(3)
        return model

    troubled.fresh = fresh
    slow.recovery.roll_backs = 1
    wanted, found = run(slow, "slow"), run(troubled, "troubled")
    assert troubled.recovery.roll_backs == 1
    for name, value in wanted.items():
        assert torch.equal(value, found[name]), name
    assert ranks(troubled.model) == ranks(slow.model)
