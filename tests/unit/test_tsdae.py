"""The objective TSDAE of the task sentence-embedding: its batches, its loss, runs of it, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from tests import tiny
from tests.same import same_vectors_by_transformers, same_weights_when_computed_again, same_weights_when_resumed
from tests.samples import reviews, texts, write_texts
from tests.watching import Watcher, of
from weitiao import check, load, models, train
from weitiao.artifacts.run_folder import Run
from weitiao.errors import ModelError, RecipeError, WeitiaoError
from weitiao.events import StepDone
from weitiao.kernels import quickly
from weitiao.loading import load_for_training
from weitiao.models.pooling import pooling_of
from weitiao.preparation import as_recipe, prepare
from weitiao.records import UNTRAINED
from weitiao.tasks.tsdae import TSDAE
from weitiao.tasks.vectors import thinned
from weitiao.training.loop import train_steps

Values = Callable[..., dict[str, Any]]
OBJECTIVE = {"name": "sentence-embedding", "objective": "tsdae"}
METHODS = ("lora", "loha", "ia3", "vera", "layers", "gradual", "bitfit")


@pytest.fixture
def values(recipe_values: Values, tmp_path: Path) -> Values:
    """A recipe on 32 texts, 16 for validation."""
    many = [text for text, _ in reviews(48)]

    def build(
        training: dict[str, Any] | None = None, task: dict[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        settings = {"epochs": 2, "learning_rate": 1e-3, "batch_size": 8, "seed": 7, "precision": "fp32",
                    **(training or {})}  # fmt: skip
        data = {"train": write_texts(tmp_path / "train.jsonl", many[:32]),
                "validation": write_texts(tmp_path / "validation.jsonl", many[32:]), "test_size": 0}  # fmt: skip
        given = {"task": {**OBJECTIVE, **(task or {})}, "training": settings, "data": data}
        return recipe_values("encoder", **{**given, "evaluation": {"bootstrap": 0, "baselines": False}, **more})

    return build


def still(model: nn.Module) -> nn.Module:
    """Without dropout."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


# --- what is deleted


def test_a_share_is_deleted_otherwise_each_time_and_one_token_stays() -> None:
    ids = [101, *range(1, 11), 102]
    left = thinned(ids, {101, 102}, 0.6, seed=3)
    assert left == sorted(left) == thinned(ids, {101, 102}, 0.6, seed=3)
    assert len(left) == 2 + 4
    assert {left[0], left[-1]} == {0, 11}
    assert len({tuple(thinned(ids, {101, 102}, 0.6, seed=seed)) for seed in range(20)}) > 10
    for size in range(1, 30):
        assert len(thinned(list(range(size)), (), 0.97, seed=size)) == size - int(0.97 * size) >= 1


def test_a_batch_holds_what_is_left_and_what_is_to_be_written(values: Values) -> None:
    training, _ = load_for_training(prepare(as_recipe(values())))
    torch.manual_seed(1)
    (batch,) = training.collate(training.order(0)[0])
    torch.manual_seed(1)
    (again,) = training.collate(training.order(0)[0])
    (other,) = training.collate(training.order(0)[0])
    assert torch.equal(batch.inputs["input_ids"], again.inputs["input_ids"])
    assert not torch.equal(batch.inputs["input_ids"], other.inputs["input_ids"])
    assert batch.labels is not None
    assert len(batch.rows) == len(batch.labels) == 8
    assert batch.targets == sum(len(feature["input_ids"]) - 1 for feature in batch.features)
    for row, feature in enumerate(batch.features):
        ids = feature["input_ids"]
        real = batch.inputs["attention_mask"][row].bool()
        left = batch.inputs["input_ids"][row][real].tolist()
        assert len(left) == 2 + (len(ids) - 2) - int(0.6 * (len(ids) - 2))
        rest = iter(ids)
        assert all(token in rest for token in left), "in order"
        read = batch.inputs["decoder_attention_mask"][row].bool()
        assert batch.inputs["decoder_input_ids"][row][read].tolist() == ids[:-1]
        assert batch.labels[row][read].tolist() == ids[1:]
        assert (batch.labels[row][~read] == UNTRAINED).all()


# --- the loss


