"""The task sentence-embedding: its loss, its copies, its scores, runs of it, and what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests import tiny
from tests.same import same_vectors_by_transformers, same_weights_when_computed_again, same_weights_when_resumed
from tests.samples import reviews, texts, write_texts
from tests.watching import Watcher, of
from weitiao import check, evaluate, load, registry, train
from weitiao.errors import RecipeError, WeitiaoError
from weitiao.evaluation.baselines.vectors import TfidfVectors
from weitiao.events import Evaluated, StepDone
from weitiao.loading import load_for_training
from weitiao.metrics import vectors as module
from weitiao.metrics.vectors import VectorScorer
from weitiao.models.pooling import pooling_of, say_pooling
from weitiao.preparation import as_recipe, prepare
from weitiao.tasks.sentence_embedding import SentenceEmbedding
from weitiao.tasks.vectors import thinned, view_losses

Values = Callable[..., dict[str, Any]]


@pytest.fixture
def texts_only(recipe_values: Values, tmp_path: Path) -> Values:
    """A recipe on 32 texts, 16 for validation and 16 to test on."""
    many = [text for text, _ in reviews(64)]

    def build(family: str = "encoder", training: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        settings = {"epochs": 2, "learning_rate": 1e-3, "batch_size": 16, "seed": 7, "precision": "fp32",
                    **(training or {})}  # fmt: skip
        data = {"train": write_texts(tmp_path / "train.jsonl", many[:32]),
                "validation": write_texts(tmp_path / "validation.jsonl", many[32:48]),
                "test": write_texts(tmp_path / "test.jsonl", many[48:])}  # fmt: skip
        given = {"task": "sentence-embedding", "training": settings, "data": data}
        return recipe_values(family, **{**given, "evaluation": {"bootstrap": 20}, **changes})

    return build


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- the loss


def test_the_loss_is_that_of_the_authors_code() -> None:
    """SimCSE's code: cross-entropy of ``cos(z1_i, z2_j) / T`` with i as the right answer."""
    one, other = drawn(7, 5), drawn(7, 5, seed=1)
    cosines = functional.cosine_similarity(one[:, None], other[None], dim=-1) / 0.05
    wanted = functional.cross_entropy(cosines, torch.arange(7), reduction="none")
    torch.testing.assert_close(view_losses(one, other, torch.arange(7), 0.05), wanted, rtol=1e-4, atol=1e-5)


def test_the_same_text_twice_is_no_negative() -> None:
    one, other = drawn(4, 5), drawn(4, 5, seed=1)
    found = view_losses(one, other, torch.tensor([0, 1, 0, 2]), 0.5)
    u, v = functional.normalize(one, dim=-1), functional.normalize(other, dim=-1)
    for row, among in enumerate(([0, 1, 3], [0, 1, 2, 3], [1, 2, 3], [0, 1, 2, 3])):
        below = sum(math.exp(float(u[row] @ v[j]) / 0.5) for j in among)
        assert float(found[row]) == pytest.approx(-math.log(math.exp(float(u[row] @ v[row]) / 0.5) / below), rel=1e-4)


def test_a_step_of_one_text_has_a_finite_gradient() -> None:
    for numbers in ([0], [0, 0]):
        one = drawn(len(numbers), 3).requires_grad_()
        found = view_losses(one, drawn(len(numbers), 3, seed=1), torch.tensor(numbers), 0.05).sum()
        found.backward()
        assert float(found.detach()) == pytest.approx(0)
        assert one.grad is not None
        assert torch.isfinite(one.grad).all()


def test_a_step_holds_each_text_twice_with_dropout_of_its_own(texts_only: Values) -> None:
    training, _ = load_for_training(prepare(as_recipe(texts_only())))
    (batch,) = training.collate(training.order(0)[0])
    assert len(batch.rows) == 32
    assert batch.targets == 16
    assert torch.equal(batch.inputs["input_ids"][:16], batch.inputs["input_ids"][16:])
    training.model.train()
    one, other = training.forward(training.model, batch).vectors.chunk(2)
    assert (one - other).abs().amax(dim=1).min() > 1e-3
    training.model.eval()
    one, other = training.forward(training.model, batch).vectors.chunk(2)
    torch.testing.assert_close(one, other)


