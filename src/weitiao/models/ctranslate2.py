"""Whisper models of CTranslate2, the form of faster-whisper: turned once into an ordinary folder of safetensors.

``model.bin`` is a list of named arrays (`read_variables`), ``config.json`` beside it holds what is not to be written,
``tokenizer.json`` the tokenizer. Nothing in it is code.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from weitiao.errors import ModelError
from weitiao.models.quiet import quiet
from weitiao.sources import Progress, cache_folder
from weitiao.sources.cache import publishing
from weitiao.sources.digests import file_digest

if TYPE_CHECKING:
    from transformers import GenerationConfig, WhisperConfig

WEIGHTS = "model.bin"
WHISPER = "WhisperSpec"
NEWEST = 16  # a first number above this is no version of the format
KINDS = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2", 5: "bfloat16"}
MULTILINGUAL = 51_865  # tokens that OpenAI's models know from which on they are not for English alone
SUPPRESSED = {"suppress_ids": "suppress_tokens", "suppress_ids_begin": "begin_suppress_tokens",
              "alignment_heads": "alignment_heads"}  # fmt: skip

Variables = dict[str, np.ndarray]


def folders_in(fetched: Path) -> list[Path]:
    """Return the folders at or below `fetched` that hold a model of CTranslate2."""
    return [path.parent for path in sorted(fetched.rglob(WEIGHTS)) if specification(path)]


def specification(path: Path) -> str | None:
    """Return what kind of model a ``model.bin`` is, such as ``WhisperSpec``; None where it is none of CTranslate2."""
    with path.open("rb") as file:
        try:
            version = _number(file, "I")
            name = _text(file) if 0 < version <= NEWEST else ""
        except (EOFError, UnicodeDecodeError):
            return None
    return name if name.endswith("Spec") else None


def converted(folder: Path, progress: Progress | None = None) -> Path:
    """Return a folder with the same model as config, tokenizer and safetensors; made once, kept in the cache.

    Floats stay exact; whole numbers of 8 or 16 bits are multiplied out into fp16, which loses far less than they did.
    A `ModelError` for anything but a whole Whisper model with its tokenizer.
    """
    files = [folder / name for name in (WEIGHTS, "config.json", "tokenizer.json")]
    kind = specification(files[0])
    if kind != WHISPER:
        raise ModelError(f"{folder} holds a model of CTranslate2 ({kind}); only its Whisper models can be read",
                         where="model", fix="Take the model that it was made from.")  # fmt: skip
    for file in files[1:]:
        if not file.exists():
            raise ModelError(f"there is no {file.name} beside {files[0]}", where="model",
                             fix="Put it there from where the model came from.")  # fmt: skip
    known = hashlib.sha256("".join(map(file_digest, files)).encode()).hexdigest()[:16]
    target = cache_folder() / "ctranslate2" / f"{folder.name}-{known}"
    if (target / "config.json").exists():
        return target
    if progress:
        progress(f"converting {files[0].name} to safetensors (once)")
    with publishing(target) as part, quiet():
        try:
            _convert(folder, part)
        except (EOFError, KeyError, ValueError, TypeError, RuntimeError, UnicodeDecodeError) as error:
            problem = f"{files[0]} cannot be converted: {_first_line(error)}"
            raise ModelError(problem, where="model", fix="The file may be damaged: fetch it again.") from None
    return target


# --- the file


def read_variables(path: Path) -> Variables:
    """Return the arrays of a ``model.bin`` by name; quantised ones multiplied out to fp32.

    The file (all numbers little-endian): version, kind and revision of the model; how many arrays; each as its name,
    the number of its dimensions and these, its type, its bytes; and names that stand for the same array as another.
    """
    with path.open("rb") as file:
        _number(file, "I"), _text(file), _number(file, "I")
        found = dict(_variable(file) for _ in range(_number(file, "I")))
        aliases = [(_text(file), _text(file)) for _ in range(_number(file, "I"))]
    found |= {name: found[other] for name, other in aliases}
    scales = {name: found[f"{name}_scale"] for name in found if f"{name}_scale" in found}
    return found | {name: _multiplied_out(found[name], scale) for name, scale in scales.items()}


def _variable(file: BinaryIO) -> tuple[str, np.ndarray]:
    name = _text(file)
    shape = [_number(file, "I") for _ in range(_number(file, "B"))]
    kind, size = _number(file, "B"), _number(file, "I")
    if kind not in KINDS:
        raise ValueError(f"{name} is of an unknown type ({kind})")
    data = _bytes(file, size)
    if KINDS[kind] == "bfloat16":  # the upper half of a float32
        return name, (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    return name, np.frombuffer(data, KINDS[kind]).reshape(shape)


def _multiplied_out(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Divide by the scale of each row, or of all."""
    return values.astype(np.float32) / scale.astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))


