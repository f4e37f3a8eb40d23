"""Which rows have to stay together when they are cut into splits: groups, and the same text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from weitiao.data.arrow import arrow_batches
from weitiao.data.keys import text_keys
from weitiao.data.labels import GROUP
from weitiao.recipe import DataSettings

if TYPE_CHECKING:
    from datasets import Dataset


def units_of(
    dataset: Dataset, keys: np.ndarray, settings: DataSettings, alike: np.ndarray | None
) -> tuple[np.ndarray, bool]:
    """Number the rows by what must stay together; False where repeated texts could not be bound in with the groups."""
    texts = np.unique(keys, return_inverse=True)[1] if settings.duplicates == "together" else None
    if alike is not None:
        texts = alike if texts is None else _connected(texts, alike)
    if settings.group is None:
        return (np.arange(len(keys)) if texts is None else texts), True
    groups = _groups(dataset)
    if texts is None:
        return groups, True
    both = _connected(groups, texts)
    half = len(keys) / 2
    if np.bincount(both).max() > half >= np.bincount(groups).max():  # a text such as "ok" links all groups into one
        return groups, False
    return both, True


def _groups(dataset: Dataset) -> np.ndarray:
    """Number the groups; a row without one is a group of its own."""
    keys = text_keys(dataset, [GROUP])
    empty = np.concatenate([batch.column(0).is_null().to_numpy(False) for batch in arrow_batches(dataset, [GROUP])])
    numbers: np.ndarray = np.unique(keys, return_inverse=True)[1]
    numbers[empty] = len(keys) + np.arange(int(empty.sum()))
    return np.unique(numbers, return_inverse=True)[1]


def _connected(groups: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Join groups that share a text, and so on: connected components."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    first = int(groups.max()) + 1
    size = first + int(texts.max()) + 1
    edges = coo_matrix((np.ones(len(groups), np.int8), (groups, first + texts)), shape=(size, size))
    found: np.ndarray = connected_components(edges, directed=False)[1][groups]
    return np.unique(found, return_inverse=True)[1]
