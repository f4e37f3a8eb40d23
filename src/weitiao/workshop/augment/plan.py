"""How many new examples each row gets, and the random numbers of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from weitiao.recipe.workshop import Amount


def how_many(labels: Sequence[str], amount: Amount, seed: int) -> npt.NDArray[np.int64]:
    """Return how many new examples each row gets, shape (rows,): within a class as evenly as can be.

    Which rows get one more is drawn by the seed. With `factor` the sum is ``round(factor * rows)``, dealt out to
    classes in proportion (largest remainder); with `per_class` it is the same for each; with `balance` a class of n
    rows gets ``min(largest, floor(most * n)) - n``.
    """
    _, numbers, sizes = np.unique(np.asarray(labels, dtype=object), return_inverse=True, return_counts=True)
    found = np.zeros(len(labels), dtype=np.int64)
    for index, (new, size) in enumerate(zip(_by_class(sizes, amount), sizes.tolist(), strict=True)):
        extra = np.random.default_rng([seed, index, 0, 1]).permutation(size)[: new % size]  # none of those of `rows`
        counts = np.full(size, new // size, dtype=np.int64)
        counts[extra] += 1
        found[numbers == index] = counts
    return found


def rows(seed: int, row: int, copy: int) -> np.random.Generator:
    """Return the random numbers of a row's copy, whatever was drawn before: PCG64 seeded by all three, below 2**32."""
    return np.random.Generator(np.random.PCG64([seed, row, copy]))


def _by_class(sizes: npt.NDArray[np.int64], amount: Amount) -> list[int]:
    """New examples of each class."""
    if amount.per_class is not None:
        return [amount.per_class] * len(sizes)
    if amount.factor is not None:
        exact = amount.factor * sizes
        new = np.floor(exact).astype(np.int64)
        missing = round(amount.factor * int(sizes.sum())) - int(new.sum())
        new[np.argsort(new - exact, kind="stable")[:missing]] += 1
        return [int(count) for count in new]
    bound = sizes.max(initial=0) if amount.most is None else np.floor(amount.most * sizes).astype(np.int64)
    return [int(count) for count in np.minimum(sizes.max(initial=0), bound) - sizes]
