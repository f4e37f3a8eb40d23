"""Which rows a cleaning leaves out, rule after rule, and why each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import regex

from weitiao.data.checks import empty_rows
from weitiao.data.keys import mixed, occurrences, text_keys
from weitiao.data.labels import label_codes
from weitiao.errors import DataError
from weitiao.recipe import CleanSettings
from weitiao.records import FILE, LINE
from weitiao.workshop.duplicates import compare
from weitiao.workshop.label_cells import written
from weitiao.workshop.language import language_of
from weitiao.workshop.looking import SCRIPTS, script_of
from weitiao.workshop.reading import ALL, Part
from weitiao.workshop.select.quality import Quality, QualityOptions

_WORDY = regex.compile(r"[\p{L}\p{N}]")
TRAINING = ("train", ALL)  # parts that are trained on


@dataclass
class Alive:
    """What is left of a part, and why the rest is not."""

    part: Part
    alive: np.ndarray  # bool of shape (n,)
    dropped: dict[int, tuple[str, dict[str, Any]]] = field(default_factory=dict)  # row -> rule, what is told
    cells: dict[int, dict[str, Any]] = field(default_factory=dict)  # row -> role -> new cell, of merged rows
    merged: dict[int, dict[str, Any]] = field(default_factory=dict)  # row -> what is told

    @property
    def rows(self) -> np.ndarray:
        """The rows that are left, in order."""
        return np.flatnonzero(self.alive)

    def drop(self, rows: np.ndarray | Sequence[int], rule: str, **told: Any) -> None:
        """Leave rows out that are still there; `told` is what is said of each of them."""
        for row in np.asarray(rows, np.int64).tolist():
            if self.alive[row]:
                self.alive[row] = False
                self.dropped[row] = (rule, told)


def drop_rows(
    parts: Sequence[Part], settings: CleanSettings, personal: Sequence[Mapping[int, list[str]]], separator: str | None
) -> list[Alive]:
    """Return what is left of each part. `personal`: rows with personal data that may not stay, by the part;
    `separator`: what cuts label cells.

    Raises a `DataError` where nothing is left of a part, or rows that cannot be merged are to be.
    """
    left = [Alive(part, np.ones(len(part), bool)) for part in parts]
    for each, held in zip(left, personal, strict=True):
        for row, kinds in held.items():
            each.drop([row], "personal", kinds=kinds)
        _by_itself(each, settings)
        _contradictions(each, settings)
        _duplicates(each, settings, separator)
    if settings.near_duplicates:
        _near(left)
    if settings.leakage:
        _leaks(left)
    for each in left:
        if settings.balance == "undersample" and each.part.name in TRAINING:
            _undersample(each, settings.seed)
    for each in left:
        if not each.alive.any():
            told = ", ".join(sorted({rule for rule, _ in each.dropped.values()}))
            raise DataError(f"no row is left of {len(each.part):,}, by {told}", where=each.part.name,
                            fix="Switch some of these rules off.")  # fmt: skip
    return left


# --- rows by themselves


def _by_itself(left: Alive, settings: CleanSettings) -> None:
    part = left.part
    if settings.empty:
        for column in part.columns:
            if column.required and column.every:
                empty = np.flatnonzero(empty_rows(part.dataset, column.role))
                left.drop(empty, "empty", column=part.names[column.role])
    faults = list(_faults(settings))
    if not faults:
        return
    row = 0
    for batch in part.joined(part.inputs):
        for text in batch:
            for rule, fault in faults:
                if told := fault(text):
                    left.drop([row], rule, **told)
                    break
            row += 1


Fault = Callable[[str], dict[str, Any] | None]  # what is said of a text that is not to stay


def _faults(settings: CleanSettings) -> Iterator[tuple[str, Fault]]:
    """Yield the rules about one text that are switched on."""
    least, most = settings.shortest or 0, settings.longest
    if least or most is not None:
        yield (
            "length",
            lambda text: (
                {"characters": len(text)} if len(text) < least or (most is not None and len(text) > most) else None
            ),
        )
    if settings.letters:
        yield "letters", lambda text: {"share": round(s, 3)} if (s := _letters(text)) < settings.letters else None
    if settings.scripts:
        wanted = {SCRIPTS.index(name) for name in settings.scripts}
        yield "scripts", lambda text: {"script": SCRIPTS[s]} if (s := script_of(text)) not in wanted else None
    if settings.languages:
        yield (
            "languages",
            lambda text: {"language": code} if (code := language_of(text)) and code not in settings.languages else None,
        )
    if settings.quality:
        quality = Quality(QualityOptions())
        yield "quality", lambda text: {"faults": found} if (found := list(quality.faults(text))) else None


def _letters(text: str) -> float:
    signs = sum(not character.isspace() for character in text)
    return len(_WORDY.findall(text)) / signs if signs else 0.0


# --- rows beside others


def _contradictions(left: Alive, settings: CleanSettings) -> None:
    """Rows of one text that do not agree on a label."""
    part = left.part
    if settings.contradictions == "keep" or part.label is None or not _one_label(part):
        return
    keys, (codes, names) = part.keys, label_codes(part.dataset)
    for members in _groups(keys, left.alive):
        labels, counts = np.unique(codes[members], return_counts=True)
        if len(labels) < 2:
            continue
        told = {names[label]: int(count) for label, count in zip(labels, counts, strict=True) if label < len(names)}
        wins = labels[counts == counts.max()]
        majority = settings.contradictions == "majority" and len(wins) == 1
        losing = members[codes[members] != wins[0]] if majority else members
        left.drop(losing, "contradictions", labels=told)


def _duplicates(left: Alive, settings: CleanSettings, separator: str | None) -> None:
    part = left.part
    if settings.duplicates == "keep":
        return None
    if settings.duplicates == "merge" and part.label is not None:
        if _one_label(part):
            raise DataError("rows have one label each, which cannot be merged", where="clean.duplicates",
                            fix="Use drop; or say what cuts label cells: data.label_separator.")  # fmt: skip
        return _merge(left, separator)
    roles = [name for name in part.dataset.column_names if name not in (LINE, FILE)]
    first = _first_of(text_keys(part.dataset, roles), left.alive)
    _drop_later(left, first, "duplicates")
    return None


def _merge(left: Alive, separator: str | None) -> None:
    """Give the first of the rows with one text the labels of all."""
    part = left.part
    join = written(part, separator)
    keys = part.keys
    for members in _groups(keys, left.alive):
        rows = part.dataset.select_columns(["label", LINE, FILE]).select(members.tolist())
        labels = list(dict.fromkeys(label for cell in rows["label"] for label in cell or []))
        first = int(members[0])
        if labels != (rows["label"][0] or []):
            left.cells[first] = {"label": join(labels)}
            left.merged[first] = {"labels": labels}
        where = f"{rows[0][FILE]}:{rows[0][LINE]}"
        left.drop(members[1:], "duplicates", of=where)


def _near(parts: Sequence[Alive]) -> None:
    """Rows that nearly say what another says: within a part with the same label, in train what is tested on."""
    together = compare([each.part for each in parts], lambda _, make: make())
    groups = [
        together.near.group[low:high] for low, high in zip(together.starts[:-1], together.starts[1:], strict=True)
    ]
    for each, group in zip(parts, groups, strict=True):
        codes = label_codes(each.part.dataset)[0] if each.part.label and _one_label(each.part) else np.zeros_like(group)
        same = np.unique(np.stack([group, codes], axis=1), axis=0, return_inverse=True)[1].reshape(-1)
        _drop_later(each, _first_of(same, each.alive), "near-duplicates")
    _drop_shared(parts, groups, "near-leakage")


def _leaks(parts: Sequence[Alive]) -> None:
    _drop_shared(parts, [each.part.keys for each in parts], "leakage")


def _drop_shared(parts: Sequence[Alive], keys: Sequence[np.ndarray], rule: str) -> None:
    """Leave out of each part what a later one holds, too."""
    for number, each in enumerate(parts):
        for later in range(len(parts) - 1, number, -1):  # test before validation
            shared = np.flatnonzero(np.isin(keys[number], keys[later][parts[later].alive]))
            each.drop(shared, rule, also_in=parts[later].part.name)


def _drop_later(left: Alive, first: np.ndarray, rule: str) -> None:
    """Drop the rows whose first of their like is another."""
    later = np.flatnonzero(left.alive & (first != np.arange(len(first))))
    if not len(later):
        return
    stands = left.part.dataset.select_columns([LINE, FILE]).select(first[later].tolist())
    for row, each in zip(later.tolist(), stands, strict=True):
        left.drop([row], rule, of=f"{each[FILE]}:{each[LINE]}")


def _first_of(keys: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """For each row the first living one with its key, int64 of shape (n,); its own number where it is not alive."""
    first = np.arange(len(keys))
    rows = np.flatnonzero(alive)
    _, places, back = np.unique(keys[rows], return_index=True, return_inverse=True)
    first[rows] = rows[places][back.reshape(-1)]
    return first


def _groups(keys: np.ndarray, alive: np.ndarray) -> list[np.ndarray]:
    """The living rows of each key that several have, in order."""
    rows = np.flatnonzero(alive)
    order = rows[np.argsort(keys[rows], kind="stable")]
    cuts = np.flatnonzero(np.diff(keys[order].astype(np.uint64)) != 0) + 1
    return [members for members in np.split(order, cuts) if len(members) > 1]


def _one_label(part: Part) -> bool:
    return bool(pa.types.is_string(part.dataset.data.schema.field("label").type))


# --- labels in like numbers


def _undersample(left: Alive, seed: int) -> None:
    part, rows = left.part, left.rows
    codes = _codes(part)[rows]
    fewest = int(np.unique(codes, return_counts=True)[1].min())
    order = np.lexsort((mixed(rows.astype(np.uint64), seed), codes))
    rank = occurrences(codes[order].astype(np.uint64))
    left.drop(np.sort(rows[order[rank >= fewest]]), "balance")


def repeats(part: Part, rows: np.ndarray, settings: CleanSettings) -> np.ndarray:
    """Return which of the rows that are left come again so that all labels are as frequent, int64, drawn by the seed:
    each row of a label once more before any comes a third time.
    """  # fmt: skip
    if settings.balance != "oversample" or part.name not in TRAINING:
        return np.empty(0, np.int64)
    codes = _codes(part)[rows]
    labels, counts = np.unique(codes, return_counts=True)
    again = []
    for label, count in zip(labels, counts, strict=True):
        own = rows[codes == label]
        own = own[np.argsort(mixed(own.astype(np.uint64), settings.seed))]
        missing = int(counts.max() - count)
        again.append(np.resize(own, missing))
    return np.sort(np.concatenate(again))


def _codes(part: Part) -> np.ndarray:
    if part.label is None or not _one_label(part):
        raise DataError("there is not one label a row to balance", where="clean.balance", fix="Leave it out.")
    return label_codes(part.dataset)[0]
