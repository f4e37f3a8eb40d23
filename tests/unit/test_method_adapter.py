"""The method `adapter`: by hand from its formula, on every known block, and without Weitiao."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional

from tests import tiny
from tests.samples import texts
from weitiao.errors import RecipeError
from weitiao.methods.adapter import Adapter, AdapterOptions
from weitiao.methods.bottleneck import Bottleneck, bottlenecks

VARIANTS: list[dict[str, Any]] = [
    {}, {"placement": "pfeiffer", "activation": "relu"}, {"placement": "parallel", "activation": "tanh"},
    {"sharing": "compacter"}, {"placement": "parallel", "sharing": "compacter", "terms": 8, "rank": 2, "scale": 3.0},
]  # fmt: skip
ACTIVATIONS = {"gelu": functional.gelu, "relu": functional.relu, "tanh": torch.tanh}
SHAPE: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "num_key_value_heads": 1, "head_dim": 16, "pad_token_id": 0,
}  # fmt: skip
PAIR: dict[str, Any] = {
    "vocab_size": 50, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
}  # fmt: skip
T5: dict[str, Any] = {
    "vocab_size": 50, "d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "pad_token_id": 0,
    "decoder_start_token_id": 0,
}  # fmt: skip
GPT: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 2,
    "max_position_embeddings": 64,
}
KINDS: list[tuple[str, dict[str, Any], int]] = [  # config, what it is told, bottlenecks after attention
    ("Bert", SHAPE, 2), ("Roberta", SHAPE, 2), ("XLMRoberta", SHAPE, 2), ("Electra", SHAPE | {"embedding_size": 32}, 2),
    ("DebertaV2", SHAPE, 2), ("MPNet", SHAPE, 2),
    ("Albert", SHAPE | {"embedding_size": 16, "num_hidden_layers": 3}, 1),
    ("DistilBert", {"vocab_size": 50, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48}, 2),
    ("ModernBert", SHAPE | {"cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}, 2),
    ("Llama", SHAPE, 2), ("Mistral", SHAPE, 2), ("Qwen2", SHAPE, 2), ("Qwen3", SHAPE, 2), ("Gemma", SHAPE, 2),
    ("Gemma2", SHAPE, 2), ("Phi3", SHAPE, 2),
    ("GPT2", {"vocab_size": 50, "n_embd": 32, "n_layer": 2, "n_head": 2}, 2),
    ("GPTNeo", GPT | {"attention_types": [[["global", "local"], 1]], "intermediate_size": 48}, 2),
    ("GPTNeoX", SHAPE, 2),
    ("OPT", SHAPE | {"ffn_dim": 48, "word_embed_proj_dim": 32}, 2),
    ("T5", T5, 6), ("MT5", T5, 6), ("T5", T5 | {"feed_forward_proj": "gated-gelu"}, 6),
    ("Bart", PAIR, 6), ("MBart", PAIR, 6), ("Marian", PAIR | {"decoder_vocab_size": 50}, 6), ("Pegasus", PAIR, 6),
]  # fmt: skip


def under_head(config: Any) -> Any:
    """A model of this shape that writes or fills in text."""
    torch.manual_seed(0)
    for name in ("Seq2SeqLM", "MaskedLM", "CausalLM"):
        auto = getattr(transformers, f"AutoModelFor{name}")
        if type(config) in auto._model_mapping and (name != "MaskedLM" or not config.is_encoder_decoder):
            return auto.from_config(config).eval()
    raise AssertionError(config)


def adapted(model: Any, **options: Any) -> Any:
    """The model with bottlenecks that do something."""
    torch.manual_seed(7)
    model = Adapter(AdapterOptions(**options)).apply(model).eval()
    moved(model)
    return model


def moved(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)


def added(bottleneck: Any, x: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
    """What a bottleneck adds, from the formula: s (W_up f(W_down x + b_down) + b_up)."""

    def projected(part: Any, x: torch.Tensor) -> torch.Tensor:
        if options.get("sharing") != "compacter":
            return x @ part.weight.T + part.bias  # type: ignore[no-any-return]
        terms = [torch.kron(a, s @ t) for a, s, t in zip(part.shared, part.left, part.right, strict=True)]
        return x @ torch.stack(terms).sum(0) + part.bias  # type: ignore[no-any-return]

    scale = options.get("scale", 4.0 if options.get("placement") == "parallel" else 1.0)
    act = ACTIVATIONS[options.get("activation", "gelu")]
    return scale * projected(bottleneck.up, act(projected(bottleneck.down, x)))


def with_added(
    adapter: Any, options: dict[str, Any], read: torch.Tensor, given: torch.Tensor, mlp: bool
) -> torch.Tensor:
    """What a sub-layer adds to the residual stream: with a bottleneck after it or beside it."""
    placement = options.get("placement", "houlsby")
    if not mlp and placement != "houlsby":
        return given
    return given + added(adapter, read if placement == "parallel" else given, options)


@pytest.mark.parametrize("options", VARIANTS)
def test_a_block_of_bert_is_as_written_by_hand(options: dict[str, Any], tmp_path: Path) -> None:
    config = transformers.BertConfig(**SHAPE, attn_implementation="eager")
    model = adapted(under_head(config), **options)
    block, x = model.bert.encoder.layer[0], torch.randn(2, 5, 32)
    own, out = block.attention.self, block.attention.output

    def heads(layer: Any) -> torch.Tensor:
        return functional.linear(x, layer.weight, layer.bias).view(2, 5, 2, 16).transpose(1, 2)  # type: ignore[no-any-return]

    weights = (heads(own.query) @ heads(own.key).transpose(-1, -2) / 4).softmax(-1)
    seen = (weights @ heads(own.value)).transpose(1, 2).reshape(2, 5, 32)
    given = functional.linear(seen, out.dense.weight, out.dense.bias)
    h = out.LayerNorm(x + with_added(getattr(out.dense, "adapter", None), options, x, given, mlp=False))
    first, last = block.intermediate.dense, block.output.dense
    given = functional.linear(functional.gelu(functional.linear(h, first.weight, first.bias)), last.weight, last.bias)
    expected = block.output.LayerNorm(h + with_added(last.adapter, options, h, given, mlp=True))
    found = block(x)
    torch.testing.assert_close(found[0] if isinstance(found, tuple) else found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", VARIANTS)
def test_the_mlp_of_llama_is_as_written_by_hand(options: dict[str, Any]) -> None:
    model = adapted(under_head(transformers.LlamaConfig(**SHAPE)), **options)
    mlp, x = model.model.layers[1].mlp, torch.randn(2, 5, 32)
    gate, up, down = (part.weight for part in (mlp.gate_proj, mlp.up_proj, mlp.down_proj))
    given = (functional.silu(x @ gate.T) * (x @ up.T)) @ down.T
    expected = with_added(mlp.down_proj.adapter, options, x, given, mlp=True)
    torch.testing.assert_close(mlp(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "told", "attentions"), KINDS, ids=[kind for kind, _, _ in KINDS])
@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer", "parallel"])
def test_every_known_block(kind: str, told: dict[str, Any], attentions: int, placement: str) -> None:
    """As many as there should be, that change the outputs and get gradients; taken out, all is as before."""
    model = under_head(getattr(transformers, f"{kind}Config")(**told))
    inputs = {"input_ids": torch.randint(3, 50, (2, 6)), "attention_mask": torch.ones(2, 6, dtype=torch.long)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.randint(3, 50, (2, 4))
    with torch.no_grad():
        before = model(**inputs)[0]
    names, method = list(model.state_dict()), Adapter(AdapterOptions(placement=placement))
    method.apply(model)
    found = bottlenecks(model)
    mlps = {2: 2, 6: 4, 1: 1}[attentions]
    assert len(found) == mlps + (attentions if placement == "houlsby" else 0)
    torch.testing.assert_close(model(**inputs)[0], before, rtol=0, atol=1e-6)
    moved(nn.ModuleList(found.values()))
    after = model(**inputs)[0]
    assert (after - before).abs().max() > 1e-3
    after.square().sum().backward()
    for bottleneck in found.values():
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in bottleneck.parameters())
        assert not bottleneck.read  # nothing is held on to
    method.merge(model)
    assert list(model.state_dict()) == names
    with torch.no_grad():
        assert torch.equal(model(**inputs)[0], before)


def test_whisper(tmp_path: Path) -> None:
    folder = tiny.tiny_whisper(tmp_path / "whisper", texts())
    model = adapted(transformers.WhisperForConditionalGeneration.from_pretrained(folder))
    assert len(bottlenecks(model)) == 10
    outputs = model.generate(torch.randn(1, 16, 100), max_new_tokens=5)
    assert outputs.shape[1] > 1


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
@pytest.mark.parametrize("placement", ["houlsby", "parallel"])
def test_generating_with_and_without_a_cache_is_the_same(kind: str, placement: str, tmp_path: Path) -> None:
    folder = getattr(tiny, f"tiny_{kind}")(tmp_path / kind, texts())
    auto = transformers.AutoModelForSeq2SeqLM if kind == "t5" else transformers.AutoModelForCausalLM
    model = adapted(auto.from_pretrained(folder), placement=placement)
    ids = torch.randint(5, 40, (2, 5))
    told = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(model.generate(ids, use_cache=True, **told), model.generate(ids, use_cache=False, **told))


def test_gradient_checkpointing_changes_nothing() -> None:
    for placement in ("houlsby", "parallel"):
        model = adapted(under_head(transformers.LlamaConfig(**SHAPE)), placement=placement).train()
        gradients = []
        for on in (False, True):
            model.zero_grad()
            if on:
                model.gradient_checkpointing_enable({"use_reentrant": False})
            model(inputs_embeds=torch.ones(1, 4, 32) * 0.1)[0].square().sum().backward()
            gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        assert len(gradients[0]) == len(gradients[1]) > 0
        assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize("options", VARIANTS)
def test_a_copy_is_a_model_of_its_own(options: dict[str, Any]) -> None:
    model = adapted(under_head(transformers.BertConfig(**SHAPE)), **options)
    ids = torch.randint(3, 50, (2, 6))
    other = copy.deepcopy(model)
    assert sum(p.numel() for p in other.parameters()) == sum(p.numel() for p in model.parameters())
    before = model(ids)[0]
    torch.testing.assert_close(other(ids)[0], before, rtol=0, atol=0)
    moved(other)
    assert torch.equal(model(ids)[0], before)
    Adapter(AdapterOptions(**options)).merge(other)
    assert torch.equal(model(ids)[0], before)
    assert not bottlenecks(other)


@pytest.mark.parametrize("options", VARIANTS)
def test_the_loader_beside_the_weights_needs_no_weitiao(options: dict[str, Any], tmp_path: Path) -> None:
    folder = tiny.tiny_bert(tmp_path / "bert", texts())
    plain = transformers.AutoModelForSequenceClassification
    torch.manual_seed(1)
    method, model = Adapter(AdapterOptions(**options)), adapted(plain.from_pretrained(folder, num_labels=3), **options)
    ids = torch.tensor([[2, 7, 9, 11, 3], [2, 8, 8, 9, 3]])
    with torch.no_grad():
        expected = model(ids).logits
    method.save(model, tmp_path / "adapter")
    lines = f"""