def test_the_loss_of_a_step_is_the_cross_entropy_of_its_tokens(values: Values) -> None:
    """Written out: logits of all tokens of the model's two passes, the mean over those that are learned."""
    training, _ = load_for_training(prepare(as_recipe(values())))
    still(training.model)
    torch.manual_seed(4)
    (batch,) = training.collate(training.order(0)[0])
    outputs = training.model(**batch.inputs)
    assert batch.labels is not None
    wanted = functional.cross_entropy(outputs.logits.flatten(0, 1), batch.labels.flatten(), ignore_index=UNTRAINED)
    one, _ = load_for_training(prepare(as_recipe(values())))
    still(one.model)
    step = next(event for event in train_steps(replace(one, collate=lambda _: [batch])) if isinstance(event, StepDone))
    assert step.loss == pytest.approx(float(wanted.detach()), rel=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_kernels_compute_the_same(values: Values, precision: str) -> None:
    training, _ = load_for_training(prepare(as_recipe(values(training={"precision": precision}))))
    model = still(training.model)
    (batch,) = training.collate(training.order(0)[0])
    close: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5} if precision == "fp32" else {"rtol": 0.1, "atol": 0.5}

    def learned() -> tuple[float, torch.Tensor]:
        model.zero_grad()
        with training.autocast():
            loss = training.loss(training.forward(model, batch), batch)
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = model.get_input_embeddings().weight.grad  # type: ignore[operator]
        return float(loss.detach()), gradient.clone()

    loss, gradient = learned()
    with quickly(model, precision, learns=True):
        quick, other = learned()
    assert quick == pytest.approx(loss, rel=1e-5 if precision == "fp32" else 0.02)
    torch.testing.assert_close(other, gradient, **close)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_step_may_be_cut(values: Values, method: str) -> None:
    seen, pieces = [], []
    for tokens in (100_000, 20):
        given = values(training={"micro_batch_tokens": tokens}, method=method)
        training, _ = load_for_training(prepare(as_recipe(given)))
        still(training.model)
        steps = train_steps(training)
        seen.append([(done.loss, done.gradient_norm) for _, done in zip(range(3), steps, strict=False)])
        pieces.append(max(len(training.collate(rows)) for rows in training.order(0)))
    assert pieces[0] == 1 < pieces[1]
    np.testing.assert_allclose(seen[0], seen[1], rtol=2e-4, atol=1e-6)


# --- runs


def is_the_encoder_alone(run: Run, rows: list[str], pooling: str = "mean") -> None:
    """Of the decoder nothing is in the artifact; plain `transformers` makes the same vectors with it."""
    weights = load_file(run.artifact / "model.safetensors")
    assert not [name for name in weights if "crossattention" in name or name.startswith(("cls", "lm_head"))]
    config = json.loads((run.artifact / "config.json").read_text())
    assert not config.get("is_decoder")
    assert not config.get("add_cross_attention")
    same_vectors_by_transformers(run, rows, pooling)


def test_texts_are_learned_and_the_encoder_alone_is_kept(values: Values) -> None:
    watcher = Watcher()
    given = values(training={"epochs": 30, "learning_rate": 3e-3, "patience": None, "evaluate_every": 60},
                   task={"pooling": "first"}, evaluation={"bootstrap": 20})  # fmt: skip
    run = train(given, trackers=[watcher])
    losses = [event.loss for event in of(StepDone, watcher.seen)]
    assert np.mean(losses[-6:]) < 0.7 * np.mean(losses[:6])
    told = json.loads((run.folder / "scores.json").read_text())["validation"]
    assert set(told["baselines"]) == {"the model before training", "TF-IDF"}
    assert pooling_of(run.artifact) == "first"
    is_the_encoder_alone(run, ["the room was great", "the bed was cold and the view awful, visit 3"], "first")


def test_later_recipes_start_from_it(values: Values, recipe_values: Values) -> None:
    run = train(values())
    given = recipe_values(method="few-shot", model=str(run.artifact), evaluation={"bootstrap": 0, "baselines": False})
    given["output"] += "-few"
    assert load(train(given).folder).predict(["the room was great"])[0]["label"] in ("good", "bad")


@pytest.mark.parametrize("method", METHODS)
def test_methods_that_merge_learn_it(values: Values, method: str) -> None:
    training, _ = load_for_training(prepare(as_recipe(values(method=method))))
    moving = [name for name, p in training.model.named_parameters() if p.requires_grad]
    assert [name for name in moving if "crossattention" in name], "what is new is trained whole"
    run = train(values(method=method))
    is_the_encoder_alone(run, ["the room was great", "a cold bed and a small room"])
    kept = [name for file in run.artifact.glob("adapter/*.safetensors") for name in load_file(file)]
    assert not [name for name in kept if "crossattention" in name or "cls." in name], "of the decoder nothing is kept"
    told = run.artifact / "adapter" / "adapter_config.json"
    assert not told.exists() or not json.loads(told.read_text())["modules_to_save"]


