"""Labels with probabilities, as a teacher gives them, and how far a student is from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from weitiao.records import Prediction

LEAST = 1e-9  # probability that is taken for 0: its logarithm is finite


def mean_logits(answers: Iterable[Sequence[Prediction]], labels: Sequence[str], *, multi_label: bool) -> np.ndarray:
    """Return logits of what several teachers' mean probabilities are, fp32 of shape (examples, labels).

    `answers`: of each example one prediction a teacher. Of one label each, logits are logarithms of probabilities; of
    several, of the odds. A label that a teacher does not know has a probability of 0.
    """
    rows = [
        np.mean([[each["probabilities"].get(label, 0.0) for label in labels] for each in said], axis=0)
        for said in answers
    ]
    shares = np.clip(np.array(rows, np.float64).reshape(-1, len(labels)), LEAST, 1 - LEAST)
    found = np.log(shares) - np.log1p(-shares) if multi_label else np.log(shares)
    return found.astype(np.float32)


def divergence_from(
    teacher: torch.Tensor, student: torch.Tensor, temperature: float, weights: torch.Tensor | None = None, *,
    multi_label: bool,
) -> torch.Tensor:  # fmt: skip
    """Return ``KL(P, Q)`` summed over examples, P and Q being teacher and student at a temperature, a scalar in fp32.

    Both are logits of shape (examples, labels); where there may be several labels, it is the sum over labels of the
    divergence of having it or not. `weights` are those of the examples, 1 when absent.
    """
    import torch
    from torch.nn import functional

    one, other = teacher.float() / temperature, student.float() / temperature
    if multi_label:
        one, other = (torch.stack([functional.logsigmoid(each), functional.logsigmoid(-each)], -1)
                      for each in (one, other))  # fmt: skip
    else:
        one, other = one.log_softmax(-1), other.log_softmax(-1)
    if weights is None:
        return functional.kl_div(other, one, reduction="sum", log_target=True)
    each = functional.kl_div(other, one, reduction="none", log_target=True).flatten(1).sum(-1)
    return (weights * each).sum()
