"""A pretrained model at work on texts, batches of like length, nothing learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from weitiao import models
from weitiao.data import in_length_order
from weitiao.evaluation.evaluate import BATCH, TOKENS
from weitiao.kernels import quickly
from weitiao.records import Head, Pretrained, Reader

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


@dataclass(frozen=True)
class Running:
    """A model that is ready, where it computes and how it reads."""

    model: Any
    reader: Reader
    device: torch.device
    precision: str
    fingerprint: str  # of its files

    @classmethod
    def load(cls, pretrained: Pretrained, head: Head) -> Running:
        """Load a model's weights, for the device and the precision that are best here."""
        device, _ = models.resolve_device("auto")
        precision, _ = models.resolve_precision("auto", device)
        with models.quiet():
            model = models.load_model(pretrained, head, seed=0).to(device).eval()
        return cls(model, pretrained.reader(pretrained.max_length), device, precision, pretrained.fingerprint)

    def over(
        self, lengths: Sequence[int] | np.ndarray, work: Callable[[np.ndarray], T]
    ) -> Iterator[tuple[np.ndarray, T]]:
        """Yield (rows, what `work` makes of them) over rows of `lengths` tokens, longest first, without gradients."""
        import torch

        with models.quiet(), quickly(self.model, self.precision, learns=False), torch.inference_mode():
            for rows in in_length_order(np.asarray(lengths, np.int64), BATCH, tokens=TOKENS):
                with models.autocast(self.device, self.precision):
                    made = work(rows)
                yield rows, made
