"""What two splits share: texts and groups that stand in both are left out of one of them, or told of."""

from __future__ import annotations

import numpy as np

from weitiao.data.labels import lines_where
from weitiao.data.part import Part
from weitiao.data.units import in_groups
from weitiao.errors import DataError
from weitiao.recipe import DataSettings
from weitiao.records import Finding, SplitName

SINGULAR = {"have": "has", "are": "is", "they stay": "it stays", "they are": "it is"}


def keep_apart(parts: dict[SplitName, Part], settings: DataSettings) -> list[Finding]:
    """Leave texts out of train that stand in a given validation or test file, and rows of a group that does."""
    findings = []
    for other in [split for split in ("test", "validation") if split in parts]:
        shared = np.isin(parts["train"].keys, parts[other].keys)
        if shared.any():
            findings.append(_shared(parts["train"], shared, other, settings.duplicates == "anywhere"))
            if settings.duplicates == "together":
                parts["train"] = parts["train"].only(~shared)
        shared = _of_its_groups(parts["train"], parts[other])
        if shared.any():
            findings.append(_shared_group(parts["train"], shared, other))
            parts["train"] = parts["train"].only(~shared)
    if "validation" in parts and "test" in parts:
        shared = np.isin(parts["validation"].keys, parts["test"].keys)
        if shared.any():
            findings.append(_both_given(parts["validation"], shared, "have", "a text"))
        shared = _of_its_groups(parts["validation"], parts["test"]) & ~shared
        if shared.any():
            findings.append(_both_given(parts["validation"], shared, "are", "of a group"))
    if not len(parts["train"].rows):
        grouped = parts["train"].groups is not None
        raise DataError(
            "no text is left to train on: all stand in validation or test too" + (", or their group does" * grouped),
            where="data.train",
            fix="Give other files, or leave data.validation and data.test out to have them cut from train.",
        )
    return findings


def drop_shared(parts: dict[SplitName, Part], aside: np.ndarray) -> list[Finding]:
    """Leave texts out of the larger split of two that share them, and out of all those that stay `aside` (their keys).
    """  # fmt: skip
    findings = []
    for split in parts:
        findings += _drop(parts, split, aside, "a text that stays aside in another group")
    pairs: list[tuple[SplitName, SplitName]] = [("validation", "test"), ("train", "test"), ("train", "validation")]
    for split, other in pairs:
        if split in parts and other in parts:
            findings += _drop(parts, split, parts[other].keys, f"a text that {other} has in another group")
    return findings


def _drop(parts: dict[SplitName, Part], split: SplitName, keys: np.ndarray, told: str) -> list[Finding]:
    shared = np.isin(parts[split].keys, keys)
    if not shared.any():
        return []
    have, they_are = _words(shared, "have", "they are")
    problem = f"{_rows(shared)} of {split} {have} {told}; {they_are} left out"
    where = f"data.{split} {_where(parts[split], shared)}"
    parts[split] = parts[split].only(~shared)
    return [Finding("warning", where, problem)]


def _of_its_groups(part: Part, other: Part) -> np.ndarray:
    """Which rows are of a group that another part has, too."""
    if part.groups is None or other.groups is None:
        return np.zeros(len(part.rows), bool)
    return in_groups(part.groups, other.groups)


def _shared(train: Part, shared: np.ndarray, other: str, kept: bool) -> Finding:
    have, they_stay, they_are = _words(shared, "have", "they stay", "they are")
    done = f"{they_stay}, as data.duplicates says" if kept else f"{they_are} left out of train"
    problem = f"{_rows(shared)} of train {have} a text that is in {other} too; {done}"
    fix = f"With them in both, the {other} scores are too good." if kept else ""
    return Finding("warning", f"data.train {_where(train, shared)}", problem, fix)


def _shared_group(train: Part, shared: np.ndarray, other: str) -> Finding:
    are, they_are = _words(shared, "are", "they are")
    problem = f"{_rows(shared)} of train {are} of a group that is in {other} too; {they_are} left out of train"
    return Finding("warning", f"data.train {_where(train, shared)}", problem)


def _both_given(validation: Part, shared: np.ndarray, have: str, what: str) -> Finding:
    have, they_stay = _words(shared, have, "they stay")
    problem = f"{_rows(shared)} of validation {have} {what} that is in test too; {they_stay} in both"
    return Finding("warning", f"data.validation {_where(validation, shared)}", problem, "Take them out of one file.")


def _where(part: Part, mask: np.ndarray) -> str:
    return lines_where(part.data, part.rows[mask])


def _words(mask: np.ndarray, *words: str) -> list[str]:
    """Return what is said of several rows, or the same of one."""
    return [SINGULAR[word] for word in words] if int(mask.sum()) == 1 else list(words)


def _rows(mask: np.ndarray) -> str:
    count = int(mask.sum())
    return f"{count:,} rows" if count != 1 else "1 row"
