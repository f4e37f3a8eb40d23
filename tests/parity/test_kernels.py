"""The kernels compute what PyTorch and the models' own modules compute: outputs, and every gradient."""

from __future__ import annotations

import copy
import importlib.util
import sys
import types
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.parity.test_vocabulary import case, gradients
from tests.tiny import tiny_llama
from weitiao.kernels import attention as kernels_attention
from weitiao.kernels import keep_freed_memory, liger, quickly
from weitiao.kernels import swiglu as swiglu_module
from weitiao.kernels import vocabulary_loss as vocabulary_module
from weitiao.kernels.attention import attend, attention
from weitiao.kernels.cross_entropy import cross_entropy
from weitiao.kernels.dropout import dropout, keep_mask
from weitiao.kernels.lora_linear import Update, lora_linear
from weitiao.kernels.quick import computed_by
from weitiao.kernels.rms_norm import rms_norm
from weitiao.kernels.swiglu import lora_gated, swiglu
from weitiao.kernels.vocabulary_loss import Deferred
from weitiao.tasks.vocabulary import forward

PRECISIONS = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def both(
    one: Callable[..., torch.Tensor], other: Callable[..., torch.Tensor], *tensors: torch.Tensor, tolerance: float
) -> None:
    """Compare two functions of the same tensors: values, and the gradients of what has one."""
    found = []
    for function in (one, other):
        leaves = [t.detach().clone().requires_grad_(t.requires_grad) for t in tensors]
        out = function(*leaves)
        random = torch.Generator().manual_seed(7)
        out.backward(torch.randn(out.shape, generator=random).to(out.dtype))  # type: ignore[no-untyped-call]
        found.append([out.detach(), *(leaf.grad for leaf in leaves if leaf.requires_grad)])
    for ours, theirs in zip(*found, strict=True):
        assert ours is not None
        assert theirs is not None
        assert ours.dtype == theirs.dtype
        scale = max(float(theirs.float().abs().max()), 1e-6)
        assert float((ours.float() - theirs.float()).abs().max()) / scale < tolerance


# --- dropout


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("chance", [0.1, 0.5])
def test_dropout_drops_its_share_and_keeps_the_expected_value(dtype: torch.dtype, chance: float) -> None:
    torch.manual_seed(0)
    inputs = torch.ones(400, 500, dtype=dtype, requires_grad=True)
    out = dropout(inputs, chance)
    kept = out != 0
    assert float(kept.float().mean()) == pytest.approx(1 - chance, abs=0.005)
    assert out[kept].unique().tolist() == [float(torch.tensor(1 / (1 - chance), dtype=dtype))]
    out.sum().backward()  # type: ignore[no-untyped-call]
    assert inputs.grad is not None
    assert torch.equal(inputs.grad, out.detach())  # of ones, a gradient is the factor itself


def test_a_mask_hangs_on_pytorchs_seed_alone() -> None:
    torch.manual_seed(3)
    first, second = keep_mask((7, 5), 0.3), keep_mask((7, 5), 0.3)
    torch.manual_seed(3)
    assert np.array_equal(keep_mask((7, 5), 0.3), first)
    assert not np.array_equal(first, second)


def test_masks_of_neighbours_are_independent() -> None:
    torch.manual_seed(1)
    mask = keep_mask((4000, 50), 0.5).astype(np.float64)
    correlations = np.corrcoef(mask.T) - np.eye(50)
    assert np.abs(correlations).max() < 0.08  # five standard errors of a correlation of 4,000


# --- attention


