"""The method few-shot: its losses, its order, its head, runs of it, and what does not go together."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tests.same import same_weights_when_resumed
from tests.samples import reviews
from tests.watching import Watcher, of
from weitiao import check, evaluate, load, registry, train
from weitiao.errors import RecipeError, WeitiaoError
from weitiao.events import Evaluated, StepDone
from weitiao.forecast import within_memory
from weitiao.loading import load_for_training
from weitiao.methods.contrast import contrastive_loss, cosine_loss
from weitiao.methods.linear_head import fit_head
from weitiao.models.pooling import pooling_of
from weitiao.preparation import as_recipe, prepare
from weitiao.training.by_label import ByLabel
from weitiao.training.contrast import FittedHead
from weitiao.training.loop import Training, train_steps

Values = Callable[..., dict[str, Any]]


@pytest.fixture
def few(recipe_values: Values, tmp_path: Path) -> Values:
    """A recipe on six reviews of each of two labels, 20 others to test on and none for validation."""

    def write(name: str, rows: list[tuple[str, Any]]) -> str:
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
        return str(file)

    many = reviews(64)
    write("other", many[32:44])

    def build(family: str = "encoder", training: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        settings = {"epochs": 8, "learning_rate": 2e-3, "batch_size": 8, "seed": 7, "precision": "fp32",
                    "patience": None, **(training or {})}  # fmt: skip
        data = {"train": write("few", many[:12]), "validation_size": 0, "test": write("test", many[44:])}
        evaluation = {"bootstrap": 0, "baselines": False}
        given = {"method": "few-shot", "training": settings, "data": data, "evaluation": evaluation}
        return recipe_values(family, **{**given, **changes})

    return build


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- losses


def test_the_cosine_loss_is_that_of_sentence_transformers_on_as_many_alike_as_other_pairs() -> None:
    """CosineSimilarityLoss is ``mse_loss(cosine_similarity(u, v), label)`` over given pairs."""
    vectors, labels = drawn(9, 5), torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
    pairs = [(i, j) for i in range(9) for j in range(i)]
    kinds = []
    for wanted in (1.0, 0.0):
        chosen = [(i, j) for i, j in pairs if float(labels[i] == labels[j]) == wanted]
        one, other = (vectors[[pair[side] for pair in chosen]] for side in (0, 1))
        kinds.append(functional.mse_loss(functional.cosine_similarity(one, other), torch.full((len(chosen),), wanted)))
    found = cosine_loss(vectors, (labels[:, None] == labels).float())
    assert float(found) == pytest.approx(float(sum(kinds)) / 2, rel=1e-5)


def test_the_contrastive_loss_is_that_of_its_paper_less_the_least_it_can_be() -> None:
    vectors, labels, temperature = drawn(7, 4), [0, 0, 1, 1, 1, 2, 0], 0.2
    unit = functional.normalize(vectors, dim=-1)
    each = []
    for i in range(7):
        like = [p for p in range(7) if p != i and labels[p] == labels[i]]
        if like:
            below = sum(math.exp(float(unit[i] @ unit[a]) / temperature) for a in range(7) if a != i)
            logs = [math.log(math.exp(float(unit[i] @ unit[p]) / temperature) / below) for p in like]
            each.append(-sum(logs) / len(like) - math.log(len(like)))
    alike = (torch.tensor(labels)[:, None] == torch.tensor(labels)).float()
    assert float(contrastive_loss(vectors, alike, temperature)) == pytest.approx(sum(each) / len(each), rel=1e-5)
    assert len(each) == 6  # one stands alone


@pytest.mark.parametrize("loss", [cosine_loss, lambda *given: contrastive_loss(*given, 0.1)])
@pytest.mark.parametrize("alike", [torch.eye(4), torch.ones(4, 4), torch.ones(1, 1)])
def test_a_step_of_one_kind_of_pairs_has_a_finite_gradient(loss: Callable[..., Any], alike: torch.Tensor) -> None:
    vectors = drawn(len(alike), 3).requires_grad_()
    found = loss(vectors, alike)
    found.backward()
    assert torch.isfinite(found)
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()


def test_several_labels_are_alike_by_the_share_that_both_have() -> None:
    kind = registry.get("task", "text-classification")
    known = kind.Prepared(labels=["a", "b", "c"], multi_label=True)
    rows = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]).float()
    found = kind(kind.Options(), known).alike(rows)
    wanted = [[1, 0.5, 0, 0, 0], [0.5, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]
    torch.testing.assert_close(found, torch.tensor(wanted))


# --- which examples come together


@given(st.lists(st.integers(0, 6), min_size=1, max_size=80), st.integers(2, 5), st.integers(2, 40), st.integers(0, 9))
@settings(deadline=None)
def test_each_row_comes_once_in_as_many_steps_as_ever(
    labels: list[int], together: int, batch_size: int, epoch: int
) -> None:
    order = ByLabel(np.array(labels), np.ones(len(labels), int), together, batch_size, seed=3)
    steps = order(epoch)
    assert sorted(np.concatenate(steps).tolist()) == list(range(len(labels)))
    assert len(steps) == -(-len(labels) // batch_size)
    assert max(map(len, steps)) <= batch_size
    for one, again in zip(steps, order(epoch), strict=True):
        np.testing.assert_array_equal(one, again)


def test_a_step_holds_several_of_each_of_its_labels() -> None:
    labels = np.repeat(np.arange(77), 8)
    order = ByLabel(labels, np.ones(len(labels), int), 4, 32, seed=0)
    for epoch in range(3):
        sizes = [len(rows) for rows in order(epoch)]
        assert min(sizes) >= 24
        for rows in order(epoch):
            counts = np.unique(labels[rows], return_counts=True)[1]
            assert (counts % 4 == 0).all()
    assert not np.array_equal(order(0)[0], order(1)[0])


@pytest.mark.parametrize(("counts", "batch_size"), [((6, 6), 8), ((16, 16), 8), ((60, 9, 3), 16), ((7, 5), 8)])
def test_a_step_has_more_than_one_label(counts: tuple[int, ...], batch_size: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    for epoch in range(5):
        steps = ByLabel(labels, np.ones(len(labels), int), 4, batch_size, seed=1)(epoch)
        single = [rows for rows in steps if len(np.unique(labels[rows])) == 1]
        assert len(single) <= len(steps) * (0.6 if len(counts) == 3 else 0)  # 60 of 72 are of one


def test_the_longest_row_comes_in_the_first_step_and_the_steps_are_those_of_other_lengths() -> None:
    labels, lengths = np.repeat(np.arange(12), 8), np.full(96, 5)
    plain = ByLabel(labels, lengths, 4, 16, seed=0)
    where = len(plain(0)) - 1
    lengths = lengths.copy()
    lengths[plain(0)[where][3]] = 40
    long = ByLabel(labels, lengths, 4, 16, seed=0)
    assert lengths[long(0)[0]].max() == 40
    assert sorted(tuple(rows) for rows in long(0)) == sorted(tuple(rows) for rows in plain(0))
    for one, other in zip(long(1), plain(1), strict=True):
        np.testing.assert_array_equal(one, other)


# --- the head


@pytest.mark.parametrize("count", [2, 5])
def test_the_head_answers_as_scikit_learn_does(count: int) -> None:
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(1)
    labels = np.arange(60) % count
    vectors = (random.normal(size=(60, 8)) + 1.5 * np.eye(8)[labels]).astype(np.float32)
    weight, bias = fit_head(vectors, labels, count, c=3.0)
    size = np.linalg.norm(vectors, axis=1).mean()
    theirs = LogisticRegression(C=3.0, max_iter=1000).fit(vectors / size, labels).predict_proba(vectors / size)
    logits = vectors @ weight.T + bias
    ours = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_label_without_examples_is_never_the_answer() -> None:
    vectors = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    for labels, count in ((np.array([0, 1, 3] * 4), 5), (np.array([0, 3] * 6), 4)):
        weight, bias = fit_head(vectors, labels, count, c=1.0)
        assert set((vectors @ weight.T + bias).argmax(1)) <= set(labels.tolist())


def test_several_labels_have_a_head_each() -> None:
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(2)
    vectors = random.normal(size=(40, 6)).astype(np.float32)
    labels = np.stack([vectors[:, 0] > 0, vectors[:, 1] > 0.5, np.ones(40), np.zeros(40)], 1).astype(np.float32)
    weight, bias = fit_head(vectors, labels, 4, c=2.0)
    size = np.linalg.norm(vectors, axis=1).mean()
    ours = 1 / (1 + np.exp(-(vectors @ weight.T + bias)))
    for number in range(2):
        theirs = LogisticRegression(C=2.0, max_iter=1000).fit(vectors / size, labels[:, number])
        np.testing.assert_allclose(ours[:, number], theirs.predict_proba(vectors / size)[:, 1], atol=1e-5)
    assert (ours[:, 2] > 0.999).all()
    assert (ours[:, 3] < 0.001).all()


# --- runs


def test_what_ships_holds_the_fitted_head_and_plain_transformers_answers_the_same(few: Values) -> None:
    """The head is logistic regression on the mean vectors of the body that was saved, by formulas written out."""
    from safetensors.torch import load_file
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModel, AutoTokenizer

    values = few()
    run = train(values)
    folder = run.artifact
    tokenizer, body = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    weights = load_file(folder / "model.safetensors")

    def vectors(texts: list[str]) -> torch.Tensor:
        inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            states, mask = body(**inputs).last_hidden_state, inputs["attention_mask"]
        return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    rows = [json.loads(line) for line in Path(values["data"]["train"]).read_text().splitlines()]
    seen = vectors([row["text"] for row in rows]).numpy()
    size = np.linalg.norm(seen, axis=1).mean()
    c = registry.get("method", "few-shot").Options().c
    theirs = LogisticRegression(C=c, max_iter=1000).fit(seen / size, [row["label"] for row in rows])
    tests = [json.loads(line)["text"] for line in Path(values["data"]["test"]).read_text().splitlines()]
    logits = vectors(tests) @ weights["head.weight"].T + weights["head.bias"]
    wanted = theirs.predict_proba(vectors(tests).numpy() / size)
    np.testing.assert_allclose(logits.softmax(-1).numpy(), wanted, atol=1e-4)
    found = [list(answer["probabilities"].values()) for answer in load(run.folder).predict(tests)]
    np.testing.assert_allclose(found, logits.softmax(-1).numpy(), atol=1e-5)
    assert run.score is not None
    assert "sentence_pooling" in json.loads((folder / "config.json").read_text())
    card = (folder / "README.md").read_text()
    assert "pipeline" not in card  # it would draw a head anew
    assert "mask.sum(1, keepdim=True)" in card


@pytest.mark.parametrize("family", ["encoder", "decoder"])
@pytest.mark.parametrize("loss", ["cosine", "contrastive"])
def test_texts_of_a_label_come_near_each_other(family: str, loss: str, few: Values) -> None:
    values = few(family, {"epochs": 60, "batch_size": 12}, method={"name": "few-shot", "loss": loss})
    training, _ = load_for_training(prepare(as_recipe(values)))
    head = training.parts["head"]
    assert isinstance(head, FittedHead)

    def apart() -> float:
        """How much nearer texts of the same label are than others, by the cosine."""
        vectors, labels = head.read(training.model)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        same = labels[:, None] == labels
        return float((unit @ unit.T)[same & ~np.eye(len(labels), dtype=bool)].mean() - (unit @ unit.T)[~same].mean())

    before = apart()
    for _ in train_steps(training):
        pass
    assert before < 0.3
    assert apart() > 0.7


def test_what_is_not_said_is_what_few_examples_take(few: Values) -> None:
    values = few(training={})
    del values["training"]["epochs"]
    recipe = check(values).recipe
    assert recipe.task.options.pooling == "mean"
    assert recipe.origin("task.pooling").startswith("auto: few-shot")
    assert recipe.training.epochs == registry_epochs()
    assert recipe.training.micro_batch_tokens >= 8
    assert check(few(training={"epochs": 2})).recipe.training.epochs == 2
    said = check(few(task={"name": "text-classification", "pooling": "first"})).recipe
    assert said.task.options.pooling == "first"


def registry_epochs() -> int:
    from weitiao.methods.few_shot import EPOCHS

    return EPOCHS


def test_the_vector_is_the_one_that_the_encoder_was_trained_with(few: Values, tmp_path: Path) -> None:
    folder = Path(few()["model"]["source"])
    assert pooling_of(folder) is None
    for said, wanted in (
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "first"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode_mean_tokens": True, "word_embedding_dimension": 8}, "mean"),
        ({"pooling_mode_max_tokens": True}, None),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, None),
    ):
        place = tmp_path / "1_Pooling"
        place.mkdir(exist_ok=True)
        (place / "config.json").write_text(json.dumps(said))
        assert pooling_of(tmp_path) == wanted
    (place / "config.json").write_text("{")
    assert pooling_of(tmp_path) is None


@pytest.mark.parametrize("more", [{}, {"ema": 0.9}, {"swa": {"share": 0.5}}])
def test_stopped_and_resumed_is_bit_identical(more: Mapping[str, Any], few: Values, tmp_path: Path) -> None:
    data = few()["data"] | {"validation": str(tmp_path / "other.jsonl")}
    values = few(training={"checkpoint_every": 3, **more}, data=data)
    same_weights_when_resumed(values, tmp_path, 3, 5)


def test_with_validation_the_best_evaluation_is_kept_and_each_has_its_own_head(few: Values, tmp_path: Path) -> None:
    watcher = Watcher()
    data = few()["data"] | {"validation": str(tmp_path / "other.jsonl")}
    run = train(few(training={"epochs": 6, "evaluate_every": 2}, data=data), trackers=[watcher])
    seen = [event.scores["accuracy"] for event in of(Evaluated, watcher.seen)]
    assert len(seen) == 6
    scores = evaluate(run.folder, str(tmp_path / "other.jsonl")).scores
    assert scores.values["accuracy"].value == pytest.approx(max(seen))


def test_the_head_is_put_back_after_a_measurement(few: Values) -> None:
    training, _ = load_for_training(prepare(as_recipe(few())))
    head = training.parts["head"]
    assert isinstance(head, FittedHead)
    before = training.model.head.weight.clone()  # type: ignore[operator, union-attr]
    with head.in_place(training.model):
        assert not torch.equal(training.model.head.weight, before)  # type: ignore[arg-type, union-attr]
    assert torch.equal(training.model.head.weight, before)  # type: ignore[arg-type, union-attr]
    head.put(training.model)
    assert not torch.equal(training.model.head.weight, before)  # type: ignore[arg-type, union-attr]


def test_a_step_is_never_cut(few: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few tokens a micro-batch has elsewhere; also where the memory that there is settles it."""
    for module in ("auto_values", "forecast.budgets"):
        monkeypatch.setattr(f"weitiao.{module}.CPU_TOKENS", 1)

    def micro_batches(training: Training) -> set[int]:
        return {len(training.collate(rows)) for epoch in range(2) for rows in training.order(epoch)}

    ready = prepare(as_recipe({**few(), "memory": "8 GB"}))
    loaded = load_for_training(ready)
    assert micro_batches(loaded[0]) == {1}
    ready, loaded, _ = within_memory(ready, loaded, None)
    assert loaded[0].room is not None  # it was tried out
    assert micro_batches(loaded[0]) == {1}
    other = few(method="full")
    assert micro_batches(load_for_training(prepare(as_recipe(other)))[0]) == {8, 4}


