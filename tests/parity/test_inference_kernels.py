"""What inference computes with is what PyTorch and `transformers` compute: layers, attention, cache, predictions."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests import tiny
from tests.samples import texts
from weitiao import load, models, train
from weitiao.errors import RecipeError
from weitiao.kernels import attention, quickly
from weitiao.kernels.attention import read
from weitiao.kernels.cache import ROOM, roomy_cache, stacked
from weitiao.kernels.packed_linear import packed_linear
from weitiao.models import device
from weitiao.records import Reader
from weitiao.tasks import generation
from weitiao.tasks.generation import GenerationOptions, generate

PRECISIONS = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
PACKS = packed_linear(torch.randn(16, 16), None) is not None
needs_packing = pytest.mark.skipif(not PACKS, reason="oneDNN packs no bf16 matrices on this CPU")


# --- layers


@needs_packing
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 1), (5, 9), (40, 30)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_is_the_layer(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(48, 80, bias=bias).to(torch.bfloat16)
    packed = packed_linear(layer.weight, layer.bias)
    assert packed is not None
    inputs = torch.randn(*shape, 48).to(torch.bfloat16)
    strided = torch.randn(48, *shape).to(torch.bfloat16).movedim(0, -1)
    with torch.inference_mode():
        for each in (inputs, strided):
            found, wanted = packed(each), layer(each)
            assert found.shape == wanted.shape
            torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2)


@needs_packing
def test_a_model_has_its_own_layers_again_and_its_gradients_meanwhile() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 4))
    before = [parameter.clone() for parameter in model.parameters()]
    inputs = torch.randn(5, 16)
    with quickly(model, "bf16", learns=False):
        assert "forward" in vars(model[0])
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            half = model(inputs)
        assert half.dtype == torch.bfloat16
        with torch.autocast("cpu", torch.bfloat16):
            model(inputs).float().sum().backward()
    assert model[0].weight.grad is not None
    assert "forward" not in vars(model[0])
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))
    torch.testing.assert_close(half.float(), model(inputs), rtol=5e-2, atol=5e-2)


# --- attention


@pytest.mark.parametrize("amx", [True, False])
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("keys", [1, 2, 9, 15, 16, 17, 24, 31, 50])
@pytest.mark.parametrize("kind", ["all", "padded", "causal", "token", "padded token"])
@pytest.mark.parametrize("key_heads", [4, 2])
def test_read_is_pytorchs_attention(
    dtype: torch.dtype, keys: int, kind: str, key_heads: int, amx: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_has_amx", lambda: amx)
    torch.manual_seed(keys)
    query = torch.randn(3, 4, 1 if "token" in kind else keys, 8).to(dtype)
    key, value = (torch.randn(3, key_heads, keys, 8).to(dtype) for _ in range(2))
    bias = None
    if "padded" in kind:
        bias = torch.zeros(3, 1, 1, keys, dtype=dtype)
        bias[1, ..., : keys // 2] = torch.finfo(dtype).min
    keys_of_all, values_of_all = (each.repeat_interleave(4 // key_heads, 1) for each in (key, value))
    wanted = functional.scaled_dot_product_attention(
        query, keys_of_all, values_of_all, attn_mask=bias, is_causal=kind == "causal"
    )
    found = read(query, key, value, bias, causal=kind == "causal")
    assert found.shape == wanted.shape
    torch.testing.assert_close(found, wanted, rtol=PRECISIONS[dtype], atol=PRECISIONS[dtype])


# --- generation


PROMPTS = ["the film was good and we liked it very much", "a bad book", "where is it", "the room", "we liked the room"]


def made(kind: str, folder: Path) -> tuple[Any, Reader]:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    wide = {} if kind == "t5" else {"initializer_range": 0.3}
    getattr(tiny, f"tiny_{kind}")(folder, texts(), **wide)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    auto = AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM
    return auto.from_pretrained(folder).eval(), Reader("seq2seq" if kind == "t5" else "decoder", tokenizer, 64)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_texts_are_those_of_plain_generate(
    kind: str, beams: int, penalty: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One prompt after the other by `generate` alone, against rounds of two tokens from which ended texts leave."""
    if penalty > 1 and kind == "gpt2":
        pytest.skip("transformers counts padding as said, and gpt2's is its end of text")
    model, reader = made(kind, tmp_path)
    prompts = [reader.tokenizer(text, add_special_tokens=False)["input_ids"] for text in PROMPTS]
    options = GenerationOptions(max_new_tokens=17, beams=beams, repetition_penalty=penalty)
    end = reader.tokenizer.eos_token_id
    free = generate(model, prompts, reader, options, [end])
    stops = sorted({end, *(ids[number % len(ids)] for number, ids in zip((3, 6, 1), free[::2], strict=True) if ids)})
    config = generation.generation_config(model, reader, options, stops)
    wanted = []
    with generation.ready(model, config, options):
        for prompt in prompts:
            ids = torch.tensor([prompt])
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
            start = 1 if kind == "t5" else len(prompt)
            wanted.append(generation.until(out[0, start:].tolist(), stops))
    widths: list[int] = []
    own = type(model).forward

    @wraps(own)  # `generate` asks for its signature
    def watched(self: Any, *given: Any, **named: Any) -> Any:
        widths.append(0 if named.get("input_ids") is None else len(named["input_ids"]))
        return own(self, *given, **named)

    monkeypatch.setattr(type(model), "forward", watched)
    monkeypatch.setattr(generation, "ROUND", 2)
    monkeypatch.setattr(generation, "FEW", 1)
    with quickly(model, "fp32", learns=False):
        assert generate(model, prompts, reader, options, stops) == wanted
    if kind != "t5" and beams == 1:  # who has ended is no longer computed
        assert len({len(ids) for ids in wanted}) > 1
        assert widths[0] < len(prompts) == max(widths)  # first those of like length, then all
        assert widths[-1] < len(prompts)