def test_texts_of_the_same_tokens_have_the_same_number(texts_only: Values) -> None:
    ready = prepare(as_recipe(texts_only()))
    rows = ["the room was great", "the bed was cold", "the room was great"]
    found = ready.task.encode({"text": rows}, ready.reader)
    features = [{"input_ids": ids, "row": row} for row, ids in enumerate(found["input_ids"])]
    batch = ready.task.collate(features, ready.reader, training=True)
    assert batch.labels is not None
    assert batch.labels.tolist() == [0, 1, 0]


# --- copies


def test_half_of_the_tokens_is_deleted_alike_everywhere() -> None:
    ids = [101, *range(1, 12), 102]
    left = thinned(ids, {101, 102})
    assert left == sorted(left) == thinned(list(ids), {102, 101})
    assert len(left) == 2 + 6
    assert left[0] == 0
    assert left[-1] == 12
    assert len({tuple(thinned([101, *range(n, n + 11), 102], {101, 102})) for n in range(1, 20)}) > 10
    assert thinned([101, 5, 102], {101, 102}) == [0, 1, 2]
    assert thinned([101, 102], {101, 102}) == [0, 1]


# --- scores


def scorer(vectors: Any, copies: Any, names: list[str], temperature: float = 0.05) -> VectorScorer:
    made = VectorScorer(temperature, lambda example: example["text"])
    numbers = [sorted(set(names)).index(name) for name in names]
    predictions = [{"vector": one, "copy": other, "text": number}
                   for one, other, number in zip(vectors, copies, numbers, strict=True)]  # fmt: skip
    made.add([{"text": name} for name in names], predictions)
    return made


def unit(*shape: int, seed: int = 0) -> np.ndarray:
    found: np.ndarray = functional.normalize(drawn(*shape, seed=seed), dim=-1).numpy()
    return found


def test_scores_are_those_of_their_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, copies = unit(30, 4), unit(30, 4, seed=1) * 0.4 + unit(30, 4) * 0.6
    copies /= np.linalg.norm(copies, axis=1, keepdims=True)
    names = [f"text {n}" for n in range(30)]
    found = scorer(vectors, copies, names)
    near = copies @ vectors.T
    right = near.argmax(axis=1) == np.arange(30)
    assert 0 < right.mean() < 1
    scores = found.compute()
    assert scores["retrieval_accuracy"] == pytest.approx(right.mean())
    losses = functional.cross_entropy(torch.from_numpy(near) / 0.05, torch.arange(30), reduction="none")
    assert scores["contrastive_loss"] == pytest.approx(float(losses.mean()), rel=1e-4)
    assert scores["alignment"] == pytest.approx(((vectors - copies) ** 2).sum(axis=1).mean(), rel=1e-4)
    pairs = torch.pdist(torch.from_numpy(vectors)).pow(2).mul(-2).exp()  # as Wang & Isola's code
    assert scores["uniformity"] == pytest.approx(float(pairs.mean().log()), rel=1e-4)
    np.testing.assert_array_equal(found.outcomes(), right)
    some = np.array([0, 3, 3, 7])
    assert found.compute(some)["retrieval_accuracy"] == pytest.approx(right[some].mean())
    monkeypatch.setattr(module, "ROOM", 200)
    assert scorer(vectors, copies, names).compute() == pytest.approx(scores)
    told = found.scores()
    assert told.primary == "retrieval_accuracy"
    assert told.greater_is_better
    assert told.details["among"] == 30


def test_numbers_that_are_not_zero_give_the_same_scores() -> None:
    vectors, copies = unit(9, 6), unit(9, 6, seed=1)
    vectors[:, 5], copies[:, 4] = 0, 0
    names = [str(n) for n in range(9)]
    thin = [[{place: float(value) for place, value in enumerate(row) if value} for row in each]
            for each in (vectors, copies)]  # fmt: skip
    assert scorer(*thin, names).compute() == pytest.approx(scorer(vectors, copies, names).compute(), rel=1e-5)
    example = {"text": "a"}
    one, other = (made.tell(example, {"vector": v, "copy": c}) for made, v, c in
                  ((scorer(*thin, names), thin[0][0], thin[1][0]), (scorer(vectors, copies, names), vectors[0],
                                                                     copies[0])))  # fmt: skip
    assert one.right == pytest.approx(other.right, abs=1e-6)
    assert one.measure == other.measure == "cosine_of_copy"


