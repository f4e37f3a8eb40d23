"""Tags chosen together: the most probable sequence that can be (Viterbi 1967), with no weights of its own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, pairwise, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from weitiao.metrics.tags import OUTSIDE, Scheme, Span, tags_of

Floats = NDArray[np.float64]
NEVER = -1e9  # in the place of minus infinity, which would make sequences of impossible tags equal


class Rules(NamedTuple):
    """Which tag may follow which, stand first and stand last, as 0 or `NEVER`."""

    tags: tuple[str, ...]  # `O` first
    after: Floats  # (tags, tags): row before column
    first: Floats  # (tags,)
    last: Floats  # (tags,)


@lru_cache
def rules(types: tuple[str, ...], scheme: Scheme) -> Rules:
    """Return the rules of a scheme for some types of entity: what stands in the tags of any spans at all."""
    written = (tags_of([Span(0, length, type)], length, scheme) for type in types for length in (3, 1))
    tags = list(dict.fromkeys([OUTSIDE, *chain.from_iterable(written)]))
    index = {tag: number for number, tag in enumerate(tags)}
    after = np.full((len(tags), len(tags)), NEVER)
    first, last = np.full(len(tags), NEVER), np.full(len(tags), NEVER)
    for sequence in _sequences(types, scheme):
        first[index[sequence[0]]] = last[index[sequence[-1]]] = 0.0
        for before, tag in pairwise(sequence):
            after[index[before], index[tag]] = 0.0
    return Rules(tuple(tags), after, first, last)


def _sequences(types: Sequence[str], scheme: Scheme) -> list[list[str]]:
    """Tags of two entities of one to four tokens side by side, and of one between tokens outside."""
    found = [[OUTSIDE, OUTSIDE]]
    for type, length in product(types, (1, 2, 4)):
        found.append(tags_of([Span(1, 1 + length, type)], length + 2, scheme))
        found.append(tags_of([Span(0, length, type)], length, scheme))
    for one, other, length, further in product(types, types, (1, 2), (1, 2)):
        spans = [Span(0, length, one), Span(length, length + further, other)]
        found.append(tags_of(spans, length + further, scheme))
    return found


def best_tags(scores: Floats, allowed: Rules) -> NDArray[np.int64]:
    """Return the tags with the highest sum of `scores` (log-probabilities, shape (units, tags)), shape (units,)."""
    if not len(scores):
        return np.empty(0, np.int64)
    total, came_from = scores[0] + allowed.first, np.zeros(scores.shape, np.int64)
    for unit in range(1, len(scores)):
        ways = total[:, None] + allowed.after
        came_from[unit] = ways.argmax(axis=0)
        total = ways.max(axis=0) + scores[unit]
    chosen = np.empty(len(scores), np.int64)
    chosen[-1] = (total + allowed.last).argmax()
    for unit in range(len(scores) - 1, 0, -1):
        chosen[unit - 1] = came_from[unit, chosen[unit]]
    return chosen
