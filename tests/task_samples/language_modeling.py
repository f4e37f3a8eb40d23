"""Eight documents that each say the same few words over and over: a model soon knows what comes, words' frequencies
do not.
"""  # fmt: skip

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from tests import tiny

PHRASES = (
    "tick tock", "rain and wind", "left right", "salt and oil", "old red fox", "blue bird", "one two three",
    "rye bread",
)  # fmt: skip
TEXTS = tuple(" ".join(islice(cycle(phrase.split()), 30)) for phrase in PHRASES)
SENTINELS = [f"<extra_id_{number}>" for number in range(12)]
BOUND = 1.5  # nats a token; by frequency alone it is 2.8, and 5 or more before training
TRAINING: dict[str, Any] = {"epochs": 300, "learning_rate": 1e-2, "patience": None, "evaluate_every": 100}


def rows() -> list[dict[str, Any]]:
    return [{"text": text} for text in TEXTS]


def model(family: str, folder: Path) -> Path:
    if family == "encoder":
        return tiny.tiny_bert(folder, TEXTS, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    if family == "decoder":
        return tiny.tiny_llama(folder, TEXTS)
    return t5_with_sentinels(folder, TEXTS, d_model=64, d_ff=128, dropout_rate=0.0)


def t5_with_sentinels(folder: Path, texts: Sequence[str], **config: Any) -> Path:
    """A tiny T5 whose tokenizer has sentinels, as those that were pretrained by span corruption."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tiny.tiny_t5(folder, texts, **config)
    tokenizer, found = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder)
    tokenizer.add_tokens(SENTINELS, special_tokens=True)
    found.resize_token_embeddings(len(tokenizer))
    found.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def same(prediction: dict[str, Any], row: dict[str, Any]) -> bool:
    return prediction["loss"] / prediction["tokens"] < BOUND
