"""Folds: which rows of one are tested on, validated on, trained on, and which stay aside; and all folds in turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weitiao.data.cut import TEST, TRAIN, VALIDATION, cut, folds
from weitiao.data.labels import label_codes
from weitiao.data.units import units_of
from weitiao.errors import DataError
from weitiao.recipe import FoldSettings
from weitiao.records import Column, SplitName

if TYPE_CHECKING:
    from datasets import Dataset

REPEAT = 1_000_003  # between the seeds of two repeats: seeds of one's own are not so far apart


@dataclass(frozen=True)
class Rows:
    """What rows are cut by; see `cut`."""

    units: np.ndarray
    strata: np.ndarray
    keys: np.ndarray

    def only(self, kept: np.ndarray) -> Rows:
        """Return some of them; `kept` are places, or a mask."""
        units: np.ndarray = np.unique(self.units[kept], return_inverse=True)[1]
        return Rows(units, self.strata[kept], self.keys[kept])

    def cut(self, seed: int, *, validation: float = 0.0, test: float = 0.0) -> np.ndarray:
        """Return the part of each row, int8 of shape (n,)."""
        return cut(self.units, self.strata, self.keys, validation=validation, test=test, seed=seed)


def placed_in_fold(rows: Rows, fold: FoldSettings, shares: Mapping[SplitName, float], seed: int) -> np.ndarray:
    """Return the part of each row, as `cut` does: the fold is test, validation is cut of the others, and what is kept
    for a last measure is in none (-1).
    """  # fmt: skip
    placed = np.full(len(rows.units), -1, np.int8)
    used = np.arange(len(placed))
    if fold.keep_test:  # the rows that an ordinary run would be tested on
        used = np.flatnonzero(rows.cut(seed, validation=shares["validation"], test=shares["test"]) != TEST)
    own = rows.only(used)
    seed += REPEAT * fold.repeat
    tested = folds(own.units, own.strata, own.keys, of=fold.of, seed=seed) == fold.number - 1
    placed[used[tested]] = TEST
    rest = used[~tested]
    placed[rest] = TRAIN
    if shares["validation"]:
        inner = rows.only(rest).cut(seed + 1, validation=shares["validation"])  # other rows than the next fold's
        placed[rest[inner == VALIDATION]] = VALIDATION
    return placed


def held_out(
    texts: np.ndarray, groups: np.ndarray | None, strata: np.ndarray, *, of: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each of `of` folds the rows to fit on and those that are held out, int64 each; every row is held out
    once, and a fold without any is left out.

    No text (`texts`: see `input_keys`) and no group (`groups`: see `group_keys`) is on both sides; each value of
    `strata` (0, 1, ...) is shared out in proportion, as near as these allow.
    """
    units, bound = units_of(len(texts), texts, groups)
    numbers = folds(units, strata, texts, of=of, seed=seed)
    for number in range(of):
        held = numbers == number
        if held.any():
            fit = ~held if bound else ~(held | np.isin(texts, texts[held]))
            yield np.flatnonzero(fit), np.flatnonzero(held)


def check_fold(
    placed: np.ndarray, fold: FoldSettings, view: Dataset, columns: Sequence[Column], strata: np.ndarray
) -> None:
    """Raise a `DataError` where a fold has no example at all, or none of a class, or leaves none to train on."""
    said = {TEST: "has no example", TRAIN: "leaves no example to train on"}
    which = f"fold {fold.number} of {fold.of}"
    empty = next((part for part in said if not np.any(placed == part)), None)
    if empty is not None:
        problem = (
            f"{which} {said[empty]}: {len(placed):,} rows are too few, or too many of them have to stay together or "
            "share a text with another group"
        )
        raise DataError(problem, where="data.fold", fix="Take fewer folds, or a data.group of more and smaller groups.")
    classes = _classes(view, columns, strata)
    for part in said if classes else ():
        missing = np.setdiff1d(strata[placed >= 0], strata[placed == part])
        if len(missing):
            rarest = min(missing.tolist(), key=np.bincount(strata).__getitem__)
            rows = int((strata == rarest).sum())
            have = "s have" if rows > 1 else " has"
            problem = (
                f"{which} {said[part]} of '{classes[rarest]}', which {rows:,} row{have}: too few, or too few texts"
            )
            fix = "Take fewer folds, give more and different examples of it, or leave it out."
            raise DataError(problem, where="data.fold", fix=fix)


def _classes(view: Dataset, columns: Sequence[Column], strata: np.ndarray) -> list[str]:
    """The names of `strata`, where they are classes rather than quantiles or nothing; rows without one are the last."""
    target = next((c for c in columns if c.target and c.kind == "label" and c.role in view.column_names), None)
    if target is None or not strata.any():
        return []
    codes, names = label_codes(view, target.role)
    return [*names, "no label"] if np.array_equal(codes, strata) else []
