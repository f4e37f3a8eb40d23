"""Near duplicates: rows whose texts share most of their character n-grams, found by MinHash among a million rows.

A text is the set of the character n-grams of its normalised form (`data.keys.normalised`) without punctuation: of 5
characters, of 3 where a tenth of the characters is Chinese, Japanese or Korean. Two texts are near where the Jaccard
similarity of their sets is at least a threshold. Candidates come from MinHash signatures cut into bands (Broder
1997; Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, chapter 3), and each is then verified by the sets
themselves: what is found is near, what is missed is missed by chance; of pairs at the threshold 0.8 one in a
hundred.

`datasketch` takes one document at a time; here all texts of a batch are hashed at once, and bands are compared by
sorting, so that a million rows fit into a laptop's time and memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from weitiao.data.keys import normalised

HASHES, BANDS = 96, 16  # of 6 hashes: pairs of similarity 0.8 share a band with a chance of 0.99, of 0.5 with 0.22
LATIN, CJK = 5, 3  # characters of an n-gram
THRESHOLD = 0.8
CHUNK = 1 << 16  # n-grams hashed at once, so that they stay in the processor's cache
PAIRS = 5_000  # verified at once

_NO_WORD = re.compile(r"[\W_]+")

Texts = Callable[[np.ndarray], Sequence[str]]  # row numbers, ascending -> their texts


@dataclass(frozen=True)
class Near:
    """Groups of near duplicates among `len(group)` rows."""

    group: np.ndarray  # int64 of shape (n,): the first row of the group a row is in; its own number where it is alone
    pairs: np.ndarray  # int64 of shape (m, 2): verified pairs, the smaller row first, each once
    similarity: np.ndarray  # float32 of shape (m,): their Jaccard similarity

    @property
    def grouped(self) -> np.ndarray:
        """Whether a row has a near duplicate, bool of shape (n,)."""
        alike = np.bincount(self.group, minlength=len(self.group))[self.group] > 1
        return np.asarray(alike)


def find_near(
    batches: Iterable[Sequence[str]],
    texts: Texts,
    *,
    threshold: float = THRESHOLD,
    size: int = LATIN,
    distinct: np.ndarray | None = None,
) -> Near:
    """Find near duplicates among the texts of `batches`, read once in order; `texts` reads some of them again.

    `size`: characters of an n-gram. `distinct` (shape (n,)) are numbers that are equal where texts are equal, such as
    `data.keys.text_keys`: only the first of equal texts is compared, the others join its group without a pair.
    """
    signatures = _signatures(batches, size)
    rows = np.arange(len(signatures))
    first = rows.copy()
    if distinct is not None:
        _, at, inverse = np.unique(distinct, return_index=True, return_inverse=True)
        first = at[inverse]
    alone = np.flatnonzero(first == rows)
    pairs = _candidates(signatures[alone], alone, threshold)
    similarity = _verify(pairs, texts, size)
    kept = similarity >= threshold
    pairs, similarity = pairs[kept], similarity[kept]
    again = np.flatnonzero(first != rows)
    return Near(_joined(np.concatenate([pairs, np.stack([first[again], again], 1)]), len(rows)), pairs, similarity)


def size_for(texts: Sequence[str]) -> int:
    """Return how many characters an n-gram of these texts has."""
    whole = sum(map(len, texts)) or 1
    cjk = sum("\u3040" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7af" for text in texts for c in text)
    return CJK if cjk > whole / 10 else LATIN


# --- n-grams


def grams(texts: Sequence[str], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return hashes of all texts' n-grams, uint64, repeats included, and where each text's begin, int64 of shape
    (texts + 1,). A text shorter than an n-gram is one by itself; an empty one is the n-gram of nothing.
    """  # fmt: skip
    clean = [spoken(text) for text in texts]
    lengths = np.fromiter(map(len, clean), np.int64, len(clean))
    counts = np.maximum(lengths - size + 1, 1)
    padded = [text if len(text) >= size else text + "\0" * (size - len(text)) for text in clean]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    begins = np.concatenate([[0], np.cumsum(np.maximum(lengths, size))])[:-1]
    ends = np.concatenate([[0], np.cumsum(counts)])
    places = np.arange(ends[-1]) + np.repeat(begins - ends[:-1], counts)
    hashed = np.zeros(len(places), np.uint64)
    for offset in range(size):
        hashed = _mixed(hashed ^ codes[places + offset])
    return hashed, ends


def spoken(text: str) -> str:
    """Return the normalised text without punctuation, which seldom makes another text of it; all of it where there is
    nothing else.
    """  # fmt: skip
    whole = normalised(text)
    return _NO_WORD.sub(" ", whole).strip() or whole