def test_in_bf16_the_loss_is_finite_and_falls(few: Values) -> None:
    watcher = Watcher()
    longer = {"epochs": 40, "batch_size": 12, "learning_rate": 5e-3, "precision": "bf16"}
    train(few(training=longer), trackers=[watcher])
    losses = [event.loss for event in of(StepDone, watcher.seen)]
    assert np.isfinite(losses).all()
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])


def test_an_artifact_says_which_vector_it_reads(few: Values, tmp_path: Path) -> None:
    run = train(few(task={"name": "text-classification", "pooling": "first"}, training={"epochs": 1}))
    more: dict[str, Any] = {"model": {"source": str(run.artifact)}, "output": str(tmp_path / "again")}
    assert check({**few(), **more}).recipe.task.options.pooling == "first"
    again = train({**few(method="full", training={"epochs": 1}), **more})
    assert again.recipe.task.options.pooling == "own"
    assert "sentence_pooling" not in json.loads((again.artifact / "config.json").read_text())


def test_several_labels_an_example(few: Values, tmp_path: Path) -> None:
    rows = [(f"{one} and {two}", [a, b]) for (one, a), (two, b) in
            zip(reviews(16), reviews(16, seed=1)[1:] + reviews(16, seed=1)[:1], strict=True)]  # fmt: skip
    file = tmp_path / "several.jsonl"
    file.write_text("".join(json.dumps({"text": t, "label": sorted(set(labels))}) + "\n" for t, labels in rows))
    run = train(few(data={"train": str(file), "validation_size": 0, "test_size": 0.25}))
    assert isinstance(load(run.folder).predict(["the room was great"])[0]["labels"], list)


