"""Rows that cover all of a pool: greedy k-center (Sener & Savarese 2018, arXiv:1708.00489)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from weitiao.recipe import Settings
from weitiao.workshop.select.base import Asked, Choice, chosen, enough
from weitiao.workshop.select.vectors import vectors


class KCenterOptions(Settings):
    """Options of the strategy `k-center`."""

    model: str | None = None
    """Model whose mean-pooled hidden states say how far apart texts are. TF-IDF when absent."""


class KCenter:
    """Each row the farthest from all chosen before it, the first at random. Scores: the distance to the nearest row
    chosen, of a chosen one when it was; 0 to 2.
    """  # fmt: skip

    name: ClassVar[str] = "k-center"
    Options: ClassVar[type[Settings]] = KCenterOptions

    def __init__(self, options: KCenterOptions) -> None:
        self.options = options

    def choose(self, asked: Asked) -> Choice:
        """Choose one row after the other; takes time proportional to rows times rows of the pool."""
        count = len(asked.pool)
        enough(count, asked.number)
        rows, distance = k_center(vectors(asked, self.options.model), asked.number, asked.seed)
        return Choice(chosen(rows, count), distance, lambda row: f"a chosen row is {distance[row]:.2f} away")


def k_center(
    vectors: np.ndarray, number: int, seed: int, *, centres: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return row numbers in the order of choice, shape (number,), and for each row of `vectors` (shape (n, d)) the
    Euclidean distance to the nearest row chosen, of a chosen one before it was; float64 of shape (n,).

    With `centres` (shape (c, d)), which count as chosen, the first row is the farthest from these, else a random one.
    """
    squares = np.einsum("nd,nd->n", vectors, vectors)
    nearest = np.full(len(vectors), np.inf)  # squared; -1: chosen
    rows, found = np.empty(number, np.int64), np.empty(number)
    for centre in () if centres is None else centres:
        apart = squares + float(centre @ centre) - 2 * (vectors @ centre)
        np.minimum(nearest, np.maximum(apart, 0), out=nearest)
    begun = centres is not None and len(centres) > 0
    row = int(nearest.argmax() if begun else np.random.default_rng(seed).integers(len(vectors)))
    for place in range(number):
        rows[place], found[place] = row, nearest[row]
        np.minimum(nearest, np.maximum(squares + squares[row] - 2 * (vectors @ vectors[row]), 0), out=nearest)
        nearest[row] = -1
        row = int(nearest.argmax())
    if not begun:
        found[:1] = 0  # there was none before
    nearest[rows] = found
    return rows, np.sqrt(nearest)
