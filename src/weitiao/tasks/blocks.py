"""Documents to blocks of tokens, and what the ways of learning language from them have in common."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from weitiao.records import Batch, Reader

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

Loss = tuple[float, int]  # nats summed over tokens, and how many tokens


class Objective(Protocol):
    """A way to learn language from raw text: what is hidden from the model, and what it has to say instead."""

    shifted: ClassVar[bool]  # whether the logits at a token are about the next one

    def encode(self, texts: Sequence[str], reader: Reader, length: int) -> Iterator[list[dict[str, Any]]]:
        """Yield the features of each text: one a block of at most `length` tokens, none without a word to learn."""

    def collate(self, features: list[dict[str, Any]], reader: Reader, *, training: bool) -> Batch:
        """Hide tokens and pad: drawn from torch's global generator in training, else from each feature's tokens."""

    def losses(self, model: torch.nn.Module, batch: Batch, reader: Reader) -> list[Loss]:
        """Return the loss of each feature, every counted token predicted once; without gradients."""

    def counted(self, feature: Mapping[str, Any]) -> list[int]:
        """Return the tokens that a feature's loss is about."""


def text_tokens(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, offsets: bool = False) -> dict[str, Any]:
    """Tokenize texts without special tokens, uncut; names of special tokens in a text are read as letters."""
    if not texts:
        return {"input_ids": [], "offset_mapping": []}
    return dict(tokenizer(
        list(texts), add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=offsets,
        return_attention_mask=False, verbose=False,
    ))  # fmt: skip


def cuts(words: Sequence[int], room: int) -> Iterator[slice]:
    """Cut tokens into blocks of at most `room`, between words; within one only where it is longer than a block."""
    start = 0
    while start < len(words):
        end = min(start + room, len(words))
        whole = end
        while end < len(words) and whole > start and words[whole] == words[whole - 1]:
            whole -= 1
        end = whole if whole > start else end
        yield slice(start, end)
        start = end


def seeded(ids: Sequence[int]) -> torch.Generator:
    """Return a generator seeded by tokens alone: the same block is masked the same wherever it stands."""
    import numpy as np
    import torch

    return torch.Generator().manual_seed(zlib.crc32(np.asarray(ids, "<i4").tobytes()))
