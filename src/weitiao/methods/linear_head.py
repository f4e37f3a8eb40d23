"""A linear head by logistic regression: fitted on vectors at once, not by steps."""

from __future__ import annotations

from typing import Any

import numpy as np

NEVER = -30.0  # bias of a label that no example has: its probability is none


def fit_head(vectors: np.ndarray, labels: np.ndarray, count: int, *, c: float) -> tuple[np.ndarray, np.ndarray]:
    """Return weight (count, width) and bias (count,), fp32, of L2-regularised logistic regression on vectors of shape
    (n, width); `labels` are numbers of shape (n,), or zeros and ones of shape (n, count), each label by itself then.

    Vectors are divided by their mean length, so that `c` (scikit-learn's C, the inverse of the penalty) means the same
    for all encoders; weights are those of the vectors as they were.
    """
    size = float(np.linalg.norm(vectors, axis=1).mean()) or 1.0
    x = np.asarray(vectors, np.float64) / size
    weight, bias = np.zeros((count, x.shape[1])), np.full(count, NEVER)
    if labels.ndim == 1:
        model = _logistic(c).fit(x, labels)
        there = model.classes_
        if len(there) == 2:  # scikit-learn keeps the second one's alone
            weight[there], bias[there] = np.stack([-model.coef_[0], model.coef_[0]]) / 2, [
                -model.intercept_[0] / 2, model.intercept_[0] / 2
            ]  # fmt: skip
        else:
            weight[there], bias[there] = model.coef_, model.intercept_
    else:
        for label in range(count):
            weight[label], bias[label] = _one_label(x, labels[:, label], c)
    return (weight / size).astype(np.float32), bias.astype(np.float32)


def _one_label(x: np.ndarray, there: np.ndarray, c: float) -> tuple[np.ndarray, float]:
    if there.min() == there.max():  # all have it, or none
        return np.zeros(x.shape[1]), -NEVER if there[0] else NEVER
    model = _logistic(c).fit(x, there)
    return model.coef_[0], float(model.intercept_[0])


def _logistic(c: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=c, max_iter=1000)
