"""SimCSE: each text's two vectors, made with other dropout, are told from those of other texts (Gao et al. 2021,
arXiv:2104.08821).
"""  # fmt: skip

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from weitiao.records import Batch, Reader
from weitiao.tasks.inputs import padded, token_count
from weitiao.tasks.vectors import view_losses

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SimCSE:
    """The loss of each text's first vector among all second ones."""

    temperature: float
    decoder: ClassVar[bool] = False
    compared: ClassVar[str] = "each text with the others of its step"
    by_dropout: ClassVar[str] = "both vectors of a text would be the same, and nothing would be learned"
    alone: ClassVar[str] = f"compares {compared}"
    rate_scale: ClassVar[float] = 0.1  # 1e-5 for MiniLM: 3e-5 and 1e-4 did more harm (docs/results.md)

    @property
    def presets(self) -> Mapping[str, tuple[Any, str]]:
        """The paper's size of a step, and one epoch."""
        return {
            "training.batch_size": (64, "sentence-embedding: a text is told from as many others"),
            "training.epochs": (1, "sentence-embedding: as in SimCSE's paper"),
        }

    def collate(self, features: list[dict[str, Any]], reader: Reader, special: Collection[int]) -> Batch:
        """Each text stands there twice, all of them and then all again: rows of a batch have dropout each of their own.
        Labels, (texts,), are numbers of the texts: the same for the same tokens.
        """  # fmt: skip
        import torch

        numbers: dict[tuple[int, ...], int] = {}
        texts = [numbers.setdefault(tuple(feature["input_ids"]), len(numbers)) for feature in features]
        rows, twice = [feature["row"] for feature in features], [*features, *features]
        inputs, tokens = padded(twice, reader), token_count(features)
        return Batch(inputs, torch.tensor(texts), float(len(features)), tokens, [*rows, *rows], twice)

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Summed over the texts, in fp32."""
        assert batch.labels is not None
        one, other = outputs.vectors.chunk(2)
        return view_losses(one, other, batch.labels, self.temperature).sum()
