"""Numbers that stand for texts: rows with the same text, but for case, width and spaces, have the same number."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao.data.arrow import arrow_batches
from weitiao.data.dialogue import asked
from weitiao.data.labels import GROUP
from weitiao.records import FILE, LINE, Column

if TYPE_CHECKING:
    from datasets import Dataset


def normalised(text: str) -> str:
    """Return the text in Unicode's NFKC, case folded, white space collapsed."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def text_keys(
    dataset: Dataset, columns: Sequence[str], read: Mapping[str, Callable[[Any], Any]] | None = None
) -> np.ndarray:
    """Return a 64-bit number a row, uint64 of shape (n,), over the normalised texts of `columns`, or what `read` makes
    of a column's values. The same on every machine.

    Two different texts share a number once in about 10^19 / rows^2 times.
    """  # fmt: skip
    parts = []
    for batch in arrow_batches(dataset, columns):
        values = [column.to_pylist() for column in batch.columns]
        for place, name in enumerate(columns):
            if read and name in read:
                values[place] = list(map(read[name], values[place]))
        parts.append(np.frombuffer(b"".join(map(_hash, *values)), dtype="<u8"))
    return np.concatenate(parts).astype(np.uint64) if parts else np.empty(0, np.uint64)


def text_key(*values: Any) -> int:
    """Return the same number of one text, or of one row's values."""
    return int.from_bytes(_hash(*values), "little")


def input_keys(dataset: Dataset, columns: Sequence[Column]) -> np.ndarray:
    """Return `text_keys` over what a model reads: all columns but the targets, of a dialogue what it is asked."""
    return text_keys(dataset, *_inputs(dataset.column_names, columns))


def input_key(row: Mapping[str, Any], columns: Sequence[Column]) -> int:
    """Return the same number of one row: role -> cell, in the order of a data set's columns."""
    names, read = _inputs(list(row), columns)
    return text_key(*(read[name](row[name]) if name in read else row[name] for name in names))


def _inputs(names: Sequence[str], columns: Sequence[Column]) -> tuple[list[str], dict[str, Callable[[Any], Any]]]:
    """The columns that a model reads, and how those are read that are not taken as they are."""
    own = [name for name in names if name not in (LINE, FILE, GROUP)]
    targets = {column.role for column in columns if column.target}
    dialogues = {column.role for column in columns if column.kind == "dialogue"}
    return [name for name in own if name not in targets] or own, dict.fromkeys(dialogues, asked)


def _hash(*values: Any) -> bytes:
    text = "\x1f".join(normalised(v if isinstance(v, str) else json.dumps(v, default=str)) for v in values)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def mixed(keys: np.ndarray, seed: int) -> np.ndarray:
    """Return `keys` scrambled by `seed` (the finaliser of SplitMix64): a random order, whatever that of the rows."""
    with np.errstate(over="ignore"):
        x = keys.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(seed + 1)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def occurrences(keys: np.ndarray) -> np.ndarray:
    """Return for each row how many rows before it have the same key, int64 of shape (n,)."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(keys) else np.empty(0, np.int64)
    counts = np.diff(np.r_[starts, len(keys)])
    result = np.empty(len(keys), np.int64)
    result[order] = np.arange(len(keys)) - np.repeat(starts, counts)
    return result


def told_apart(keys: np.ndarray) -> np.ndarray:
    """Return numbers that tell rows with the same key apart, so that each is drawn by itself."""
    return mixed(keys, 0) + occurrences(keys).astype(np.uint64)