import sys
sys.modules["weitiao"] = sys.modules["peft"] = None
import torch
from transformers import AutoModelForSequenceClassification
sys.path.append({str(tmp_path / "adapter")!r})
from load_adapter import load_adapter
model = AutoModelForSequenceClassification.from_pretrained({str(folder)!r}, num_labels=3)
model = load_adapter(model, {str(tmp_path / "adapter")!r})
with torch.no_grad():
    print(model(torch.tensor({ids.tolist()})).logits.tolist())
"""
    said = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True, cwd=tmp_path)
    found = torch.tensor(eval(said.stdout.splitlines()[-1], {}))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    loaded = method.load(plain.from_pretrained(folder, num_labels=3), tmp_path / "adapter")
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, expected)
    method.save(loaded, tmp_path / "again")
    for name in ("weights.safetensors", "adapter.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "adapter" / name).read_bytes()


def test_the_usual_size_is_a_16th_but_not_too_small() -> None:
    for width, size in ((32, 16), (384, 24), (768, 48)):
        config = transformers.BertConfig(**SHAPE | {"hidden_size": width, "head_dim": None, "num_hidden_layers": 1})
        with torch.device("meta"):
            model = transformers.BertForMaskedLM(config)
        Adapter(AdapterOptions()).apply(model)
        for bottleneck in bottlenecks(model).values():
            assert bottleneck.down.weight.shape == (size, width)
            assert bottleneck.down.weight.is_meta


def test_dropout_only_in_training() -> None:
    bottleneck = Bottleneck(nn.Linear(4, 4), nn.Linear(4, 4), "relu", dropout=0.5, scale=1.0)
    x = torch.randn(50, 4)
    assert not torch.equal(bottleneck.train()(x), bottleneck(x))
    assert torch.equal(bottleneck.eval()(x), bottleneck(x))


def test_an_unknown_block_is_refused_with_those_that_are_known() -> None:
    config = transformers.BloomConfig(vocab_size=50, hidden_size=32, n_layer=1, n_head=2)
    with pytest.raises(RecipeError, match="BloomBlock") as error:
        Adapter(AdapterOptions()).apply(under_head(config))
    assert "self_attention" in str(error.value)
    assert "Llama, Mistral" in (error.value.fix or "")
    assert "lora" in (error.value.fix or "")


def test_what_a_compacter_cannot_divide_is_refused() -> None:
    model = under_head(transformers.BertConfig(**SHAPE))
    with pytest.raises(RecipeError, match="width of 32") as error:
        Adapter(AdapterOptions(sharing="compacter", terms=5)).apply(model)
    assert error.value.where == "method.terms"
    with pytest.raises(RecipeError, match="6 cannot") as error:
        Adapter(AdapterOptions(sharing="compacter", terms=4, size=6)).apply(model)
    assert error.value.where == "method.size"
    assert not bottlenecks(model)


def test_threads_do_not_disturb_each_other() -> None:
    from concurrent.futures import ThreadPoolExecutor

    model = adapted(under_head(transformers.BertConfig(**SHAPE)), placement="parallel")
    many = [torch.randint(3, 50, (2, 6)) for _ in range(40)]

    def run(ids: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model(ids)[0]  # type: ignore[no-any-return]

    alone = [run(ids) for ids in many]
    with ThreadPoolExecutor(4) as pool:
        for mine, theirs in zip(alone, pool.map(run, many), strict=True):
            torch.testing.assert_close(theirs, mine, rtol=0, atol=1e-6)
