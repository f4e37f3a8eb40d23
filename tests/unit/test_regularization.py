"""Penalties, mixout, R-Drop, dropout, the average of the weights: each against its formula, and through a whole run."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.same import same_weights, same_weights_when_resumed, stopped
from tests.unit.test_recovery import STEPS, Line, training, weights
from tests.watching import Watcher, of
from weitiao import check, load, resume, train
from weitiao.errors import RecipeError
from weitiao.events import Event, StepDone
from weitiao.loading import load_for_training
from weitiao.methods.parts import body_parameters
from weitiao.models import dropouts, with_dropout
from weitiao.preparation import as_recipe, prepare
from weitiao.recipe import RegularizationSettings
from weitiao.records import UNTRAINED, Batch, Score, Scores
from weitiao.tasks.divergence import divergence
from weitiao.tasks.question_answering import QuestionAnswering, QuestionAnsweringOptions
from weitiao.tasks.sequences import token_divergence
from weitiao.tasks.text_classification import LabelSet, TextClassification, TextClassificationOptions
from weitiao.tasks.token_classification import TagSet, TokenClassification, TokenClassificationOptions
from weitiao.training.average import Average, Moving
from weitiao.training.checkpoint import Checkpoints
from weitiao.training.fit import fit
from weitiao.training.mixout import Mixout, mix
from weitiao.training.mixup import MixedLoss, Mixup
from weitiao.training.penalty import Penalty
from weitiao.training.r_drop import Agreement, TwoPasses

Values = Callable[..., dict[str, Any]]


@pytest.fixture
def quick(recipe_values: Values) -> Values:
    """A recipe of two short epochs; `training` adds to its settings."""

    def build(family: str = "encoder", training: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        settings = {"epochs": 2, "learning_rate": 3e-3, "batch_size": 16, "seed": 7, "precision": "fp32"}
        evaluation = {"bootstrap": 0, "baselines": False}
        return recipe_values(family, training=settings | (training or {}), evaluation=evaluation, **changes)

    return build


# --- penalties


def test_the_penalty_is_the_formula_and_so_is_its_gradient() -> None:
    model = Line()
    settings = RegularizationSettings(l1=0.1, l2=0.2, l2_sp=0.3)
    penalty = Penalty(settings, model, {"below.weight", "below.bias"})
    began = model.below.weight.detach().clone()
    with torch.no_grad():
        model.below.weight.add_(torch.randn(4, 4))
    found = penalty.penalty(model)
    assert found is not None
    below, line = model.below.weight, model.line.weight
    wanted = 0.1 * (below.abs().sum() + line.abs().sum())
    wanted = wanted + 0.15 * (below - began).square().sum() + 0.1 * line.square().sum()
    torch.testing.assert_close(found, wanted)
    (2 * found).backward()
    gradients = [p.grad for p in model.parameters()]
    model.zero_grad()
    (2 * wanted).backward()
    for ours, theirs in zip(gradients, [p.grad for p in model.parameters()], strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            torch.testing.assert_close(ours, theirs)


def test_the_penalty_leaves_out_what_does_not_move() -> None:
    model = Line()
    penalty = Penalty(RegularizationSettings(l2=1.0), model)
    model.below.requires_grad_(False)
    torch.testing.assert_close(penalty.penalty(model), model.line.weight.square().sum() / 2)
    model.line.requires_grad_(False)
    assert penalty.penalty(model) is None
    only = Penalty(RegularizationSettings(l2_sp=1.0), Line(), ())
    assert only.penalty(Line()) is None


def test_the_loss_of_a_step_is_told_without_the_penalty(tmp_path: Path) -> None:
    plain = training()
    first = of(StepDone, list(fit(plain, Checkpoints(tmp_path / "a"), None, threading.Event())))[0]
    made = training()
    made.parts = {"penalty": Penalty(RegularizationSettings(l1=0.5), made.model)}
    wanted = 0.5 * float(sum(p.detach().abs().sum() for p in made.model.parameters() if p.ndim == 2))
    events: list[Event] = list(fit(made, Checkpoints(tmp_path / "b"), None, threading.Event()))
    assert of(StepDone, events)[0].loss == first.loss
    assert of(StepDone, events)[0].penalty == pytest.approx(wanted)
    assert first.penalty == 0
    assert float(made.model.below.weight.abs().sum()) < float(plain.model.below.weight.abs().sum())


# --- mixout


def test_mixout_is_the_papers_formula() -> None:
    torch.manual_seed(0)
    weight, began, p = torch.randn(50, 40), torch.randn(50, 40), 0.3
    mixed = mix(weight, began, p)
    replaced = (mixed - began).abs() < 1e-6
    m = replaced.float()
    torch.testing.assert_close(mixed, (m * began + (1 - m) * weight - p * began) / (1 - p))
    assert float(m.mean()) == pytest.approx(p, abs=0.04)


def test_mixout_keeps_the_expected_weight_and_is_nothing_at_0() -> None:
    torch.manual_seed(0)
    weight, began = torch.randn(20, 10), torch.randn(20, 10)
    torch.testing.assert_close(mix(weight, began, 0.0), weight)
    drawn = torch.stack([mix(weight, began, 0.7) for _ in range(4000)])
    spread = (weight - began).abs() * math.sqrt(0.7 / 0.3) / math.sqrt(4000)  # of the mean of 4000 draws
    assert float(((drawn.mean(0) - weight).abs() / spread).max()) < 5


def test_mixout_from_0_is_dropout_of_weights() -> None:
    """Eq. 5 of the paper with w0 = 0."""
    torch.manual_seed(0)
    weight = torch.randn(30, 30)
    found = mix(weight, torch.zeros(30, 30), 0.5)
    assert set(torch.unique((found / weight).round(decimals=4)).tolist()) == {0.0, 2.0}


def test_mixout_reaches_only_what_was_pretrained_and_puts_all_back() -> None:
    model = Line()
    mixout = Mixout(0.5, model, {"below.weight", "below.bias"}, lambda model, batch: model(**batch.inputs))
    assert list(mixout.layers) == ["below.weight"]
    own, names = model.below.weight, [name for name, _ in model.named_parameters()]
    with torch.no_grad():
        own.add_(1.0)
    batch = Batch({"x": torch.randn(3, 4)}, None, 3.0, 3, [0, 1, 2])
    model.eval()
    one, other = mixout(model, batch), mixout(model, batch)
    assert not torch.equal(one, other)  # drawn anew
    one.sum().backward()
    assert model.below.weight is own
    assert [name for name, _ in model.named_parameters()] == names
    assert own.grad is not None
    assert 0 < int((own.grad == 0).sum()) < 16  # replaced entries learn nothing in this pass


def test_mixout_leaves_a_matrix_alone_that_is_the_embeddings_too(tiny_model: Callable[[str], Path]) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model("decoder"), tie_word_embeddings=True)
    body = body_parameters(model)
    names = {name for name, p in model.named_parameters() if id(p) in body}
    mixed = Mixout(0.5, model, names, lambda *_: None).layers
    assert "model.embed_tokens.weight" in names
    assert "model.embed_tokens.weight" not in mixed
    assert "model.layers.0.self_attn.q_proj.weight" in mixed


# --- R-Drop


def both_ways(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """(KL(P, Q) + KL(Q, P)) / 2 by PyTorch's own function, from log probabilities."""
    one = functional.kl_div(p, q, log_target=True, reduction="sum")
    return (one + functional.kl_div(q, p, log_target=True, reduction="sum")) / 2


