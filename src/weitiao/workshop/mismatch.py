"""Does what is trained on look like what the model will meet? Two sets of texts beside each other, told in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weitiao.data.keys import normalised
from weitiao.metrics.tokens import language_of

FEWEST = 20  # texts a side below which nothing can be told
FOLDS = 5
WORDS = 12  # n-grams told for each side
COMMON = 5  # times an n-gram occurs at least to be told
VERDICTS = (  # up to which AUC, what is said
    (0.6, "alike", "Scores measured on data like the training data should hold."),
    (0.75, "somewhat different", "Expect somewhat lower scores there; measure on some labelled rows of it."),
    (
        0.9,
        "different",
        "Scores on the training data's own test split will not hold there: label some rows of it.",
    ),
    (1.01, "another domain", "Train on, or adapt to, texts like these before relying on any score."),
)


@dataclass(frozen=True)
class Word:
    """An n-gram that is more frequent on one side."""

    text: str
    z: float  # standard deviations of its log-odds ratio from 0; above 0: more frequent in the target
    training: float  # occurrences in a million
    target: float


@dataclass(frozen=True)
class Mismatch:
    """How two sets of texts differ. `auc` is None where there are too few texts to tell."""

    training: int  # texts looked at
    target: int
    auc: float | None  # of a classifier that tells the sides apart, on texts it was not fitted on; 0.5: it cannot
    low: float | None  # 95% interval
    high: float | None
    lengths: tuple[float, float]  # median characters of training and target
    longer: float  # share of target texts that are longer than 99% of the training texts
    ks: float  # Kolmogorov-Smirnov statistic of the lengths, 0 to 1
    unknown: float  # share of the target's words that no training text has
    divergence: float  # Jensen-Shannon, of the words' distributions, in bits: 0 to 1
    words: tuple[Word, ...] = ()

    @property
    def verdict(self) -> tuple[str, str]:
        """Return what the AUC says, by the lower end of its interval, and what to do."""
        if self.low is None:
            return "unclear", f"There are fewer than {FEWEST} different texts on a side."
        return next((word, advice) for most, word, advice in VERDICTS if max(0.5, self.low) < most)


def mismatch(training: Sequence[str], target: Sequence[str], *, seed: int = 0) -> Mismatch:
    """Set two samples of texts beside each other. Texts of the same normalised form never stand in two folds."""
    counts = [counted(side) for side in (training, target)]
    auc, low, high = _auc(training, target, seed)
    lengths = [np.array([len(text) for text in side] or [0]) for side in (training, target)]
    return Mismatch(
        len(training), len(target), auc, low, high,
        lengths=(float(np.median(lengths[0])), float(np.median(lengths[1]))),
        longer=float((lengths[1] > np.quantile(lengths[0], 0.99)).mean()), ks=_ks(*lengths),
        unknown=_unknown(*counts), divergence=_divergence(*counts), words=tuple(telling_words(*counts)),
    )  # fmt: skip


def told(found: Mismatch) -> list[str]:
    """Say it in a few lines."""
    word, advice = found.verdict
    if found.auc is None or found.low is None or found.high is None:
        return [f"Whether training and target texts are alike cannot be told. {advice}"]
    lines = [
        f"Training and target texts are {word}: a classifier tells them apart with an AUC of {found.auc:.2f} "
        f"({found.low:.2f} to {found.high:.2f}; 0.5: not at all). {advice}",
        f"Half of the texts have {found.lengths[0]:,.0f} characters or fewer in training, {found.lengths[1]:,.0f} in "
        f"the target; {found.longer:.1%} of the target's are longer than 99% of training's.",
        f"{found.unknown:.1%} of the target's words stand in no training text.",
    ]
    for name, side in (
        ("target", [w for w in found.words if w.z > 0]),
        ("training", [w for w in found.words if w.z < 0]),
    ):
        if side:
            shown = ", ".join(f"{w.text} ({w.target:,.0f} against {w.training:,.0f})" for w in side)
            lines.append(f"More frequent in the {name}, in a million words: {shown}.")
    return lines


# --- the classifier


def _auc(
    training: Sequence[str], target: Sequence[str], seed: int
) -> tuple[float, float, float] | tuple[None, None, None]:
    """AUC of out-of-fold predictions of logistic regression on hashed n-grams, with DeLong's interval."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline

    texts = [*training, *target]
    side = np.repeat([0, 1], [len(training), len(target)])
    keys = np.unique([normalised(text) for text in texts], return_inverse=True)[1] if texts else np.empty(0, int)
    if min(len(training), len(target)) < FEWEST or keys.max() < FEWEST:
        return None, None, None
    chinese = language_of(" ".join(texts[:: max(1, len(texts) // 200)])) == "zh"
    analyzer, grams = ("char", (1, 3)) if chinese else ("word", (1, 2))
    scores = np.zeros(len(texts))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for fit, held_out in folds.split(scores, side, keys):
        if len(set(side[fit].tolist())) < 2:
            continue
        model = make_pipeline(
            HashingVectorizer(analyzer=analyzer, ngram_range=grams, n_features=2**18, alternate_sign=False),
            LogisticRegression(class_weight="balanced", max_iter=200, C=10.0),
        )
        model.fit([texts[i] for i in fit], side[fit])
        scores[held_out] = model.decision_function([texts[i] for i in held_out])
    return delong(scores[side == 1], scores[side == 0])


def delong(positive: np.ndarray, negative: np.ndarray) -> tuple[float, float, float]:
    """Return the AUC and the ends of its 95% interval (DeLong, DeLong & Clarke-Pearson 1988), by ranks as Sun & Xu
    (2014) compute it.
    """  # fmt: skip
    from scipy.stats import rankdata

    m, n = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive, negative]))
    auc = float((ranks[:m].sum() - m * (m + 1) / 2) / (m * n))
    by_positive = (ranks[:m] - rankdata(positive)) / n
    by_negative = 1 - (ranks[m:] - rankdata(negative)) / m
    deviation = float(np.sqrt(by_positive.var(ddof=1) / m + by_negative.var(ddof=1) / n))
    return auc, max(0.0, auc - 1.96 * deviation), min(1.0, auc + 1.96 * deviation)


# --- lengths and words


def _ks(one: np.ndarray, other: np.ndarray) -> float:
    from scipy.stats import ks_2samp

    return float(ks_2samp(one, other).statistic)


_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_HAN = re.compile(r"[\u3400-\u9fff]+")


def counted(texts: Sequence[str]) -> dict[str, int]:
    """Return how often each word occurs; in Chinese each pair of characters."""
    counts: dict[str, int] = {}
    for text in texts:
        for word in _WORD.findall(text.casefold()):
            if _HAN.fullmatch(word):
                pieces: Any = (word[i : i + 2] for i in range(max(1, len(word) - 1)))
            else:
                pieces = (word,)
            for piece in pieces:
                counts[piece] = counts.get(piece, 0) + 1
    return counts


def _unknown(training: dict[str, int], target: dict[str, int]) -> float:
    return sum(count for word, count in target.items() if word not in training) / max(1, sum(target.values()))


def _divergence(one: dict[str, int], other: dict[str, int]) -> float:
    """Jensen-Shannon divergence in bits (Lin 1991)."""
    words = [*{**one, **other}]
    p, q = (
        np.array([side.get(word, 0) for word in words], float) / max(1, sum(side.values())) for side in (one, other)
    )
    middle = (p + q) / 2
    return float(sum((each[each > 0] * np.log2(each[each > 0] / middle[each > 0])).sum() for each in (p, q)) / 2)


def telling_words(training: dict[str, int], target: dict[str, int]) -> list[Word]:
    """Return the words that differ most: log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi & Quinn
    2008), the prior being the words of both sides, as strong as the smaller side; no fewer than `COMMON` times.
    """  # fmt: skip
    whole = {word: training.get(word, 0) + target.get(word, 0) for word in {**training, **target}}
    words = [word for word, count in whole.items() if count >= COMMON and len(word) > 1]
    sizes = sum(training.values()), sum(target.values())
    if not words or not min(sizes):
        return []
    strength = min(sizes) / sum(sizes)
    prior = np.array([whole[word] for word in words]) * strength
    all_prior = sum(whole.values()) * strength
    odds, variance = np.zeros(len(words)), np.zeros(len(words))
    for side, size, sign in ((target, sizes[1], 1), (training, sizes[0], -1)):
        count = np.array([side.get(word, 0) for word in words]) + prior
        odds += sign * np.log(count / (size + all_prior - count))
        variance += 1 / count
    z = odds / np.sqrt(variance)
    order = np.argsort(z, kind="stable")
    chosen = [words[i] for i in (*order[::-1][:WORDS], *order[:WORDS]) if abs(z[i]) > 3]
    by_word = dict(zip(words, z.tolist(), strict=True))
    a_million = [{word: 1e6 * side.get(word, 0) / sum(side.values()) for word in chosen} for side in (training, target)]
    return [Word(word, by_word[word], a_million[0][word], a_million[1][word]) for word in chosen]
