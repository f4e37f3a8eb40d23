"""Cutting rows into train, validation and test: units whole, labels in like shares. Numbers only, no data."""

from __future__ import annotations

import numpy as np

from weitiao.data.keys import mixed

TRAIN, VALIDATION, TEST = 0, 1, 2


def cut(
    units: np.ndarray, strata: np.ndarray, keys: np.ndarray, *, validation: float, test: float, seed: int
) -> np.ndarray:
    """Return the part of each row, int8 of shape (n,): 0 train, 1 validation, 2 test.

    Rows with the same number in `units` (0, 1, ...) stay together. Each value of `strata` (0, 1, ...) is shared out in
    proportion, as near as whole units allow, and keeps at least one row in train. `keys` (uint64) with the `seed` give
    the order units are drawn in, so the result does not hang on the order of rows.
    """
    if not len(units):
        return np.empty(0, np.int8)
    drawn = mixed(keys, seed)
    goals = _goals(strata, validation, test, seed)
    if goals[1:].sum() < 0.8 * (validation + test) * len(units):  # labels too rare to be shared out: numbers, say
        strata = np.zeros_like(strata)
        goals = _goals(strata, validation, test, seed)
    sizes = np.bincount(units)
    order = np.full(len(sizes), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(order, units, drawn)
    parts = np.full(len(sizes), -1, np.int8)
    _place_large(parts, units, strata, sizes, order, goals)
    _place_single(parts, units, strata, sizes, order, goals)
    _fill_empty(parts, sizes, order, [part for part, share in ((1, validation), (2, test)) if share > 0])
    placed: np.ndarray = parts[units]
    return placed


def folds(units: np.ndarray, strata: np.ndarray, keys: np.ndarray, *, of: int, seed: int) -> np.ndarray:
    """Return the fold of each row, int64 of shape (n,): 0 to ``of - 1``, as even as whole units allow.

    Each is cut from what the ones before it leave, as `cut` cuts a test split: strata in like shares, whichever order
    the rows are in. A fold may be empty where there are fewer units than folds.
    """
    found = np.full(len(units), of - 1, np.int64)
    left = np.arange(len(units))
    for number in range(of - 1):
        own = np.unique(units[left], return_inverse=True)[1]
        placed = cut(own, strata[left], keys[left], validation=0.0, test=1 / (of - number), seed=seed)
        found[left[placed == TEST]] = number
        left = left[placed != TEST]
    return found


def _goals(strata: np.ndarray, validation: float, test: float, seed: int) -> np.ndarray:
    """Return how many rows of each stratum each part should get, shape (3, strata)."""
    counts = np.bincount(strata)
    ties = mixed(np.arange(len(counts), dtype=np.uint64), seed)
    in_test = apportion(counts, test, np.maximum(counts - 1, 0), ties)
    in_validation = apportion(counts, validation, np.maximum(counts - 1 - in_test, 0), ~ties)
    return np.stack([counts - in_test - in_validation, in_validation, in_test])


def apportion(counts: np.ndarray, share: float, most: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """Share out ``round(share * total)`` seats by largest remainder (Hamilton's method), at most `most` each.

    A share above 0 of three rows or more gives at least one seat where `most` allows it.
    """
    exact = counts * share
    seats: np.ndarray = np.minimum(np.floor(exact + 1e-9).astype(np.int64), most)
    total = int(counts.sum())
    wanted = max(round(total * share), int(share > 0 and total >= 3))
    remainder = np.where(seats < most, exact - seats, -np.inf)
    best_first = np.lexsort((ties, -np.round(remainder, 9)))
    best_first = best_first[remainder[best_first] > 0]
    seats[best_first[: max(0, wanted - int(seats.sum()))]] += 1
    return seats


def _place_large(
    parts: np.ndarray, units: np.ndarray, strata: np.ndarray, sizes: np.ndarray, order: np.ndarray, goals: np.ndarray
) -> None:
    """Place units of several rows, the largest first, where their labels are needed most; `goals` becomes the rest."""
    rows = np.flatnonzero(sizes[units] > 1)
    if not len(rows):
        return
    pairs, counts = np.unique(np.stack([units[rows], strata[rows]], axis=1), axis=0, return_counts=True)
    large, starts = np.unique(pairs[:, 0], return_index=True)
    ends = np.r_[starts[1:], len(pairs)]
    labels, amounts = pairs[:, 1].tolist(), counts.tolist()
    left, wanted = goals.tolist(), np.maximum(goals, 1).tolist()
    free = goals.sum(axis=1).tolist()
    for i in np.lexsort((order[large], -sizes[large])).tolist():
        held = list(zip(labels[starts[i] : ends[i]], amounts[starts[i] : ends[i]], strict=True))
        size = int(sizes[large[i]])
        fits = [part for part in (TRAIN, VALIDATION, TEST) if free[part] >= size]
        if fits:
            need = [sum(n * left[part][label] / wanted[part][label] for label, n in held) for part in fits]
            part = fits[max(range(len(fits)), key=need.__getitem__)]
        else:
            part = max((TRAIN, VALIDATION, TEST), key=free.__getitem__)
        parts[large[i]] = part
        free[part] -= size
        for label, n in held:
            left[part][label] -= n
    goals[:] = np.maximum(np.array(left), 0)


def _place_single(
    parts: np.ndarray, units: np.ndarray, strata: np.ndarray, sizes: np.ndarray, order: np.ndarray, left: np.ndarray
) -> None:
    """Fill what is left of each stratum's goals with units of one row, in drawn order; the rest is train."""
    rows = np.flatnonzero(sizes[units] == 1)
    rows = rows[np.lexsort((order[units[rows]], strata[rows]))]
    kinds = strata[rows]
    starts = np.searchsorted(kinds, np.arange(left.shape[1]))
    rank = np.arange(len(rows)) - starts[kinds]
    test, validation = left[TEST][kinds], left[VALIDATION][kinds]
    parts[units[rows]] = np.where(rank < test, TEST, np.where(rank < test + validation, VALIDATION, TRAIN))


def _fill_empty(parts: np.ndarray, sizes: np.ndarray, order: np.ndarray, wanted: list[int]) -> None:
    """Give train a unit in any case, and a wanted part that got nothing the smallest of train's, if it keeps one."""
    if not np.any(parts == TRAIN):
        parts[np.argmax(sizes)] = TRAIN
    for part in wanted:
        spare = np.flatnonzero(parts == TRAIN)
        if len(spare) > 1 and len(sizes) > 2 and not np.any(parts == part):
            parts[spare[np.lexsort((order[spare], sizes[spare]))[0]]] = part


def sample(strata: np.ndarray, keys: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Return `count` rows, sorted, each stratum in proportion; `keys` and `seed` decide which, not row order."""
    counts = np.bincount(strata)
    ties = mixed(np.arange(len(counts), dtype=np.uint64), seed)
    seats = apportion(counts, count / len(strata), counts, ties)
    rows = np.lexsort((mixed(keys, seed), strata))
    kinds = strata[rows]
    rank = np.arange(len(rows)) - np.searchsorted(kinds, np.arange(len(counts)))[kinds]
    return np.sort(rows[rank < seats[kinds]])
