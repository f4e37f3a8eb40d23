"""What a strategy of active learning is given, and what it gives back.

The name is the field's: an acquisition function says of each unlabelled example how much its label would be worth
(Settles 2009, "Active Learning Literature Survey").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from weitiao.recipe import Settings

Floats = NDArray[np.floating]
Need = Literal["probabilities", "dropout", "tags", "gradients", "vectors"]
"""What a strategy looks at: the model's probabilities · several passes of a model with dropout · a model that tags each
word of a text · a model with one answer a text, made by a linear layer · vectors of the base model, without a trained
one."""
NEED_MODEL: frozenset[Need] = frozenset(("probabilities", "dropout", "tags", "gradients"))

Measure = Callable[[Floats], Floats]
"""Probabilities of shape (..., choices, options) -> how unsure each choice is, shape (choices,)."""


@dataclass(frozen=True, eq=False)
class Gradients:
    """What the gradients of the last layer are made of: that of row i is the outer product of `errors[i]` and
    `inputs[i]`, were its most probable answer right.
    """  # fmt: skip

    errors: Floats  # float32 of shape (n, labels): probabilities less the answer
    inputs: Floats  # float32 of shape (n, width): what the last layer reads


class Seen(Protocol):
    """The rows of a pool that can be chosen, numbered from 0, and what is known of them; each is computed when it is
    first asked for. A model chooses one of several options, once or more in a text: its label; for each of several
    labels yes or no; the tag of each word.
    """  # fmt: skip

    @property
    def has_probabilities(self) -> bool:
        """Whether there is a trained model that gives probabilities; without one there are vectors alone."""

    def __len__(self) -> int: ...

    def measured(self, name: str, measure: Measure) -> NDArray[np.float64]:
        """Return the mean of a measure over all choices in each row, shape (n,). `name` stands for the measure."""

    def measured_with_dropout(
        self, name: str, measure: Measure, passes: int, rows: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the same of some rows over so many passes with dropout, shape (rows,): the measure is given (passes,
        choices, options).
        """  # fmt: skip

    def gradients(self) -> Gradients:
        """Return the gradients of the last layer, factorised."""

    def vectors(self) -> NDArray[np.float32]:
        """Return what the base model makes of each row, brought to length 1; shape (n, width)."""

    def labelled_vectors(self) -> NDArray[np.float32]:
        """Return the same of what is labelled, shape (labelled, width)."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """Rows in the order in which they should be labelled."""

    rows: NDArray[np.int64]  # of shape (m,), each once
    scores: NDArray[np.float64]  # of shape (m,): what the strategy went by, see its docstring


class Acquisition(Protocol):
    """A strategy: one class in a file of its own, named in the registry under `acquisition`."""

    name: ClassVar[str]
    Options: ClassVar[type[Settings]]
    needs: ClassVar[frozenset[Need]]

    def rank(self, seen: Seen, number: int, rng: np.random.Generator) -> Ranked:
        """Return the rows to label first, `number` of them, or all where there are fewer. The same generator ranks the
        same rows.
        """  # fmt: skip


def highest(scores: Floats, number: int, rng: np.random.Generator) -> Ranked:
    """Return the rows with the highest scores, those with the same in a random order."""
    rows = np.lexsort((rng.random(len(scores)), -np.asarray(scores)))[:number]
    return Ranked(rows, np.asarray(scores, np.float64)[rows])