def _mixed(x: np.ndarray) -> np.ndarray:
    """One round of a multiplicative hash with a shift (as in MurmurHash3's finaliser)."""
    with np.errstate(over="ignore"):
        x = (x + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xFF51AFD7ED558CCD)
    return np.asarray(x ^ (x >> np.uint64(32)))


def _signatures(batches: Iterable[Sequence[str]], size: int) -> np.ndarray:
    """MinHash signatures, uint32 of shape (rows, HASHES)."""
    random = np.random.Generator(np.random.PCG64(20261127))
    factors = random.integers(1, 2**32, HASHES, np.uint32) | np.uint32(1)
    terms = random.integers(0, 2**32, HASHES, np.uint32)
    found = []
    for batch in batches:
        hashed, ends = grams(batch, size)
        short = (hashed >> np.uint64(32)).astype(np.uint32)
        signature = np.empty((len(batch), HASHES), np.uint32)
        for low, high in _stretches(ends):
            part, starts = short[ends[low] : ends[high]], ends[low:high] - ends[low]
            for number in range(HASHES):
                own = part * factors[number] + terms[number]
                own ^= own >> np.uint32(15)  # the low bits of a product hang on few bits of the factor
                own *= np.uint32(0x2C1B3C6D)
                signature[low:high, number] = np.minimum.reduceat(own, starts)
        found.append(signature)
    return np.concatenate(found) if found else np.empty((0, HASHES), np.uint32)


def _stretches(ends: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of texts that have about `CHUNK` n-grams together, at least one text."""
    low, rows = 0, len(ends) - 1
    while low < rows:
        high = int(np.searchsorted(ends, ends[low] + CHUNK, side="right")) - 1
        high = min(rows, max(low + 1, high))
        yield low, high
        low = high


# --- pairs


def _candidates(signatures: np.ndarray, rows: np.ndarray, threshold: float) -> np.ndarray:
    """Pairs of `rows` that share a band and whose signatures agree about as often as the threshold says.

    Within a band's bucket each row is paired with the bucket's first and with the row before it: enough to link what is
    alike, and no more pairs than rows.
    """
    found = [np.empty((0, 2), np.int64)]
    width = HASHES // BANDS
    slack = 3 * np.sqrt(threshold * (1 - threshold) / HASHES)  # three standard deviations of the estimate
    for band in np.split(signatures, range(width, HASHES, width), axis=1):
        key = np.zeros(len(band), np.uint64)
        for column in band.T:
            key = _mixed(key ^ column.astype(np.uint64))
        order = np.argsort(key, kind="stable")
        same = np.flatnonzero(key[order][1:] == key[order][:-1]) + 1  # places in `order` that continue a bucket
        if not len(same):
            continue
        start = np.maximum.accumulate(
            np.where(np.r_[True, key[order][1:] != key[order][:-1]], np.arange(len(order)), 0)
        )
        for other in (start[same], same - 1):
            pairs = np.stack([order[other], order[same]], axis=1)
            found += [part[_agree(signatures, part) >= threshold - slack] for part in _cut(pairs)]
    both = np.unique(np.concatenate(found), axis=0)
    return np.sort(rows[both], axis=1).reshape(-1, 2)


def _cut(pairs: np.ndarray) -> Iterator[np.ndarray]:
    return (pairs[start : start + 100_000] for start in range(0, len(pairs), 100_000))


def _agree(signatures: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return np.asarray((signatures[pairs[:, 0]] == signatures[pairs[:, 1]]).mean(axis=1))


def _verify(pairs: np.ndarray, texts: Texts, size: int) -> np.ndarray:
    """The Jaccard similarity of each pair, float32 of shape (pairs,)."""
    found = [np.empty(0, np.float32)]
    for start in range(0, len(pairs), PAIRS):
        part = pairs[start : start + PAIRS]
        rows, place = np.unique(part, return_inverse=True)
        hashed, ends = grams(texts(rows), size)
        sets = [np.unique(hashed[low:high]) for low, high in pairwise(ends.tolist())]
        one, other = (sets_of.tolist() for sets_of in place.reshape(-1, 2).T)
        found.append(np.array([jaccard(sets[a], sets[b]) for a, b in zip(one, other, strict=True)], np.float32))
    return np.concatenate(found)


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Jaccard similarity of two sets, each given as its distinct values."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / max(1, len(one) + len(other) - shared)


def _joined(pairs: np.ndarray, rows: int) -> np.ndarray:
    """For each row the first row of its connected component."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(rows, rows))
    component = connected_components(edges, directed=False)[1]
    first = np.full(rows, rows, np.int64)
    np.minimum.at(first, component, np.arange(rows))
    return np.asarray(first[component])
