"""How often examples come in an epoch, by their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from weitiao.data.labels import label_codes

if TYPE_CHECKING:
    from datasets import Dataset

Resample = Literal["oversample", "undersample"] | float


def times_by_label(split: Dataset, wanted: Resample, column: str = "label") -> np.ndarray:
    """Return how often each row is to come in an epoch, shape (n,); see `resampled`.

    A row of several labels counts to its rarest one (as in Gupta et al. 2019, arXiv:1908.03195), one without any to a
    label of its own kind.
    """
    codes, names = label_codes(split, column)
    _, same = np.unique([name.strip() for name in [*names, ""]], return_inverse=True)
    return resampled(same[codes], wanted)


def resampled(codes: np.ndarray, wanted: Resample) -> np.ndarray:
    """Return how often each row is to come, shape (n,), from a number for its label, shape (n,).

    Of a label with n rows come in all: `oversample`: as many as the most frequent label has; `undersample`: as many as
    the rarest; a number: a share that goes with n to its power, of as many rows as there are.
    """
    _, same, counts = np.unique(codes, return_inverse=True, return_counts=True)
    if wanted == "oversample":
        times = counts.max() / counts
    elif wanted == "undersample":
        times = counts.min() / counts
    else:
        shares = counts ** float(wanted)
        times = shares / shares.sum() * len(codes) / counts
    found: np.ndarray = times[same]
    return found