def _number(file: BinaryIO, kind: str) -> int:
    return int(struct.unpack(f"<{kind}", _bytes(file, struct.calcsize(f"<{kind}")))[0])


def _text(file: BinaryIO) -> str:
    return _bytes(file, _number(file, "H")).rstrip(b"\0").decode()


def _bytes(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError("it ends too early")
    return data


# --- to transformers


def _convert(folder: Path, target: Path) -> None:
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    variables = read_variables(folder / WEIGHTS)
    tokens = _save_tokenizer(folder / "tokenizer.json", target, rows=len(variables["decoder/embeddings/weight"]))
    config = _config(variables, tokens)
    exact = variables["encoder/conv1/bias"].dtype == np.float32 and "encoder/conv1/weight_scale" not in variables
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    state = {to: torch.tensor(np.array(values, np.float32)) for to, values in _renamed(variables, config)}
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    model.generation_config = _generation(
        json.loads((folder / "config.json").read_text(encoding="utf-8")), config, tokens
    )
    model.to(torch.float32 if exact else torch.float16).save_pretrained(target)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(target)


def _config(variables: Variables, tokens: Mapping[str, int]) -> WhisperConfig:
    from transformers import WhisperConfig

    vocabulary, width = variables["decoder/embeddings/weight"].shape
    end, start = tokens["<|endoftext|>"], tokens["<|startoftranscript|>"]
    sizes = {
        "encoder_layers": _layers(variables, "encoder"), "decoder_layers": _layers(variables, "decoder"),
        "encoder_attention_heads": int(variables["encoder/num_heads"]),
        "decoder_attention_heads": int(variables["decoder/num_heads"]),
        "encoder_ffn_dim": len(variables["encoder/layer_0/ffn/linear_0/weight"]),
        "decoder_ffn_dim": len(variables["decoder/layer_0/ffn/linear_0/weight"]),
        "max_source_positions": len(variables["encoder/position_encodings/encodings"]),
        "max_target_positions": len(variables["decoder/position_encodings/encodings"]),
        "num_mel_bins": variables["encoder/conv1/weight"].shape[1],
    }  # fmt: skip
    return WhisperConfig(
        vocab_size=vocabulary, d_model=width, **sizes, pad_token_id=end, eos_token_id=end, bos_token_id=start,
        decoder_start_token_id=start, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip


def _layers(variables: Variables, half: str) -> int:
    return len({name.split("/")[1] for name in variables if name.startswith(f"{half}/layer_") and "/ffn/" in name})


def _generation(stored: Mapping[str, Any], config: WhisperConfig, tokens: Mapping[str, int]) -> GenerationConfig:
    from transformers import GenerationConfig

    numbers = {"no_timestamps_token_id": "<|notimestamps|>", "prev_sot_token_id": "<|startofprev|>"}
    multilingual = config.vocab_size >= MULTILINGUAL
    languages: dict[str, Any] = {}
    if multilingual:
        languages["lang_to_id"] = {token: i for token, i in tokens.items() if i in set(stored.get("lang_ids", []))}
        languages["task_to_id"] = {aim: tokens[f"<|{aim}|>"] for aim in ("transcribe", "translate")}
    return GenerationConfig(
        decoder_start_token_id=config.decoder_start_token_id, bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id, max_length=config.max_target_positions,
        is_multilingual=multilingual, return_timestamps=False, **languages,
        **{name: tokens[token] for name, token in numbers.items() if token in tokens},
        **{name: stored[ours] for ours, name in SUPPRESSED.items() if stored.get(ours)},
    )  # fmt: skip


def _save_tokenizer(file: Path, target: Path, rows: int) -> dict[str, int]:
    """Write the tokenizer as Whisper's own class, with the timestamps it may lack; return its vocabulary."""
    from transformers import AddedToken, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(file))
    times = [f"<|{number * 0.02:.2f}|>" for number in range(1501)]
    if len(tokenizer) + len(times) == rows:
        tokenizer.add_tokens([AddedToken(time, normalized=False, special=False) for time in times])
    tokenizer.save_pretrained(target)
    path = target / "tokenizer_config.json"
    told = json.loads(path.read_text(encoding="utf-8")) | {"tokenizer_class": "WhisperTokenizer"}
    told |= dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<|endoftext|>")
    path.write_text(json.dumps(told, ensure_ascii=False, indent=1), encoding="utf-8")
    return {str(token): int(number) for token, number in tokenizer.get_vocab().items()}


def _renamed(variables: Variables, config: WhisperConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each parameter of `transformers` with its values."""
    yield "model.decoder.embed_tokens.weight", variables["decoder/embeddings/weight"]
    for convolution in ("conv1", "conv2"):
        yield from _pair(f"model.encoder.{convolution}", variables, f"encoder/{convolution}")
    for half, layers in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        yield f"model.{half}.embed_positions.weight", variables[f"{half}/position_encodings/encodings"]
        yield from _norm(f"model.{half}.layer_norm", variables, f"{half}/layer_norm")
        for number in range(layers):
            yield from _layer(f"model.{half}.layers.{number}", variables, f"{half}/layer_{number}")


def _layer(to: str, variables: Variables, name: str) -> Iterator[tuple[str, np.ndarray]]:
    yield from _attention(f"{to}.self_attn", variables, f"{name}/self_attention", [("q", "k", "v")])
    yield from _norm(f"{to}.self_attn_layer_norm", variables, f"{name}/self_attention/layer_norm")
    if f"{name}/attention/linear_0/weight" in variables:
        yield from _attention(f"{to}.encoder_attn", variables, f"{name}/attention", [("q",), ("k", "v")])
        yield from _norm(f"{to}.encoder_attn_layer_norm", variables, f"{name}/attention/layer_norm")
    yield from _pair(f"{to}.fc1", variables, f"{name}/ffn/linear_0")
    yield from _pair(f"{to}.fc2", variables, f"{name}/ffn/linear_1")
    yield from _norm(f"{to}.final_layer_norm", variables, f"{name}/ffn/layer_norm")


def _attention(
    to: str, variables: Variables, name: str, fused: list[tuple[str, ...]]
) -> Iterator[tuple[str, np.ndarray]]:
    """Projections that are one matrix in CTranslate2 taken apart; Whisper's keys have no bias, there it is zero."""
    for number, letters in enumerate(fused):
        weight, bias = (variables[f"{name}/linear_{number}/{part}"] for part in ("weight", "bias"))
        parts = zip(letters, np.split(weight, len(letters)), np.split(bias, len(letters)), strict=True)
        for letter, own, own_bias in parts:
            yield f"{to}.{letter}_proj.weight", own
            if letter != "k":
                yield f"{to}.{letter}_proj.bias", own_bias
    yield from _pair(f"{to}.out_proj", variables, f"{name}/linear_{len(fused)}")


def _pair(to: str, variables: Variables, name: str) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{to}.weight", variables[f"{name}/weight"]
    yield f"{to}.bias", variables[f"{name}/bias"]


def _norm(to: str, variables: Variables, name: str) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{to}.weight", variables[f"{name}/gamma"]
    yield f"{to}.bias", variables[f"{name}/beta"]


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
