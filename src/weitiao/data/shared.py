"""What two splits share: texts and groups that stand in both are left out of one of them, or told of."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from weitiao.data.keys import text_keys
from weitiao.data.labels import GROUP, lines_where
from weitiao.data.part import Part
from weitiao.errors import DataError
from weitiao.recipe import DataSettings
from weitiao.records import Finding, SplitName

SINGULAR = {"have": "has", "are": "is", "they stay": "it stays", "they are": "it is"}


def keep_apart(parts: dict[SplitName, Part], settings: DataSettings) -> list[Finding]:
    """Leave texts out of train that stand in a given validation or test file."""
    findings = []
    for other in [split for split in ("test", "validation") if split in parts]:
        shared = np.isin(parts["train"].keys, parts[other].keys)
        if shared.any():
            findings.append(_shared(parts["train"], shared, other, settings.duplicates == "anywhere"))
            if settings.duplicates == "together":
                parts["train"] = parts["train"].only(~shared)
    if "validation" in parts and "test" in parts:
        shared = np.isin(parts["validation"].keys, parts["test"].keys)
        if shared.any():
            findings.append(_both_given(parts["validation"], shared))
    if not len(parts["train"].rows):
        raise DataError(
            "no text is left to train on: all stand in validation or test too",
            where="data.train",
            fix="Give other files, or leave data.validation and data.test out to have them cut from train.",
        )
    return findings + _shared_groups(parts)


def drop_shared(parts: dict[SplitName, Part]) -> list[Finding]:
    """Leave texts out of the larger split of two that share them."""
    findings = []
    pairs: list[tuple[SplitName, SplitName]] = [("validation", "test"), ("train", "test"), ("train", "validation")]
    for split, other in pairs:
        if split in parts and other in parts:
            shared = np.isin(parts[split].keys, parts[other].keys)
            if shared.any():
                have, they_are = _words(shared, "have", "they are")
                told = f"a text that {other} has in another group; {they_are} left out"
                problem = f"{_rows(shared)} of {split} {have} {told}"
                findings.append(Finding("warning", f"data.{split} {_where(parts[split], shared)}", problem))
                parts[split] = parts[split].only(~shared)
    return findings


def _shared(train: Part, shared: np.ndarray, other: str, kept: bool) -> Finding:
    have, they_stay, they_are = _words(shared, "have", "they stay", "they are")
    done = f"{they_stay}, as data.duplicates says" if kept else f"{they_are} left out of train"
    problem = f"{_rows(shared)} of train {have} a text that is in {other} too; {done}"
    fix = f"With them in both, the {other} scores are too good." if kept else ""
    return Finding("warning", f"data.train {_where(train, shared)}", problem, fix)


def _both_given(validation: Part, shared: np.ndarray) -> Finding:
    have, they_stay = _words(shared, "have", "they stay")
    problem = f"{_rows(shared)} of validation {have} a text that is in test too; {they_stay} in both"
    return Finding("warning", f"data.validation {_where(validation, shared)}", problem, "Take them out of one file.")


def _shared_groups(parts: Mapping[SplitName, Part]) -> list[Finding]:
    grouped = {split: part for split, part in parts.items() if GROUP in part.data.column_names}
    if len(grouped) < 2:
        return []
    known = {split: text_keys(part.data, [GROUP])[part.rows] for split, part in grouped.items()}
    findings = []
    for split in [name for name in known if name != "train" and "train" in known]:
        shared = np.isin(known["train"], known[split])
        if shared.any():
            are, they_stay = _words(shared, "are", "they stay")
            problem = f"{_rows(shared)} of train {are} of a group that is in {split} too; {they_stay}"
            findings.append(Finding("warning", f"data.train {_where(parts['train'], shared)}", problem))
    return findings


def _where(part: Part, mask: np.ndarray) -> str:
    return lines_where(part.data, part.rows[mask])


def _words(mask: np.ndarray, *words: str) -> list[str]:
    """Return what is said of several rows, or the same of one."""
    return [SINGULAR[word] for word in words] if int(mask.sum()) == 1 else list(words)


def _rows(mask: np.ndarray) -> str:
    count = int(mask.sum())
    return f"{count:,} rows" if count != 1 else "1 row"