def test_lora_and_others_may_read_the_same_vectors(few: Values) -> None:
    for method in ("lora", "head"):
        values = few(task={"name": "text-classification", "pooling": "mean"}, method=method, training={"epochs": 2})
        run = train({**values, "output": values["output"] + method})
        assert load(run.folder).predict(["a room"])
    with pytest.raises(RecipeError, match="cannot be merged into the body"):
        check(few(task={"name": "text-classification", "pooling": "mean"}, method="p-tuning"))


# --- what does not go together


def test_what_does_not_go_together_is_refused(few: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(where: str, training: dict[str, Any] | None = None, **changes: Any) -> str:
        with pytest.raises(WeitiaoError) as caught:
            check(few("encoder", training, **changes))
        assert where in caught.value.where
        assert caught.value.fix
        return caught.value.problem

    options = {"name": "text-classification"}
    assert "does not have" in refused("method", task="text-regression", data=few()["data"])
    assert "one vector" in refused("task.pooling", task=options | {"pooling": "own"})
    assert "of pairs" in refused("task.focal", task=options | {"focal": 2.0})
    assert "of pairs" in refused("task.label_smoothing", task=options | {"label_smoothing": 0.1})
    assert "of pairs" in refused("task.class_weights", task=options | {"class_weights": "balanced"})
    assert "to mix" in refused("mixup", {"regularization": {"mixup": 0.2}})
    assert "to mix" in refused("r_drop", {"regularization": {"r_drop": 1.0}})
    assert "come together" in refused("resample", {"selection": {"resample": 0}})
    assert "come together" in refused("prune", {"selection": {"prune": 0.5}})
    assert "come together" in refused("curriculum", {"selection": {"curriculum": "length"}})
    assert "teacher" in refused("distillation", distillation={"teacher": "somewhere"})
    assert "mean of several" in refused("training.soup", {"soup": {}})
    for size in (1, 3):
        assert "tells two examples of a label from two of another" in refused(
            "training.batch_size", {"batch_size": size}
        )
    assert "cut a step" in refused("micro_batch_tokens", {"micro_batch_tokens": 12})
    with pytest.raises(RecipeError, match="together"):
        check(few(method={"name": "few-shot", "together": 1}))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "each process has a share" in refused("method.name")


def test_an_encoder_decoder_has_no_vector_of_a_text(few: Values) -> None:
    with pytest.raises(RecipeError, match="family seq2seq"):
        check(few("seq2seq"))
    with pytest.raises(RecipeError, match="two stacks"):
        check(few("seq2seq", method="full", task={"name": "text-classification", "pooling": "mean"}))
