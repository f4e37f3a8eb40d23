"""Strategies of active learning: what each ranks first, by its formula, and on real tiny models."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.samples import reviews
from tests.tiny import tiny_bert, tiny_llama
from weitiao import Recipe, load, registry, train
from weitiao.acquisition import choose
from weitiao.acquisition.badge import spread
from weitiao.acquisition.base import Gradients
from weitiao.acquisition.dropout import dropping, keep_mask
from weitiao.acquisition.seen import BaseView, ModelView, means
from weitiao.acquisition.uncertainty import disagreement, entropy, least_confidence, margin, surprise
from weitiao.errors import DataError, ModelError, RecipeError, WeitiaoError
from weitiao.sources import cache_folder
from weitiao.workshop.select.k_center import k_center

Values = Callable[..., dict[str, Any]]
POOL = [{"text": text} for text, _ in reviews(60)]
SENTENCES = [{"tokens": [*before, who, "in", where]} for before in ([], ["see"], ["nobody", "came"])
             for who in ("Anna", "Bob", "today") for where in ("Rome", "Oslo", "Bob")]  # fmt: skip


class Fixed:
    """A pool of which everything is known beforehand."""

    has_probabilities = True

    def __init__(self, probabilities: Any, vectors: Any = None, labelled: Any = None, passes: Any = None) -> None:
        self.probabilities, self.given, self.passes = np.array(probabilities, float), vectors, passes
        self.labelled = np.empty((0, 2), np.float32) if labelled is None else np.array(labelled, np.float32)

    def __len__(self) -> int:
        return len(self.probabilities)

    def measured(self, name: str, measure: Any) -> np.ndarray:
        return measure(self.probabilities)

    def measured_with_dropout(self, name: str, measure: Any, passes: int, rows: np.ndarray) -> np.ndarray:
        self.passed = rows
        return measure(np.array(self.passes, float)[:, rows])

    def vectors(self) -> np.ndarray:
        return np.array(self.given, np.float32)

    def labelled_vectors(self) -> np.ndarray:
        return self.labelled


def make(name: str, **options: Any) -> Any:
    kind = registry.get("acquisition", name)
    return kind(kind.Options(**options))


def ranked(name: str, seen: Any, number: int, seed: int = 0, **options: Any) -> list[int]:
    return make(name, **options).rank(seen, number, np.random.default_rng(seed)).rows.tolist()


@pytest.fixture(scope="session")
def sorted_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned good from bad on some of the reviews."""
    from tests.samples import texts, write_reviews

    folder = tmp_path_factory.mktemp("sorted")
    model = tiny_bert(folder / "model", texts(), initializer_range=0.3)
    run = train(Recipe(
        task="text-classification", model=str(model),
        data={"train": str(write_reviews(folder / "reviews.csv")), "validation_size": 0.0, "test_size": 0.1},
        training={"epochs": 1, "learning_rate": 1e-3, "batch_size": 16, "precision": "fp32", "seed": 7},
        evaluation={"bootstrap": 0, "baselines": False}, output=str(folder / "run"),
    ))  # fmt: skip
    return run.folder


# --- measures and strategies on numbers


def test_measures_are_their_formulas() -> None:
    p = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]])
    assert least_confidence(p) == pytest.approx([0.3, 0.6])
    assert margin(p) == pytest.approx([0.5, 0.95])
    assert entropy(p) == pytest.approx([-(row * np.log(row)).sum() for row in p])
    assert surprise(p) == pytest.approx(-np.log([0.7, 0.4]))
    assert entropy(np.array([[1.0, 0.0]])) == pytest.approx([0.0])
    agree, differ = np.array([[[0.5, 0.5]]] * 2), np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert disagreement(agree) == pytest.approx([0.0])  # unsure, and each pass alike
    assert disagreement(differ) == pytest.approx([np.log(2)])
    assert means(np.array([1.0, 3.0, 5.0]), np.array([2, 0, 1])) == pytest.approx([2.0, 0.0, 5.0])


def test_strategies_differ_where_their_formulas_do() -> None:
    seen = Fixed([[0.5, 0.49, 0.01], [0.45, 0.28, 0.27], [0.4, 0.39, 0.21], [0.9, 0.05, 0.05]])
    assert ranked("margin", seen, 2) in ([0, 2], [2, 0])
    assert ranked("least-confidence", seen, 1) == [2]
    assert ranked("entropy", seen, 4)[0] == 1 or ranked("entropy", seen, 4)[0] == 2
    assert ranked("entropy", seen, 4)[-1] == 3
    assert sorted(ranked("random", seen, 9)) == [0, 1, 2, 3]
    assert ranked("random", seen, 4, seed=1) != ranked("random", seen, 4, seed=2)


