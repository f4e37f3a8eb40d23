"""An inverse power law through scores by the size of the training data, and where it goes on to.

``s(n) = a - b (n / N)^-c`` for a score of which more is better, ``a + b (n / N)^-c`` for a loss, N being the largest
size: a is where it ends, b what is missing at N, c how fast it gets there (Cortes et al. 1994; Hestness et al. 2017;
Figueroa et al. 2012 for learning curves of text classifiers). b is not below 0, and a not beyond what the score can be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EXPONENTS = np.geomspace(0.03, 3.0, 30)
FINER = 4  # times that the best exponent is looked for
USUAL, WIDTH = 0.5, 0.8  # c before any data: log-normal around this, of this standard deviation of its logarithm
DRAWS = 1000
FEWEST = 3  # sizes that a fit needs
UNLIKELY = 0.05  # a misfit of such a p-value is hardly one of chance
PRIOR_FREEDOM = 4.0  # with which the spread of each size is drawn towards that of all


@dataclass(frozen=True)
class PowerLaw:
    """A fitted curve, and draws of what else it might be."""

    largest: float  # N
    a: float
    b: float
    c: float
    sign: int  # 1: more is better
    draws: Floats = field(repr=False)  # of shape (draws, 3): a, b, c
    likely: float = 1.0  # p-value of the points' distance from the curve: small where they lie on no power law

    def at(self, sizes: Floats | float) -> Floats:
        """Return the curve at sizes, of their shape."""
        return self.a - self.sign * self.b * (np.asarray(sizes, float) / self.largest) ** -self.c

    def drawn_at(self, size: float) -> Floats:
        """Return what it might be there, shape (draws,)."""
        a, b, c = self.draws.T
        return np.asarray(a - self.sign * b * (size / self.largest) ** -c)

    def interval(self, size: float, confidence: float) -> tuple[float, float]:
        """Return the central interval of the mean score at a size."""
        return _central(self.drawn_at(size), confidence)

    def gain(self, size: float, confidence: float) -> tuple[float, float, float]:
        """Return how much better the score is there than at N, with its interval; of a loss, how much less."""
        drawn = self.sign * (self.drawn_at(size) - self.drawn_at(self.largest))
        found = float(self.sign * (self.at(size) - self.at(self.largest)))
        return (found, *_central(drawn, confidence))


def _central(values: Floats, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def fit(
    sizes: list[float], scores: list[list[float]], *, greater_is_better: bool, bound: float | None, seed: int = 0,
    least: float = 0.0,
) -> PowerLaw:  # fmt: skip
    """Fit the law to scores, a list a size of at least one training each; `bound` is what the score cannot pass (1 for
    a share, 0 for a loss), or None; `least` the smallest standard deviation of a training that is believed.

    The means are weighted by their spread over trainings. c has the prior above, so that where the points do not carry
    three parameters, as three or four noisy ones hardly do, the fit is one of two and c stays open: the draws are
    fits to scores drawn around the curve, each with a c of the prior as its start (randomised maximum a posteriori),
    and with the spread itself drawn, for it is known from few trainings. Raises `ValueError` for fewer than 3 sizes.
    """
    if len(sizes) < FEWEST:
        raise ValueError(f"{len(sizes)} sizes: a curve needs {FEWEST}")
    x, sign = np.asarray(sizes, float) / max(sizes), 1 if greater_is_better else -1
    means = np.array([np.mean(each) for each in scores])
    counts = np.array([len(each) for each in scores])
    variances, freedom = spreads(scores, means, x)
    variances = np.maximum(variances, least**2)
    weights = counts / variances
    [best] = _solved(x, sign * means[None], weights, bound=None if bound is None else sign * bound,
                     centres=np.array([USUAL]))  # fmt: skip
    curve = best[0] - best[1] * x ** -best[2]
    misfit, left = float((weights * (sign * means - curve) ** 2).sum()), len(x) - 3
    random = np.random.default_rng(seed)
    scale = np.sqrt(freedom / random.chisquare(freedom, DRAWS))[:, None]
    scale *= math.sqrt(max(1.0, misfit / left)) if left > 0 else 1.0  # points off the curve make it doubtful (Birge)
    again = curve + random.standard_normal((DRAWS, len(x))) * scale / np.sqrt(weights)
    centres = np.exp(math.log(USUAL) + WIDTH * random.standard_normal(DRAWS))
    draws = _solved(x, again, weights, bound=None if bound is None else sign * bound, centres=centres)
    draws[:, 0] *= sign
    likely = _likely(misfit, left, freedom)
    return PowerLaw(max(sizes), sign * float(best[0]), float(best[1]), float(best[2]), sign, draws, likely)


def follow(
    sizes: list[float],
    scores: list[list[float]],
    *,
    greater_is_better: bool,
    bound: float | None,
    seed: int = 0,
    least: float = 0.0,
) -> tuple[PowerLaw, int]:
    """Fit the law, without the smallest sizes as long as the points do not lie on it, which is where a model has too
    few steps or examples to begin to learn; return it with how many sizes were left out.
    """  # fmt: skip
    laws = []
    for first in range(max(1, len(sizes) - FEWEST)):
        law = fit(sizes[first:], scores[first:], greater_is_better=greater_is_better, bound=bound, seed=seed,
                  least=least)  # fmt: skip
        if law.likely > UNLIKELY:
            return law, first
        laws.append(law)
    return laws[0], 0  # the points lie on no such curve, wherever it begins


def _likely(misfit: float, left: int, freedom: float) -> float:
    """The p-value of a weighted squared distance from the curve, `left` being the sizes beyond three parameters."""
    from scipy.stats import f

    return float(f.sf(misfit / left, left, freedom)) if left > 0 else 1.0


def spreads(scores: list[list[float]], means: Floats, x: Floats) -> tuple[Floats, float]:
    """Return the variance of a single training at each size, and the degrees of freedom it is known by.

    Each size's own is drawn towards that of all. One training a size tells nothing of its spread: then it is what the
    means are off a straight line in log(n).
    """
    own = np.array([np.var(each, ddof=1) if len(each) > 1 else np.nan for each in scores])
    free = np.array([len(each) - 1 for each in scores], float)
    least = 1e-10 + (1e-4 * float(np.abs(means).max(initial=0))) ** 2
    if free.sum() < 1:
        lines = np.stack([np.ones_like(x), np.log(x)], axis=1)
        off = means - lines @ np.linalg.lstsq(lines, means, rcond=None)[0]
        left = max(1, len(x) - 2)
        return np.full(len(x), max(float(off @ off) / left, least)), float(left)
    pooled = float(np.nansum(free * np.nan_to_num(own)) / free.sum())
    mixed = (PRIOR_FREEDOM * pooled + free * np.nan_to_num(own)) / (PRIOR_FREEDOM + free)
    return np.maximum(mixed, least), float(free.sum())


def _solved(x: Floats, ys: Floats, weights: Floats, *, bound: float | None, centres: Floats) -> Floats:
    """Return (a, b, c) of each row of `ys`, shape (rows, 3): for each exponent the best a and b within their bounds,
    then the exponent of the least loss, looked for more and more closely. `ys` rise towards a.
    """  # fmt: skip
    exponents, rows = np.broadcast_to(EXPONENTS, (len(ys), len(EXPONENTS))), np.arange(len(ys))
    for _ in range(FINER):
        a, b, loss = _by_exponent(exponents, x, ys, weights, bound, centres)
        at = loss.argmin(axis=1)
        below, above = (exponents[rows, np.clip(at + step, 0, exponents.shape[1] - 1)] for step in (-1, 1))
        found = np.stack([a[rows, at], b[rows, at], exponents[rows, at]], axis=1)
        exponents = np.geomspace(below, above, 9, axis=1)
    return found


def _by_exponent(
    exponents: Floats, x: Floats, ys: Floats, weights: Floats, bound: float | None, centres: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return a, b and the loss of each row of `ys` for each of its exponents, of their shape."""
    basis = x ** -exponents[..., None]  # (rows, exponents, sizes)
    w = weights / weights.sum()
    mean_basis, mean_y = basis @ w, (ys @ w)[:, None]
    centred = basis - mean_basis[..., None]
    b = np.maximum(-((centred * w) @ ys[..., None])[..., 0] / ((centred**2) @ w), 0.0)
    a = mean_y + b * mean_basis
    if bound is not None:
        fixed = np.maximum(((basis * w) @ (bound - ys)[..., None])[..., 0] / ((basis**2) @ w), 0.0)
        a, b = np.where(a > bound, bound, a), np.where(a > bound, fixed, b)
    rest = ys[:, None, :] - a[..., None] + b[..., None] * basis
    prior = (np.log(exponents) - np.log(centres)[:, None]) ** 2 / WIDTH**2
    return a, b, (rest**2) @ weights + prior
