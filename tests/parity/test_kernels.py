"""The kernels compute what PyTorch and the models' own modules compute: outputs, and every gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.parity.test_vocabulary import case, gradients
from weitiao.kernels import attention as kernels_attention
from weitiao.kernels import keep_freed_memory, quickly
from weitiao.kernels.attention import attention
from weitiao.kernels.cross_entropy import cross_entropy
from weitiao.kernels.dropout import dropout, keep_mask
from weitiao.kernels.lora_linear import lora_linear
from weitiao.kernels.rms_norm import rms_norm
from weitiao.kernels.swiglu import swiglu
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


@pytest.mark.parametrize("bias", [True, False])
def test_lora_linear_is_the_formula(bias: bool) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(2, 5, 6, requires_grad=True)
    weight, offset = torch.randn(4, 6), torch.randn(4) if bias else None
    down, up = torch.randn(3, 6, requires_grad=True), torch.randn(4, 3, requires_grad=True)

    def formula(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, weight, offset) + 1.5 * functional.linear(functional.linear(x, a), b)

    both(lambda x, a, b: lora_linear(x, weight, offset, a, b, 1.5), formula, inputs, down, up, tolerance=1e-5)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_cross_entropy_is_pytorchs(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    logits = (torch.randn(37, 30000) * 4).to(dtype).requires_grad_()  # more rows than go at once
    wanted = torch.randint(0, 30000, (37,))

    def theirs(x: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(x.float(), wanted, reduction="sum") / 11

    both(lambda x: cross_entropy(x, wanted) / 11, theirs, logits, tolerance=1e-5 if dtype == torch.float32 else 1e-2)
    assert cross_entropy(logits[:0], wanted[:0]).item() == 0


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