def test_bald_passes_over_the_unsure_of_a_large_pool_alone() -> None:
    first = np.tile([0.5, 0.5], (6, 1))
    first[0] = [0.99, 0.01]  # sure, so it is not passed over
    passes = np.stack([first, first])
    passes[:, 0] = [[1, 0], [0, 1]]
    passes[:, 3] = [[0.9, 0.1], [0.1, 0.9]]
    seen = Fixed(first, passes=passes)
    assert ranked("bald", seen, 1, among=5) == [3]
    assert 0 not in seen.passed
    assert ranked("bald", seen, 1, among=None) == [0]


def test_k_center_goes_away_from_what_is_labelled() -> None:
    vectors = np.array([[1, 0], [0.99, 0.14], [0, 1], [-1, 0]], np.float32)
    assert ranked("k-center", Fixed(np.zeros((4, 2)), vectors, labelled=[[1, 0]]), 2) == [3, 2]
    rows, distance = k_center(vectors, 4, 0, centres=np.array([[1, 0]], np.float32))
    assert rows.tolist() == [3, 2, 1, 0]
    assert distance[3] == pytest.approx(2.0)
    assert distance[2] == pytest.approx(2**0.5)  # when it was chosen


def test_density_leaves_the_outlier() -> None:
    vectors = [[1, 0], [1, 0], [1, 0], [-1, 0]]
    seen = Fixed([[0.6, 0.4], [0.9, 0.1], [0.9, 0.1], [0.5, 0.5]], vectors)
    assert ranked("density-weighted", seen, 1) == [0]
    assert ranked("density-weighted", seen, 1, beta=0) == [3]


def test_cluster_uncertain_takes_the_least_sure_of_each() -> None:
    angle = np.repeat([0, 2, 4], 5) + np.tile(np.linspace(0, 0.1, 5), 3)
    vectors = np.stack([np.cos(angle), np.sin(angle)], 1)
    p = np.tile([0.9, 0.1], (15, 1))
    p[[2, 7, 13]] = [[0.6, 0.4], [0.5, 0.5], [0.55, 0.45]]
    assert ranked("cluster-uncertain", Fixed(p, vectors), 3) == [7, 13, 2]
    cold = Fixed(p, vectors)
    cold.has_probabilities = False
    assert sorted(ranked("cluster-uncertain", cold, 3)) == [2, 7, 12]  # the middle of each


def test_badge_draws_by_the_distances_of_outer_products() -> None:
    random = np.random.default_rng(0)
    errors, inputs = random.normal(size=(40, 3)), random.normal(size=(40, 5))
    whole = np.einsum("na,nb->nab", errors, inputs).reshape(40, -1)
    found = spread(Gradients(errors, inputs), 40, np.random.default_rng(1))
    assert sorted(found.rows.tolist()) == list(range(40))
    assert found.rows[0] == (whole**2).sum(1).argmax()
    for place in range(1, 40):
        apart = ((whole[found.rows[:place]] - whole[found.rows[place]]) ** 2).sum(1)
        assert found.scores[place] == pytest.approx(apart.min())
    firsts = [spread(Gradients(errors, inputs), 2, np.random.default_rng(seed)).rows[1] for seed in range(3000)]
    chance = ((whole - whole[found.rows[0]]) ** 2).sum(1)
    assert np.bincount(firsts, minlength=40) / 3000 == pytest.approx(chance / chance.sum(), abs=0.02)


def test_badge_of_a_model_that_is_sure_of_all_takes_any() -> None:
    found = spread(Gradients(np.zeros((5, 2)), np.ones((5, 3))), 5, np.random.default_rng(0))
    assert sorted(found.rows.tolist()) == [0, 1, 2, 3, 4]


# --- what a model sees


def view(run: Path, examples: list[dict[str, Any]], **how: Any) -> ModelView:
    keys = np.arange(len(examples), dtype=np.uint64) * np.uint64(977)
    return ModelView(load(run, **how), examples, keys, lambda _, make: make())


