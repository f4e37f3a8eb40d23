"""Time as a function of what goes through the model: a few shapes are timed, all others are told from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

Shapes = np.ndarray  # int64 of shape (n, 2): rows, and tokens of the longest of them


@dataclass(frozen=True)
class Cost:
    """Seconds of a batch of r rows padded to t tokens: ``fixed + per_token * r t + per_pair * r t^2``.

    Matrix products grow with the tokens, attention with the pairs of tokens of a row.
    """

    fixed: float
    per_token: float
    per_pair: float = 0.0

    def of(self, shapes: Shapes) -> float:
        """Seconds of all `shapes` together."""
        terms = _terms(shapes)
        return float((terms @ np.array([self.fixed, self.per_token, self.per_pair])).sum())


def fitted(shapes: Iterable[Shapes], seconds: Sequence[float]) -> Cost:
    """The cost that comes nearest to what was timed, relative to it; no part of it is below 0.

    `shapes` are those that each time is of: one, or several together.
    """
    from scipy.optimize import nnls

    wanted = np.asarray(seconds, dtype=float)
    terms = np.stack([_terms(each).sum(axis=0) for each in shapes]) / wanted[:, None]
    scale = np.maximum(terms.max(axis=0), 1e-30)
    found, _ = nnls(terms / scale, np.ones(len(wanted)))
    fixed, per_token, per_pair = found / scale
    return Cost(float(fixed), float(per_token), float(per_pair))


def telling(shapes: Shapes, most: int) -> list[int]:
    """Which of `shapes` to time: the one with the longest rows first, then a middling one, then those between and
    beyond, at most `most`; none twice.
    """  # fmt: skip
    tokens = shapes[:, 0] * shapes[:, 1]
    order = np.argsort(tokens, kind="stable")
    longest = int(np.lexsort((shapes[:, 0], shapes[:, 1]))[-1])
    shares = (0.5, 0.1, 0.9, 0.3, 0.7, 0.0, 0.2, 0.4, 0.6, 0.8)
    chosen = [longest, *(int(order[round(share * (len(order) - 1))]) for share in shares)]
    return list(dict.fromkeys(chosen))[:most]


def _terms(shapes: Shapes) -> np.ndarray:
    rows, tokens = np.asarray(shapes, dtype=float).reshape(-1, 2).T
    return np.stack([np.ones_like(rows), rows * tokens, rows * tokens**2], axis=1)
