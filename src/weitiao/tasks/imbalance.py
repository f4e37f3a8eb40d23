"""Losses for labels that are not equally frequent: weights of classes, and the focal loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from weitiao.errors import RecipeError, nearest

if TYPE_CHECKING:
    import torch

LEAST = 1e-8  # what 1 - p is taken for below it: its power has a gradient there, too


def class_weights(
    wanted: Literal["balanced"] | float | Mapping[str, float] | None,
    labels: Sequence[str], counts: Mapping[str, int], examples: int, *, multi_label: bool,
) -> list[float] | None:  # fmt: skip
    """Return the weight of each label in the loss, of its positives where there may be several; None: all alike.

    `counts` tells how many of the `examples` have a label. A number is the beta of `effective_number`: weights are
    inverse to it with a mean of 1 (Cui et al. 2019, section 4.1); of several labels, that of the negatives divided by
    that of the positives. Raises a `RecipeError` for a label that is none, or a weight that is not above 0.
    """
    if wanted is None:
        return None
    positives = [max(counts.get(label, 0), 1) for label in labels]
    if wanted == "balanced":
        if multi_label:  # negatives per positive, so that both sides weigh the same
            return [(examples - counts.get(label, 0)) / n for label, n in zip(labels, positives, strict=True)]
        return [examples / (len(labels) * n) for n in positives]
    if isinstance(wanted, Mapping):
        return _written(wanted, labels)
    inverse = [1 / effective_number(n, wanted) for n in positives]
    if multi_label:
        return [effective_number(examples - n, wanted) * each for n, each in zip(positives, inverse, strict=True)]
    return [each * len(labels) / sum(inverse) for each in inverse]


def _written(wanted: Mapping[str, float], labels: Sequence[str]) -> list[float]:
    for label, weight in wanted.items():
        if label not in labels:
            raise RecipeError(f"unknown label '{label}'", where="task.class_weights", fix=nearest(label, labels))
        if weight <= 0:
            raise RecipeError(f"'{label}' has the weight {weight:g}", where="task.class_weights",
                              fix="A weight is above 0; to leave a class out, drop its rows.")  # fmt: skip
    return [float(wanted.get(label, 1.0)) for label in labels]


def effective_number(examples: int, beta: float) -> float:
    """Return ``(1 - beta^n) / (1 - beta)``: how many of n examples are new, where one may be much like another.

    Cui et al. 2019 (arXiv:1901.05555), proposition 1, with beta between 0 and 1: 1 of any n at 0, and n near 1.
    """
    return -math.expm1(examples * math.log(beta)) / (1 - beta)


def focal(log_right: torch.Tensor, gamma: float) -> torch.Tensor:
    """Return ``(1 - p)^gamma`` from the log probabilities of what is right, of any shape: what a loss is multiplied by.

    Lin et al. 2017 (arXiv:1708.02002), eq. 4: the surer the model is of what is right, the less an example counts.
    """
    return (-log_right.expm1()).clamp(min=LEAST) ** gamma
