"""GGUF files, the quantised form of llama.cpp: turned once into an ordinary folder of safetensors."""

from __future__ import annotations

import json
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weitiao.errors import ModelError
from weitiao.models.quiet import quiet
from weitiao.sources import Progress, cache_folder
from weitiao.sources.cache import publishing
from weitiao.sources.digests import file_digest

if TYPE_CHECKING:
    import torch


def converted(file: Path, progress: Progress | None = None) -> Path:
    """Return a folder with the model of a GGUF file as config, tokenizer and safetensors; made once, kept in the cache.

    Quantised weights are spread out to bf16, which loses far less than the quantisation did; others stay exact.
    Needs the extra ``weitiao[gguf]``.
    """
    target = cache_folder() / "gguf" / f"{file.stem}-{file_digest(file)[:16]}"
    if (target / "config.json").exists():
        return target
    _need_gguf(file)
    if progress:
        progress(f"converting {file.name} to safetensors (once)")
    with publishing(target) as part, quiet(), redirect_stderr(StringIO()):  # its progress bar has no switch
        try:
            _convert(file, part)
        except (ValueError, KeyError, NotImplementedError, ImportError, IndexError, TypeError) as error:
            fix = "transformers reads the GGUF files of Llama, Qwen2, Mistral, Phi-3, GPT-2, T5 and a few more."
            raise ModelError(f"{file.name} cannot be converted: {_first_line(error)}", where="model", fix=fix) from None
    return target


def _need_gguf(file: Path) -> None:
    try:
        import gguf  # noqa: F401
    except ImportError:
        fix = "pip install 'weitiao[gguf]'"
        raise ModelError(f"{file.name} needs the package gguf", where="model", fix=fix) from None
    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise ModelError(f"{file.name} is not a GGUF file", where="model")


def _convert(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    architecture, kept = _stored(file)
    auto: Any = AutoModelForSeq2SeqLM if architecture == "t5" else AutoModelForCausalLM
    read = auto.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32, local_files_only=True)
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # it is marked as quantised, and refuses to be saved as such
    values = {name: value.to(kept) for name, value in read.state_dict().items()}
    with torch.device("meta"):
        clean = type(read)(config)
    clean.load_state_dict(values, assign=True)
    clean.tie_weights()
    clean.config.dtype = kept
    clean.generation_config = read.generation_config
    clean.save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True).save_pretrained(folder)
    _drop_invented_tokens(folder / "tokenizer.json", rows=clean.get_input_embeddings().num_embeddings)


def _drop_invented_tokens(path: Path, rows: int) -> None:
    """Take out tokens such as ``<|endoftext|>`` that the reader adds by itself and the model has no embedding for."""
    if not path.exists():
        return
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    kept = [token for token in tokenizer.get("added_tokens", []) if token["id"] < rows]
    if len(kept) < len(tokenizer.get("added_tokens", [])):
        tokenizer["added_tokens"] = kept
        path.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


def _stored(file: Path) -> tuple[str, torch.dtype]:
    """Return the architecture and the precision to keep: that of the matrices where they are unquantised, else bf16."""
    import gguf
    import torch

    reader = gguf.GGUFReader(file)
    field = reader.get_field("general.architecture")
    kinds = {tensor.tensor_type.name for tensor in reader.tensors if len(tensor.shape) > 1}
    exact = {"F32": torch.float32, "F16": torch.float16}
    kept = exact.get(kinds.pop(), torch.bfloat16) if len(kinds) == 1 else torch.bfloat16
    return str(field.contents()) if field else "", kept


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
