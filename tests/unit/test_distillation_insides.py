"""A student that learns what goes on inside of its teacher: states, layer maps, distances, runs, refusals."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests import tiny
from tests.same import not_resumed_beside_another, same_weights, stopped
from tests.unit.test_distillation import values, write
from tests.watching import Watcher, of
from weitiao import Recipe, check, load, resume, train
from weitiao.artifacts.run_folder import Run
from weitiao.cli.main import main
from weitiao.errors import ModelError, RecipeError
from weitiao.events import CheckpointSaved, LayersUnwell, StepDone
from weitiao.kernels import quickly
from weitiao.loading import load_for_training, settled, with_usual_rate
from weitiao.models.states import Attended, States, Wanted, Watch
from weitiao.preparation import Preparation, prepare
from weitiao.recipe import MatchSettings
from weitiao.records import Batch
from weitiao.tasks.text_classification import LabelSet, TextClassification
from weitiao.teaching import with_teacher
from weitiao.training.layer_maps import LayerMaps, layer_maps, uniform
from weitiao.training.match import (
    PROJECTIONS,
    RATE,
    Inside,
    Match,
    Matched,
    Until,
    attach,
    attention_distance,
    counts,
    detach,
    hidden_distance,
    paces,
    relation_distance,
)
from weitiao.training.recompute import check_recomputed

NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0}

# --- which block from which


@pytest.mark.parametrize(("student", "teacher", "pairs"), [
    (3, 6, ((0, 1), (1, 3), (2, 5))),
    (4, 12, ((0, 2), (1, 5), (2, 8), (3, 11))),  # as in TinyBERT
    (4, 6, ((0, 1), (1, 2), (2, 4), (3, 5))),
    (2, 2, ((0, 0), (1, 1))),
    (1, 5, ((0, 4),)),
    (6, 3, ((1, 0), (3, 1), (5, 2))),
])  # fmt: skip
def test_blocks_are_spread_evenly_and_the_last_learns_from_the_last(
    student: int, teacher: int, pairs: tuple[tuple[int, int], ...]
) -> None:
    assert uniform(student, teacher) == pairs
    assert layer_maps("uniform", student, teacher) == LayerMaps(pairs, pairs, pairs)
    assert layer_maps("auto", student, teacher) == LayerMaps(pairs, pairs, (pairs[-1],))
    last = ((student - 1, teacher - 1),)
    assert layer_maps("last", student, teacher) == LayerMaps(last, last, last)


def test_blocks_that_were_taken_learn_from_where_they_stood() -> None:
    found = layer_maps("auto", 3, 6, [0, 2, 5])
    assert found == LayerMaps(((0, 1), (1, 4), (2, 5)), ((0, 0), (1, 2), (2, 5)), ((2, 5),))
    assert layer_maps("auto", 2, 6, [4, 1]).attention == uniform(2, 6)  # in another order they are no part of it
    assert layer_maps("uniform", 3, 6, [0, 2, 4]).attention == uniform(3, 6)


def test_pairs_are_blocks_that_there_are() -> None:
    named = ((0, 5), (2, 1))
    assert layer_maps([[0, 5], [2, 1]], 3, 6) == LayerMaps(named, named, named)
    for pairs, told in (
        ([[3, 0]], "the student has no block 3: it has 3, numbered from 0"),
        ([[0, 6]], "the teacher has no block 6"),
        ([[0, -1]], "the teacher has no block -1"),
        ([[0, 1], [0, 2]], "named twice"),
        ([], "names no blocks"),
    ):
        with pytest.raises(ValueError, match=told):
            layer_maps(pairs, 3, 6)


# --- distances


def real(*lengths: int) -> torch.Tensor:
    return torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]


def attended(heads: int, key_heads: int, width: int, seed: int, *, rows: int = 2, tokens: int = 4, **more: Any) -> Any:
    random = torch.Generator().manual_seed(seed)
    query = torch.randn(rows, heads, tokens, width, generator=random)
    key, value = (torch.randn(rows, key_heads, tokens, width, generator=random) for _ in range(2))
    return Attended(query, key, value, **{"scaling": 0.3, "seen": None, "bias": None, **more})


def test_hidden_states_are_apart_by_their_squared_distance_at_real_tokens() -> None:
    random = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 4, 5, generator=random) for _ in range(2))
    student[0, 2:] = float("inf")  # whatever stands at padding
    found = hidden_distance(student, teacher, real(2, 4))
    for row, length in enumerate((2, 4)):
        each = [
            sum((float(student[row, t, w]) - float(teacher[row, t, w])) ** 2 for w in range(5))
            / sum(float(teacher[row, t, w]) ** 2 for w in range(5))
            for t in range(length)
        ]
        assert float(found[row]) == pytest.approx(sum(each) / length, rel=1e-5)
    assert torch.equal(hidden_distance(teacher, teacher, real(2, 4)), torch.zeros(2))
    far = hidden_distance(100 * teacher, 50 * teacher, real(2, 4))
    assert torch.allclose(far, torch.ones(2))  # by the size of the teacher's


def test_attention_is_apart_by_the_scores_of_what_is_seen() -> None:
    seen, bias = torch.ones(4, 4, dtype=torch.bool).tril(), torch.randn(1, 4, 4, 4)
    one, other = attended(4, 2, 3, 1, seen=seen), attended(4, 4, 5, 2, bias=bias)
    found = attention_distance(one, other, real(3, 4))
    for row, length in enumerate((3, 4)):
        off = []
        for head in range(4):
            for i in range(length):
                for j in range(i + 1):
                    own = 0.3 * float(one.query[row, head, i] @ one.key[row, head // 2, j])
                    theirs = 0.3 * float(other.query[row, head, i] @ other.key[row, head, j]) + float(
                        bias[0, head, i, j]
                    )
                    off.append((own - theirs) ** 2)
        assert float(found[row]) == pytest.approx(sum(off) / len(off), rel=1e-4)


@pytest.mark.parametrize("seen", [None, torch.ones(4, 4, dtype=torch.bool).tril()])
def test_relations_are_apart_by_their_divergence_whatever_the_widths(seen: torch.Tensor | None) -> None:
    one, other = attended(2, 2, 6, 1, seen=seen), attended(4, 2, 3, 2)  # widths 12 and 12, of keys 12 and 6
    found = relation_distance(one, other, real(3, 4), 3)
    for row, length in enumerate((3, 4)):
        wanted = 0.0
        for name in ("query", "key", "value"):
            sides = [getattr(each, name)[row].transpose(0, 1).flatten(1) for each in (other, one)]  # (tokens, width)
            total = 0.0
            for head in range(3):
                cut = [side.chunk(3, -1)[head] for side in sides]
                for i in range(length):
                    there = range(i + 1) if seen is not None else range(length)
                    p, q = ([math.exp(float(c[i] @ c[j]) / math.sqrt(c.shape[1])) for j in there] for c in cut)
                    p, q = ([each / sum(side) for each in side] for side in (p, q))
                    total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
            wanted += total / (3 * length)
        assert float(found[row]) == pytest.approx(wanted, rel=1e-4)
    same = relation_distance(one, one, real(3, 4), 3)
    assert torch.allclose(same, torch.zeros(2), atol=1e-6)


def test_gradients_are_finite_where_there_is_padding_and_a_single_token() -> None:
    one, other = attended(2, 2, 4, 1), attended(2, 2, 4, 2)
    for each in (one.query, one.key, one.value):
        each.requires_grad_()
    states = torch.randn(2, 4, 8, requires_grad=True)
    lengths = real(1, 4)
    total = attention_distance(one, other, lengths) + relation_distance(one, other, lengths, 4)
    (total + hidden_distance(states, torch.zeros(2, 4, 8), lengths)).sum().backward()  # type: ignore[no-untyped-call]
    for each in (one.query, one.key, one.value, states):
        assert each.grad is not None
        assert each.grad.isfinite().all()
    assert states.grad is not None
    assert not states.grad[0, 1:].any()  # nothing is learned of padding


def matched(**settings: Any) -> Match:
    return Match(MatchSettings(**settings), layer_maps("uniform", 2, 4), 2, (8, 8))


def test_each_kind_has_its_weight_and_is_a_mean_over_blocks() -> None:
    random = torch.Generator().manual_seed(3)
    states = [States(torch.randn(2, 4, 8, generator=random),
                     {number: torch.randn(2, 4, 8, generator=random) for number in range(4)},
                     {number: attended(2, 2, 4, 10 * side + number) for number in range(4)})
              for side in range(2)]  # fmt: skip
    lengths = real(3, 4)
    off = {
        "hidden": [hidden_distance(states[0].hidden[m], states[1].hidden[n], lengths) for m, n in ((0, 1), (1, 3))],
        "attention": [attention_distance(states[0].attended[m], states[1].attended[n], lengths)
                      for m, n in ((0, 1), (1, 3))],
        "relations": [relation_distance(states[0].attended[m], states[1].attended[n], lengths, 2)
                      for m, n in ((0, 1), (1, 3))],
        "embeddings": [hidden_distance(*(each.embeddings for each in states), lengths)],  # type: ignore[arg-type]
    }  # fmt: skip
    weights = {"hidden": 2.0, "attention": 0.5, "relations": 3.0, "embeddings": 0.25}
    wanted = sum(weights[name] * sum(each) / len(each) for name, each in off.items())
    assert torch.allclose(matched(**weights).distance(*states, lengths), wanted, rtol=1e-5)
    for name, weight in weights.items():
        alone = dict.fromkeys(weights, 0.0) | {name: weight}
        wanted = weight * sum(off[name]) / len(off[name])
        assert torch.allclose(matched(**alone).distance(*states, lengths), wanted, rtol=1e-5)


# --- rows and steps


@pytest.mark.parametrize(("labels", "wanted"), [
    (None, [1, 1]),
    (torch.tensor([3, 0]), [1, 1]),
    (torch.tensor([[1.0, 0, 1], [0, 0, 0]]), [3, 3]),  # any number of labels: each is a target
    (torch.tensor([[-100, 5, -100, 2], [-100, -100, -100, 7]]), [2, 1]),
    (torch.tensor([[3, 4], [-100, -100]]), [1, 0]),  # an answer's two ends, and a window that teaches nothing
])  # fmt: skip
def test_a_row_counts_as_often_as_it_has_targets(labels: torch.Tensor | None, wanted: list[int]) -> None:
    batch = Batch({"input_ids": torch.ones(2, 4, dtype=torch.long)}, labels, 1.0, 8, [0, 1])
    assert counts(batch).tolist() == wanted


def test_the_loss_is_what_it_says() -> None:
    states = [States(None, {0: torch.randn(2, 3, 4), 1: torch.randn(2, 3, 4)}) for _ in range(2)]
    match = Match(MatchSettings(hidden=1.5, attention=0.0), layer_maps("uniform", 2, 2), 1, (4, 4))
    inputs = {"input_ids": torch.ones(2, 3, dtype=torch.long), "attention_mask": real(2, 3).long()}
    batch = Batch(inputs, torch.tensor([0, 1]), 2.0, 5, [0, 1])
    apart = float(match.distance(*states, real(2, 3)).sum())
    asked: list[Any] = []

    def labels(outputs: Any, _: Batch) -> torch.Tensor:
        asked.append(outputs)
        return torch.tensor(7.0)

    inside = Inside("own", "theirs", *states, None)
    for rest, pair, wanted in (
        (0.6, False, 0.6 * 7 + 0.4 * apart),
        (1.0, True, 7 + 0.4 * apart),
        (0, False, 0.4 * apart),
    ):
        asked.clear()
        assert float(Matched(labels, match, 0.4, rest, pair)(inside, batch)) == pytest.approx(wanted, rel=1e-5)
        assert asked == ([("own", "theirs")] if pair else ["own"] if rest else [])
    over = Inside("own", "theirs", None, None, None)
    assert float(Matched(labels, match, 0.4, 0.0, False)(over, batch)) == 7


def test_a_class_weighs_in_the_insides_as_it_does_in_the_loss() -> None:
    """So that each part of the loss is a weighted mean with the same weights, and `share` is the share it says."""
    states = [States(None, {0: torch.randn(4, 3, 4), 1: torch.randn(4, 3, 4)}) for _ in range(2)]
    match = Match(MatchSettings(hidden=1.0, attention=0.0), layer_maps("uniform", 2, 2), 1, (4, 4))
    inputs = {"input_ids": torch.ones(4, 3, dtype=torch.long), "attention_mask": real(2, 3, 3, 1).long()}
    apart = match.distance(*states, real(2, 3, 3, 1))
    inside = Inside("own", None, *states, None)
    known = LabelSet(labels=["a", "b"], multi_label=False, weights=[3.0, 0.5])
    classes = TextClassification(TextClassification.Options(class_weights={"a": 3.0, "b": 0.5}), known)
    labels, targets = classes._label_tensor([0, 1, 1, 0])
    batch = Batch(inputs, labels, targets, 12, [0, 1, 2, 3])
    assert counts(batch, classes.target_weights(batch)).sum() == targets == 7
    loss = Matched(lambda *_: torch.tensor(0.0), match, 0.4, 0.0, False, classes.target_weights)
    weights = torch.tensor([3.0, 0.5, 0.5, 3.0])
    wanted = float(0.4 * (weights * apart).sum() / weights.sum())
    assert float(loss(inside, batch)) / targets == pytest.approx(wanted, rel=1e-5)
    several = TextClassification(TextClassification.Options(class_weights={"a": 3.0}),
                                 LabelSet(labels=["a", "b"], multi_label=True, weights=[3.0, 1.0]))  # fmt: skip
    labels, targets = several._label_tensor([[0], [1], [], [0, 1]])
    batch = Batch(inputs, labels, targets, 12, [0, 1, 2, 3])  # of positives alone: an example counts its labels
    assert counts(batch, several.target_weights(batch)).tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize("task", ["text-classification", "token-classification"])
def test_the_share_is_what_it_says_whatever_classes_weigh(
    task: str, student: Callable[..., dict[str, Any]], teacher: Run, tmp_path: Path
) -> None:
    """A step's loss by the formula; with the whole share the insides' weights cannot hide behind the labels'."""
    found = {}
    for scale in (1.0, 10.0):
        weights = {"good": 3.0, "bad": 0.5} if task == "text-classification" else {"PLACE": 3.0, "O": 0.5}
        recipe = student(share=1.0)
        recipe["task"] = {"name": task, "class_weights": {name: scale * each for name, each in weights.items()}}
        if task == "token-classification":
            recipe |= {"model": {"source": str(teacher.folder.parent / "narrow")}}
            recipe["data"]["train"] = str(sentences(tmp_path / "tags.jsonl"))
            del recipe["distillation"]["match"]["outputs"]
            recipe["distillation"]["match"]["attention"] = 0.0
        ready, training = started(recipe)
        training.model.train()
        batches = training.collate(training.order(0)[0])
        with torch.no_grad():
            loss = sum(float(training.loss(training.forward(training.model, batch), batch)) for batch in batches)
        found[scale] = loss / sum(batch.targets for batch in batches)
        for batch in batches:
            own = counts(batch, ready.task.target_weights(batch))
            assert float(own.sum()) == pytest.approx(batch.targets, rel=1e-6)
            assert len(set(own.tolist())) > 1
    assert found[1.0] > 0
    assert found[1.0] == pytest.approx(found[10.0], rel=1e-5)


