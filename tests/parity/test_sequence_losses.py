"""Our summed losses are transformers' own: `model(**inputs, labels=...)` times the number of learned tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from weitiao.records import Reader
from weitiao.tasks.sequences import encode_pairs, losses, padded, token_loss

SOURCES = ["the film was good", "a bad book that nobody liked", "这家酒店的服务非常好"]
TARGETS = ["good", "very bad", "好"]


def bart(folder: Path, **_: Any) -> Path:
    """A BART whose tokenizer is the tiny T5's."""
    from transformers import AutoTokenizer, BartConfig, BartForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(tiny.tiny_t5(folder))
    config = BartConfig(vocab_size=len(tokenizer), d_model=32, encoder_layers=1, decoder_layers=1,
                        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
                        max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=1,
                        decoder_start_token_id=1, forced_eos_token_id=None)  # fmt: skip
    BartForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("build", [tiny.tiny_llama, tiny.tiny_gpt2, tiny.tiny_t5, bart])
def test_losses_are_those_of_transformers(build: Callable[..., Path], tmp_path: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    folder = build(tmp_path)
    seq2seq = AutoConfig.from_pretrained(folder).is_encoder_decoder
    auto = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
    model, tokenizer = auto.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    reader = Reader("seq2seq" if seq2seq else "decoder", tokenizer, 64)
    encoded = encode_pairs(SOURCES, TARGETS, reader)
    features = [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]
    batch = padded(features, reader)
    assert batch.labels is not None
    inputs = {name: value for name, value in batch.inputs.items() if name != "labels"}
    with torch.no_grad():
        theirs = model(**inputs, labels=batch.labels)
        ours = token_loss(model(**batch.inputs).logits, batch.labels, shifted=not seq2seq)
    assert float(ours) / batch.targets == pytest.approx(float(theirs.loss), abs=1e-5)
    each = losses(model, batch, reader)
    assert sum(loss for loss, _ in each) / batch.targets == pytest.approx(float(theirs.loss), abs=1e-5)
    for feature, (loss, tokens) in zip(features, each, strict=True):  # alone, without padding
        single = padded([feature], reader)
        inputs = {name: value for name, value in single.inputs.items() if name != "labels"}
        with torch.no_grad():
            alone = model(**inputs, labels=single.labels)
        assert loss / tokens == pytest.approx(float(alone.loss), abs=1e-5)