def test_a_model_that_says_the_same_of_all_finds_nothing() -> None:
    same = np.tile(unit(1, 4), (5, 1))
    scores = scorer(same, same, list("abcde")).compute()
    assert scores["retrieval_accuracy"] == 0
    assert scores["contrastive_loss"] == pytest.approx(math.log(5), rel=1e-4)
    assert scores["uniformity"] == pytest.approx(0, abs=1e-5)


def test_the_same_text_is_no_other_and_one_text_has_none() -> None:
    vectors = np.array([[1.0, 0], [1.0, 0], [0, 1.0]])
    assert scorer(vectors, vectors, ["a", "a", "b"]).compute()["retrieval_accuracy"] == 1
    alone = scorer(vectors[:2], vectors[:2], ["a", "a"]).compute()
    assert alone["retrieval_accuracy"] == 0
    assert "uniformity" not in alone


# --- runs


def test_texts_are_told_apart_better_and_what_was_before_stands_beside_it(texts_only: Values) -> None:
    watcher = Watcher()
    training = {"epochs": 60, "patience": None, "evaluate_every": 60, "learning_rate": 3e-3}
    run = train(texts_only(training=training), trackers=[watcher])
    told = json.loads((run.folder / "scores.json").read_text())["test"]
    found, before = told["scores"]["values"], told["baselines"]["the model before training"]["values"]
    assert set(told["baselines"]) == {"the model before training", "TF-IDF"}
    assert found["uniformity"]["value"] < before["uniformity"]["value"] - 1
    losses = [event.loss for event in of(StepDone, watcher.seen)]
    assert np.mean(losses[-6:]) < 0.5 * np.mean(losses[:6])
    assert 0 < told["baselines"]["TF-IDF"]["values"]["retrieval_accuracy"]["value"] <= 1
    assert all("retrieval_accuracy" in event.scores for event in of(Evaluated, watcher.seen))
    assert run.score is not None
    report = (run.folder / "report.html").read_text()
    assert "retrieval accuracy" in report
    scores = evaluate(run.folder, str(texts_only()["data"]["test"])).scores
    assert scores.values["retrieval_accuracy"].value == pytest.approx(found["retrieval_accuracy"]["value"])


def test_a_copy_is_what_the_encoder_makes_of_the_tokens_that_are_left(texts_only: Values) -> None:
    run = train(texts_only(training={"epochs": 1}))
    inference, task = load(run.folder).inference, load(run.folder).inference.task
    assert isinstance(task, SentenceEmbedding)
    rows = ["the room was great and the view was awful", "a cold bed"]
    ids = task.encode({"text": rows}, inference.reader)["input_ids"]
    features = [{"input_ids": each, "row": row, "length": len(each)} for row, each in enumerate(ids)]
    with torch.no_grad():
        found = task.measure(inference.model, task.collate(features, inference.reader), inference.reader)
    special = {inference.reader.tokenizer.cls_token_id, inference.reader.tokenizer.sep_token_id}
    for each, answer in zip(ids, found, strict=True):
        left = [each[place] for place in thinned(each, special)]
        assert len(left) < len(each)
        for tokens, vector in ((each, answer["vector"]), (left, answer["copy"])):
            one = [{"input_ids": tokens, "row": 0, "length": len(tokens)}]
            with torch.no_grad():
                made = inference.model(**task.collate(one, inference.reader).inputs).vectors[0]
            np.testing.assert_allclose(vector, functional.normalize(made, dim=-1).numpy(), atol=1e-5)


