"""Texts that say the same again and again, by the limits that Gopher's data was filtered with (Rae et al. 2021, table
A1).
"""  # fmt: skip

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from weitiao.metrics.tokens import words

SHORT = 50  # words: Gopher's limits are for longer texts; in a shorter one a run may come twice
FIRST = 200  # words that distinct ones are counted among: a longer text repeats more of them by itself
DISTINCT, REPEATED_LINES = 0.2, 0.3
FREQUENT: Mapping[int, float] = MappingProxyType({2: 0.20, 3: 0.18, 4: 0.16})
REPEATED: Mapping[int, float] = MappingProxyType({5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10})

_LINES = re.compile(r"\n+")


def repetitions(
    text: str, *, distinct: float | None = DISTINCT, repeated_lines: float | None = REPEATED_LINES,
    frequent: Mapping[int, float] | None = FREQUENT, repeated: Mapping[int, float] | None = REPEATED,
) -> Iterator[str]:  # fmt: skip
    """Yield what of a text repeats itself more than it may, in a few words each; None: not looked at.

    `distinct`: share of distinct words among the first 200, at least. `repeated_lines`: share of lines that stood
    before, at most. `frequent`, by the words of an n-gram: share of the characters that the most frequent one may make
    up; `repeated`: that all may make up that occur as often. An n-gram occurs often where it comes twice, in a text of
    fewer than 50 words three times.
    """
    if repeated_lines is not None and (share := _repeated_lines(text)) > repeated_lines:
        yield f"{share:.0%} of its lines repeat one before"
    found = words(text)
    first = found[:FIRST]
    if distinct is not None and first and (share := len(set(first)) / len(first)) < distinct:
        yield f"{share:.0%} of its first words are distinct"
    if len(set(found)) == len(found):
        return  # no n-gram can occur twice
    lengths, times = [len(word) for word in found], 2 if len(found) >= SHORT else 3
    for size, most in (frequent or {}).items():
        if (share := _most_frequent(found, lengths, size, times)) > most:
            yield f"one run of {size} words makes up {share:.0%} of it"
    for size, most in (repeated or {}).items():
        if (share := _in_repeated(found, lengths, size, times)) > most:
            yield f"{share:.0%} of it stands in repeated runs of {size} words"


def _repeated_lines(text: str) -> float:
    lines = [line.strip() for line in _LINES.split(text) if line.strip()]
    return 1 - len(set(lines)) / max(1, len(lines))


def _runs(found: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return list(zip(*(found[start:] for start in range(size)), strict=False))


def _most_frequent(found: Sequence[str], lengths: Sequence[int], size: int, times: int) -> float:
    """Share of the characters in all occurrences of the n-gram that takes the most, of those that occur so often."""
    counts = Counter(_runs(found, size))
    most = max((sum(map(len, run)) * count for run, count in counts.items() if count >= times), default=0)
    return min(1.0, most / sum(lengths))


def _in_repeated(found: Sequence[str], lengths: Sequence[int], size: int, times: int) -> float:
    """Share of the words' characters that stand in an n-gram that occurs `times` times, each counted once."""
    runs = _runs(found, size)
    counts = Counter(runs)
    if max(counts.values(), default=0) < times:
        return 0.0
    inside = np.zeros(len(found) + 1, np.int64)
    again = np.array([counts[run] >= times for run in runs])
    np.add.at(inside, np.flatnonzero(again), 1)
    np.add.at(inside, np.flatnonzero(again) + size, -1)
    return float(np.asarray(lengths)[np.cumsum(inside[:-1]) > 0].sum() / sum(lengths))
