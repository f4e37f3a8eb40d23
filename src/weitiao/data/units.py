"""Units of rows, of one group or of the same text: what has to stay together, and what several units have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from weitiao.data.arrow import arrow_batches
from weitiao.data.keys import text_key, text_keys
from weitiao.data.labels import GROUP

if TYPE_CHECKING:
    from datasets import Dataset

GROUP_CELL = "group"  # the column of groups in files that a command writes for its runs
NO_GROUP = np.uint64(0)  # the number of a row without a group


def group_keys(dataset: Dataset, column: str = GROUP) -> np.ndarray:
    """Return a number for the group of each row, uint64 of shape (n,); `NO_GROUP` for one with an empty cell."""
    keys = text_keys(dataset, [column])
    null = [batch.column(0).is_null().to_numpy(False) for batch in arrow_batches(dataset, [column])]
    empty: np.ndarray = keys == text_key("")  # as a CSV file has it
    keys[np.concatenate([empty[:0], *null]) | empty] = NO_GROUP
    return keys


def in_groups(groups: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which rows are of a group that is among `others`, bool of shape (n,); one without a group is of none."""
    found: np.ndarray = np.isin(groups, others) & (groups != NO_GROUP)
    return found


def group_cells(groups: np.ndarray) -> list[str | None]:
    """Return groups as cells of such a file."""
    return [None if key == NO_GROUP else f"{key:016x}" for key in groups.tolist()]


def units_of(
    count: int, texts: np.ndarray | None, groups: np.ndarray | None, alike: np.ndarray | None = None
) -> tuple[np.ndarray, bool]:
    """Number `count` rows by what must stay together, int64 of shape (count,) from 0: the same key of `texts`, of
    `groups` (see `group_keys`), the same number in `alike`; None where that binds nothing. False where repeated texts
    could not be bound in with the groups: whoever cuts has to leave out what then stands on both sides.
    """
    bound: np.ndarray | None = None
    for each in (texts, alike):
        if each is not None:
            numbers: np.ndarray = np.unique(each, return_inverse=True)[1]
            bound = numbers if bound is None else _connected(bound, numbers)
    if groups is None:
        return (np.arange(count) if bound is None else bound), True
    own = _alone_without(groups)
    if bound is None:
        return own, True
    both = _connected(own, bound)
    half = len(own) / 2
    if np.bincount(both).max(initial=0) > half >= np.bincount(own).max(initial=0):  # a text such as "ok" links all
        return own, False
    return both, True


def frequent(codes: np.ndarray, units: np.ndarray, least: int) -> np.ndarray:
    """Return those of `codes` that at least so many different `units` have, sorted, int64; both of shape (n,)."""
    numbers = np.unique(units, return_inverse=True)[1]
    pairs = np.unique(np.stack([codes.astype(np.int64), numbers], axis=1), axis=0)
    found, counts = np.unique(pairs[:, 0], return_counts=True)
    return found[counts >= least]


def _alone_without(groups: np.ndarray) -> np.ndarray:
    """Number the groups; a row without one is a group of its own."""
    numbers: np.ndarray = np.unique(groups, return_inverse=True)[1]
    empty = groups == NO_GROUP
    numbers[empty] = len(groups) + np.arange(int(empty.sum()))
    return np.unique(numbers, return_inverse=True)[1]


def _connected(groups: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Join groups that share a text, and so on: connected components."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(groups):
        return groups
    first = int(groups.max()) + 1
    size = first + int(texts.max()) + 1
    edges = coo_matrix((np.ones(len(groups), np.int8), (groups, first + texts)), shape=(size, size))
    found: np.ndarray = connected_components(edges, directed=False)[1][groups]
    return np.unique(found, return_inverse=True)[1]
