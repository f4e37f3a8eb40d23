"""TSDAE: a text is written anew from the one vector of what is left when most of its tokens are deleted (Wang, Reimers
& Gurevych 2021, arXiv:2104.06979).
"""  # fmt: skip

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from weitiao.records import UNTRAINED, Batch, Reader
from weitiao.tasks.inputs import padded, token_count
from weitiao.tasks.sequences import stacked, token_loss
from weitiao.tasks.vectors import only, thinned

if TYPE_CHECKING:
    import torch

SEEDS = 1 << 62  # that a text's deletions are drawn from
SHARE = 0.6  # of the tokens that the paper deletes


@dataclass(frozen=True)
class TSDAE:
    """Cross-entropy of each token of the whole text, but for the first, from the tokens before it and the vector."""

    share: float  # of the tokens that are deleted
    decoder: ClassVar[bool] = True
    compared: ClassVar[str] = ""
    by_dropout: ClassVar[str] = ""
    alone: ClassVar[str] = "trains a decoder of the encoder's own blocks"
    rate_scale: ClassVar[float] = 0.3  # 3e-5 for MiniLM, as in the paper

    @property
    def presets(self) -> Mapping[str, tuple[Any, str]]:
        """As in the paper: what is deleted and how many texts a step has; and one epoch."""
        return {
            "task.delete_share": (SHARE, "sentence-embedding: as in TSDAE's paper"),
            "training.batch_size": (8, "sentence-embedding: as in TSDAE's paper"),
            "training.epochs": (1, "sentence-embedding: one pass over the texts"),
        }

    def collate(self, features: list[dict[str, Any]], reader: Reader, special: Collection[int]) -> Batch:
        """The encoder gets what is left of each text, drawn anew each time, the decoder all tokens but the last.
        Labels, (texts, tokens - 1), are the tokens after them.
        """  # fmt: skip
        import torch

        seeds = torch.randint(SEEDS, (len(features),)).tolist()
        left = [
            only(feature, thinned(feature["input_ids"], special, self.share, seed=seed))
            for feature, seed in zip(features, seeds, strict=True)
        ]
        wholes = [feature["input_ids"] for feature in features]
        labels = stacked([ids[1:] for ids in wholes], UNTRAINED)
        decoder = {
            "decoder_input_ids": stacked([ids[:-1] for ids in wholes], int(reader.tokenizer.pad_token_id or 0)),
            "decoder_attention_mask": stacked([[1] * (len(ids) - 1) for ids in wholes], 0),
        }
        learned = labels != UNTRAINED
        return Batch(
            padded(left, reader) | decoder, labels, float(learned.sum()), token_count(left) + token_count(features),
            [feature["row"] for feature in features], features, learned,
        )  # fmt: skip

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Summed over the tokens, in fp32."""
        assert batch.labels is not None
        return token_loss(outputs.logits, batch.labels, shifted=False)
