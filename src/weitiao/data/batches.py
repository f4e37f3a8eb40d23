"""Which rows go together in a batch. Pure functions of numbers: nothing here reads data."""

from __future__ import annotations

import numpy as np

BUCKET_BATCHES = 50  # rows of at most so many batches are sorted by length together: little padding, yet well shuffled
BUCKETS = 4  # into at least so many buckets: the rows of one bucket would meet in the same batches in every epoch


def length_bucketed(
    lengths: np.ndarray,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    parts: np.ndarray | None = None,
    times: np.ndarray | None = None,
    left_out: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Return one epoch's batches of row numbers, shuffled, rows of like length together.

    Every row exactly once; one batch may be smaller. Depends on nothing but the arguments. In epoch 0 the batch with
    the longest row comes first, so that a lack of memory shows at once. A batch holds rows of one number in `parts`
    (shape (n,)) only; `times` (shape (n,)) says how often a row comes an epoch: of rows with 1.5 half come twice.
    Rows of the mask `left_out` (shape (n,)) do not come.
    """
    random = np.random.Generator(np.random.PCG64([seed, epoch]))
    rows = random.permutation(len(lengths)) if times is None else _drawn(times, random)
    rows = rows if left_out is None else rows[~left_out[rows]]
    batches = [
        batch
        for own in _apart(rows, parts)
        for bucket in _buckets(own, batch_size)
        for batch in _cut(bucket, lengths, batch_size)
    ]
    order = random.permutation(len(batches))
    batches = [batches[i] for i in order]
    return longest_first(batches, lengths) if epoch == 0 else batches


def longest_first(batches: list[np.ndarray], lengths: np.ndarray) -> list[np.ndarray]:
    """Return the batches with the one in front that holds the longest row; of several such, the one with most rows."""
    if not batches:
        return []
    longest = max(range(len(batches)), key=lambda i: (int(lengths[batches[i]].max()), len(batches[i])))
    return [batches[longest], *batches[:longest], *batches[longest + 1 :]]


def rows_in_epoch(times: np.ndarray) -> int:
    """How many rows an epoch has whose rows come as often as `times` says."""
    whole = np.floor(times)
    rest = float((times - whole).sum())
    return int(whole.sum()) + round(rest)


def _drawn(times: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Rows as often as `times` says, in random order; the number of rows is the same in every epoch.

    Beyond whole times a row comes with the chance that is left, and so many of the rows of one chance as it says:
    systematic sampling (Madow 1949) over the rows in the order of their chances, in random order among equals.
    """
    whole = np.floor(times).astype(np.int64)
    rest, rows = times - whole, np.repeat(np.arange(len(times)), whole)
    count = rows_in_epoch(times) - len(rows)
    if count:
        order = random.permutation(len(times))
        order = order[np.argsort(rest[order], kind="stable")]
        edges = np.cumsum(rest[order])
        edges *= count / edges[-1]
        edges[-1] = count
        often = np.diff(np.floor(edges + random.random()), prepend=0).astype(np.int64)
        rows = np.concatenate([rows, np.repeat(order, often)])
    return random.permutation(rows)


def _apart(rows: np.ndarray, parts: np.ndarray | None) -> list[np.ndarray]:
    return [rows] if parts is None else [rows[parts[rows] == part] for part in np.unique(parts)]


def _buckets(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    size = batch_size * min(BUCKET_BATCHES, max(1, len(rows) // (BUCKETS * batch_size)))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _cut(rows: np.ndarray, lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    rows = rows[np.argsort(lengths[rows], kind="stable")]
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def in_length_order(
    lengths: np.ndarray,
    batch_size: int | None = None,
    *,
    tokens: int | None = None,
    groups: np.ndarray | None = None,
    parts: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Return batches for evaluation, the longest rows first, every row once.

    At most `batch_size` rows a batch, and at most `tokens` tokens padding included where given; a row that is longer by
    itself is a batch of its own. Rows with the same number in `groups` (shape (n,)) stay in one batch and in their
    order, however large it gets by that. A batch holds rows of one number in `parts` only; part comes after part.
    """
    if parts is not None:
        own = [np.flatnonzero(parts == part) for part in np.unique(parts)]
        return [
            rows[batch]
            for rows in own
            for batch in in_length_order(
                lengths[rows], batch_size, tokens=tokens, groups=None if groups is None else groups[rows]
            )
        ]
    lengths = np.asarray(lengths, dtype=np.int64)
    starts, sizes, widths = _groups(lengths, groups)
    most_rows, most_tokens = batch_size or len(lengths), tokens or int(lengths.sum() * len(lengths)) + 1
    batches: list[list[np.ndarray]] = []
    rows = width = 0
    for group in np.argsort(-widths, kind="stable").tolist():
        size = int(sizes[group])
        if not batches or rows + size > most_rows or (rows + size) * width > most_tokens:
            batches.append([])
            rows, width = 0, max(1, int(widths[group]))
        batches[-1].append(starts[group])
        rows += size
    return [np.concatenate(batch) for batch in batches]


def _groups(lengths: np.ndarray, groups: np.ndarray | None) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return the rows of each group, how many they are, and the longest of them."""
    if groups is None:
        return [np.array([row]) for row in range(len(lengths))], np.ones(len(lengths), np.int64), lengths
    order = np.argsort(groups, kind="stable")
    cuts = np.flatnonzero(np.diff(np.asarray(groups)[order])) + 1
    members = np.split(order, cuts) if len(order) else []
    return members, np.array([len(m) for m in members], np.int64), np.array([lengths[m].max() for m in members])


def micro_batches(batch: np.ndarray, lengths: np.ndarray, tokens: int) -> list[np.ndarray]:
    """Cut a batch into parts of at most `tokens` tokens, padding included, the longest rows first.

    `lengths` (shape of `batch`) are its rows' tokens; a row that is longer by itself is a part of its own.
    """
    order = np.argsort(-lengths, kind="stable")
    parts: list[list[int]] = []
    width = 0
    for place in order.tolist():
        if not parts or (len(parts[-1]) + 1) * width > tokens:
            parts.append([])
            width = max(1, int(lengths[place]))
        parts[-1].append(place)
    return [batch[part] for part in parts]
