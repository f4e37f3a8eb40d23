"""Which rows go together in a batch. Pure functions of numbers: nothing here reads data."""

from __future__ import annotations

import numpy as np

BUCKET_BATCHES = 50  # rows of so many batches are sorted by length together: little padding, yet well shuffled


def length_bucketed(lengths: np.ndarray, batch_size: int, *, seed: int, epoch: int) -> list[np.ndarray]:
    """Return one epoch's batches of row numbers, shuffled, rows of like length together.

    Every row exactly once; one batch may be smaller. Depends on nothing but the arguments. In epoch 0 the batch with
    the longest row comes first, so that a lack of memory shows at once.
    """
    random = np.random.Generator(np.random.PCG64([seed, epoch]))
    rows = random.permutation(len(lengths))
    bucket = batch_size * BUCKET_BATCHES
    batches = [
        batch
        for start in range(0, len(rows), bucket)
        for batch in _cut(rows[start : start + bucket], lengths, batch_size)
    ]
    order = random.permutation(len(batches))
    batches = [batches[i] for i in order]
    if epoch == 0 and batches:
        longest = max(range(len(batches)), key=lambda i: (int(lengths[batches[i]].max()), len(batches[i])))
        batches.insert(0, batches.pop(longest))
    return batches


def _cut(rows: np.ndarray, lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    rows = rows[np.argsort(lengths[rows], kind="stable")]
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def in_length_order(
    lengths: np.ndarray, batch_size: int | None = None, *, tokens: int | None = None
) -> list[np.ndarray]:
    """Return batches for evaluation, the longest rows first, every row once.

    At most `batch_size` rows a batch, and at most `tokens` tokens padding included where given; a row that is longer by
    itself is a batch of its own.
    """
    rows = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batches = []
    start = 0
    while start < len(rows):
        size = len(rows) if batch_size is None else batch_size
        if tokens is not None:
            size = min(size, max(1, tokens // max(1, int(lengths[rows[start]]))))
        batches.append(rows[start : start + size])
        start += size
    return batches


def micro_batches(batch: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut a batch into parts of at most `size` rows, in order."""
    return [batch[start : start + size] for start in range(0, len(batch), size)]
