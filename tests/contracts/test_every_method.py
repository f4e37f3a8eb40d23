"""The contract over every method: what moves and how much, where it starts, what is merged, what is saved."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests import tiny
from tests.method_samples import SAMPLED, sample_of
from tests.samples import texts
from weitiao import models, registry
from weitiao.errors import RecipeError
from weitiao.kernels import quickly
from weitiao.methods.base import Detaches, Paced, StartsFromData, TakesPart
from weitiao.methods.parts import head_modules
from weitiao.models.sizing import empty_model
from weitiao.recipe import ModelSettings, TrainingSettings
from weitiao.records import Batch, Head, Pretrained
from weitiao.training.loop import Training, train_steps

NAMES = sorted(registry.BUILT_IN["method"])
HEADS = {
    "bert": ["AutoModelForSequenceClassification"],
    "llama": ["AutoModelForSequenceClassification", "AutoModelForCausalLM"],
    "gpt2": ["AutoModelForCausalLM"],
    "t5": ["AutoModelForSequenceClassification", "AutoModelForSeq2SeqLM"],
}
FAMILY = {"bert": "encoder", "llama": "decoder", "gpt2": "decoder", "t5": "seq2seq"}


def variants(name: str) -> list[dict[str, Any]]:
    sample = sample_of(name)
    return [getattr(sample, "OPTIONS", {}), *getattr(sample, "VARIANTS", [])]


CHOICES = [
    pytest.param(name, options, kind, head, id=f"{name}{number or ''}/{kind}/{head.removeprefix('AutoModelFor')}")
    for name in NAMES
    if name in SAMPLED
    for number, options in enumerate(variants(name))
    for kind, heads in HEADS.items()
    for head in heads
    if FAMILY[kind] in registry.get("method", name).families
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = tmp_path_factory.mktemp("models")
    shapes: dict[str, Any] = {
        "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        "gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
        "t5": {"dropout_rate": 0.0},
    }
    return {kind: getattr(tiny, f"tiny_{kind}")(made / kind, texts(), **shapes.get(kind, {})) for kind in HEADS}


class Case:
    """A plain tiny model under a head, and a method to be applied to it."""

    def __init__(self, name: str, options: dict[str, Any], folder: Path, head: str) -> None:
        kind = registry.get("method", name)
        self.sample, self.options = sample_of(name), options
        self.method: Any = kind(kind.Options.model_validate(options))
        self.head = Head(head, config={"num_labels": 3} if "Classification" in head else {})
        pooling = getattr(self.sample, "POOLING", None)
        if pooling and "Classification" in head:
            self.head = Head(head, {"num_labels": 3, "sentence_pooling": pooling}, pooling=pooling)
        self.pretrained: Pretrained = models.open_pretrained(ModelSettings(source=str(folder)), base=Path())
        if getattr(self.sample, "refuses", lambda *_: False)(self.plain(), options):
            with pytest.raises(RecipeError):
                self.method.apply(self.plain())
            pytest.skip("refused, as it has to be")

    def plain(self) -> Any:
        return models.load_model(self.pretrained, self.head, seed=3).eval()

    def applied(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            model = self.method.apply(self.plain()).eval()
            if isinstance(self.method, StartsFromData):
                self.method.start_from(model, itertools.repeat(self.batch()), lambda batch: model(**batch.inputs))
            return model

    def batch(self) -> Batch:
        return Batch(inputs=self.inputs(), labels=None, targets=5.0, tokens=1, rows=[])

    def inputs(self) -> dict[str, torch.Tensor]:
        tokenizer = self.pretrained.tokenizer
        told = tokenizer(texts()[:5], padding=True, truncation=True, max_length=24, return_tensors="pt")
        inputs = {name: value for name, value in told.items() if name in ("input_ids", "attention_mask")}
        if "Seq2Seq" in self.head.auto_class:
            inputs["decoder_input_ids"] = inputs["input_ids"][:, :6]
        return inputs

    def logits(self, model: nn.Module, *, bf16: bool = False) -> torch.Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            found = model.eval()(**self.inputs()).logits.float()
        real = self.inputs()["attention_mask"].bool()
        return found[real] if found.ndim == 3 and "decoder_input_ids" not in self.inputs() else found

    def trained(self, model: nn.Module, steps: int = 2, rate: float = 1e-2, quick: str = "") -> nn.Module:
        """The model after some steps of the real loop towards arbitrary targets; `quick`: by the kernels."""
        batch = self.batch()

        def loss(outputs: Any, _: Batch) -> torch.Tensor:
            logits = outputs.logits.float()
            return nn.functional.cross_entropy(logits.flatten(0, -2), torch.ones(logits.shape[:-1]).long().flatten(),
                                               reduction="sum")  # fmt: skip

        method = self.method
        training = Training(
            model=model, loss=loss, device=torch.device("cpu"), order=lambda _: [torch.arange(5).numpy()],
            settings=TrainingSettings(epochs=steps, learning_rate=rate, warmup=0.0, schedule="constant"),
            collate=lambda _: [batch], autocast=partial(models.autocast, torch.device("cpu"), quick),
            paces=method.paces(model) if isinstance(method, Paced) else {},
            parts={"method": method} if isinstance(method, TakesPart) else {},
        )  # fmt: skip
        torch.manual_seed(1)
        with quickly(model, quick, learns=True) if quick else nullcontext():
            self.losses = [event.loss for event in itertools.islice(train_steps(training), steps)]
        return model.eval()


@pytest.fixture
def case(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Callable[..., Case]:
    return lambda name, options, kind, head: Case(name, options, folders[kind], head)


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_every_method_has_a_sample() -> None:
    assert set(NAMES) <= SAMPLED


@pytest.mark.parametrize(("name", "options", "kind", "head"), CHOICES)
def test_as_many_parameters_move_as_the_formula_says(
    case: Callable[..., Case], name: str, options: dict[str, Any], kind: str, head: str
) -> None:
    made = case(name, options, kind, head)
    plain = made.plain()
    heads = sum(p.numel() for part in head_modules(plain) for p in plain.get_submodule(part).parameters())
    expected = made.sample.trainable(plain, options) + heads
    assert count(made.applied()) == expected
    assert count(made.method.apply(empty_model(made.pretrained, made.head))) == expected  # what `weitiao check` tells


@pytest.mark.parametrize(("name", "options", "kind", "head"), CHOICES)
def test_it_starts_where_its_paper_says(
    case: Callable[..., Case], name: str, options: dict[str, Any], kind: str, head: str
) -> None:
    made = case(name, options, kind, head)
    before, after = made.logits(made.plain()), made.logits(made.applied())
    if getattr(made.sample, "STARTS_UNCHANGED", True):
        torch.testing.assert_close(after, before, rtol=1e-5, atol=2e-6)
    else:
        assert after.shape == before.shape
        assert not torch.equal(after, before)


@pytest.mark.parametrize(("name", "options", "kind", "head"), CHOICES)
def test_only_what_is_meant_to_moves(
    case: Callable[..., Case], name: str, options: dict[str, Any], kind: str, head: str
) -> None:
    """Weight decay and clipping included: all else is the same bit for bit."""
    made = case(name, options, kind, head)
    model = made.applied()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    moving = {name for name, p in model.named_parameters() if p.requires_grad}
    made.trained(model)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p.detach(), before[name])}
    assert moved
    assert moved <= moving


@pytest.mark.parametrize(("name", "options", "kind", "head"), CHOICES)
def test_it_learns_the_same_by_the_kernels(
    case: Callable[..., Case], name: str, options: dict[str, Any], kind: str, head: str
) -> None:
    """fp32: the same weights after two steps. bf16: the same loss but for rounding, and nothing frozen has moved."""
    made = case(name, options, kind, head)
    plain = made.trained(made.applied())
    expected, losses = made.logits(plain), made.losses
    assert_same(made.logits(made.trained(made.applied(), quick="fp32")), expected)
    model = made.applied()
    before = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    made.trained(model, quick="bf16")
    assert made.losses[0] == pytest.approx(losses[0], rel=0.05)
    after = dict(model.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize(("name", "options", "kind", "head"), CHOICES)
def test_what_ships_predicts_the_same(
    case: Callable[..., Case], name: str, options: dict[str, Any], kind: str, head: str, tmp_path: Path
) -> None:
    """Merged, or loaded from its small file onto the plain model: within 1e-4 in fp32, 5% of the range in bf16."""
    made = case(name, options, kind, head)
    model = made.trained(made.applied())
    trained, in_bf16 = made.logits(model), made.logits(model, bf16=True)
    start = made.logits(made.plain())
    assert not torch.allclose(trained, start, atol=1e-3)
    detaches = isinstance(made.method, Detaches)
    if detaches:
        made.method.save(model, tmp_path / "adapter")
    plain = made.method.merge(model)
    assert type(plain) is type(made.plain())
    ships = plain if not detaches or made.method.merges else made.method.load(plain, tmp_path / "adapter")
    assert_same(made.logits(ships), trained)
    close_in_bf16(made.logits(ships, bf16=True), in_bf16)
    if detaches:
        assert_same(made.logits(made.method.load(made.plain(), tmp_path / "adapter")), trained)
        whole = 4 * sum(p.numel() for p in plain.parameters())
        weights = sum(file.stat().st_size for file in (tmp_path / "adapter").glob("*.safetensors"))
        assert 0 < weights < 0.6 * whole  # a tiny model's head is large


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def close_in_bf16(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert (ours - theirs).abs().max() <= 0.05 * (theirs.max() - theirs.min()) + 1e-3
