"""What is shared out evenly when rows are cut or drawn: labels, and quantiles of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from weitiao.data.labels import label_codes
from weitiao.records import Column

if TYPE_CHECKING:
    from datasets import Dataset

NUMBERS = 20  # more distinct numbers than this, fractions among them, are measured, not classes
BINS = 10  # quantiles that such numbers are stratified by


def strata_of(dataset: Dataset, columns: Sequence[Column]) -> np.ndarray:
    """Number each row by what is to be shared out evenly, int64 of shape (n,), of its first target that is a label or
    a number: the label, the rarest of several, the quantile of a measured number. All 0 where there is no such target,
    or where it is several numbers.
    """
    targets = (column for column in columns if column.target and column.kind in ("label", "number"))
    target = next((column for column in targets if column.role in dataset.column_names), None)
    if target is None or not _can_stratify(dataset.data.schema.field(target.role).type, target):
        return np.zeros(len(dataset), np.int64)
    codes, names = label_codes(dataset, target.role)
    numbers = _measured(names, whole=target.kind == "number")
    if numbers is None:
        return codes if len(names) <= len(codes) / 3 else np.zeros_like(codes)  # else texts rather than classes
    values = np.append(numbers, numbers.mean())[codes]
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return ranks * BINS // max(1, len(values))


def _can_stratify(kind: pa.DataType, target: Column) -> bool:
    if pa.types.is_list(kind):
        return target.kind == "label" and not pa.types.is_nested(kind.value_type)
    return not pa.types.is_struct(kind)


def _measured(names: Sequence[str], *, whole: bool) -> np.ndarray | None:
    """Return names as numbers when they look measured rather than classes, as only fractions do where not `whole`."""
    if len(names) <= NUMBERS:
        return None
    try:
        numbers = np.array([float(name) for name in names])
    except ValueError:
        return None
    return numbers if whole or np.any(numbers != np.round(numbers)) else None