def test_a_cache_with_room_holds_what_transformers_cache_holds(tmp_path: Path) -> None:
    from transformers import DynamicCache

    model, _ = made("llama", tmp_path)
    ours, theirs = roomy_cache(model), DynamicCache(config=model.config)
    assert ours is not None
    torch.manual_seed(0)
    for tokens in (5, 1, 1, 70, 1):
        new = torch.randn(3, 2, tokens, 4), torch.randn(3, 2, tokens, 4)
        for one, other in zip(ours.update(*new, 0), theirs.update(*new, 0), strict=True):
            assert torch.equal(one, other)
        order = torch.tensor([2, 0, 1])
        for cache in (ours, theirs):
            cache.reorder_cache(order) if tokens == 70 else cache.batch_select_indices(torch.tensor([0, 1, 2]))
    assert ours.get_seq_length() == theirs.get_seq_length() == 78


def test_caches_under_each_other_end_together(tmp_path: Path) -> None:
    model, _ = made("llama", tmp_path)
    torch.manual_seed(0)
    parts, states = [roomy_cache(model) for _ in range(3)], []
    for cache, (rows, tokens) in zip(parts, ((1, 9), (2, 4), (3, 70)), strict=True):
        new = torch.randn(rows, 2, tokens, 4), torch.randn(rows, 2, tokens, 4)
        states.append(new)
        for layer in range(len(cache.layers)):
            cache.update(*new, layer)
    whole = stacked(parts, roomy_cache(model))
    assert whole.get_seq_length() == 70
    for number in (0, 1):
        more = torch.randn(6, 2, 1, 4)
        for found, kind in zip(whole.update(more, more, number), (0, 1), strict=True):
            wanted = torch.cat(
                [torch.nn.functional.pad(each[kind], (0, 0, 70 - each[kind].shape[2], 0)) for each in states]
            )
            assert torch.equal(found, torch.cat([wanted, more], 2))
            room = getattr(found, ROOM)
            assert room.is_contiguous()
            assert room.shape[2] % 32 == 0
            assert not room[:, :, 71:].any()


@pytest.mark.parametrize("masked", [True, False])
def test_the_room_behind_the_keys_is_not_read(masked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_has_amx", lambda: False)
    model, _ = made("llama", tmp_path)
    torch.manual_seed(0)
    cache = roomy_cache(model)
    key, value = cache.update(*(torch.randn(3, 2, 21, 16).bfloat16() for _ in range(2)), 0)
    query = torch.randn(3, 4, 1, 16).bfloat16()
    bias = torch.zeros(3, 1, 1, 21).bfloat16()
    bias[1, ..., :5] = torch.finfo(torch.bfloat16).min
    given = bias if masked else None
    wanted = attention.read(query, key.clone(), value.clone(), given)
    cast = key.clone()  # as autocast leaves keys that RoPE has widened: without room
    for one, other in ((key, value), (cast, value), (key, value.clone())):
        assert torch.allclose(attention.read(query, one, other, given), wanted, atol=1e-2)
    assert torch.allclose(
        wanted.float(),
        torch.nn.functional.scaled_dot_product_attention(
            query.float(),
            key.float(),
            value.float(),
            attn_mask=given if given is None else given.float(),
            enable_gqa=True,
        ),
        atol=2e-2,
    )


# --- predictions


def test_together_as_one_by_one(recipe_values: Any) -> None:
    predictor = load(train(recipe_values(training={"epochs": 1, "batch_size": 16})).folder)
    assert predictor.precision == "fp32"
    asked = [text * (1 + number % 5) for number, text in enumerate(texts()[:40])]
    for text, found in zip(asked, predictor.predict(asked), strict=True):
        alone = predictor.predict([text])[0]
        assert found["label"] == alone["label"]
        assert found["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-5)


@pytest.mark.parametrize("family", ["encoder", "decoder"])
def test_bf16_says_what_fp32_says_but_for_near_ties(family: str, recipe_values: Any) -> None:
    run = train(recipe_values(family, training={"epochs": 1, "batch_size": 16}))
    exact, half = (load(run.folder, precision=precision) for precision in ("fp32", "bf16"))
    assert {parameter.dtype for parameter in half.inference.model.parameters()} == {torch.bfloat16}
    assert half.precision == "bf16"
    for one, other in zip(exact.predict(texts()), half.predict(texts()), strict=True):
        first, second = sorted(one["probabilities"].values())[-1:-3:-1]
        assert other["label"] == one["label"] or first - second < 0.2
        assert other["probabilities"] == pytest.approx(one["probabilities"], abs=0.1)


def test_the_precision_is_the_one_it_was_measured_in_where_that_is_native(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert models.prediction_precision("auto", "bf16", cpu)[0] == "fp32"  # no machine of the tests has it
    monkeypatch.setattr(device, "_native_bf16", lambda _: (True, "this CPU has AMX"))
    assert models.prediction_precision("auto", "bf16", cpu) == (
        "bf16", "as it was trained and measured, and this CPU has AMX"
    )  # fmt: skip
    assert models.prediction_precision("auto", "fp32", cpu)[0] == "fp32"
    assert models.prediction_precision("bf16", "fp32", cpu)[0] == "bf16"
    assert models.prediction_precision("fp32", "bf16", cpu) == ("fp32", "as asked for")
    with pytest.raises(RecipeError, match="half"):
        models.prediction_precision("half", "fp32", cpu)
