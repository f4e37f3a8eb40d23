"""What can be told of a training's steps before it: which rows may meet in one, and the course of its epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from weitiao.forecast.cost import Shapes
from weitiao.training.micro_batches import MicroBatches
from weitiao.training.order import Order

EPOCHS, ROWS = 3, 200_000  # that are looked at: so many epochs at least, and more of them up to so many rows
NEAR = 0.9  # of the tokens of a micro-batch: one that has as many takes as much memory


# --- what takes most memory


@dataclass(frozen=True, eq=False)
class Alike:
    """Rows that may go through the model together, of one kind and of one part of it."""

    rows: np.ndarray  # their numbers, longest first
    lengths: np.ndarray  # tokens of each
    most: int  # of them in a step
    behind: bool  # others, of another kind, go through before them in a step

    @property
    def longest(self) -> int:
        """Tokens of the longest."""
        return int(self.lengths[0])

    def heaviest(self, tokens: int) -> list[np.ndarray]:
        """Return the rows of micro-batches of at most so many tokens: the one with the longest row, and the one with
        most tokens, padding included, where that is another.

        A step is cut from its longest row on, so as many rows are padded to that one's tokens as may go through
        together: any step does that holds it and enough others. Where there are fewer rows they come several times.
        """
        counts = np.clip(tokens // self.lengths, 1, self.most)
        fullest = int(np.argmax(counts * self.lengths))
        return [np.resize(self.rows[first:], counts[first]) for first in dict.fromkeys([0, fullest])]

    def step(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return the parts of a step in which such a micro-batch takes most: behind another, while all gradients lie
        there, where a step may hold others. Behind its own kind it has no more rows than are left of a step.
        """  # fmt: skip
        if self.behind:
            return [rows[-1:], rows]
        again = rows[: self.most - len(rows)]
        return [rows, again] if len(again) else [rows]


def alike(batches: MicroBatches, steps: Sequence[np.ndarray]) -> list[Alike]:
    """Return the rows that may go through together, by how many of them the first epoch's `steps` take."""
    groups, lengths = batches.longest(), np.maximum(batches.lengths, 1)
    number = np.zeros(len(lengths), np.int64)
    for group, rows in enumerate(groups):
        number[rows] = group
    most, behind = np.ones(len(groups), np.int64), np.zeros(len(groups), bool)
    for rows in steps:
        counts = np.bincount(number[rows], minlength=len(groups))
        most = np.maximum(most, counts)
        behind |= (np.cumsum(counts) > counts) & (counts > 0)
    found = zip(groups, most.tolist(), behind.tolist(), strict=True)
    return [Alike(rows, lengths[rows], count, late) for rows, count, late in found]


def heavier_later(batches: MicroBatches, order: Order, *, all_move: bool = True) -> list[list[np.ndarray]]:
    """Return steps that may come, in parts (`Alike.step`), with micro-batches heavier than those of their kind in the
    first step: its longest row is not the longest, or has fewer labels, or fewer rows beside it. Any is heavier where
    not all weights that will move do in the first step (`all_move`).
    """  # fmt: skip
    steps = order.ahead(0)
    first, found = batches.cut(steps[0]) if all_move else [], []
    for group in alike(batches, steps):
        own = _weights(batches, [rows for rows in first if rows[0] in group.rows])
        for rows in group.heaviest(batches.tokens):
            if not (own >= NEAR * _weights(batches, [rows])).all(axis=1).any():
                found.append(group.step(rows))
    return found


def _weights(batches: MicroBatches, found: Sequence[np.ndarray]) -> np.ndarray:
    """By what micro-batches are compared: tokens with padding, tokens of the longest row, most labels of a row; shape
    (micro-batches, 3).
    """  # fmt: skip
    shapes, labels = shapes_of(batches.lengths, found), batches.labels
    return np.column_stack([shapes.prod(axis=1), shapes[:, 1], [labels[rows].max() for rows in found]])


# --- the course


@dataclass(frozen=True, eq=False)
class Epoch:
    """Of each step the rows of its micro-batches and their shapes, and how much of the epoch is run."""

    steps: Sequence[Sequence[np.ndarray]]
    shapes: Sequence[Shapes]
    share: float

    @property
    def run(self) -> Sequence[Shapes]:
        """The shapes of the steps that are run."""
        return self.shapes[: max(1, math.ceil(round(self.share * len(self.shapes), 6)))]


@dataclass(frozen=True, eq=False)
class Course:
    """Some epochs, evenly spread over a training of `epochs`, that stand for all of them."""

    looked_at: Sequence[Epoch]
    epochs: float

    def in_all(self, of_steps: Callable[[Sequence[Shapes]], float]) -> float:
        """Return what `of_steps` gives for the steps of all epochs: it is carried on from those that are here."""
        found = sum(of_steps(epoch.run) for epoch in self.looked_at)
        return found * self.epochs / sum(epoch.share for epoch in self.looked_at)


def course(batches: MicroBatches, order: Order, epochs: float) -> Course:
    """Look ahead at all epochs where there are few rows, else at some: they need not be alike."""
    whole = max(1, math.ceil(epochs))
    rows = max(1, sum(map(len, order.ahead(0))))
    count = min(whole, max(EPOCHS, ROWS // rows))
    lengths, looked_at = batches.lengths, []
    for number in range(count):
        at = math.floor((number + 0.5) * whole / count)  # the middle of each part of the training
        steps = [batches.cut(rows) for rows in order.ahead(at)]
        looked_at.append(Epoch(steps, [shapes_of(lengths, step) for step in steps], min(1.0, epochs - at)))
    return Course(looked_at, epochs)


def shapes_of(lengths: np.ndarray, batches: Sequence[np.ndarray]) -> Shapes:
    """Return rows and tokens of the longest of them, of each batch, shape (batches, 2)."""
    shapes = [(len(rows), int(lengths[rows].max())) for rows in batches]
    return np.array(shapes, dtype=np.int64).reshape(-1, 2)