def test_measures_are_those_of_what_the_model_predicts(sorted_out: Path) -> None:
    predicted = [p["probabilities"] for p in load(sorted_out).predict([row["text"] for row in POOL])]
    p = np.array([[each["bad"], each["good"]] for each in predicted])
    assert view(sorted_out, POOL).measured("margin", margin) == pytest.approx(margin(p), abs=1e-6)


def test_passes_hang_on_the_text_alone_and_differ(sorted_out: Path) -> None:
    seen = view(sorted_out, POOL)
    apart = lambda passes: np.ptp(passes[..., 0], axis=0)  # noqa: E731
    whole = seen.measured("apart", apart, 4)
    assert (whole > 1e-4).all()
    some = np.array([3, 40])
    assert seen.measured("apart", apart, 4, some) == pytest.approx(whole[some], abs=1e-6)  # padded otherwise
    assert seen.measured("margin", margin) == pytest.approx(seen.measured("margin", margin), abs=0)  # all put back


def test_a_dropout_mask_has_its_chance_and_each_row_its_own() -> None:
    kept = keep_mask(np.arange(50, dtype=np.uint64), 0, (50, 30, 32), 0.1)
    assert kept.mean() == pytest.approx(0.9, abs=0.01)
    assert kept.mean(axis=(1, 2)) == pytest.approx(0.9, abs=0.06)
    assert (kept[0] != kept[1]).any()
    assert (keep_mask(np.arange(1, dtype=np.uint64), 1, (1, 30, 32), 0.1)[0] != kept[0]).any()
    longer = keep_mask(np.arange(50, dtype=np.uint64), 0, (50, 40, 32), 0.1)
    assert (longer[:, :30] == kept).all()


def test_gradients_are_those_of_the_last_layer(sorted_out: Path) -> None:
    seen, predictor = view(sorted_out, POOL[:3]), load(sorted_out)
    model, reader = predictor.inference.model, predictor.inference.reader
    found = seen.gradients()
    for row, example in enumerate(POOL[:3]):
        model.zero_grad()
        logits = model(**reader.tokenizer(example["text"], return_tensors="pt")).logits
        functional.cross_entropy(logits, logits.argmax(-1)).backward()
        assert np.outer(found.errors[row], found.inputs[row]) == pytest.approx(
            model.classifier.weight.grad.numpy(), abs=1e-5
        )


def test_the_last_layer_of_a_decoder_is_read_at_the_last_token(recipe_values: Values) -> None:
    run = train(Recipe(**recipe_values("decoder", training__epochs=1, evaluation={"bootstrap": 0, "baselines": False})))
    seen, predictor = view(run.folder, POOL[:5]), load(run.folder)
    model, reader = predictor.inference.model, predictor.inference.reader
    found = seen.gradients()
    with torch.inference_mode():
        for row, example in enumerate(POOL[:5]):
            inputs = reader.tokenizer(example["text"], return_tensors="pt")
            states = model.base_model(inputs["input_ids"]).last_hidden_state
            assert found.inputs[row] == pytest.approx(states[0, -1].numpy(), abs=1e-4)


def test_a_model_without_dropout_says_so(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_llama(tmp_path / "llama"))
    with pytest.raises(ModelError, match="no dropout"), dropping(model, np.zeros(1, np.uint64), 0):
        pass


