"""How well frozen features tell a target, in one number and without training: LogME and the H-score. Pure numpy.

Features are float of shape (rows, width). Labels are integers of shape (rows,), 0 to their count less one; several
labels a row are zeros and ones of shape (rows, labels), regression targets numbers of shape (rows, targets).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEPS = 100  # of the fixed point, at most; it takes about ten
CLOSE = 1e-6  # relative change of alpha / beta at which it is reached
TINY = 1e-12


def log_me(features: np.ndarray, targets: np.ndarray) -> float:
    """Return the logarithm of the maximum evidence (LogME: You et al. 2021) a row, a mean over targets; more is better.

    Each target (of labels: one against the rest) is a linear function of the features with a Gaussian prior of
    precision alpha and noise of precision beta; both are chosen so that the evidence is greatest, by the fixed-point
    iteration of You et al. 2022 ("Ranking and Tuning Pre-trained Models", algorithm 3), once for all targets on one
    singular value decomposition. It is the same for features that are rotated or multiplied by a number.
    """
    x, columns = np.asarray(features, np.float64), as_columns(targets)
    columns = columns[:, columns.any(axis=0)]  # a label that no row has is no target
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    known = singular > singular.max(initial=0.0) * max(x.shape) * np.finfo(np.float64).eps
    left, squares = left[:, known], singular[known] ** 2
    return float(np.mean([_evidence(squares, left.T @ y, float(y @ y), len(x)) for y in columns.T]))


def _evidence(squares: Floats, along: Floats, whole: float, rows: int) -> float:
    """The greatest evidence of one target a row: `squares` are the squared singular values of the features, `along` the
    target along their left vectors, `whole` its squared length.
    """  # fmt: skip
    along2 = along**2
    rest = max(whole - float(along2.sum()), 0.0)  # what lies outside the features' span
    ratio = 1.0  # alpha / beta
    for _ in range(STEPS):
        gamma, length, error = _parts(ratio, squares, along2, rest)
        alpha, beta = gamma / max(length, TINY), (rows - gamma) / max(error, TINY)
        before, ratio = ratio, alpha / beta
        if abs(ratio - before) <= CLOSE * before:
            break
    _, length, error = _parts(ratio, squares, along2, rest)
    rank = len(squares)  # directions that the features do not have add nothing
    told = rank * np.log(alpha) + rows * np.log(beta) - np.log(alpha + beta * squares).sum()
    return float(told - beta * error - alpha * length - rows * np.log(2 * np.pi)) / (2 * rows)


def _parts(ratio: float, squares: Floats, along2: Floats, rest: float) -> tuple[float, float, float]:
    """Return the effective number of parameters, the squared length of the mean weights, the squared error."""
    shrunk = squares / (ratio + squares)
    length = float((shrunk * along2 / (ratio + squares)).sum())
    return float(shrunk.sum()), length, float(((1 - shrunk) ** 2 * along2).sum()) + rest


def h_score(features: np.ndarray, labels: np.ndarray) -> float:
    """Return the H-score (Bao et al. 2019): the trace of ``cov(f)^-1 cov(E[f | label])``; more is better.

    In the version of Ibrahim et al. 2022: the covariance of the features is shrunk towards a multiple of the identity
    as Ledoit & Wolf (2004) tell, and that between labels by the same share, without which it only counts dimensions
    where there are few rows. Of several labels a row it is the mean of each one against the rest. 0 where all rows have
    the same label.
    """
    x = np.asarray(features, np.float64)
    labels = np.asarray(labels)
    x = x - x.mean(axis=0)
    covariance, share = shrunk_covariance(x)
    inverse = np.linalg.pinv(covariance, hermitian=True)
    groups = [labels] if labels.ndim == 1 else list(labels.T)
    return float(np.mean([_between(x, group.astype(np.int64), inverse) for group in groups])) * (1 - share)


def _between(centred: Floats, labels: np.ndarray, inverse: np.ndarray) -> float:
    hot = np.eye(int(labels.max()) + 1)[labels]
    counts = hot.sum(axis=0)
    means = (hot.T @ centred)[counts > 0] / counts[counts > 0, None]
    weights = counts[counts > 0] / len(labels)
    return float(np.einsum("k,ki,ij,kj->", weights, means, inverse, means, optimize=True))


def shrunk_covariance(centred: Floats) -> tuple[Floats, float]:
    """Return ``(1 - s) S + s tr(S) / d I`` and s, which makes its expected squared error least (Ledoit & Wolf 2004)."""
    rows, width = centred.shape
    sample = centred.T @ centred / rows
    mean = float(np.trace(sample)) / width
    squares = centred**2
    spread = float(((squares.T @ squares) / rows - sample**2).sum()) / rows  # of the entries of the sample covariance
    far = float(((sample - mean * np.eye(width)) ** 2).sum())
    share = min(spread / far, 1.0) if far > 0 else 0.0
    return (1 - share) * sample + share * mean * np.eye(width), share


def as_columns(targets: np.ndarray) -> Floats:
    """Return targets as numbers of shape (rows, targets); labels as zeros and ones, a column each that is there."""
    targets = np.asarray(targets)
    if targets.ndim == 2:
        return targets.astype(np.float64)
    columns: Floats = (targets[:, None] == np.unique(targets)).astype(np.float64)
    return columns


def is_numbers(targets: np.ndarray) -> bool:
    """Whether targets are measured numbers rather than labels."""
    return targets.ndim == 2 and not bool(np.isin(targets, (0, 1)).all())