def test_stopped_and_resumed_is_bit_identical(values: Values, tmp_path: Path) -> None:
    same_weights_when_resumed(values(training={"checkpoint_every": 1, "epochs": 2}), tmp_path, 3)


def test_blocks_may_be_computed_again(values: Values) -> None:
    same_weights_when_computed_again(values)


def test_an_encoder_that_was_masked_brings_its_head(values: Values, tmp_path: Path) -> None:
    folder = tiny.tiny_masked_roberta(tmp_path / "roberta", texts())
    run = train(values(model=str(folder)))
    is_the_encoder_alone(run, ["the room was great", "a cold bed and a small room"])


# --- what is settled, and what is refused


def test_what_is_not_said_is_as_in_the_paper(values: Values) -> None:
    given = values()
    for key in ("epochs", "batch_size", "learning_rate"):
        del given["training"][key]
    recipe = check(given).recipe
    assert (recipe.training.epochs, recipe.training.batch_size) == (1, 8)
    assert recipe.task.options.model_dump()["delete_share"] == 0.6
    assert recipe.origin("task.delete_share").startswith("auto: sentence-embedding: as in TSDAE's paper")
    assert not recipe.origin("training.micro_batch_tokens").startswith("auto: the examples of a step are compared")
    assert recipe.origin("training.learning_rate").startswith("auto: sentence-embedding: ")
    assert isinstance(prepare(as_recipe(given)).task.objective, TSDAE)  # type: ignore[attr-defined]


def test_it_needs_neither_other_texts_nor_dropout(
    values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = tiny.tiny_bert(tmp_path / "still", texts(), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    check(values(model=str(quiet), training={"batch_size": 1}))
    monkeypatch.setenv("WORLD_SIZE", "2")
    check(values())


def unfit(folder: Path) -> Path:
    """A DistilBERT, whose blocks have no cross-attention."""
    from transformers import AutoTokenizer, DistilBertConfig, DistilBertModel

    tokenizer = AutoTokenizer.from_pretrained(tiny.tiny_bert(folder / "words", texts()))
    DistilBertModel(DistilBertConfig(vocab_size=len(tokenizer), dim=32, n_layers=2, n_heads=2, hidden_dim=64,
                                     max_position_embeddings=64)).save_pretrained(folder / "distil")  # fmt: skip
    tokenizer.save_pretrained(folder / "distil")
    return folder / "distil"


def test_an_encoder_that_cannot_be_a_decoder_is_refused_before_weights_are_read(
    values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "load_model", lambda *_, **__: pytest.fail("weights were read"))
    folder = unfit(tmp_path)
    for command in (check, train):
        with pytest.raises(ModelError, match="'distilbert' model has no blocks with cross-attention") as caught:
            command(values(model=str(folder)))
        assert "task.objective" in caught.value.where
        assert "simcse" in caught.value.fix
    prepare(as_recipe(values(model=str(folder), task={"objective": "simcse"}, training={"batch_size": 16})))


def test_what_does_not_go_together_is_refused(values: Values, tmp_path: Path) -> None:
    def refused(**changes: Any) -> str:
        with pytest.raises(WeitiaoError) as caught:
            check(values(**changes))
        assert caught.value.fix
        return caught.value.problem

    assert "nothing of what is kept would be trained" in refused(method="head")
    assert "cannot be merged" in refused(method="p-tuning")
    assert "cannot be merged" in refused(method="adapter")
    assert "does not have" in refused(method="few-shot")
    assert "to compare" in refused(training={"regularization": {"r_drop": 1.0}})
    assert "to mix" in refused(training={"regularization": {"mixup": 0.2}})
    for share in (0, 1, 1.5):
        with pytest.raises(RecipeError, match="delete_share"):
            check(values(task={"delete_share": share}))
    with pytest.raises(RecipeError, match="no meaning for the objective `simcse`"):
        check(values(task={"objective": "simcse", "delete_share": 0.6}))
    part = {"task": OBJECTIVE, "data": values()["data"]}
    other = {"task": "text-classification", "data": {"train": str(tmp_path / "reviews.csv")}}
    together = values(task={"name": "multi-task", "tasks": {"vectors": part, "mood": other}})
    del together["data"], together["task"]["objective"]
    with pytest.raises(RecipeError, match="a decoder of the encoder's own blocks, and is learned by itself"):
        check(together)
