"""Train's rows: splits that are not given are cut from them, and of too many some are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weitiao.data.arrow import select_rows
from weitiao.data.cut import TRAIN, sample
from weitiao.data.fold import Rows, check_fold, placed_in_fold
from weitiao.data.keys import told_apart
from weitiao.data.part import Part
from weitiao.data.shared import drop_shared, near_apart
from weitiao.data.strata import strata_of
from weitiao.data.units import units_of
from weitiao.errors import DataError
from weitiao.recipe import DataSettings
from weitiao.records import SPLITS, Column, Finding, SplitName


def cut_missing(
    parts: dict[SplitName, Part],
    origin: dict[SplitName, str],
    settings: DataSettings,
    columns: Sequence[Column],
    seed: int,
    alike: np.ndarray | None,
) -> list[Finding]:
    """Cut the splits that `parts` lacks from its train; `origin` says how. With `fold` test is the fold."""
    shares: dict[SplitName, float] = {
        "validation": 0.0 if "validation" in parts else settings.validation_size,
        "test": 0.0 if "test" in parts else settings.test_size,
    }
    if not any(shares.values()) and settings.fold is None:
        return []
    if sum(shares.values()) >= 1:
        told = " + ".join(f"data.{split}_size {share}" for split, share in shares.items())
        raise DataError(f"{told} leaves nothing to train on", where="data", fix="Make them sum to less than 1.")
    whole = parts["train"]
    view = select_rows(whole.data, whole.rows, "cut") if len(whole.rows) < len(whole.data) else whole.data
    strata = strata_of(view, columns)
    together = settings.duplicates == "together"
    texts = whole.keys if together else None
    near = None if alike is None else alike[whole.rows]
    units, bound = units_of(len(whole.rows), texts, whole.groups, near)
    linked = near is not None and not bound  # near duplicates give way first
    if linked:
        units, bound = units_of(len(whole.rows), texts, whole.groups)
    rows = Rows(units, strata, whole.keys if together else told_apart(whole.keys))
    how = (", stratified" if strata.any() else "") + (f", whole groups of '{settings.group}'" if settings.group else "")
    if (fold := settings.fold) is not None:
        placed = placed_in_fold(rows, fold, shares, seed)
        how += f", fold {fold.number} of {fold.of}" + (f" of repeat {fold.repeat}" if fold.repeat else "")
        used = float((placed >= 0).mean())
        shares = {"validation": used * (1 - 1 / fold.of) * shares["validation"], "test": used / fold.of}
    else:
        placed = rows.cut(seed, validation=shares["validation"], test=shares["test"])
    had = np.isin(np.arange(len(SPLITS)), placed)
    findings = [] if bound else drop_shared(whole, placed)
    if linked and near is not None:
        findings += near_apart(whole, placed, near)
    if fold is not None:
        check_fold(placed, fold, view, columns, strata)
    elif not np.any(placed == TRAIN):
        raise DataError(
            "no text is left to train on: groups stay whole, and all stand in validation or test in another group",
            where="data.group", fix="Leave it out, or take out what most groups say.",
        )  # fmt: skip
    why = "groups and repeated texts stay whole" if together else "groups stay whole"
    why = why if bound else "groups stay whole, and texts of several are left out"
    for number, split in enumerate(SPLITS):
        chosen = placed == number
        if chosen.any():
            parts[split] = whole.only(chosen)
            origin[split] = f"{chosen.mean():.0%} of {whole.name}{how}"
        if shares.get(split):
            findings += _size_finding(split, chosen, shares[split], why, lost=bool(had[number]))
    return findings


def _size_finding(split: SplitName, chosen: np.ndarray, wanted: float, why: str, *, lost: bool) -> list[Finding]:
    if not chosen.any():
        problem = "all its texts stand in another split, too" if lost else "there are too few examples to cut it"
        return [
            Finding("warning", f"data.{split}_size", f"no {split} split: {problem}", f"Give a file as data.{split}.")
        ]
    got = float(chosen.mean())
    if abs(got - wanted) <= max(0.3 * wanted, 2 / len(chosen)):
        return []
    problem = f"{split} got {got:.0%} of the rows rather than {wanted:.0%}: {why}"
    return [Finding("warning", f"data.{split}_size", problem)]


def shorten(
    parts: dict[SplitName, Part],
    origin: dict[SplitName, str],
    most: int | None,
    columns: Sequence[Column],
    seed: int,
) -> list[Finding]:
    """Leave `most` rows in train, strata in like shares; `origin` says so."""
    train = parts["train"]
    if most is None or len(train.rows) <= most:
        return []
    strata = strata_of(select_rows(train.data, train.rows, "sample"), columns)
    parts["train"] = train.only(sample(strata, told_apart(train.keys), most, seed=seed))
    origin["train"] += f", {most:,} of {len(train.rows):,} examples"
    return [Finding("note", "data.max_examples", f"training on {most:,} of {len(train.rows):,} examples")]
