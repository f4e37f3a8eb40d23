"""What a strategy of selection is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from weitiao.data.kept import Kept
from weitiao.errors import DataError
from weitiao.recipe import Settings
from weitiao.workshop.reading import Part

BATCH = 10_000  # texts of a list read at once
PIECE = 200_000  # characters whose n-grams are held at once


class Texts(Protocol):
    """Texts in their order, read as often as needed without holding them all."""

    def __len__(self) -> int: ...

    def batches(self) -> Iterator[Sequence[str]]:
        """Yield all texts, some at a time."""


@dataclass(frozen=True, eq=False)
class TextsOfPart:
    """The texts that a model reads in each row of a part (where it reads none, those it writes); of several columns as
    one. `told` is called with the rows that were read and their number.
    """  # fmt: skip

    part: Part
    told: Callable[[int, int], None] = lambda *_: None

    def __len__(self) -> int:
        return len(self.part)

    def batches(self) -> Iterator[Sequence[str]]:
        """Yield all texts, some at a time."""
        done = 0
        for batch in self.part.joined(self.part.inputs or self.part.targets):
            yield batch
            done += len(batch)
            self.told(done, len(self))


@dataclass(frozen=True)
class TextsInMemory:
    """Texts of a list."""

    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.texts)

    def batches(self) -> Iterator[Sequence[str]]:
        """Yield all texts, some at a time."""
        return (self.texts[start : start + BATCH] for start in range(0, len(self.texts), BATCH))


@dataclass(frozen=True, eq=False)
class Asked:
    """What is to be chosen, and from what."""

    pool: Texts
    rows: int | None = None  # how many; None: all that pass, for strategies that filter
    like: Texts | None = None  # the target that the chosen are to be like
    seed: int = 0
    keep: Kept = lambda _, make: make()  # what takes long is kept under a name, so that a stop costs little

    @property
    def target(self) -> Texts:
        """The target; a `DataError` where there is none."""
        if self.like is None:
            raise DataError("this strategy needs texts that the chosen ones are to be like", where="--like",
                            fix="Give a file of some: --like target.jsonl")  # fmt: skip
        return self.like

    @property
    def number(self) -> int:
        """How many rows are asked for; a `DataError` where it is not said."""
        if self.rows is None:
            raise DataError("this strategy needs to know how many rows to choose", where="--rows",
                            fix="Give their number: --rows 1000")  # fmt: skip
        return self.rows


@dataclass(frozen=True, eq=False)
class Choice:
    """Which rows of a pool were chosen."""

    kept: np.ndarray  # bool of shape (n,)
    scores: np.ndarray  # float64 of shape (n,): what the strategy went by, see its docstring; NaN where it has none
    why: Callable[[int], str]  # of a row that is left out: the reason, in a few words

    @property
    def rows(self) -> np.ndarray:
        """Numbers of the chosen rows, ascending."""
        return np.flatnonzero(self.kept)


class Strategy(Protocol):
    """A way to choose rows: one class in a file of its own, named in the registry under `selection`."""

    name: ClassVar[str]
    Options: ClassVar[type[Settings]]

    def choose(self, asked: Asked) -> Choice:
        """Choose; a `DataError` where what was asked for cannot be given. The same seed chooses the same rows."""


def pieces(batches: Iterable[Sequence[str]]) -> Iterator[list[str]]:
    """Cut batches into lists of about `PIECE` characters, of one text at least, so that what is made of a list's
    n-grams stays small.
    """  # fmt: skip
    piece: list[str] = []
    room = PIECE
    for batch in batches:
        for text in batch:
            piece.append(text)
            room -= len(text) + 1
            if room <= 0:
                yield piece
                piece, room = [], PIECE
    if piece:
        yield piece


def chosen(rows: np.ndarray, count: int) -> np.ndarray:
    """Return which of `count` rows are among `rows`, bool of shape (count,)."""
    kept = np.zeros(count, bool)
    kept[rows] = True
    return kept


def enough(there: int, wanted: int, what: str = "rows in the pool") -> None:
    """Raise a `DataError` where fewer rows are there than are wanted."""
    if there < wanted:
        raise DataError(f"{wanted:,} rows are asked for, and there are {there:,} {what}", where="--rows",
                        fix=f"Ask for {there:,} at most." if there else "")  # fmt: skip


def passing(passes: np.ndarray, scores: np.ndarray, asked: Asked, fault: Callable[[int], str]) -> Choice:
    """Return the choice of a filter: all rows that pass, or so many of them as are asked for, drawn at random.

    `fault` says why a row does not pass.
    """
    kept = passes
    if not passes.any():
        raise DataError("no row passes", where="pool", fix="Ask for less: see the strategy's options.")
    if asked.rows is not None:
        there = np.flatnonzero(passes)
        enough(len(there), asked.rows, "that pass")
        drawn = np.random.default_rng(asked.seed).choice(there, asked.rows, replace=False)
        kept = chosen(drawn, len(passes))
    return Choice(kept, scores, lambda row: fault(row) if not passes[row] else "passes, but was not drawn")
