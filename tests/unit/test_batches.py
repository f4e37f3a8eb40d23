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
    assert [int(b[0]) for b in length_bucketed(np.arange(1, 17), 2, seed=0, epoch=0)] == [13, 6, 2, 1, 0, 12, 10, 5]


def padding(lengths, batches):
    return sum(len(b) * int(lengths[b].max()) for b in batches) / int(lengths.sum()) - 1


def test_little_padding_and_still_shuffled():
    lengths = np.random.default_rng(0).integers(5, 200, 10_000)
    batches = length_bucketed(lengths, 32, seed=0, epoch=1)
    assert padding(lengths, batches) < 0.05
    means = np.array([lengths[batch].mean() for batch in batches])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2  # batch order does not follow length


def test_rows_of_a_small_set_meet_others_in_each_epoch():
    """Sorted as one bucket, 231 rows would make up the same eight batches again and again."""
    lengths = np.random.default_rng(0).integers(5, 60, 231)
    met: list[set[tuple[int, int]]] = []
    for epoch in (1, 2):
        batches = length_bucketed(lengths, 32, seed=0, epoch=epoch)
        met.append({(a, b) for batch in batches for a in batch.tolist() for b in batch.tolist() if a < b})
    assert len(met[0] & met[1]) / len(met[0]) < 0.3  # of random batches 0.14 meet again


@given(LENGTHS, st.integers(1, 50) | st.none(), st.integers(1, 3000) | st.none())
def test_in_length_order(lengths, batch_size, tokens):
    batches = in_length_order(lengths, batch_size, tokens=tokens)
    rows = [row for batch in batches for row in batch.tolist()]
    assert sorted(rows) == list(range(len(lengths)))
    assert list(lengths[rows]) == sorted(lengths, reverse=True) if rows else rows == []
    for batch in batches:
        assert batch_size is None or len(batch) <= batch_size
        assert tokens is None or len(batch) == 1 or len(batch) * lengths[batch].max() <= tokens


@st.composite
def grouped(draw):
    lengths = draw(LENGTHS)
    return lengths, np.array(draw(st.lists(st.integers(0, 60), min_size=len(lengths), max_size=len(lengths))), np.int64)


@given(grouped(), st.integers(1, 50) | st.none(), st.integers(1, 3000) | st.none())
def test_groups_stay_together_and_in_their_order(case, batch_size, tokens):
    lengths, groups = case
    batches = in_length_order(lengths, batch_size, tokens=tokens, groups=groups)
    rows = [row for batch in batches for row in batch.tolist()]
    assert sorted(rows) == list(range(len(lengths)))
    for batch in batches:
        own = groups[batch]
        assert (np.diff(own) != 0).sum() + 1 == len(set(own.tolist()))  # side by side
        for group in set(own.tolist()):
            assert batch[own == group].tolist() == np.flatnonzero(groups == group).tolist()  # whole, in order
        several = len(set(own.tolist())) > 1
        assert batch_size is None or not several or len(batch) <= batch_size
        assert tokens is None or not several or len(batch) * lengths[batch].max() <= tokens
    widest = [lengths[groups == groups[row]].max() for row in rows]
    assert widest == sorted(widest, reverse=True)


def test_each_row_a_group_is_as_without_groups():
    lengths = np.random.default_rng(0).integers(1, 90, 500)
    plain = in_length_order(lengths, 16, tokens=600)
    own = in_length_order(lengths, 16, tokens=600, groups=np.arange(500))
    assert [batch.tolist() for batch in plain] == [batch.tolist() for batch in own]


@given(grouped(), st.integers(1, 50))
def test_parts_never_share_a_batch(case, batch_size):
    lengths, groups = case
    parts = groups % 3
    for batches in (
        in_length_order(lengths, batch_size, groups=groups, parts=parts),
        length_bucketed(lengths, batch_size, seed=0, epoch=0, parts=parts),
    ):
        assert sorted(row for batch in batches for row in batch.tolist()) == list(range(len(lengths)))
        assert all(len(set(parts[batch].tolist())) == 1 for batch in batches)


def test_times_say_how_often_a_row_comes():
    times = np.repeat([0.5, 1.0, 2.25], 40)
    seen = []
    for epoch in range(2):
        rows = np.concatenate(length_bucketed(np.ones(120, int), 8, seed=0, epoch=epoch, times=times))
        counts = np.bincount(rows, minlength=120)
        assert set(counts[40:80]) == {1}
        assert set(counts[:40]) <= {0, 1}
        assert set(counts[80:]) <= {2, 3}
        assert len(rows) == 40 + 80 + round(40 * 0.5 + 40 * 0.25)
        seen.append(counts.tolist())
    assert seen[0] != seen[1]


@pytest.mark.parametrize("tokens", [1, 12, 30, 1000])
def test_micro_batches(tokens):
    batch, lengths = np.arange(8)[::-1], np.array([3, 9, 4, 4, 12, 1, 7, 5])
    parts = micro_batches(batch, lengths, tokens)
    assert sorted(np.concatenate(parts).tolist()) == sorted(batch.tolist())
    of = dict(zip(batch.tolist(), lengths.tolist(), strict=True))
    widths = [max(of[row] for row in part.tolist()) for part in parts]
    assert all(len(part) * width <= tokens or len(part) == 1 for part, width in zip(parts, widths, strict=True))
    assert widths == sorted(widths, reverse=True)
    assert len(parts) == {1: 8, 12: 5, 30: 3, 1000: 1}[tokens]