def test_vectors_are_kept_in_the_cache(recipe_values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(**recipe_values())
    texts = [[row["text"] for row in POOL]]
    first = BaseView(recipe).vectors(texts)
    assert np.linalg.norm(first, axis=1) == pytest.approx(np.ones(60), abs=1e-5)
    monkeypatch.setattr("weitiao.workshop.embeddings.Embedder.vectors", lambda *_: pytest.fail("computed again"))
    assert (BaseView(recipe).vectors(texts) == first).all()


# --- choosing


@pytest.mark.parametrize("name", [n for n in registry.names("acquisition") if n != "mnlp"])
def test_every_strategy_chooses_the_same_rows_for_a_seed(name: str, sorted_out: Path) -> None:
    recipe = load(sorted_out).artifact.recipe
    given: dict[str, Any] = {"strategy": name, "number": 5, "artifact": sorted_out, "seed": 3}
    query = choose(recipe, POOL, [0, 1], **given)
    assert len(set(query.rows)) == 5
    assert not {0, 1} & set(query.rows)
    assert all(np.isfinite(query.scores))
    assert query.guesses is not None
    assert set(query.guesses[0]["probabilities"]) == {"good", "bad"}
    again = choose(recipe, POOL, [0, 1], **given)
    assert (again.rows, again.scores) == (query.rows, query.scores)
    assert not list((cache_folder() / "acquisition").glob("*"))  # what was seen is of no use any more


@pytest.mark.parametrize("name", ["margin", "entropy", "least-confidence", "bald", "density-weighted", "mnlp"])
def test_bf16_ranks_as_fp32_but_for_rows_that_are_close(
    name: str, sorted_out: Path, ner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, run = (SENTENCES, ner) if name == "mnlp" else (POOL, sorted_out)
    given: dict[str, Any] = {"strategy": name, "number": len(pool), "artifact": run, "guesses": False}
    found = []
    for precision in ("fp32", "bf16"):
        monkeypatch.setattr("weitiao.acquisition.choosing.load", partial(load, precision=precision))
        query = choose(load(run).artifact.recipe, pool, **given)
        assert all(np.isfinite(query.scores))
        found.append(dict(zip(query.rows, query.scores, strict=True)))
    exact, rough = found
    assert exact != rough
    close = 0.1 * np.ptp(list(exact.values()))
    assert rough == pytest.approx(exact, abs=close)
    scores = np.array([exact[row] for row in rough])  # fp32's scores in the order of bf16
    assert (np.maximum.accumulate(scores[::-1])[::-1] - scores <= close).all()  # none that comes later is much higher


def test_badge_sees_in_bf16_what_it_sees_in_fp32(sorted_out: Path) -> None:
    exact, rough = (view(sorted_out, POOL, precision=each).gradients() for each in ("fp32", "bf16"))
    for one, other in ((exact.errors, rough.errors), (exact.inputs, rough.inputs)):
        assert other.dtype == np.float32
        assert (one != other).any()
    sure = (np.sign(exact.errors) == np.sign(rough.errors)).all(axis=1)  # the same answer
    assert sure.mean() > 0.8
    assert rough.errors[sure] == pytest.approx(exact.errors[sure], abs=0.05)
    apart = np.abs(rough.inputs - exact.inputs)  # of -1 to 1
    assert apart.mean() < 0.02
    assert np.quantile(apart, 0.999) < 0.1
    assert apart.max() < 0.2
    query = spread(rough, 60, np.random.default_rng(0))
    assert sorted(query.rows.tolist()) == list(range(60))
    assert np.isfinite(query.scores).all()


def test_a_text_is_not_chosen_twice(recipe_values: Values) -> None:
    pool = [{"text": "One  thing"}, {"text": "one thing"}, {"text": "another"}, {"text": "third"}, {"text": "Third"}]
    recipe = Recipe(**recipe_values())
    query = choose(recipe, pool, [2], strategy="random", number=9, also=[{"text": "THIRD"}])
    assert (query.rows, query.left, query.guesses) == ([0], 0, None)
    assert choose(recipe, pool, [0, 2, 3], strategy="random", number=9).rows == []
    assert len(choose(recipe, pool, strategy="k-center", number=9).rows) == 3
    assert sorted(choose(recipe, [*pool, {"text": " "}, {"text": None}], strategy="random", number=9).rows) == [0, 2, 3]


def test_a_cold_start_without_a_model(recipe_values: Values) -> None:
    recipe = Recipe(**recipe_values())
    for name in ("random", "k-center", "cluster-uncertain"):
        assert len(choose(recipe, POOL, strategy=name, number=4).rows) == 4
    with pytest.raises(RecipeError, match="'margin' asks a trained model, and there is none yet") as caught:
        choose(recipe, POOL, strategy="margin", number=4)
    assert caught.value.fix == "Begin with one of: cluster-uncertain, k-center, random."


def test_what_cannot_be_asked_for_is_told(recipe_values: Values, sorted_out: Path, ner: Path) -> None:
    recipe = Recipe(**recipe_values())
    with pytest.raises(RecipeError, match="unknown strategy 'margn'") as caught:
        choose(recipe, POOL, strategy="margn", number=4)
    assert "margin" in caught.value.fix
    with pytest.raises(RecipeError, match="beta"):
        choose(recipe, POOL, strategy={"name": "density-weighted", "beta": -1.0}, number=4)
    with pytest.raises(RecipeError, match="is for tasks that tag words"):
        choose(recipe, POOL, strategy="mnlp", number=4, artifact=sorted_out)
    with pytest.raises(RecipeError, match="one answer a text"):
        choose(load(ner).artifact.recipe, [{"tokens": ["a"]}], strategy="badge", number=4, artifact=ner)
    with pytest.raises(DataError, match="the rows have no text; they have: review"):
        choose(recipe, [{"review": "a"}], strategy="random", number=4)
    for row in (999, 60, -1):
        with pytest.raises(DataError, match=f"no row {row} in a pool of 60"):
            choose(recipe, POOL, [3, row], strategy="random", number=4)
    with pytest.raises(WeitiaoError, match="found 0"):
        choose(recipe, POOL, strategy="random", number=0)
    summaries = Recipe(**recipe_values("seq2seq", task={"name": "summarization"}))
    with pytest.raises(RecipeError, match="goes by probabilities, and the task 'summarization' gives none"):
        choose(summaries, POOL, strategy="margin", number=4)
    assert len(choose(summaries, POOL, strategy="k-center", number=4).rows) == 4


@pytest.mark.parametrize("name", ["mnlp", "margin", "entropy", "least-confidence", "bald", "density-weighted"])
def test_sentences_are_as_unsure_as_their_words(name: str, ner: Path) -> None:
    known = [{"tokens": ["see", who, "in", where, "today"]} for who in ("Anna", "Bob") for where in ("Rome", "Oslo")]
    odd = {"tokens": ["Oslo", "Oslo", "see", "Anna", "nobody", "today", "Bob"]}
    query = choose(load(ner).artifact.recipe, [*known, odd], strategy=name, number=5, artifact=ner)
    assert sorted(query.rows) == [0, 1, 2, 3, 4]
    if name in ("mnlp", "margin", "entropy", "least-confidence"):
        assert query.rows[0] == 4
    if name == "mnlp":
        found = load(ner).inference.task
        predictor = view(ner, [odd])
        surest: list[float] = []
        predictor.measured("seen", lambda p: surest.extend(p.max(-1)) or p.max(-1))
        assert len(surest) == 7
        assert query.scores[0] == pytest.approx(-np.mean(np.log(surest)), abs=1e-5)
        assert found.chooses() == "tags"


def test_of_several_labels_each_counts_by_itself(tmp_path: Path, tiny_model: Callable[[str], Path]) -> None:
    rows = [{"text": text, "label": [label, "long"] if len(text) > 30 else [label]} for text, label in reviews(80)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = train(Recipe(
        task="text-classification", model=str(tiny_model("encoder")),
        data={"train": str(tmp_path / "m.jsonl"), "test_size": 0.0, "validation_size": 0.0},
        training={"epochs": 1, "learning_rate": 1e-3, "precision": "fp32"}, output=str(tmp_path / "run"),
        evaluation={"bootstrap": 0, "baselines": False},
    ))  # fmt: skip
    query = choose(run.recipe, POOL, strategy="entropy", number=60, artifact=run.folder)
    assert query.guesses is not None
    for score, guess in list(zip(query.scores, query.guesses, strict=True))[:5]:
        p = np.array(list(guess["probabilities"].values()))
        assert score == pytest.approx(entropy(np.stack([p, 1 - p], 1)).mean(), abs=1e-5)
    assert len(choose(run.recipe, POOL, strategy="badge", number=6, artifact=run.folder).rows) == 6
    assert len(choose(run.recipe, POOL, strategy="bald", number=6, artifact=run.folder).rows) == 6


def test_looking_at_a_pool_goes_on_where_it_was_stopped(sorted_out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weitiao.acquisition.seen.CHUNK", 16)
    recipe, done = load(sorted_out).artifact.recipe, []

    def stop(what: str, rows: int, whole: int) -> None:
        done.append((rows, whole))
        if len(done) == 2:
            raise KeyboardInterrupt

    given: dict[str, Any] = {"strategy": "margin", "number": 5, "artifact": sorted_out, "guesses": False}
    with pytest.raises(KeyboardInterrupt):
        choose(recipe, POOL, tell=stop, **given)
    taken = []
    encode = type(load(sorted_out)).encode
    monkeypatch.setattr("weitiao.predictor.Predictor.encode", lambda *a: taken.append(len(a[1])) or encode(*a))
    query = choose(recipe, POOL, **given)
    assert sum(taken) == len(text_rows()) - 32
    monkeypatch.undo()
    assert choose(recipe, POOL, **given).rows == query.rows


def text_rows() -> list[str]:
    return list(dict.fromkeys(" ".join(row["text"].casefold().split()) for row in POOL))
