"""Which of two methods is better, measured on the same folds of cross-validation?

Two folds share most of their training examples, so that their scores are not independent: Student's ordinary paired
test finds a difference between equals far too often (Dietterich 1998; `tests/unit/test_resampling.py` counts). The
corrected resampled test of Nadeau & Bengio (2003) takes for the mean of J differences d, of folds with n_test examples
tested on and n_train others,

    variance = (1/J + n_test/n_train) var(d)        t = mean(d) / sqrt(variance), J - 1 degrees of freedom

for folds as for repeated folds (Bouckaert & Frank 2004). The Bayesian correlated t-test (Corani & Benavoli 2015) has
the same Student distribution as the posterior of the true difference, and so tells how likely this is within a region
of practical equivalence, which a test of "no difference" can never tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from weitiao.evaluation.verdicts import Pair, Tested, holm, pair_of, student
from weitiao.metrics.words import distance, greater_is_better, is_share, kind, spoken

Verdict = Literal["better", "worse", "the same", "not clear"]
POINT = {"share": 0.01, "points": 1.0, "correlation": 0.01}  # kind of score -> what is practically the same
PART = 0.01  # the same for other scores, as a part of their size


def corrected_variance(values: ArrayLike, ratio: float) -> float:
    """Return the variance of the mean of J values of folds, shape (J,), after Nadeau & Bengio (2003).

    `ratio` is n_test / n_train, 1 / (k - 1) for k folds where all of the others is trained on. 0 gives the ordinary
    variance of a mean.
    """
    array = np.asarray(values, float)
    return float((1 / len(array) + ratio) * array.var(ddof=1))


def corrected_t(differences: ArrayLike, ratio: float, confidence: float = 0.95, *, least: float = 0.0) -> Tested:
    """Test whether the mean of the differences on J folds, shape (J,), is 0: the corrected resampled t-test.

    The variance is taken to be `least` at least: a few folds may agree by chance.
    """
    array = np.asarray(differences, float)
    if not len(array):
        return Tested(0.0, why_not="no fold has both")
    if len(array) < 2:
        return Tested(float(array.mean()), why_not="one fold only")
    variance = max(corrected_variance(array, ratio), least)
    return student(float(array.mean()), variance, len(array) - 1, confidence)


def interval(
    values: ArrayLike, ratio: float, confidence: float = 0.95, *, score: str = "", examples: int = 0
) -> tuple[float, float] | None:
    """Return the interval of the mean score over J folds by the same corrected variance; None for one fold.

    Of a share of so many `examples` it is within 0 and 1, and never without width.
    """
    share = bool(score) and is_share(score)
    found = corrected_t(values, ratio, confidence, least=(examples + 2) ** -2 if share else 0.0)
    if found.low is None or found.high is None:
        return None
    return (max(found.low, 0.0), min(found.high, 1.0)) if share else (found.low, found.high)


@dataclass(frozen=True)
class Chances:
    """How likely the first of two methods is truly better, practically the same, and worse than the second."""

    first: str
    second: str
    rope: float  # true differences up to this one, either way, are practically none
    better: float
    same: float
    worse: float
    finding: Verdict
    verdict: str  # in words

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def correlated_t(
    differences: ArrayLike, ratio: float, rope: float, *, least: float = 0.0
) -> tuple[float, float, float]:
    """Return how likely the true difference is under ``-rope``, within it, and over ``rope`` (Corani & Benavoli 2015).

    The posterior is Student's with J - 1 degrees of freedom around the mean, its scale as in `corrected_variance`:
    their correlation rho = n_test / (n_test + n_train) gives rho / (1 - rho) = n_test / n_train.
    """
    from scipy.stats import t

    array = np.asarray(differences, float)
    mean, scale = float(array.mean()), max(corrected_variance(array, ratio), least) ** 0.5
    if scale == 0:
        return float(mean < -rope), float(-rope <= mean <= rope), float(mean > rope)
    low, high = (float(t.cdf(end, len(array) - 1, loc=mean, scale=scale)) for end in (-rope, rope))
    return low, high - low, 1 - high


def practically_none(score: str, values: Sequence[float]) -> float:
    """Return the difference that is taken to be none where nobody says so: a point of a share or of BLEU, 0.01 of a
    correlation, of other scores a hundredth of their mean.
    """  # fmt: skip
    return POINT.get(kind(score)) or PART * abs(float(np.mean(values)))


@dataclass(frozen=True)
class Folded:
    """The score of a method on each fold; those of all methods are of the same folds."""

    name: str
    values: Sequence[float]


def compare_folds(
    methods: Sequence[Folded], score: str, *, ratio: float, confidence: float, rope: float, examples: int
) -> tuple[list[Pair], list[Chances]]:
    """Compare every two methods by both tests; "better" and "worse" of the pairs hold for all together (Holm 1979).

    `examples` are those of all folds together, each counted once.
    """
    couples = list(combinations(methods, 2))
    least = float((examples + 2) ** -2) if is_share(score) else 0.0  # as in `verdicts`: half an example each way
    differences = [np.asarray(a.values, float) - np.asarray(b.values, float) for a, b in couples]
    tests = [corrected_t(each, ratio, confidence, least=least) for each in differences]
    adjusted = holm([test.p_value for test in tests])
    pairs, chances = [], []
    for (a, b), each, test, p in zip(couples, differences, tests, adjusted, strict=True):
        pairs.append(pair_of((a.name, b.name), score, test, p, confidence, words="corrected t, adjusted"))
        if len(each) > 1:
            told = correlated_t(each, ratio, rope, least=least)
            chances.append(_chances(a.name, b.name, score, told, rope, confidence))
    return pairs, chances


def _chances(
    first: str, second: str, score: str, told: tuple[float, float, float], rope: float, sure: float
) -> Chances:
    under, same, over = told
    better, worse = (over, under) if greater_is_better(score) else (under, over)
    told_apart: list[tuple[Verdict, float]] = [("better", better), ("worse", worse), ("the same", same)]
    finding: Verdict = next((name for name, chance in told_apart if chance > sure), "not clear")
    return Chances(first, second, rope, better, same, worse, finding,
                   _in_words(finding, first, second, score, (better, same, worse), rope))  # fmt: skip


def _in_words(
    finding: Verdict, first: str, second: str, score: str, chances: tuple[float, float, float], rope: float
) -> str:
    better, same, worse = chances
    size = distance(score, rope)
    if finding == "better":
        return f"{first} is better than {second} by more than {size}, with {_percent(better)}"
    if finding == "worse":
        return f"{first} is worse than {second} by more than {size}, with {_percent(worse)}"
    if finding == "the same":
        return f"{first} and {second} are practically the same: they differ by less than {size}, with {_percent(same)}"
    return (f"{first} or {second} cannot be told in {spoken(score)}: {_percent(better)} that {first} is better by more "
            f"than {size}, {_percent(same)} that they differ by less, {_percent(worse)} that it is worse")  # fmt: skip


def _percent(chance: float) -> str:
    return "over 99%" if chance > 0.99 else "under 1%" if chance < 0.01 else f"{chance:.0%}"
