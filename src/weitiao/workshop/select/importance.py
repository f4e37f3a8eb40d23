"""Rows that are like a target: importance resampling on hashed n-grams (DSIR; Xie et al. 2023, arXiv:2302.03169)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np
from pydantic import Field

from weitiao.errors import DataError
from weitiao.metrics.tokens import words
from weitiao.recipe import Settings
from weitiao.workshop.select.base import Asked, Choice, chosen, enough, pieces

REMEMBERED = 1 << 17  # words whose hashes are remembered


class ImportanceOptions(Settings):
    """Options of the strategy `importance`."""

    words: int = Field(2, ge=1, le=5)
    """Words of the longest n-gram; in Chinese characters."""
    buckets: int = Field(10_000, ge=2, le=2**24)
    """Places that n-grams are hashed into."""
    smoothing: float = Field(1.0, gt=0)
    """Occurrences added to each place, of target and pool: more where the target has few words."""


class Importance:
    """Drawn by how much likelier a text's n-grams are in the target than in the pool. Scores: the logarithm of the
    importance weight, nats.
    """  # fmt: skip

    name: ClassVar[str] = "importance"
    Options: ClassVar[type[Settings]] = ImportanceOptions

    def __init__(self, options: ImportanceOptions) -> None:
        self.options = options

    def choose(self, asked: Asked) -> Choice:
        """Resample without replacement: the rows with the largest sum of log weight and Gumbel noise (Kool, van Hoof &
        Welling 2019). Rows without a word are never chosen.
        """  # fmt: skip
        weights = self.log_weights(asked)
        there = ~np.isnan(weights)
        enough(int(there.sum()), asked.number, "rows with words in the pool")
        keys = np.where(there, weights, -np.inf) + np.random.default_rng(asked.seed).gumbel(size=len(weights))
        rows = np.argpartition(-keys, min(asked.number, len(keys) - 1))[: asked.number]
        return Choice(chosen(rows, len(weights)), weights, lambda row: _why(weights[row]))

    def log_weights(self, asked: Asked) -> np.ndarray:
        """Return log p(n-grams | target) - log p(n-grams | pool) of each text of the pool, float64 of shape (n,), by
        two bags of hashed n-grams; NaN where there is no word.
        """  # fmt: skip
        target = self._counted(asked.target.batches())
        if not target.any():
            raise DataError("there is no word in the target", where="--like")
        ratio = self._log_model(target) - self._log_model(self._counted(asked.pool.batches()))
        found = [np.empty(0)]
        for piece in pieces(asked.pool.batches()):
            buckets, ends = self._grams(piece)
            sums = np.concatenate([[0.0], np.cumsum(ratio[buckets])])
            counts = np.diff(ends)
            found.append(np.where(counts > 0, sums[ends[1:]] - sums[ends[:-1]], np.nan))
        return np.concatenate(found)

    def _counted(self, batches: Iterable[Sequence[str]]) -> np.ndarray:
        counts = np.zeros(self.options.buckets, np.int64)
        for piece in pieces(batches):
            counts += np.bincount(self._grams(piece)[0], minlength=self.options.buckets)
        return counts

    def _log_model(self, counts: np.ndarray) -> np.ndarray:
        smoothed = counts + self.options.smoothing
        return np.asarray(np.log(smoothed / smoothed.sum()))

    def _grams(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the buckets of all n-grams, text after text, and where each text's begin, shape (texts + 1,)."""
        found = [words(text) for text in texts]
        lengths = np.fromiter(map(len, found), np.int64, len(found))
        hashes = np.fromiter((_hash(word) for text in found for word in text), np.uint64, int(lengths.sum()))
        text_of = np.repeat(np.arange(len(texts)), lengths)
        grams, owners, running = [hashes], [text_of], hashes
        for size in range(1, self.options.words):
            running = _mixed(running[:-1], hashes[size:])
            whole = text_of[size:] == text_of[:-size]
            grams.append(running[whole])
            owners.append(text_of[size:][whole])
        order = np.argsort(owner := np.concatenate(owners), kind="stable")
        ends = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(texts)))])
        return (np.concatenate(grams)[order] % np.uint64(self.options.buckets)).astype(np.int64), ends


def _why(weight: float) -> str:
    return "has no word" if np.isnan(weight) else f"not drawn; its log weight is {weight:.1f}"


@lru_cache(REMEMBERED)
def _hash(word: str) -> int:
    """A number that is the same in every process."""
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))


def _mixed(before: np.ndarray, word: np.ndarray) -> np.ndarray:
    """The hash of an n-gram from that of its beginning and of its last word."""
    with np.errstate(over="ignore"):
        x = (before * np.uint64(0x9E3779B97F4A7C15)) ^ word
        x = (x ^ (x >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(x ^ (x >> np.uint64(32)))