@pytest.fixture(params=[True, False], ids=["amx", "no amx"])
def amx(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU with AMX, and one without, whichever this one is."""
    monkeypatch.setattr(kernels_attention, "_has_amx", lambda: request.param)


@pytest.mark.usefixtures("amx")
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("key_heads", [6, 2, 1])
@pytest.mark.parametrize("kind", ["all", "causal", "padded", "biased"])
def test_attention_is_pytorchs(dtype: torch.dtype, key_heads: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    rows, heads, tokens, width = 5, 6, 11, 8
    query = torch.randn(rows, tokens, heads, width, dtype=dtype).transpose(1, 2).requires_grad_()
    key, value = (
        torch.randn(rows, tokens, key_heads, width, dtype=dtype).transpose(1, 2).requires_grad_() for _ in range(2)
    )
    bias = None
    if kind == "padded":
        bias = torch.zeros(rows, 1, tokens, tokens, dtype=dtype)
        bias[1, :, :, 7:] = bias[3, :, :, 2:] = torch.finfo(dtype).min
    elif kind == "biased":  # T5's relative positions: one bias for all rows, and it learns
        bias = torch.randn(1, heads, tokens, tokens, dtype=dtype, requires_grad=True)
    tensors = (query, key, value) if bias is None else (query, key, value, bias)
    monkeypatch.setattr(kernels_attention, "AT_ONCE", 2 * heads * tokens * 32)  # two rows at once

    def ours(*given: torch.Tensor) -> torch.Tensor:
        return attention(*given, scale=0.3, causal=kind == "causal")

    def formula(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        k, v = (each.repeat_interleave(heads // key_heads, 1) for each in (k, v))
        scores = q @ k.transpose(2, 3) * 0.3
        scores = scores if b is None else scores + b
        if kind == "causal":
            scores = scores.masked_fill(torch.ones(tokens, tokens, dtype=torch.bool).triu(1), -torch.inf)
        return scores.softmax(-1) @ v

    both(ours, formula, *tensors, tolerance=PRECISIONS[dtype])


@pytest.mark.usefixtures("amx")
@pytest.mark.parametrize("learns", [True, False])
def test_a_row_that_sees_nothing_is_finite(learns: bool) -> None:
    """Padding on the left under a causal mask: the least number of fp32 is minus infinity in bf16."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 2, 9, 4, requires_grad=learns) for _ in range(3))
    hidden = torch.finfo(torch.float32).min
    bias = torch.full((9, 9), hidden).triu(1).repeat(2, 1, 1, 1)
    bias[1, :, :, :5] = hidden  # its first rows see nothing at all
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = attend(nn.Module(), query, key, value, bias, scaling=0.5)
    assert found.isfinite().all()
    scores = (query @ key.transpose(2, 3) * 0.5 + bias)[1, :, 5:]
    torch.testing.assert_close(
        found[1, 5:].transpose(0, 1).float(), scores.softmax(-1) @ value[1], rtol=5e-2, atol=5e-2
    )
    if learns:
        found.float().sum().backward()
        assert all(each.grad is not None and each.grad.isfinite().all() for each in (query, key, value))


def test_a_bias_that_changed_is_filled_up_anew() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 2, 9, 4, requires_grad=True) for _ in range(3))
    bias = torch.randn(1, 2, 9, 9, requires_grad=True)
    for _ in range(2):
        above = torch.randn(2, 2, 9, 4)
        plain = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        wanted = torch.autograd.grad(plain, (query, bias), above)
        found = torch.autograd.grad(attention(query, key, value, bias), (query, bias), above)
        torch.testing.assert_close(found, wanted)
        with torch.no_grad():
            bias += torch.randn(bias.shape)  # an optimizer's step
    with torch.inference_mode():
        hidden = torch.zeros(2, 1, 9, 12)
        assert torch.equal(attend(nn.Module(), query, key, value, hidden.double(), scaling=1.0)[0],
                           attend(nn.Module(), query, key, value, hidden.double(), scaling=1.0)[0])  # fmt: skip


def test_attention_with_dropout_is_the_formula_with_its_mask() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, 2, 9, 4, requires_grad=True) for _ in range(3))

    def ours(*given: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)
        return attention(*given, chance=0.4)

    def formula(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)
        kept = torch.from_numpy(keep_mask((3, 2, 9, 32), 0.4))[..., :9]  # drawn for keys padded to 32
        return (q @ k.transpose(2, 3) / 2).softmax(-1) * kept / 0.6 @ v

    both(ours, formula, query, key, value, tolerance=1e-5)