def test_tf_idf_is_that_of_scikit_learn(texts_only: Values) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    ready = prepare(as_recipe(texts_only()))
    task, on = ready.task, {name: ready.labelled(name) for name in ready.splits}
    assert isinstance(task, SentenceEmbedding)
    baseline = TfidfVectors(task)
    baseline.fit(on, lambda: pytest.fail("not asked"))  # type: ignore[arg-type]
    theirs = TfidfVectorizer(sublinear_tf=True, analyzer=lambda ids: ids)
    theirs.fit([task.counted(ids) for ids in ready.features["train"]["input_ids"]])
    tokens = ready.features["test"]["input_ids"]
    known = theirs.vocabulary_
    for which, read in (("vector", list), ("copy", task.copied)):
        wanted = [task.counted(read(ids)) for ids in tokens]
        for answer, ids, row in zip(
            baseline.predict(on["test"]), wanted, theirs.transform(wanted).toarray(), strict=True
        ):
            ours = {known[token]: weight for token, weight in answer[which].items() if token in known}
            length = math.sqrt(sum(weight**2 for weight in ours.values()))
            assert set(answer[which]) == set(ids)
            np.testing.assert_allclose([ours.get(n, 0.0) / length for n in range(len(row))], row, atol=1e-6)


def test_texts_that_a_model_reads_alike_are_one(texts_only: Values, tmp_path: Path) -> None:
    values, file = texts_only(), write_texts(tmp_path / "alike.jsonl", ("A room", "a room", "the bed", "a view"))
    run = train({**values, "data": {**values["data"], "test": file}})
    assert json.loads((run.folder / "scores.json").read_text())["test"]["scores"]["details"]["among"] == 3


def test_blocks_may_be_computed_again(texts_only: Values) -> None:
    same_weights_when_computed_again(texts_only)


def test_the_artifact_is_an_encoder_that_says_its_pooling(texts_only: Values, recipe_values: Values) -> None:
    run = train(texts_only(task={"name": "sentence-embedding", "pooling": "first"}))
    assert pooling_of(run.artifact) == "first"
    kinds = [each["type"].rpartition(".")[2] for each in json.loads((run.artifact / "modules.json").read_text())]
    assert kinds == ["Transformer", "Pooling", "Normalize"]
    rows = ["the room was great", "the bed was cold and the view awful, visit 3"]
    same_vectors_by_transformers(run, rows, "first")
    for method in ("few-shot", "head", "full"):
        values = recipe_values(method=method, model=str(run.artifact), evaluation={"bootstrap": 0, "baselines": False})
        values["output"] += method
        if method == "few-shot":
            assert check(values).recipe.task.options.pooling == "first"
        again = train(values)
        assert load(again.folder).predict(rows)[0]["label"] in ("good", "bad")


def test_vectors_from_the_shell(texts_only: Values, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from weitiao.cli.main import main

    run, file = train(texts_only(training={"epochs": 1})), tmp_path / "new.jsonl"
    file.write_text('{"id": 1, "text": "the room was great"}\n{"id": 2, "text": "a cold bed"}\n')
    wanted = [answer["vector"] for answer in load(run.folder).predict(["the room was great", "a cold bed"])]

    def said(*words: str) -> str:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["weitiao", "predict", str(run.folder), *words])
        with pytest.raises(SystemExit) as ended:
            raise SystemExit(main())
        assert not ended.value.code
        return capsys.readouterr().out

    rows = [json.loads(line) for line in said(str(file)).splitlines()]
    assert [row["id"] for row in rows] == [1, 2]
    np.testing.assert_allclose([row["vector"] for row in rows], wanted, atol=1e-5)
    np.testing.assert_allclose(json.loads(said("a cold bed"))["vector"], wanted[1], atol=1e-5)
    assert len(wanted[0]) == 32
    assert set(rows[0]) == {"id", "text", "vector"}


def test_stopped_and_resumed_is_bit_identical(texts_only: Values, tmp_path: Path) -> None:
    values = texts_only(training={"checkpoint_every": 1, "epochs": 3}, evaluation={"bootstrap": 0, "baselines": False})
    same_weights_when_resumed(values, tmp_path, 3)


def test_what_is_not_said_is_as_in_the_paper(texts_only: Values) -> None:
    values = texts_only()
    del values["training"]["epochs"], values["training"]["batch_size"]
    recipe = check(values).recipe
    assert (recipe.training.epochs, recipe.training.batch_size) == (1, 64)
    assert recipe.origin("training.batch_size").startswith("auto: sentence-embedding")
    assert recipe.task.options.pooling == "mean"
    assert recipe.origin("training.micro_batch_tokens").startswith("auto: the examples of a step are compared")