def logits(*shape: int) -> tuple[Any, Any]:
    return tuple(SimpleNamespace(logits=3 * torch.randn(shape)) for _ in range(2))


def batch_of(labels: torch.Tensor, **inputs: torch.Tensor) -> Batch:
    return Batch(inputs, labels, 1.0, 1, [0])


def test_the_divergence_is_that_of_the_formula() -> None:
    torch.manual_seed(0)
    p, q = (torch.randn(5, 7).log_softmax(-1) for _ in range(2))
    torch.testing.assert_close(divergence(p, q), both_ways(p, q))
    weighted = divergence(p, q, torch.tensor([0.0, 0.0, 2.0, 0.0, 0.0]))
    torch.testing.assert_close(weighted, 2 * both_ways(p[2], q[2]))
    assert float(divergence(p, p)) == 0


def test_r_drop_is_the_mean_loss_and_the_weighted_divergence() -> None:
    torch.manual_seed(0)
    drawn = iter(torch.randn(2, 6, 3))
    passes = TwoPasses(lambda model, batch: next(drawn))
    one, other = passes(None, batch_of(torch.zeros(6)))
    labels = torch.tensor([0, 1, 2, 0, 1, 2])

    def loss(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(outputs, labels, reduction="sum")

    def apart(one: torch.Tensor, other: torch.Tensor, _: Batch) -> torch.Tensor:
        return divergence(one.log_softmax(-1), other.log_softmax(-1))

    found = Agreement(0.7, loss, apart)((one, other), batch_of(labels))
    losses = [functional.cross_entropy(each, labels, reduction="sum") for each in (one, other)]
    wanted = sum(losses) / 2 + 0.7 * both_ways(one.log_softmax(-1), other.log_softmax(-1))
    torch.testing.assert_close(found, wanted)


def test_each_kind_of_task_compares_what_its_loss_is_about() -> None:
    torch.manual_seed(0)
    several = TextClassification(TextClassificationOptions(), LabelSet(labels=["a", "b", "c"], multi_label=True))
    one, other = logits(4, 3)
    found = several.divergence(one, other, batch_of(torch.ones(4, 3)))
    odds = [
        torch.stack([each.logits.sigmoid(), 1 - each.logits.sigmoid()], -1).log() for each in (one, other)
    ]  # a yes or no for each label
    torch.testing.assert_close(found, both_ways(*odds), rtol=1e-4, atol=1e-5)

    known = LabelSet(labels=["a", "b"], multi_label=False, weights=[1.0, 3.0])
    single = TextClassification(TextClassificationOptions(), known)
    one, other = logits(2, 2)
    found = single.divergence(one, other, batch_of(torch.tensor([0, 1])))
    p, q = (each.logits.log_softmax(-1) for each in (one, other))
    torch.testing.assert_close(found, both_ways(p[0], q[0]) + 3 * both_ways(p[1], q[1]))

    tag_set = TagSet(types=["X"], scheme="BIO", form="tokens", written="BIO")
    tags = TokenClassification(TokenClassificationOptions(), tag_set)
    one, other = logits(1, 3, 3)
    found = tags.divergence(one, other, batch_of(torch.tensor([[UNTRAINED, 1, 2]])))
    p, q = (each.logits[0, 1:].log_softmax(-1) for each in (one, other))
    torch.testing.assert_close(found, both_ways(p, q))
    weighed = TokenClassification(TokenClassificationOptions(class_weights={"O": 0.5, "X": 3.0}), tag_set)
    labels = batch_of(torch.tensor([[UNTRAINED, 0, 2]]))
    found = weighed.divergence(one, other, labels)
    torch.testing.assert_close(found, 0.5 * both_ways(p[0], q[0]) + 3 * both_ways(p[1], q[1]))
    assert all(task.target_weights(replace(labels, labels=None)) is None for task in (single, weighed))

    answers = QuestionAnswering(QuestionAnsweringOptions())
    mask = torch.tensor([[1, 1, 1, 0]])
    one, other = (SimpleNamespace(start_logits=torch.randn(1, 4), end_logits=torch.randn(1, 4)) for _ in range(2))
    found = answers.divergence(one, other, batch_of(torch.tensor([[1, 2]]), attention_mask=mask))
    ends = [
        both_ways(*(getattr(each, name)[:, :3].log_softmax(-1) for each in (one, other)))
        for name in ("start_logits", "end_logits")
    ]
    torch.testing.assert_close(found, sum(ends) / 2)


def test_tokens_are_compared_where_they_carry_loss() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([[-100, 5, 6, -100]])
    one, other = torch.randn(2, 1, 4, 9)
    found = token_divergence(one, other, labels, shifted=True)  # the logits before tokens 1 and 2
    p, q = (each[0, :2].log_softmax(-1) for each in (one, other))
    torch.testing.assert_close(found, both_ways(p, q))
    chosen = token_divergence(one[0, :2], other[0, :2], labels, shifted=True)
    torch.testing.assert_close(chosen, found)


# --- the average


def test_the_average_is_the_hand_computed_one() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    average, expected = Average(Moving(0.5), model), 1.0
    for step, value in enumerate([2.0, 4.0, -3.0, 10.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0], 1):
        with torch.no_grad():
            model.weight.fill_(value)
        average.after_step(model, step, 11)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert float(average.weights["weight"]) == pytest.approx(expected, rel=1e-6)
    assert Moving(0.5)(1, 1, 11) == 1 - 2 / 11
    assert Moving(0.5)(8, 8, 11) == 0.5
    with average.in_place(model):
        assert float(model.weight) == pytest.approx(expected, rel=1e-6)
    assert float(model.weight) == 7.0


def test_the_average_is_measured_and_kept(tmp_path: Path) -> None:
    made = training()
    average: Any = made.parts["average"]
    seen, scores = [], iter([0.3, 0.9, 0.1])
    made.settings = made.settings.model_copy(update={"evaluate_every": 8})

    def evaluate() -> Scores:
        seen.append(weights(made))
        for name, value in average.weights.items():
            assert torch.equal(made.model.state_dict()[name], value)
        return Scores("accuracy", {"accuracy": Score(next(scores))}, examples=1)

    raw = {}
    for event in fit(made, Checkpoints(tmp_path), evaluate, threading.Event()):
        if isinstance(event, StepDone) and event.step == 16:
            raw = weights(made)
    assert len(seen) == 3
    for name, value in weights(made).items():
        assert torch.equal(value, seen[1][name])
        assert not torch.equal(value, raw[name])


def test_without_validation_the_last_average_is_kept(tmp_path: Path) -> None:
    made = training()
    list(fit(made, Checkpoints(tmp_path), None, threading.Event()))
    average: Any = made.parts["average"]
    assert average.updates == STEPS
    for name, value in average.weights.items():
        assert torch.equal(made.model.state_dict()[name], value)


def test_the_average_begins_where_a_start_from_the_data_leaves_the_weights(quick: Values) -> None:
    ready = prepare(as_recipe(quick("encoder", {"ema": 0.9}, method={"name": "lora", "start": "eva", "rank": 4})))
    made, _ = load_for_training(ready)
    average: Any = made.parts["average"]
    assert any("lora_A" in name for name in average.weights)
    for name, value in average.weights.items():
        assert torch.equal(dict(made.model.named_parameters())[name], value), name


# --- dropout


@pytest.mark.parametrize(
    ("kind", "hidden", "attention"),
    [
        ("BertConfig", ["hidden_dropout_prob"], ["attention_probs_dropout_prob"]),
        ("GPT2Config", ["resid_pdrop", "embd_pdrop"], ["attn_pdrop"]),
        ("T5Config", ["dropout_rate"], []),
        ("WhisperConfig", ["dropout", "activation_dropout"], ["attention_dropout"]),
        ("LlamaConfig", [], ["attention_dropout"]),
    ],
)
def test_dropout_is_found_by_each_architectures_own_names(kind: str, hidden: list[str], attention: list[str]) -> None:
    import transformers

    config = getattr(transformers, kind)()
    assert set(dropouts(config)) == {*hidden, *attention}
    for key, names, values in (("dropout", hidden, (0.33, None)), ("attention_dropout", attention, (None, 0.33))):
        if names:
            changed = dropouts(with_dropout(config, *values))
            assert changed == dropouts(config) | dict.fromkeys(names, 0.33)
            continue
        with pytest.raises(RecipeError, match="has no dropout of that kind; it has: ") as caught:
            with_dropout(config, *values)
        assert key in caught.value.where
        assert (hidden or attention)[0] in caught.value.problem
    assert with_dropout(config, None, None) is config


# --- whole runs


def test_what_cannot_work_is_refused_before_training(quick: Values, tmp_path: Path) -> None:
    def refused(where: str, family: str = "encoder", training: dict[str, Any] | None = None, **changes: Any) -> str:
        with pytest.raises(RecipeError) as caught:
            check(quick(family, training, **changes))
        assert where in caught.value.where
        assert caught.value.fix
        return caught.value.problem

    wanted = "training.regularization"
    for key in ("l2_sp", "mixout"):
        for method in ("lora", "head"):
            assert method in refused(f"{wanted}.{key}", "encoder", {"regularization": {key: 0.1}}, method=method)
    assert "attention_dropout" in refused(f"{wanted}.dropout", "decoder", {"regularization": {"dropout": 0.1}})
    (tmp_path / "n.csv").write_text("text,score\n" + "".join(f"word {n},{n}\n" for n in range(40)))
    numbers = {"task": {"name": "text-regression"}, "data": {"train": str(tmp_path / "n.csv")}}
    assert "numbers" in refused(f"{wanted}.r_drop", "encoder", {"regularization": {"r_drop": 1.0}}, **numbers)
    assert "adalora" in refused("training.ema", "encoder", {"ema": 0.9}, method="adalora")
    with pytest.raises(RecipeError, match=r"training.regularization.mixout: found 1.0; input should be less than 1"):
        check(quick("encoder", {"regularization": {"mixout": 1.0}}))
    with pytest.raises(RecipeError, match=r"Did you mean 'mixout'"):
        check(quick("encoder", {"regularization": {"mixut": 0.5}}))


def test_r_drop_without_any_dropout_is_warned_of(quick: Values) -> None:
    found = check(quick("decoder", {"regularization": {"r_drop": 1.0}})).findings
    assert [each.where for each in found if "r_drop" in each.where] == ["training.regularization.r_drop"]
    with_some = {"regularization": {"r_drop": 1.0, "attention_dropout": 0.1}}
    assert not [each for each in check(quick("decoder", with_some)).findings if "r_drop" in each.where]


def losses(values: dict[str, Any], folder: Path) -> list[float]:
    watcher = Watcher()
    train({**values, "output": str(folder)}, trackers=[watcher])
    return [event.loss for event in of(StepDone, watcher.seen)]


def test_dropout_and_two_passes_do_in_a_run_what_they_say(quick: Values, tmp_path: Path) -> None:
    usual = losses(quick(), tmp_path / "usual")
    none = {"dropout": 0.0, "attention_dropout": 0.0}
    without = losses(quick("encoder", {"regularization": none}), tmp_path / "without")
    assert usual[0] != without[0]
    agreed = losses(quick("encoder", {"regularization": none | {"r_drop": 5.0}}), tmp_path / "agreed")
    assert agreed == pytest.approx(without, rel=1e-5)  # both passes are the same: nothing to agree on
    apart = losses(quick("encoder", {"regularization": {"r_drop": 5.0}}), tmp_path / "apart")
    assert apart[0] > usual[0] - 0.2
    assert apart != usual


ALL = {"ema": 0.9, "regularization": {"l1": 1e-5, "l2": 1e-4, "l2_sp": 1e-3, "mixout": 0.5, "r_drop": 1.0,
                                      "dropout": 0.2, "attention_dropout": 0.05}}  # fmt: skip


def test_all_at_once_stopped_and_resumed_is_bit_identical(quick: Values, tmp_path: Path) -> None:
    values = quick("encoder", {**ALL, "checkpoint_every": 3})
    whole = train({**values, "output": str(tmp_path / "whole")})
    folder = stopped(values, tmp_path / "cut", 4)
    kept = {path.name for path in (folder / "checkpoints" / "step-00000004").iterdir()}
    assert "average.safetensors" in kept
    cut = resume(folder)
    same_weights(whole, cut)
    assert load(cut.folder).predict(["a text"])
    drawn = check(quick("encoder", ALL)).facts["disk_needed"]
    assert drawn > check(quick()).facts["disk_needed"]


@pytest.mark.parametrize(("family", "method"), [("decoder", "lora"), ("seq2seq", "full")])
def test_other_families_and_adapters(family: str, method: str, quick: Values, tmp_path: Path) -> None:
    regularization = {"l2": 1e-4, "r_drop": 0.5, "mixout": 0.0 if method == "lora" else 0.3}
    values = quick(family, {"ema": 0.99, "regularization": regularization}, method=method)
    found = losses(values, tmp_path / "run")
    assert all(map(math.isfinite, found))
    assert load(tmp_path / "run").predict(["a text"])


# --- mixup


def test_mixing_logits_is_mixing_what_the_last_layer_reads() -> None:
    torch.manual_seed(0)
    layer, hidden = nn.Linear(5, 3), torch.randn(6, 5)
    mixed = Mixup(0.4, lambda _, __: SimpleNamespace(logits=layer(hidden)))(None, batch_of(torch.zeros(6)))
    own = mixed.share[:, None]
    torch.testing.assert_close(mixed.logits, layer(own * hidden + (1 - own) * hidden[mixed.partners]))
    assert sorted(mixed.partners.tolist()) == list(range(6))
    assert bool(((mixed.share >= 0) & (mixed.share <= 1)).all())


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
def test_the_mixed_loss_is_that_of_mixed_targets(weights: list[float] | None) -> None:
    torch.manual_seed(0)
    known = LabelSet(labels=["a", "b", "c"], multi_label=False, weights=weights)
    task = TextClassification(TextClassificationOptions(), known)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    outputs = Mixup(1.0, lambda *_: SimpleNamespace(logits=3 * torch.randn(6, 3)))(None, batch_of(labels))
    weighed = functional.one_hot(labels, 3).double() * torch.tensor(weights or [1.0] * 3).double()
    own = outputs.share[:, None].double()
    wanted = own * weighed + (1 - own) * weighed[outputs.partners]
    logs = outputs.logits.double().log_softmax(-1)
    found = MixedLoss(task.losses)(outputs, batch_of(labels))
    torch.testing.assert_close(found.double(), -(wanted * logs).sum(), rtol=1e-5, atol=1e-6)


def test_shares_are_drawn_from_beta() -> None:
    torch.manual_seed(0)
    for alpha in (0.2, 1.0, 4.0):
        shares = Mixup(alpha, lambda *_: SimpleNamespace(logits=torch.zeros(20_000, 2)))(None, batch_of(torch.zeros(1)))
        assert float(shares.share.mean()) == pytest.approx(0.5, abs=0.02)
        assert float(shares.share.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


@pytest.mark.parametrize("family", ["encoder", "decoder", "seq2seq"])
@pytest.mark.parametrize("method", ["full", "head"])
def test_mixup_trains_and_measures_what_is_not_mixed(family: str, method: str, quick: Values, tmp_path: Path) -> None:
    values = quick(family, {"regularization": {"mixup": 1.0}}, method=method)
    found = losses(values, tmp_path / "run")
    assert found != losses(quick(family, method=method), tmp_path / "plain")
    assert all(map(math.isfinite, found))
    assert load(tmp_path / "run").predict(["a text"])


def test_mixup_stopped_and_resumed_is_bit_identical(quick: Values, tmp_path: Path) -> None:
    values = quick("encoder", {"regularization": {"mixup": 0.5}, "checkpoint_every": 3})
    same_weights_when_resumed(values, tmp_path, 4)


@pytest.mark.parametrize(
    ("task", "regularization", "problem"),
    [
        ("text-classification", {"mixup": 0.2, "r_drop": 1.0}, "R-Drop compares two passes"),
        ("language-modeling", {"mixup": 0.2}, "'language-modeling' has no single loss"),
    ],
)
def test_what_cannot_be_mixed_is_told(task: str, regularization: dict[str, float], problem: str, tmp_path: Path,
                                      tiny_model: Callable[[str], Path]) -> None:  # fmt: skip
    from tests.task_samples import recipe_of
    from weitiao.recipe import Recipe

    values = recipe_of((task, "full", "encoder"), tmp_path, tiny_model).to_dict()
    values["training"]["regularization"] = regularization
    with pytest.raises(RecipeError, match=problem) as caught:
        prepare(Recipe(**values))
    assert "training.regularization.mixup" in caught.value.where
