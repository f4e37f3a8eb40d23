"""What two splits share, of one task or of two: texts and groups that stand in both are left out of one, or told of."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from weitiao.data.cut import TEST, TRAIN, VALIDATION
from weitiao.data.labels import lines_where
from weitiao.data.part import Part
from weitiao.data.units import frequent, in_groups
from weitiao.errors import DataError
from weitiao.recipe import DataSettings
from weitiao.records import SPLITS, Finding, SplitName

if TYPE_CHECKING:
    from weitiao.data.splits import Splits

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


def drop_shared(whole: Part, placed: np.ndarray) -> list[Finding]:
    """Leave texts out of validation that test has, out of train that one of both has, out of all where they stay aside
    (-1).

    `placed` says for each row of `whole` which of `SPLITS` it is in, shape (n,); of what is left out it becomes -1.
    """
    findings, aside = [], whole.keys[placed < 0]
    for number in range(len(SPLITS)):
        findings += _drop(whole, placed, number, aside, "a text that stays aside in another group")
    for number, other in ((VALIDATION, TEST), (TRAIN, TEST), (TRAIN, VALIDATION)):
        told = f"a text that {SPLITS[other]} has in another group"
        findings += _drop(whole, placed, number, whole.keys[placed == other], told)
    return findings


def near_apart(whole: Part, placed: np.ndarray, near: np.ndarray) -> list[Finding]:
    """Tell of near duplicates (the same number in `near`) that stand in several splits; `placed` as in `drop_shared`.
    Copies of one text are none.
    """  # fmt: skip
    kept = placed >= 0
    several, different = (frequent(near[kept], each[kept], 2) for each in (placed, whole.keys))
    apart = kept & np.isin(near, np.intersect1d(several, different))
    if not apart.any():
        return []
    problem = (
        f"{_rows(apart)} are nearly alike and stand in several splits: groups stay whole, and texts that are alike "
        "link most of them"
    )
    fix = "Drop near duplicates first: `weitiao clean` with near_duplicates=true."
    return [Finding("warning", f"data.train {_where(whole, apart)}", problem, fix)]


def keep_tasks_apart(
    parts: Mapping[str, Splits], free: Collection[str] = ()
) -> tuple[dict[str, Splits], dict[str, list[Finding]]]:
    """Leave texts out of each task's train that another one is validated or tested on: what they share would have read
    them. Return the splits of each, and what is told of that; train of those that are `free` stays as it is.
    """
    measured = {
        name: np.concatenate([np.empty(0, np.uint64), *(k for split, k in part.text_keys.items() if split != "train")])
        for name, part in parts.items()
    }
    found, told = dict(parts), {name: list[Finding]() for name in parts}
    for name in parts:
        for other, keys in measured.items():
            if other == name or name in free:
                continue
            shared = np.isin(found[name].text_keys["train"], keys)
            if shared.any():
                told[name].append(_shared_with_task(found[name], shared, other))
                found[name] = found[name].keeping(~shared)
        if not len(found[name]["train"]):
            raise DataError("no text is left to train on: all stand in validation or test of another task",
                            where=f"{name}: data.train", fix="Give files of validation and test.")  # fmt: skip
    return found, told


def _drop(whole: Part, placed: np.ndarray, number: int, keys: np.ndarray, told: str) -> list[Finding]:
    shared = (placed == number) & np.isin(whole.keys, keys)
    if not shared.any():
        return []
    have, they_are = _words(shared, "have", "they are")
    placed[shared] = -1
    problem = f"{_rows(shared)} of {SPLITS[number]} {have} {told}; {they_are} left out"
    return [Finding("warning", f"data.{SPLITS[number]} {_where(whole, shared)}", problem)]


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


def _shared_with_task(splits: Splits, shared: np.ndarray, other: str) -> Finding:
    have, they_are = _words(shared, "have", "they are")
    problem = f"{_rows(shared)} of train {have} a text that '{other}' is measured on; {they_are} left out"
    fix = "Give all tasks the same files of validation and test: then nothing has to be left out."
    return Finding("warning", f"data.train {lines_where(splits['train'], shared)}", problem, fix)


def _where(part: Part, mask: np.ndarray) -> str:
    return lines_where(part.data, part.rows[mask])


def _words(mask: np.ndarray, *words: str) -> list[str]:
    """Return what is said of several rows, or the same of one."""
    return [SINGULAR[word] for word in words] if int(mask.sum()) == 1 else list(words)


def _rows(mask: np.ndarray) -> str:
    count = int(mask.sum())
    return f"{count:,} rows" if count != 1 else "1 row"
