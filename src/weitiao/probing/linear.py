"""A linear probe: how well a linear model on frozen features answers for rows that it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from weitiao.data.fold import held_out
from weitiao.data.units import frequent, units_of
from weitiao.evaluation.intervals import percentiles, samples
from weitiao.probing.transferability import as_columns, is_numbers

FOLDS = 5
PENALTIES = tuple(10.0**power for power in range(-1, 6))  # of ridge regression, on standardised features
ROUNDS = 500  # bootstrap samples

Measure = Callable[[np.ndarray, np.ndarray], float]  # targets, answers


@dataclass(frozen=True)
class Probe:
    """What a linear model on frozen features scores, out of fold, with the interval over examples."""

    score: str  # accuracy; macro_f1 of tokens; roc_auc of several labels; r2 of numbers
    value: float
    low: float | None
    high: float | None
    rows: int  # that it was measured on
    left_out: int = 0  # rows of labels that fewer than `FOLDS` texts or groups have


def linear_probe(
    features: np.ndarray, targets: np.ndarray, texts: np.ndarray | None = None, groups: np.ndarray | None = None, *,
    tokens: bool = False, confidence: float = 0.95, seed: int = 0,
) -> Probe:  # fmt: skip
    """Cross-validate ridge regression on standardised features, of labels on a column each: the largest is the answer.

    `targets` are labels of shape (rows,), several labels as zeros and ones of shape (rows, labels), or numbers of shape
    (rows, targets). The penalty is chosen in each of 5 folds by the leave-one-out error of its own training rows. Rows
    with the same number in `texts` (see `data.keys.input_keys`; also the `tokens` of one example) or in `groups` (see
    `data.units.group_keys`) stay in one fold, and are drawn together for the interval. Labels of fewer than 5 texts or
    groups are left out. Raises `ValueError` where no two labels are left, or no text to fit on.
    """
    targets, whole = np.asarray(targets), len(features)
    counted = "groups" if groups is not None else "examples" if texts is None else "different texts"
    texts = np.arange(whole, dtype=np.uint64) if texts is None else np.asarray(texts)
    kept = _frequent(targets, units_of(whole, texts, groups)[0])
    x, targets, texts = np.asarray(features, np.float64)[kept], targets[kept], texts[kept]
    groups = None if groups is None else groups[kept]
    units = units_of(len(x), texts, groups)[0]
    if targets.ndim == 1 and len(np.unique(targets)) < 2:
        raise ValueError(f"there are no two labels of {FOLDS} {counted} or more")
    if len(units) == 0 or units.max() + 1 < FOLDS:
        raise ValueError(f"there are no {FOLDS} {counted}")
    columns = as_columns(targets)
    answers, strata = np.zeros_like(columns), np.zeros(len(x), np.int64)
    if targets.ndim == 1:
        strata = np.unique(targets, return_inverse=True)[1]
    for fit, held in held_out(texts, groups, strata, of=FOLDS, seed=seed):
        if not len(fit):
            raise ValueError("no text is left to fit on: all stand in groups that are held out, too")
        answers[held] = _answers(x, columns, fit, held)
    name, measure = _measure(targets, tokens=tokens)
    truth, said = (strata, answers.argmax(axis=1)) if targets.ndim == 1 else (columns, answers)
    drawn = [measure(truth[rows], said[rows]) for rows in _samples(units, seed)]
    low, high = percentiles(np.array(drawn), confidence) or (None, None)
    return Probe(name, measure(truth, said), low, high, len(x), int((~kept).sum()))


def _frequent(targets: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Which rows have a label that `FOLDS` units have, or none that could be too rare."""
    if targets.ndim > 1:
        return np.ones(len(targets), bool)
    return np.isin(targets, frequent(targets, units, FOLDS))


def _answers(x: np.ndarray, columns: np.ndarray, fit: np.ndarray, held: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(x[fit], columns[fit])
    return np.asarray(model.predict(x[held])).reshape(-1, columns.shape[1])


def _samples(units: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Bootstrap samples of whole examples."""
    order = np.argsort(units, kind="stable")
    starts = np.searchsorted(units[order], np.arange(int(units.max()) + 2))
    for drawn in samples(int(units.max()) + 1, ROUNDS, seed):
        yield np.concatenate([order[starts[unit] : starts[unit + 1]] for unit in drawn])


# --- scores


def _measure(targets: np.ndarray, *, tokens: bool) -> tuple[str, Measure]:
    if targets.ndim == 1:
        return ("macro_f1", _macro_f1) if tokens else ("accuracy", lambda truth, said: float((truth == said).mean()))
    return ("r2", _r2) if is_numbers(targets) else ("roc_auc", _roc_auc)


def _macro_f1(truth: np.ndarray, said: np.ndarray) -> float:
    size = int(max(truth.max(), said.max())) + 1
    both, ours, theirs = (np.bincount(each, minlength=size) for each in (truth[truth == said], said, truth))
    there = theirs > 0
    return float((2 * both[there] / (ours + theirs)[there]).mean())


def _roc_auc(truth: np.ndarray, said: np.ndarray) -> float:
    """The mean over labels that some rows have and some have not."""
    from scipy.stats import rankdata

    some = (truth.any(axis=0)) & (~truth.all(axis=0))
    positive, ranks = truth[:, some], rankdata(said[:, some], axis=0)
    n = positive.sum(axis=0)
    areas = ((ranks * positive).sum(axis=0) - n * (n + 1) / 2) / (n * (len(truth) - n))
    return float(areas.mean()) if len(areas) else float("nan")


def _r2(truth: np.ndarray, said: np.ndarray) -> float:
    """The mean over targets that are not constant."""
    whole = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    error = ((truth - said) ** 2).sum(axis=0)
    return float((1 - error[whole > 0] / whole[whole > 0]).mean()) if (whole > 0).any() else float("nan")
