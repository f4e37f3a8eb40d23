"""Causal language modelling: each token is predicted from those before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from weitiao.records import Batch, Reader
from weitiao.tasks.blocks import Loss, text_tokens
from weitiao.tasks.chat_template import surrounding
from weitiao.tasks.packing import packed
from weitiao.tasks.sequences import losses, padded

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class NextToken:
    """Predict each token from those before it (causal language modelling)."""

    packing: bool
    shifted: ClassVar[bool] = True

    def encode(self, texts: Sequence[str], reader: Reader, length: int) -> Iterator[list[dict[str, Any]]]:
        """Yield the blocks of each text, its beginning and end of text included.

        A block but the first starts with the last token of the one before, so that every token is predicted once.
        """
        first, last = _ends(reader.tokenizer)
        for ids in text_tokens(texts, reader.tokenizer)["input_ids"]:
            whole = [*first, *ids, *last]
            starts = range(0, max(len(whole) - 1, 0), length - 1)
            yield [{"input_ids": whole[start : start + length]} for start in starts]

    def collate(self, features: list[dict[str, Any]], reader: Reader, *, training: bool) -> Batch:
        """Pad; all tokens but a block's first are learned. In training several blocks share a row with `packing`."""
        labelled = [{**feature, "labels": feature["input_ids"]} for feature in features]
        if self.packing and training:
            return packed(labelled, reader, max(len(feature["input_ids"]) for feature in features))
        return padded(labelled, reader)

    def losses(self, model: torch.nn.Module, batch: Batch, reader: Reader) -> list[Loss]:
        """Return each feature's loss."""
        return losses(model, batch, reader)

    def counted(self, feature: Mapping[str, Any]) -> list[int]:
        """Return all tokens but the first: nothing stands before it, or it was counted in the block before."""
        return list(feature["input_ids"][1:])


def _ends(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return what stands before and behind a document.

    Before it what the tokenizer puts there, or the token that both begins and ends texts (GPT-2); behind it an end of
    text.
    """
    first, last = surrounding(tokenizer)
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    if not first and begin is not None and begin == end:
        first = [int(begin)]
    return first, last or ([] if end is None else [int(end)])