def test_the_end_of_it_is_kept() -> None:
    until, model = Until(0.5), nn.Linear(1, 1)
    seen = []
    for step in range(1, 9):
        until.after_step(model, step, 8)
        seen.append(until.over)
    assert seen == [False] * 3 + [True] * 5
    again = Until(0.5)
    again.restore(model, until.state(model))
    assert again.over
    again.restore(model, {})
    assert not again.over


# --- states


def batch_of(tokenizer: Any, *texts: str) -> dict[str, torch.Tensor]:
    return dict(tokenizer(list(texts), padding=True, return_tensors="pt", return_token_type_ids=False))


TEXTS = ("the film was good and we liked it very much", "a bad book", "where is my new card")


@pytest.fixture(scope="module", params=["bert", "roberta", "llama", "gpt2", "modernbert", "distilbert"])
def any_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A model with PyTorch's attention, and its tokenizer."""
    from transformers import AutoModel, AutoTokenizer, DistilBertConfig, ModernBertConfig

    folder, name = tmp_path_factory.mktemp("models") / request.param, request.param
    if name == "llama":
        tiny.tiny_llama(folder, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=3)
    elif name == "gpt2":
        tiny.tiny_gpt2(folder, n_layer=3)
    elif name == "roberta":
        tiny.tiny_masked_roberta(folder, num_hidden_layers=3)
    else:
        tiny.tiny_bert(folder, num_hidden_layers=3)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    shape: dict[str, Any] = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(0)
    if name == "distilbert":
        return AutoModel.from_config(DistilBertConfig(dim=32, n_layers=3, n_heads=2, hidden_dim=64, **shape)), tokenizer
    if name == "modernbert":
        shape |= {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
        special = dict.fromkeys(("cls_token_id", "sep_token_id", "bos_token_id", "eos_token_id"), 1)
        return AutoModel.from_config(ModernBertConfig(local_attention=6, **shape, **special)), tokenizer
    return AutoModel.from_pretrained(folder), tokenizer


@pytest.mark.parametrize("quick", [False, True])
def test_what_is_caught_is_what_the_model_computes(any_model: tuple[Any, Any], quick: bool) -> None:
    model, tokenizer = any_model
    model.eval()
    inputs = batch_of(tokenizer, *TEXTS)
    there = inputs["attention_mask"].bool()
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    with torch.no_grad():
        plain = model(**inputs, output_hidden_states=True, output_attentions=True)
    model.set_attn_implementation(before)
    watch = Watch(model, Wanted(frozenset({0, 1, 2}), frozenset({0, 2}), embeddings=True))
    hooks = [len(block._forward_hooks) + len(block._forward_pre_hooks) for block in watch.blocks]  # the library's
    with quickly(model, "fp32", learns=True) if quick else torch.no_grad(), torch.no_grad():
        alone = model(**inputs).last_hidden_state
        with watch.watching() as states:
            watched = model(**inputs).last_hidden_state
    assert torch.equal(alone, watched)  # computed as ever
    assert model.config._attn_implementation == before
    assert [len(block._forward_hooks) + len(block._forward_pre_hooks) for block in watch.blocks] == hooks
    assert states.embeddings is not None
    assert torch.allclose(states.embeddings[there], plain.hidden_states[0][there], atol=1e-5)
    for number in (0, 1):  # behind the last block some have a norm more
        assert torch.allclose(states.hidden[number][there], plain.hidden_states[number + 1][there], atol=1e-5)
    assert states.attended.keys() == {0, 2}
    for number, found in states.attended.items():
        key = found.key.repeat_interleave(found.query.shape[1] // found.key.shape[1], 1)
        scores = found.query @ key.transpose(-1, -2) * found.scaling
        seen = there[:, None, None, :] if found.seen is None else there[:, None, None, :] & found.seen
        likely = scores.masked_fill(~seen, -1e9).softmax(-1)
        rows = there[:, None, :, None].expand_as(likely)
        assert torch.allclose(likely[rows], plain.attentions[number][rows], atol=1e-5)


def test_a_teacher_computes_no_more_than_is_wanted(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tiny.tiny_bert(tmp_path, num_hidden_layers=3)
    model, tokenizer = (each.from_pretrained(tmp_path) for each in (AutoModelForSequenceClassification, AutoTokenizer))
    called: list[str] = []
    for name in ("bert.encoder.layer.1", "bert.encoder.layer.2", "classifier"):
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: called.append(name))
    watch = Watch(model, Wanted(frozenset({1})))
    with watch.watching(alone=True) as states:
        model(**batch_of(tokenizer, *TEXTS))
    assert called == ["bert.encoder.layer.1"]
    assert states.hidden.keys() == {1}
    with watch.watching():
        model(**batch_of(tokenizer, *TEXTS))
    assert called[1:] == ["bert.encoder.layer.1", "bert.encoder.layer.2", "classifier"]
    with pytest.raises(ValueError, match="mine"), watch.watching():
        raise ValueError("mine")
    assert model.config._attn_implementation == "sdpa"


def test_models_that_cannot_be_looked_into_are_refused() -> None:
    from transformers import AlbertConfig, AlbertModel, DebertaV2Config, DebertaV2Model

    shape = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 64}
    one_again = AlbertModel(AlbertConfig(vocab_size=50, embedding_size=16, **shape))
    with pytest.raises(ModelError, match="the blocks of a 'albert' model are not one list"):
        Watch(one_again, Wanted(frozenset({0})))
    own_attention = DebertaV2Model(DebertaV2Config(vocab_size=50, **shape))
    Watch(own_attention, Wanted(frozenset({0})))
    with pytest.raises(ModelError, match="the attention of a 'deberta-v2' model cannot be looked into"):
        Watch(own_attention, Wanted(attended=frozenset({0})))


# --- projections


def test_projections_are_there_where_widths_differ_and_draw_no_numbers_of_others() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    same = Match(MatchSettings(), layer_maps("last", 2, 2), 1, (8, 8))
    attach(model, same, 0)
    assert not hasattr(model, PROJECTIONS)
    wider = Match(MatchSettings(embeddings=1.0), layer_maps("last", 2, 2), 1, (4, 8))
    torch.manual_seed(5)
    attach(model, wider, 0)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
    layers = getattr(model, PROJECTIONS)
    assert [tuple(layers[name].weight.shape) for name in ("hidden", "embeddings")] == [(8, 4), (8, 4)]
    weight = layers["hidden"].weight.detach()
    assert torch.allclose(weight.T @ weight, torch.eye(4), atol=1e-5)
    found = paces(model, 5e-5, 1.0)
    assert {name: round(pace.rate, 6) for name, pace in found.items()} == dict.fromkeys(
        (f"{PROJECTIONS}.hidden.weight", f"{PROJECTIONS}.embeddings.weight"), 20.0
    )
    states = [States(torch.randn(1, 3, width), {1: torch.randn(1, 3, width)}) for width in (4, 8)]
    alone = Match(MatchSettings(attention=0.0), wider.maps, 1, (4, 8))
    wanted = hidden_distance(states[0].hidden[1] @ weight.T, states[1].hidden[1], real(3))
    assert torch.allclose(alone.distance(*states, real(3), layers), wanted)
    detach(model)
    assert not hasattr(model, PROJECTIONS)
    assert list(dict(model.named_parameters())) == ["0.weight", "0.bias"]


# --- runs


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of four blocks that has learned which words are good."""
    folder = tmp_path_factory.mktemp("teacher")
    texts = [row[0] for row in csv.reader(write(folder / "right.csv").open())]
    tiny.tiny_bert(folder / "model", texts, num_hidden_layers=4, hidden_size=64, intermediate_size=128)
    tiny.tiny_bert(folder / "narrow", texts, num_hidden_layers=2, hidden_size=32)
    tiny.tiny_bert(folder / "heads", texts, num_hidden_layers=2, hidden_size=32, num_attention_heads=4)
    return train(Recipe(**values(folder, folder / "model", folder / "run", epochs=15)))


@pytest.fixture
def student(teacher: Run, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The recipe of a student with two of the teacher's blocks; `model`: the name of another one."""

    def build(
        model: str = "", training: dict[str, Any] | None = None, share: float = 1.0, **match: Any
    ) -> dict[str, Any]:
        folder = teacher.folder.parent
        wanted = {"teacher": str(teacher.folder), "share": share, "match": {"outputs": 0.0, "attention": 1.0, **match}}
        found = values(folder, folder / model if model else teacher.artifact, tmp_path / "run", distillation=wanted)
        if not model:
            found["model"]["layers"] = [0, 2]
        found["training"] |= {"regularization": NO_DROPOUT, "learning_rate": 1e-3} | (training or {})
        return found

    return build


def losses(recipe: dict[str, Any]) -> list[float]:
    watcher = Watcher()
    train(Recipe(**recipe), trackers=[watcher])
    found = [event.loss for event in of(StepDone, watcher.seen)]
    assert all(map(math.isfinite, found))
    return found


def falls(found: list[float], to: float = 0.8) -> bool:
    return sum(found[-3:]) < to * sum(found[:3])


@pytest.mark.parametrize("model", ["", "narrow"])
@pytest.mark.parametrize("kind", ["hidden", "attention", "relations", "embeddings"])
def test_a_student_comes_nearer_to_its_teacher(model: str, kind: str, student: Callable[..., dict[str, Any]]) -> None:
    if kind == "embeddings" and not model:
        pytest.skip("they are the teacher's own")
    weights = dict.fromkeys(("hidden", "attention", "relations", "embeddings"), 0.0) | {kind: 1.0}
    assert falls(losses(student(model, training={"epochs": 10}, **weights)))


def test_the_teacher_itself_is_at_no_distance(student: Callable[..., dict[str, Any]]) -> None:
    copy = student(training={"epochs": 1, "learning_rate": 1e-9}, relations=1.0, embeddings=1.0, layers="uniform")
    del copy["model"]["layers"]
    assert max(losses(copy)) < 1e-4


def test_in_bf16_it_comes_nearer_too(student: Callable[..., dict[str, Any]]) -> None:
    assert falls(losses(student("narrow", training={"epochs": 10, "precision": "bf16"}, relations=1.0)), 0.9)


def test_labels_and_probabilities_are_learned_beside(student: Callable[..., dict[str, Any]], teacher: Run) -> None:
    wanted = student(share=0.5, outputs=1.0, training={"epochs": 8})
    run = train(Recipe(**wanted))
    assert run.score is not None
    assert run.score > 0.9
    told = json.loads((run.folder / "report.json").read_text())
    assert any("learned of the teacher's insides: hidden of blocks 0, 1 from 1, 3, attention of blocks 0, 1 from 0, 2"
               in each["problem"] for each in told["findings"])  # fmt: skip
    assert run.scores["test"]["beside_teachers"][0]["teacher"] == str(teacher.folder)


def started(recipe: dict[str, Any]) -> tuple[Preparation, Any]:
    ready = with_teacher(prepare(Recipe(**recipe)))
    return ready, load_for_training(ready)[0]


def test_the_whole_loss_is_the_sum_of_its_parts(student: Callable[..., dict[str, Any]]) -> None:
    parts = {}
    for name, (share, settings) in {
        "labels and probabilities": (0.4, None),
        "insides": (1.0, {"hidden": 2.0, "attention": 0.5}),
        "whole": (0.4, {"hidden": 2.0, "attention": 0.5, "outputs": 1.0}),
    }.items():
        recipe = student(share=share, **(settings or {}))
        if settings is None:
            del recipe["distillation"]["match"]
        _, training = started(recipe)
        training.model.train()
        [batch] = training.collate(training.order(0)[0])
        with torch.no_grad():
            parts[name] = float(training.loss(training.forward(training.model, batch), batch))
    assert parts["whole"] == pytest.approx(parts["labels and probabilities"] + 0.4 * parts["insides"], rel=1e-5)


def test_projections_move_and_are_not_kept(student: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    kept: list[dict[str, torch.Tensor]] = []
    moments: list[set[str]] = []

    class Checkpoints(Watcher):
        def record(self, event: Any) -> None:
            if isinstance(event, CheckpointSaved):
                folder = tmp_path / "run" / "checkpoints" / event.path
                kept.append(load_file(folder / "weights.safetensors"))
                moments.append(set(load_file(folder / "optimizer.safetensors")))

    recipe = student("narrow", training={"epochs": 4})
    run = train(Recipe(**recipe), trackers=[Checkpoints()])
    name = f"{PROJECTIONS}.hidden.weight"
    assert len(kept) >= 2
    assert all(each[name].shape == (64, 32) for each in kept)
    assert not torch.equal(kept[0][name], kept[-1][name])
    assert f"exp_avg/{name}" in moments[-1]
    assert not [key for key in load_file(run.artifact / "model.safetensors") if PROJECTIONS in key]
    load(run.folder).predict(["the room was good today"])
    lora = student("narrow", training={"epochs": 1}) | {"method": "lora", "output": str(tmp_path / "lora")}
    run = train(Recipe(**lora))
    for file in run.artifact.rglob("*.safetensors"):
        assert not [key for key in load_file(file) if PROJECTIONS in key]


def test_the_teacher_stays_as_it_is(student: Callable[..., dict[str, Any]], teacher: Run) -> None:
    def weights() -> str:
        return hashlib.sha256((teacher.artifact / "model.safetensors").read_bytes()).hexdigest()

    before = weights()
    _, training = started(student("narrow", relations=1.0))
    [watched] = [training.forward.teacher.watch.blocks]
    parameters = [p for block in watched for p in block.parameters()]
    were = [p.detach().clone() for p in parameters]
    training.model.train()
    [batch] = training.collate(training.order(0)[0])
    training.loss(training.forward(training.model, batch), batch).backward()
    training.optimizer.step()
    assert all(p.grad is None and not p.requires_grad for p in parameters)
    assert all(map(torch.equal, were, parameters))
    assert not any(block.training for block in watched)
    own = [p for _, p in training.model.named_parameters()]
    assert sum(p.grad is not None for p in own) > len(own) - 8  # all but what stands above the last block
    train(Recipe(**student("narrow")))
    assert weights() == before


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_blocks_that_are_computed_again_learn_the_same(student: Callable[..., dict[str, Any]], precision: str) -> None:
    _, training = started(student("narrow", training={"precision": precision}, relations=1.0, embeddings=1.0))
    [batch] = training.collate(training.order(0)[0])
    with quickly(training.model, precision, learns=True):
        check_recomputed(training.model, batch, training.forward, training.loss, training.autocast)


def test_cutting_a_step_changes_nothing(student: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    found = []
    for number, tokens in enumerate(("auto", 30)):
        recipe = student("narrow", share=0.6, outputs=1.0, relations=0.5,
                         training={"epochs": 2, "micro_batch_tokens": tokens})  # fmt: skip
        found.append(losses(recipe | {"output": str(tmp_path / str(number))}))
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.parametrize("until", [1.0, 0.5])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    until: float, student: Callable[..., dict[str, Any]], teacher: Run, tmp_path: Path
) -> None:
    own = tmp_path / "teacher"
    shutil.copytree(teacher.artifact, own)
    recipe = student("narrow", share=0.5, training={"epochs": 3, "regularization": {}}, until=until)
    recipe["distillation"]["teacher"] = str(own)
    whole = train(Recipe(**recipe))
    for at in (3, 8):  # of about 12 steps: before and after the end of it
        cut = stopped(recipe, tmp_path / f"cut-{at}", at)
        shutil.copytree(cut, tmp_path / f"kept-{at}")
        same_weights(whole, resume(cut))
    not_resumed_beside_another(own, tmp_path / "kept-3")


def test_projections_keep_their_rate_and_their_end_beside_a_range_test(student: Callable[..., dict[str, Any]]) -> None:
    recipe = student("narrow", training={"epochs": 10, "learning_rate": "range-test"}, until=0.5)
    ready = with_usual_rate(with_teacher(prepare(Recipe(**recipe))))
    training, _ = load_for_training(ready)
    ready = replace(ready, recipe=ready.recipe.resolved({"training.learning_rate": (0.25, "found")}))
    moved = settled(ready, training).paces
    [pace] = {pace for name, pace in moved.items() if "projections" in name}
    assert pace.rate * 0.25 == pytest.approx(RATE)
    assert [step for step in range(10) if pace.moves(step, 10)] == [0, 1, 2, 3, 4]


def test_projections_whose_time_is_over_are_not_called_unwell(student: Callable[..., dict[str, Any]]) -> None:
    watcher = Watcher()
    train(Recipe(**student("narrow", training={"epochs": 25}, until=0.3)), trackers=[watcher])
    assert not [event for event in of(LayersUnwell, watcher.seen) if "projections" in str(event)]


def test_after_its_share_of_the_steps_the_labels_are_learned_alone(student: Callable[..., dict[str, Any]]) -> None:
    recipe = student("narrow", training={"epochs": 4}, until=0.5)  # share: 1
    found = losses(recipe)
    _, training = started(recipe)
    training.parts["match"].after_step(training.model, 9, 10)
    [batch] = training.collate(training.order(0)[0])
    with torch.no_grad():
        inside = training.forward(training.model, batch)
    assert (inside.student, inside.teacher, inside.said) == (None, None, None)
    assert float(training.loss(inside, batch)) == pytest.approx(len(batch.rows) * math.log(2), rel=0.3)
    half = round(len(found) / 2)
    assert found[half] == pytest.approx(math.log(2), rel=0.3)  # nothing of them was learned by then


def test_the_teachers_pass_is_in_the_forecast(
    student: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from weitiao.training.match import TeacherInside

    asked: list[int] = []
    real_call = TeacherInside.__call__

    def counted(self: TeacherInside, batch: Batch, *, watched: bool) -> Any:
        asked.append(len(batch.rows))
        return real_call(self, batch, watched=watched)

    monkeypatch.setattr(TeacherInside, "__call__", counted)
    found = check(Recipe(**student()))
    assert "forecast" in found.facts
    assert len(asked) >= 3


def test_frozen_layers_are_not_kept_beside_it(student: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    from weitiao.frozen import with_frozen_part

    ready, training = started(student("heads", attention=0.0) | {"method": {"name": "layers", "top": 1}})
    ready, plan = with_frozen_part(ready, training)
    assert plan is None
    assert "matched" in ready.recipe.origin("training.cache_frozen")


# --- other tasks


def sentences(path: Path) -> Path:
    rows = []
    for number, row in enumerate(list(csv.reader(write(path.with_suffix(".csv")).open()))[1:]):
        tokens = row[0].split() + ["was", "nice"] * (number % 4)
        tags = ["B-PLACE" if at == 1 else "O" for at in range(len(tokens))]
        rows.append({"tokens": tokens, "tags": tags})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_task_without_probabilities_learns_the_insides(
    student: Callable[..., dict[str, Any]], teacher: Run, tmp_path: Path
) -> None:
    """Also of a teacher that learned another task; a step may be cut where rows have different numbers of targets."""
    data = sentences(tmp_path / "tags.jsonl")
    found = []
    for number, tokens in enumerate(("auto", 30)):
        recipe = student("narrow", share=0.5, training={"epochs": 2, "micro_batch_tokens": tokens})
        recipe |= {"task": "token-classification", "output": str(tmp_path / f"run-{number}")}
        recipe["data"]["train"] = str(data)
        del recipe["distillation"]["match"]["outputs"]
        found.append(losses(recipe))
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert falls(found[0], 0.95)


def test_a_teacher_of_the_same_task_is_measured_beside_its_student(
    student: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    data = sentences(tmp_path / "tags.jsonl")
    first = student("narrow") | {"task": "token-classification", "output": str(tmp_path / "teacher")}
    first["data"]["train"] = str(data)
    del first["distillation"]
    teacher = train(Recipe(**first))
    second = student(share=0.5) | {"task": "token-classification"}
    second["model"] = {"source": str(teacher.artifact), "layers": [1]}
    second["data"]["train"] = str(data)
    second["distillation"] = {"teacher": str(teacher.folder), "match": {}}
    run = train(Recipe(**second))
    [beside] = run.scores["test"]["beside_teachers"]
    assert beside["score_there"] == pytest.approx(teacher.score)
    assert beside["parameters_here"] < beside["parameters_there"]


def test_texts_alone_teach_the_insides(teacher: Run, tmp_path: Path) -> None:
    """The general distillation of both papers: no labels, and no masked words are learned."""
    folder = teacher.folder.parent
    texts = [row[0] for row in csv.reader((folder / "right.csv").open())]
    (tmp_path / "texts.txt").write_text("\n\n".join(texts))
    tiny.tiny_masked_bert(tmp_path / "model", texts, num_hidden_layers=2)
    recipe = values(folder, tmp_path / "model", tmp_path / "run", epochs=6)
    recipe |= {"task": "language-modeling", "distillation": {"teacher": str(teacher.folder), "share": 1.0, "match": {}}}
    recipe["data"] = {"train": str(tmp_path / "texts.txt"), "test_size": 0.2}
    recipe["training"]["regularization"] = NO_DROPOUT
    assert falls(losses(recipe), 0.9)


def test_a_model_as_it_was_pretrained_teaches_its_insides(
    student: Callable[..., dict[str, Any]], teacher: Run, tmp_path: Path
) -> None:
    recipe = student("narrow", training={"epochs": 10})
    recipe["distillation"]["teacher"] = str(teacher.folder.parent / "model")
    assert falls(losses(recipe))
    recipe["distillation"]["match"]["outputs"], recipe["output"] = 1.0, str(tmp_path / "other")
    with pytest.raises(RecipeError, match=r"is no run, and knows none of the labels[\s\S]*outputs: 0"):
        check(Recipe(**recipe), forecast=False)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Run:
    from tests.unit.test_distillation_texts import rows, written
    from tests.unit.test_distillation_texts import values as writes

    folder = tmp_path_factory.mktemp("writer")
    words = [text for row in rows() for text in row.values()]
    tiny.tiny_llama(folder / "model", words, num_hidden_layers=4, num_key_value_heads=1)
    tiny.tiny_llama(folder / "narrow", words, hidden_size=16, num_hidden_layers=2)
    return train(Recipe(**writes(written(folder / "rows.jsonl", rows()), folder / "model", folder / "run", epochs=3)))


@pytest.mark.parametrize("outputs", [0.0, 1.0])
@pytest.mark.parametrize("model", ["", "narrow"])
def test_a_decoder_learns_them_beside_the_next_tokens(writer: Run, model: str, outputs: float, tmp_path: Path) -> None:
    from tests.unit.test_distillation_texts import values as writes

    folder = writer.folder.parent
    wanted = {"teacher": str(writer.folder), "level": "token", "share": 1.0,
              "match": {"outputs": outputs, "relations": 1.0}}  # fmt: skip
    recipe = writes(folder / "rows.jsonl", folder / model if model else writer.artifact, tmp_path / "run", epochs=8,
                    distillation=wanted)  # fmt: skip
    if not model:
        recipe["model"]["layers"] = [0, 2]
    recipe["training"]["learning_rate"] = 3e-3
    assert falls(losses(recipe))


def test_where_texts_are_written_the_level_is_that_of_tokens(writer: Run, tmp_path: Path) -> None:
    from tests.unit.test_distillation_texts import values as writes

    wanted: dict[str, Any] = {"teacher": str(writer.folder), "match": {}}
    recipe = writes(writer.folder.parent / "rows.jsonl", writer.artifact, tmp_path / "run", distillation=wanted)
    with pytest.raises(RecipeError, match=r"in place of the data's[\s\S]*level: token"):
        check(Recipe(**recipe), forecast=False)


# --- what does not go together


@pytest.mark.parametrize(("model", "match", "more", "told"), [
    ("", {"hidden": 0, "attention": 0}, {}, "are all 0"),
    ("", {"layers": [[0, 4]]}, {}, r"the teacher has no block 4[\s\S]*\[student, teacher\]"),
    ("", {"layers": [[0, 1, 2]]}, {}, r"distillation\.match\.layers"),
    ("", {"layers": "unifrm"}, {}, r"distillation\.match\.layers"),
    ("", {"until": 0.0}, {}, r"distillation\.match\.until"),
    ("", {"hiden": 1}, {}, "hidden"),
    ("heads", {}, {}, r"4 attention heads, and .* 2[\s\S]*relations"),
    ("heads", {"attention": 0, "relations": 1.0, "relation_heads": 3}, {}, r"into 3 parts[\s\S]*1, 2, 4, 8, 16, 32"),
    ("", {}, {"temperature": 4.0}, "no probabilities of the teacher are learned"),
    ("", {}, {"unlabelled": "x.csv"}, "of examples without a label"),
    ("", {}, {"prompt": "{text}"}, "no text of the teacher is learned"),
    ("", {}, {"teacher": {"base_url": "http://x/v1", "model": "m"}}, "the insides of one model are learned"),
    ("", {}, {"teacher": "./nowhere"}, r"nowhere.*distillation\.teacher|distillation\.teacher.*nowhere"),
])  # fmt: skip
def test_what_does_not_go_together_is_told(
    model: str, match: dict[str, Any], more: dict[str, Any], told: str, student: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:  # fmt: skip
    with pytest.raises(RecipeError, match=told):
        recipe = student(model, **match)
        recipe["distillation"] |= more
        check(Recipe(**recipe), forecast=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("training", "told"), [
    ({"regularization": {"r_drop": 1.0}}, "goes through each batch once"),
    ({"regularization": {"mixup": 0.2}}, "goes through each batch once"),
    ({"selection": {"prune": 0.5}}, "by the loss of their labels"),
])  # fmt: skip
def test_what_runs_a_batch_otherwise_does_not_go_with_it(
    training: dict[str, Any], told: str, student: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(RecipeError, match=told):
        check(Recipe(**student(training=training)), forecast=False)


def test_two_teachers_an_encoder_decoder_and_other_tokens_are_refused(
    student: Callable[..., dict[str, Any]], teacher: Run, tmp_path: Path
) -> None:
    recipe = student()
    recipe["distillation"]["teacher"] = [str(teacher.folder)] * 2
    with pytest.raises(RecipeError, match="the insides of one model"):
        check(Recipe(**recipe), forecast=False)
    tiny.tiny_t5(tmp_path / "t5")
    recipe = student() | {"model": {"source": str(tmp_path / "t5")}}
    del recipe["training"]["regularization"]
    with pytest.raises(RecipeError, match="is an encoder-decoder"):
        check(Recipe(**recipe), forecast=False)
    tiny.tiny_bert(tmp_path / "bert", ["quite other words"])
    with pytest.raises(RecipeError, match=r"another vocabulary than .* tokens are not the same number"):
        check(Recipe(**student() | {"model": {"source": str(tmp_path / "bert")}}), forecast=False)
    tiny.tiny_llama(tmp_path / "llama")
    recipe["model"] = {"source": str(tmp_path / "llama")}
    with pytest.raises(RecipeError, match="is of the family encoder"):
        check(Recipe(**recipe), forecast=False)


def test_a_method_that_moves_nothing_of_it_or_puts_tokens_before_the_text_is_refused(
    student: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="with the method 'head' nothing moves in the blocks that are matched"):
        check(Recipe(**student() | {"method": "head"}))
    with pytest.raises(RecipeError, match="puts tokens of its own before the text"):
        check(Recipe(**student() | {"method": "prompt"}), forecast=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["check", "train"])
def test_the_command_line_tells_what_is_wrong_in_words(
    command: str, student: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(student("heads")))
    monkeypatch.setattr("sys.argv", ["weitiao", command, str(file)])
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main())
    told = "".join(capsys.readouterr())
    assert ended.value.code == 2
    assert "attention heads" in told
    assert "distillation.match" in told
    assert "Traceback" not in told
    assert not (tmp_path / "run").exists()


def test_what_a_model_does_not_know_is_not_given_to_it(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, BertConfig

    from weitiao.models.pooled import pooled_class
    from weitiao.passes import _takes

    tiny.tiny_bert(tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert _takes(plain, "token_type_ids")
    assert not _takes(plain, "speaker_ids")
    config = BertConfig.from_pretrained(tmp_path, num_labels=2)
    config.sentence_pooling = "mean"
    assert _takes(pooled_class(config)(config), "token_type_ids")  # on to its body
    whatever: Any = SimpleNamespace(
        forward=lambda *_, **__: None, base_model=SimpleNamespace(forward=lambda *_, **__: None)
    )
    assert _takes(whatever, "input_ids")
