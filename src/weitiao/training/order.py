"""Which rows each step of an epoch takes: the `Order` interface, and the ordinary order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from weitiao import data

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datasets import Dataset

    from weitiao.recipe import SelectionSettings
    from weitiao.records import Column


class Order(Protocol):
    """The loop asks for an epoch when it begins with it or goes on in it, and gets the same each time.

    An order may leave rows out, which makes an epoch shorter than the first one, never longer. It may depend on what
    was learned before the epoch, and on nothing that was learned in it.
    """

    def __call__(self, epoch: int) -> list[np.ndarray]:
        """Return the rows of each step of an epoch."""

    def ahead(self, epoch: int) -> list[np.ndarray]:
        """Return them as they can be told before the training: where they hang on what will be learned, such as are to
        be expected. Nothing begins by it.
        """  # fmt: skip


@dataclass(frozen=True)
class Shuffled:
    """All rows in random order, as often as `times` says (once where None), those of like length together.

    Arrays have the shape (rows,); a step takes rows of one number in `parts` only.
    """

    lengths: np.ndarray
    batch_size: int
    seed: int
    parts: np.ndarray | None = None
    times: np.ndarray | None = None

    def __call__(self, epoch: int, left_out: np.ndarray | None = None) -> list[np.ndarray]:
        """Return the rows of each step; without those of the mask `left_out`."""
        return data.length_bucketed(
            self.lengths, self.batch_size, seed=self.seed, epoch=epoch, parts=self.parts, times=self.times,
            left_out=left_out,
        )  # fmt: skip

    def ahead(self, epoch: int) -> list[np.ndarray]:
        """Return the same."""
        return self(epoch)


def label_role(columns: Sequence[Column]) -> str | None:
    """The role of the column whose labels are learned; None where there is none."""
    return next((column.role for column in columns if column.target and column.kind == "label"), None)


def times_of(
    features: Dataset, examples: Dataset, columns: Sequence[Column], selection: SelectionSettings
) -> np.ndarray | None:
    """How often each row of the training features comes in an epoch, shape (rows,); None: once.

    `examples` are those that the features were made of.
    """
    if "times" in features.column_names:
        return data.column_array(features, "times")
    role = label_role(columns)
    if selection.resample is None or role is None:
        return None
    times = data.times_by_label(examples, selection.resample, role)
    of_rows: np.ndarray = times[data.column_array(features, "row")]
    return of_rows