def test_it_is_told_that_a_sentence_encoder_may_become_worse(texts_only: Values, tmp_path: Path) -> None:
    folder = tiny.tiny_bert(tmp_path / "trained", texts())
    assert not [each for each in check(texts_only(model=str(folder))).findings if "already" in each.problem]
    say_pooling(folder, "first", 32, 64)
    found = check(texts_only(model=str(folder)))
    (told,) = [each for each in found.findings if "already" in each.problem]
    assert told.level == "warning"
    assert found.recipe.task.options.pooling == "first"
    assert found.recipe.origin("task.pooling") == "auto: what the encoder was trained with"


# --- what does not go together


def test_what_does_not_go_together_is_refused(texts_only: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(where: str, family: str = "encoder", training: dict[str, Any] | None = None, **changes: Any) -> str:
        with pytest.raises(WeitiaoError) as caught:
            check(texts_only(family, training, **changes))
        assert where in caught.value.where
        assert caught.value.fix
        return caught.value.problem

    for family in ("decoder", "seq2seq"):
        assert f"family {family}" in refused("task", family)
    assert "compares each text" in refused("training.batch_size", training={"batch_size": 1})
    assert "cut a step" in refused("micro_batch_tokens", training={"micro_batch_tokens": 20})
    assert "does not have" in refused("method", method="few-shot")
    assert "nothing would be trained" in refused("method", method="head")
    assert "cannot be merged" in refused("task.pooling", method="p-tuning")
    assert "to compare" in refused("r_drop", training={"regularization": {"r_drop": 1.0}})
    assert "to mix" in refused("mixup", training={"regularization": {"mixup": 0.2}})
    assert "to go by" in refused("prune", training={"selection": {"prune": 0.5}})
    with pytest.raises(RecipeError, match="temperature"):
        check(texts_only(task={"name": "sentence-embedding", "temperature": 0}))
    with pytest.raises(RecipeError, match="objective"):
        check(texts_only(task={"name": "sentence-embedding", "objective": "simsce"}))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "each process has a share" in refused("method.name")


def test_a_model_without_dropout_is_refused_unless_something_has_some(texts_only: Values, tmp_path: Path) -> None:
    still = tiny.tiny_bert(tmp_path / "still", texts(), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    with pytest.raises(RecipeError, match="no dropout: both vectors") as caught:
        check(texts_only(model=str(still)))
    assert "regularization.dropout" in caught.value.where
    assert "0.1" in caught.value.fix
    off = {"regularization": {"dropout": 0.0, "attention_dropout": 0.0}}
    with pytest.raises(RecipeError, match="no dropout"):
        check(texts_only(training=off))
    check(texts_only(model=str(still), training={"regularization": {"dropout": 0.1}}))
    check(texts_only(model=str(still), method={"name": "lora", "dropout": 0.1}))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["a room", "", "a bed"], "1 row with an empty text"),
        (["a room", "A bed", "  "], "1 row with an empty text"),
        (["a room", "a room", "a room"], "no two different texts"),
        (["a room", "A Room", "a ROOM"], "no two different texts"),
    ],
)
def test_texts_with_nothing_to_compare_are_refused(
    rows: list[str], said: str, texts_only: Values, tmp_path: Path
) -> None:
    file = write_texts(tmp_path / "odd.jsonl", rows)
    data = {"train": file, "validation_size": 0, "test_size": 0, "duplicates": "anywhere"}
    with pytest.raises(WeitiaoError, match=said):
        train(texts_only(data=data))
    with pytest.raises(WeitiaoError, match="has no text"):
        run = train(texts_only(training={"epochs": 1}))
        load(run.folder).predict(["a room", " "])


def test_beside_other_tasks_it_is_refused(texts_only: Values, tmp_path: Path) -> None:
    part = {"task": "sentence-embedding", "data": texts_only()["data"]}
    other = {"task": "text-classification", "data": {"train": str(tmp_path / "reviews.csv")}}
    values = texts_only(task={"name": "multi-task", "tasks": {"vectors": part, "mood": other}})
    del values["data"]
    with pytest.raises(RecipeError, match="is learned by itself"):
        check(values)


def test_the_registry_names_it() -> None:
    assert registry.get("task", "sentence-embedding").families == {"encoder"}