# --- norm, LoRA, cross-entropy


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_rms_norm_is_llamas(dtype: torch.dtype) -> None:
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    torch.manual_seed(0)
    inputs = torch.randn(3, 7, 24, dtype=dtype, requires_grad=True)
    weight = (torch.rand(24) + 0.5).to(dtype).requires_grad_()

    def theirs(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        norm: Any = LlamaRMSNorm(24, 1e-5)
        del norm.weight
        norm.weight = w
        return norm(x)  # type: ignore[no-any-return]

    both(lambda x, w: rms_norm(x, w, 1e-5), theirs, inputs, weight, tolerance=PRECISIONS[dtype])


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_swiglu_is_the_formula(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    gate, up = (torch.randn(3, 5, 8, dtype=dtype, requires_grad=True) for _ in range(2))
    both(swiglu, lambda g, u: functional.silu(g) * u, gate, up, tolerance=PRECISIONS[dtype])


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("first", [True, False])
def test_a_gated_layer_with_lora_is_its_parts(dtype: torch.dtype, first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(swiglu_module, "AT_ONCE", 3 * 12)  # rows in parts
    inputs = torch.randn(2, 5, 8, dtype=dtype, requires_grad=not first)
    shapes = {"gate": (12, 8, 3), "up": (12, 8, 2), "down": (8, 12, 4)}
    frozen = {name: torch.randn(out, width).to(dtype) for name, (out, width, _) in shapes.items()}
    moving = [torch.randn(shape, requires_grad=True) / 3 for out, width, rank in shapes.values()
              for shape in ((rank, width), (out, rank))]  # fmt: skip
    scales = dict(zip(shapes, (2.0, 0.7, 1.5), strict=True))

    def updates(given: tuple[torch.Tensor, ...]) -> list[Update]:
        return [Update(frozen[name], None, *given[2 * i : 2 * i + 2], scales[name]) for i, name in enumerate(shapes)]

    def parts(x: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
        gate, up, down = updates(given)
        return lora_linear(functional.silu(lora_linear(x, gate)) * lora_linear(x, up), down)

    leaves = [each.detach().requires_grad_() for each in moving]
    both(lambda x, *given: lora_gated(x, *updates(given)), parts, inputs, *leaves, tolerance=PRECISIONS[dtype])


@pytest.mark.parametrize("bias", [True, False])
def test_lora_linear_is_the_formula(bias: bool) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(2, 5, 6, requires_grad=True)
    weight, offset = torch.randn(4, 6), torch.randn(4) if bias else None
    down, up = torch.randn(3, 6, requires_grad=True), torch.randn(4, 3, requires_grad=True)

    def formula(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, weight, offset) + 1.5 * functional.linear(functional.linear(x, a), b)

    both(lambda x, a, b: lora_linear(x, Update(weight, offset, a, b, 1.5)), formula, inputs, down, up, tolerance=1e-5)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_cross_entropy_is_pytorchs(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    logits = (torch.randn(37, 30000) * 4).to(dtype).requires_grad_()  # more rows than go at once
    wanted = torch.randint(0, 30000, (37,))

    def theirs(x: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(x.float(), wanted, reduction="sum") / 11

    both(lambda x: cross_entropy(x, wanted) / 11, theirs, logits, tolerance=1e-5 if dtype == torch.float32 else 1e-2)
    assert cross_entropy(logits[:0], wanted[:0]).item() == 0


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("moves", [True, False])
@pytest.mark.parametrize("biased", [True, False])
def test_the_loss_of_a_matrix_over_the_vocabulary(
    dtype: torch.dtype, moves: bool, biased: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    states, weight = (torch.randn(shape, requires_grad=True) for shape in ((37, 16), (3000, 16)))
    bias = torch.randn(3000, requires_grad=moves) if biased else None
    wanted = torch.randint(0, 3000, (37,))
    weight.requires_grad_(moves)
    for name in ("LOGITS", "WITH_GRADIENT"):
        monkeypatch.setattr(vocabulary_module, name, 10 * 3000)  # in parts

    def ours(x: torch.Tensor, w: torch.Tensor, *b: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = Deferred.of(x, w, *(b or (None,)))
        assert (logits.shape, logits.dtype, logits.requires_grad) == ((37, 3000), dtype, True)
        return cross_entropy(logits, wanted) / 11

    def theirs(x: torch.Tensor, w: torch.Tensor, *b: torch.Tensor) -> torch.Tensor:
        logits = functional.linear(*(each.to(dtype) for each in (x, w, *b)))
        return functional.cross_entropy(logits.float(), wanted, reduction="sum") / 11

    given = [states, weight, *([bias] if bias is not None else [])]
    both(ours, theirs, *given, tolerance=1e-5 if dtype == torch.float32 else 2e-2)


@pytest.mark.parametrize(
    "look",
    [
        lambda logits: logits.float().log_softmax(-1),
        lambda logits: logits[torch.arange(5) % 2 == 0],
        lambda logits: torch.tanh(logits / 3) * 3,  # a model that caps its logits
        lambda logits: logits + torch.ones(7),
        lambda logits: functional.cross_entropy(logits, torch.zeros(5, dtype=torch.long)),
    ],
)
def test_who_looks_at_deferred_logits_sees_them(look: Callable[[torch.Tensor], torch.Tensor]) -> None:
    torch.manual_seed(0)
    states, weight, bias = torch.randn(5, 4, requires_grad=True), torch.randn(7, 4, requires_grad=True), torch.randn(7)

    def ours(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        seen = look(Deferred.of(x, w, bias))
        assert type(seen) is torch.Tensor
        return seen

    both(ours, lambda x, w: look(functional.linear(x, w, bias)), states, weight, tolerance=1e-6)


def test_padding_behind_the_texts_needs_no_mask_where_the_future_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_llama(tmp_path / "llama")).eval()
    torch.manual_seed(0)
    ids = torch.randint(3, 30, (3, 9))
    behind, before = torch.ones_like(ids), torch.ones_like(ids)
    behind[1, 4:] = behind[2, 7:] = before[1, :4] = 0
    masks = list[bool]()
    plain = kernels_attention.attention

    def seen(*given: Any, **named: Any) -> torch.Tensor:
        masks.append(given[3] is not None)
        return plain(*given, **named)

    monkeypatch.setattr(kernels_attention, "attention", seen)
    for real, masked in ((behind, False), (before, True)):
        wanted = model(input_ids=ids, attention_mask=real).logits
        masks.clear()
        with quickly(model, "fp32", learns=True):
            found = model(input_ids=ids, attention_mask=real).logits
        torch.testing.assert_close(found[real != 0], wanted[real != 0])
        assert set(masks) == {masked}


def test_training_takes_the_loss_before_there_are_logits_and_a_layer_with_lora_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch, _ = case("lora", tmp_path)
    layers = list[int]()
    real = swiglu_module.lora_gated
    monkeypatch.setattr(swiglu_module, "lora_gated", lambda *given: layers.append(1) or real(*given))  # type: ignore[func-returns-value]
    with quickly(model, "fp32", learns=True):
        logits = forward(model, batch).logits
    assert type(logits) is Deferred
    assert logits.whole is None
    assert len(layers) == model.config.num_hidden_layers


# --- whole models


@pytest.mark.parametrize("kind", ["llama", "gpt2", "packed", "lora", "prompt", "t5", "t5-lora", "bart", "bert"])
def test_a_model_learns_the_same(kind: str, tmp_path: Path) -> None:
    model, batch, shifted = case(kind, tmp_path)
    _without_dropout(model)
    model.train()
    before = copy.deepcopy(model.state_dict())
    loss, expected = gradients(model, forward(model, batch), batch, shifted)
    with quickly(model, "fp32", learns=True):
        quick = sum("forward" in vars(module) for module in model.modules())
        again, found = gradients(model, forward(model, batch), batch, shifted)
    assert quick > 0 or kind in ("gpt2", "bart")
    assert again == pytest.approx(loss, rel=1e-5)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(
            gradient, expected[name], rtol=1e-3, atol=1e-5 * float(expected[name].abs().max()) + 1e-7
        )
    assert not any("forward" in vars(module) for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", ["llama", "lora", "t5", "bert"])
def test_bf16_is_as_close_as_autocast_alone(kind: str, tmp_path: Path) -> None:
    model, batch, shifted = case(kind, tmp_path)
    _without_dropout(model)
    model.train()
    _, exact = gradients(model, forward(model, batch), batch, shifted)

    def distance(context: AbstractContextManager[None]) -> float:
        with context:  # backward, too, runs while the frozen weights are in bf16
            with torch.autocast("cpu", torch.bfloat16):
                outputs = forward(model, batch)
            _, found = gradients(model, outputs, batch, shifted)
        away = sum(float((found[name] - exact[name]).pow(2).sum()) for name in exact)
        return float((away / sum(float(each.pow(2).sum()) for each in exact.values())) ** 0.5)

    assert distance(quickly(model, "bf16", learns=True)) < 3 * distance(nullcontext()) + 0.01


def _without_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def test_frozen_weights_come_back_exactly(tmp_path: Path) -> None:
    """bf16 for a while, whatever the digits: those that bf16 holds are rounded back, others were kept."""
    model, _, _ = case("lora", tmp_path)
    lossless = next(p for n, p in model.named_parameters() if "base_layer" in n)
    lossless.data = lossless.data.bfloat16().float()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with quickly(model, "bf16", learns=True):
        kinds = {parameter.dtype for parameter in model.parameters() if not parameter.requires_grad}
        assert kinds == {torch.bfloat16}
        assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
        with quickly(model, "bf16", learns=False):  # evaluation amid training changes nothing
            pass
        assert lossless.dtype == torch.bfloat16
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_norm_of_another_formula_is_left_alone() -> None:
    from transformers.models.gemma.modeling_gemma import GemmaRMSNorm

    model = nn.Sequential(GemmaRMSNorm(8, eps=1e-6))  # scales by 1 + weight
    with quickly(model, "fp32", learns=True):
        assert "forward" not in vars(model[0])


def test_a_gate_of_another_formula_is_left_alone() -> None:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaMLP

    for activation, quick in (("silu", True), ("gelu", False)):
        layer: Any = LlamaMLP(
            LlamaConfig(hidden_size=8, intermediate_size=12, num_attention_heads=2, hidden_act=activation)
        )
        with quickly(nn.Sequential(layer), "fp32", learns=True):
            assert ("forward" in vars(layer)) is quick


def test_an_adapter_that_is_off_or_merged_is_off(tmp_path: Path) -> None:
    model, batch, _ = case("lora", tmp_path)
    with torch.no_grad(), model.disable_adapter():
        plain = forward(model, batch).logits
        with quickly(model, "fp32", learns=True):
            torch.testing.assert_close(forward(model, batch).logits, plain)
    with torch.no_grad():
        adapted = forward(model, batch).logits
        assert not torch.allclose(adapted, plain)
        with quickly(model, "fp32", learns=True):
            torch.testing.assert_close(forward(model, batch).logits, adapted)


def test_the_allocator_is_told_on_linux() -> None:
    import platform

    expected = platform.libc_ver()[0] == "glibc"
    assert keep_freed_memory() is expected


# --- on a GPU


def test_ligers_functions_are_put_in_for_the_same_and_taken_out_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With functions of our own in the place of Liger's, which want a GPU."""
    from transformers import AutoModelForCausalLM

    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda _: None)
        assert liger.functions() is None
    called: list[str] = []

    def norm(inputs: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        called.append("norm")
        return functional.rms_norm(inputs, weight.shape, weight, epsilon)

    def gate(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        called.append("gate")
        return functional.silu(one) * other

    functions = types.ModuleType("liger_kernel.transformers.functional")
    functions.liger_rms_norm, functions.liger_swiglu = norm, gate  # type: ignore[attr-defined]
    for name in ("liger_kernel", "liger_kernel.transformers"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, functions.__name__, functions)
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda _: object())
        theirs = liger.functions()
    assert theirs is not None
    model = AutoModelForCausalLM.from_pretrained(tiny_llama(tmp_path / "llama")).eval()
    words = torch.arange(12).view(2, 6)
    wanted = model(words).logits
    with ExitStack() as undo:
        computed_by(theirs, model, undo)
        called.clear()
        found = model(words).logits
    layers = model.config.num_hidden_layers
    assert (called.count("norm"), called.count("gate")) == (2 * layers + 1, layers)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert not any("forward" in vars(module) for module in model.modules())
