"""A small language model that needs nothing but some texts: interpolated n-grams of characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from weitiao.data.keys import normalised
from weitiao.workshop.select.base import PIECE, pieces

READ = 5_000_000  # characters of a target that are learned from
START, END = "\ufdd0", "\ufdd1"  # no characters, by Unicode


@dataclass(frozen=True, eq=False)
class Counts:
    """The n-grams of one length, by their hashes in ascending order."""

    grams: np.ndarray  # uint64 of shape (grams,)
    times: np.ndarray  # float64 of shape (grams,): how often each occurs
    contexts: np.ndarray  # uint64 of shape (contexts,): n-grams without their last character
    followed: np.ndarray  # float64 of shape (contexts,): how often each occurs
    kinds: np.ndarray  # float64 of shape (contexts,): different characters behind each


class CharacterModel:
    """n-grams of 1 to `order` characters, interpolated as by Witten & Bell (1991; formula by Chen & Goodman 1999,
    section 2.5): where a context occurred N times with T kinds of characters behind it, a character that c of these
    were has the probability (c + T p) / (N + T), where p is what the shorter context says. The shortest says that all
    characters are alike. Texts are read in their normalised form, each with an end.
    """  # fmt: skip

    def __init__(self, texts: Iterable[Sequence[str]], order: int) -> None:
        """Learn from batches of texts, the first `READ` characters of them."""
        grams: list[list[np.ndarray]] = [[] for _ in range(order)]
        contexts: list[list[np.ndarray]] = [[] for _ in range(order)]
        for piece in islice(pieces(texts), READ // PIECE):
            for size, (context, gram) in enumerate(_hashes(piece, order)[0]):
                contexts[size].append(context)
                grams[size].append(gram)
        self._order = order
        self._counts = [
            _counted(np.concatenate(gram), np.concatenate(context))
            for gram, context in zip(grams, contexts, strict=True)
        ]
        self._alike = 1 / (1 + len(self._counts[0].grams))

    def losses(self, batches: Iterable[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
        """Return for each text the negative log likelihood in nats, float64, and its characters with the end, int64;
        both of shape (texts,).
        """  # fmt: skip
        sums, counts = [np.empty(0)], [np.empty(0, np.int64)]
        for piece in pieces(batches):
            hashes, lengths = _hashes(piece, self._order)
            chance = np.full(int(lengths.sum()), self._alike)
            for counted, (context, gram) in zip(self._counts, hashes, strict=True):
                followed, kinds = _found(counted.contexts, context, counted.followed, counted.kinds)
                [times] = _found(counted.grams, gram, counted.times)
                seen = followed > 0
                chance[seen] = ((times + kinds * chance)[seen]) / (followed + kinds)[seen]
            sums.append(np.add.reduceat(-np.log(chance), np.cumsum(lengths) - lengths))
            counts.append(lengths)
        return np.concatenate(sums), np.concatenate(counts)


def _hashes(texts: Sequence[str], order: int) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """Return for n-grams of 1, 2, ... `order` characters the hashes of (all but the last, all), uint64 of shape
    (characters,), one of each that ends at a character or at the end of a text; and the characters of each text with
    its end, int64 of shape (texts,).
    """  # fmt: skip
    clean = [normalised(text) for text in texts]
    lengths = np.fromiter(map(len, clean), np.int64, len(clean)) + 1
    joined = "".join(f"{START * (order - 1)}{text}{END}" for text in clean)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    last = np.arange(lengths.sum()) + np.repeat(np.arange(1, len(texts) + 1), lengths) * (order - 1)
    context = np.zeros(len(last), np.uint64)
    found = []
    for size in range(1, order + 1):
        found.append((context, _mixed(context ^ (codes[last] << np.uint64(32)))))
        if size < order:
            context = _mixed(context ^ codes[last - size])
    return found, lengths


def _counted(grams: np.ndarray, contexts: np.ndarray) -> Counts:
    distinct, first, times = np.unique(grams, return_index=True, return_counts=True)
    context, of = np.unique(contexts[first], return_inverse=True)
    return Counts(distinct, times.astype(float), context, np.bincount(of, times), np.bincount(of).astype(float))


def _found(keys: np.ndarray, wanted: np.ndarray, *values: np.ndarray) -> list[np.ndarray]:
    """The values that stand at the wanted keys; 0 where a key is not there."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    there = keys[at] == wanted
    return [np.where(there, each[at], 0.0) for each in values]


def _mixed(x: np.ndarray) -> np.ndarray:
    """One round of the finaliser of SplitMix64."""
    with np.errstate(over="ignore"):
        x = (x + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(x ^ (x >> np.uint64(31)))
