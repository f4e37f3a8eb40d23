"""A pretrained model at work on texts, batches of like length, nothing learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import models
from weitiao.data import in_length_order
from weitiao.errors import ModelError
from weitiao.evaluation.evaluate import BATCH, TOKENS
from weitiao.kernels import quickly
from weitiao.recipe import ModelSettings
from weitiao.records import Family, Head, Reader

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Running:
    """A model that is ready, where it computes and how it reads."""

    model: torch.nn.Module
    reader: Reader
    device: torch.device
    precision: str
    fingerprint: str  # of its files

    def over(self, lengths: Sequence[int], work: Callable[[np.ndarray], Any]) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield (rows, what `work` makes of them) over rows of `lengths` tokens, longest first, without gradients."""
        import torch

        for rows in in_length_order(np.asarray(lengths, np.int64), BATCH, tokens=TOKENS):
            with torch.inference_mode(), models.autocast(self.device, self.precision):
                yield rows, work(rows)


@contextmanager
def running(source: str, head: Head, families: frozenset[Family], *, base: Path = Path()) -> Iterator[Running]:
    """Open and load a model, on the device and in the precision that are best here, for as long as this lasts.

    Raises a `ModelError` where it cannot be used, or is not of `families`.
    """
    pretrained = models.open_pretrained(ModelSettings(source=source), base=base)
    if pretrained.family not in families or pretrained.reads != "text":
        kinds = " or ".join(sorted(families))
        raise ModelError(f"{source} is no {kinds} of text", where="model", fix=f"Choose a model that is: {kinds}.")
    device, _ = models.resolve_device("auto")
    precision, _ = models.resolve_precision("auto", device)
    with models.quiet():
        model = models.load_model(pretrained, head, seed=0).to(device).eval()
    with quickly(model, precision, learns=False):
        yield Running(model, pretrained.reader(pretrained.max_length), device, precision, pretrained.fingerprint)
