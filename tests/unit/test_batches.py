"""Batches: every row once, the same for the same seed, little padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weitiao.data.batches import in_length_order, length_bucketed, micro_batches

LENGTHS = st.lists(st.integers(0, 600), max_size=400).map(np.array)


@given(LENGTHS, st.integers(1, 40), st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_every_row_exactly_once(lengths, batch_size, seed, epoch):
    batches = length_bucketed(lengths, batch_size, seed=seed, epoch=epoch)
    assert sorted(row for batch in batches for row in batch.tolist()) == list(range(len(lengths)))
    assert sum(len(batch) != batch_size for batch in batches) <= 1
    assert all(0 < len(batch) <= batch_size for batch in batches)
    if epoch == 0 and batches:
        assert lengths[batches[0]].max() == lengths.max()


def test_depends_on_seed_and_epoch_alone():
    lengths = np.random.default_rng(0).integers(5, 100, 5000)
    first = length_bucketed(lengths, 32, seed=3, epoch=1)
    again = length_bucketed(lengths, 32, seed=3, epoch=1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for seed, epoch in ((3, 2), (4, 1)):
        other = length_bucketed(lengths, 32, seed=seed, epoch=epoch)
        assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert [int(b[0]) for b in length_bucketed(np.arange(1, 9), 2, seed=0, epoch=0)] == [6, 2, 4, 0]


def padding(lengths, batches):
    return sum(len(b) * int(lengths[b].max()) for b in batches) / int(lengths.sum()) - 1


def test_little_padding_and_still_shuffled():
    lengths = np.random.default_rng(0).integers(5, 200, 10_000)
    batches = length_bucketed(lengths, 32, seed=0, epoch=1)
    assert padding(lengths, batches) < 0.05
    means = np.array([lengths[batch].mean() for batch in batches])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2  # batch order does not follow length


@given(LENGTHS, st.integers(1, 50) | st.none(), st.integers(1, 3000) | st.none())
def test_in_length_order(lengths, batch_size, tokens):
    batches = in_length_order(lengths, batch_size, tokens=tokens)
    rows = [row for batch in batches for row in batch.tolist()]
    assert sorted(rows) == list(range(len(lengths)))
    assert list(lengths[rows]) == sorted(lengths, reverse=True) if rows else rows == []
    for batch in batches:
        assert batch_size is None or len(batch) <= batch_size
        assert tokens is None or len(batch) == 1 or len(batch) * lengths[batch].max() <= tokens


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_micro_batches(size):
    batch = np.arange(8)[::-1]
    parts = micro_batches(batch, size)
    assert np.array_equal(np.concatenate(parts), batch)
    assert max(map(len, parts)) <= size
