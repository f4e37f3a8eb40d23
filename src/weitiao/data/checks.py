"""What can be wrong with examples whatever the task: empty texts and labels, repeats, contradictions, too few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from weitiao.data.arrow import arrow_batches
from weitiao.data.keys import input_keys, text_keys
from weitiao.data.labels import label_codes, lines_where, places
from weitiao.data.splits import Splits
from weitiao.records import Column, Finding, SplitName

if TYPE_CHECKING:
    from datasets import Dataset

FEW = 50  # training examples below which a fine-tune seldom beats a simple baseline


def check_examples(splits: Mapping[SplitName, Dataset], columns: Sequence[Column]) -> list[Finding]:
    """Return what is wrong with the examples of each split; errors first."""
    findings = []
    for split, dataset in splits.items():
        for column in columns:
            if column.every and column.role in dataset.column_names:
                findings += _empty(split, dataset, column)
        keys = _keys(splits, split, columns)
        findings += _contradictions(split, dataset, keys)
        if split == "train":
            findings += _few(dataset) + _repeats(dataset, keys)
    order = ("error", "warning", "note")
    return sorted(findings, key=lambda finding: order.index(finding.level))


def _keys(splits: Mapping[SplitName, Dataset], split: SplitName, columns: Sequence[Column]) -> np.ndarray:
    if isinstance(splits, Splits):
        return splits.text_keys[split]
    return input_keys(splits[split], columns)


def empty_rows(dataset: Dataset, column: str) -> np.ndarray:
    """Return which rows have no value or nothing but white space, bool of shape (n,); in lists: no value at all."""
    found = []
    for batch in arrow_batches(dataset, [column]):
        values = batch.column(0)
        empty = values.is_null()
        if pa.types.is_string(values.type):
            empty = pc.or_(empty, pc.equal(pc.utf8_trim_whitespace(values), "").fill_null(True))
        found.append(empty.to_numpy(zero_copy_only=False))
    return np.concatenate(found).astype(bool) if found else np.empty(0, bool)


def _empty(split: SplitName, dataset: Dataset, column: Column) -> list[Finding]:
    empty = empty_rows(dataset, column.role)
    if not empty.any():
        return _unlabelled(split, dataset) if column.kind == "label" else []
    where = f"data.{split} {lines_where(dataset, empty)}"
    fix = "Fill these rows in or take them out."
    problem = f"{_rows(int(empty.sum()))} with an empty {column.role}"
    if not column.required:
        return [Finding("warning", where, problem, fix)]
    return [Finding("error", where, problem, fix, places(dataset, empty))]


def _unlabelled(split: SplitName, dataset: Dataset) -> list[Finding]:
    """In a list of labels none may be meant, or an empty cell overlooked."""
    if not pa.types.is_list(dataset.data.schema.field("label").type):
        return []
    lengths = [pc.list_value_length(batch.column(0)).to_numpy(False) for batch in arrow_batches(dataset, ["label"])]
    none = np.concatenate(lengths) == 0 if lengths else np.empty(0, bool)
    if not none.any():
        return []
    problem = f"{_rows(int(none.sum()))} without any label: learned as 'none of them'"
    return [Finding("warning", f"data.{split} {lines_where(dataset, none)}", problem)]


def _few(dataset: Dataset) -> list[Finding]:
    if len(dataset) >= FEW:
        return []
    problem = f"{len(dataset)} examples are very few to learn from: scores will be shaky"
    return [Finding("warning", "data.train", problem, "A few hundred make a real difference.")]


def _contradictions(split: SplitName, dataset: Dataset, keys: np.ndarray) -> list[Finding]:
    """The same text with different labels."""
    if "label" not in dataset.column_names or len(dataset) < 2 or len(np.unique(keys)) == len(keys):
        return []
    scalar = pa.types.is_string(dataset.data.schema.field("label").type)
    labels = label_codes(dataset)[0] if scalar else text_keys(dataset, ["label"])
    order = np.lexsort((labels, keys))
    same = keys[order][1:] == keys[order][:-1]
    other = same & (labels[order][1:] != labels[order][:-1])
    disputed = np.isin(keys, keys[order][1:][other])
    if not disputed.any():
        return []
    texts = len(np.unique(keys[disputed]))
    problem = f"{texts:,} text{'s' * (texts != 1)} with different labels, in {_rows(int(disputed.sum()))}"
    return [Finding("warning", f"data.{split} {lines_where(dataset, _together(disputed, keys))}", problem)]


def _together(mask: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return the masked rows with those of one key side by side, in order of first appearance."""
    rows = np.flatnonzero(mask)
    _, first, inverse = np.unique(keys[rows], return_index=True, return_inverse=True)
    return rows[np.argsort(first[inverse], kind="stable")]


def _repeats(dataset: Dataset, keys: np.ndarray) -> list[Finding]:
    order = np.argsort(keys, kind="stable")
    again = order[1:][keys[order][1:] == keys[order][:-1]]
    if not len(again):
        return []
    problem = f"{_rows(len(again))} {'repeats' if len(again) == 1 else 'repeat'} a text of a row before"
    return [Finding("note", f"data.train {lines_where(dataset, np.sort(again))}", problem)]


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"
