"""Which block of a student learns from which block of its teacher."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Pairs = tuple[tuple[int, int], ...]  # the student's block and the teacher's, numbered from 0


@dataclass(frozen=True)
class LayerMaps:
    """Pairs of blocks, for each kind of what is learned."""

    hidden: Pairs  # the states behind both
    attention: Pairs
    relations: Pairs


def layer_maps(
    wanted: Literal["auto", "uniform", "last"] | Sequence[Sequence[int]], student: int, teacher: int,
    taken: Sequence[int] = (),
) -> LayerMaps:  # fmt: skip
    """Return the pairs that a recipe's `distillation.match.layers` stands for, of models with so many blocks.

    `taken`: the blocks that the student consists of, of a model like the teacher. Raises a `ValueError`, which says
    why, where there is no such block, or a block of the student is named twice.
    """
    last = ((student - 1, teacher - 1),)
    if wanted == "last":
        return LayerMaps(last, last, last)
    if wanted == "uniform":
        even = uniform(student, teacher)
        return LayerMaps(even, even, even)
    if wanted == "auto":
        if len(taken) == student and all(one < other for one, other in pairwise(taken)):
            return LayerMaps(_before_next(taken, teacher), tuple(enumerate(taken)), last)
        even = uniform(student, teacher)
        return LayerMaps(even, even, last)
    named = _checked(wanted, student, teacher)
    return LayerMaps(named, named, named)


def uniform(student: int, teacher: int) -> Pairs:
    """``g(m) = m N / M``, counted from 1, of each of a student's M blocks and a teacher's N (Jiao et al. 2020),
    rounded; where the student has more, of each of the teacher's: as many pairs as the one with fewer blocks has.
    """
    if student > teacher:
        return tuple((one, other) for other, one in uniform(teacher, student))
    return tuple((m, math.floor((m + 1) * teacher / student + 0.5) - 1) for m in range(student))


def _before_next(taken: Sequence[int], teacher: int) -> Pairs:
    """Each block learns to give what the next one reads where it was taken from, the last what the teacher's does."""
    return tuple(enumerate([*(following - 1 for following in taken[1:]), teacher - 1]))


def _checked(wanted: Sequence[Sequence[int]], student: int, teacher: int) -> Pairs:
    pairs = tuple((int(one), int(other)) for one, other in wanted)
    if not pairs:
        raise ValueError("it names no blocks")
    for number, (whose, count) in enumerate((("student", student), ("teacher", teacher))):
        wrong = [pair[number] for pair in pairs if not 0 <= pair[number] < count]
        if wrong:
            raise ValueError(f"the {whose} has no block {wrong[0]}: it has {count}, numbered from 0")
    if len({one for one, _ in pairs}) < len(pairs):
        raise ValueError("a block of the student is named twice")
    return pairs
