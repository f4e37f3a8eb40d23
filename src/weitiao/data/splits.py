"""Train, validation and test: given as files, or cut from train, with nothing shared between them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from weitiao.data.arrow import digest, fingerprint, select_rows
from weitiao.data.columns import ChosenColumns, check_column, choose_columns, file_columns
from weitiao.data.cut_from_train import cut_missing, shorten
from weitiao.data.formats.base import Layout
from weitiao.data.formats.detect import splits_in
from weitiao.data.keys import input_keys
from weitiao.data.labels import rename
from weitiao.data.part import Part
from weitiao.data.shared import keep_apart
from weitiao.data.table import Table, laid_out, locate, open_table
from weitiao.data.units import group_keys
from weitiao.recipe import DataSettings
from weitiao.records import SPLITS, Column, Finding, SplitName

if TYPE_CHECKING:
    from datasets import Dataset


def _nothing() -> np.ndarray:
    return np.empty(0, np.uint64)


@dataclass(frozen=True, eq=False)
class Splits(Mapping[SplitName, "Dataset"]):
    """The splits by name: data sets with a column a role, `LINE` and `FILE`, memory-mapped."""

    datasets: dict[SplitName, Dataset]
    columns: ChosenColumns
    origin: dict[SplitName, str]  # such as ``reviews.csv`` or ``10% of reviews.csv, stratified``
    findings: list[Finding]
    text_keys: dict[SplitName, np.ndarray]  # `input_keys` of each split's rows, of one that is held back, too
    parts: dict[str, Splits] = field(default_factory=dict)  # of each task, where several are learned together
    cut: tuple[SplitName, ...] = ()  # those that were cut from train
    given: str = ""  # digest of what was given, where what is learned is not that
    aside: np.ndarray = field(default_factory=_nothing)  # of a test split that a fold leaves out
    group_keys: dict[SplitName, np.ndarray] = field(default_factory=dict)  # of the splits whose rows have `data.group`
    aside_groups: np.ndarray = field(default_factory=_nothing)  # of what stays aside

    def __getitem__(self, name: SplitName) -> Dataset:
        return self.datasets[name]

    def __iter__(self) -> Iterator[SplitName]:
        return iter(self.datasets)

    def __len__(self) -> int:
        return len(self.datasets)

    @property
    def digest(self) -> str:
        """Stands for the content, the columns and the cut of what was given."""
        return self.given or digest(*(f"{name} {fingerprint(dataset)}" for name, dataset in self.datasets.items()))

    @property
    def known(self) -> np.ndarray:
        """`input_keys` of all texts that are spoken for: those of each split, and of what stays aside."""
        return np.concatenate([*self.text_keys.values(), self.aside])

    @property
    def hidden(self) -> np.ndarray:
        """Those of them that are in no split that is there: held back, or aside."""
        return np.concatenate([self.aside, *(keys for name, keys in self.text_keys.items() if name not in self)])

    @property
    def measured_groups(self) -> np.ndarray:
        """`group_keys` of what is measured on, held back, or aside: of theirs nothing is to be learned."""
        measured = [keys for name, keys in self.group_keys.items() if name != "train"]
        return np.concatenate([self.aside_groups, *measured])

    def keeping(self, rows: np.ndarray) -> Splits:
        """Return the same with some rows of train alone, a mask of shape (n,)."""
        train, groups = self["train"], dict(self.group_keys)
        if "train" in groups:
            groups["train"] = groups["train"][rows]
        kept = select_rows(train, np.flatnonzero(rows), digest(fingerprint(train), rows.tobytes()))
        return replace(
            self, datasets={**self.datasets, "train": kept}, group_keys=groups,
            text_keys={**self.text_keys, "train": self.text_keys["train"][rows]},
        )  # fmt: skip

    def learning(self, train: Dataset, columns: Sequence[Column]) -> Splits:
        """Return the same with other training examples in place of those that were given."""
        keys = {**self.text_keys, "train": input_keys(train, columns)}
        groups: dict[SplitName, np.ndarray] = {k: each for k, each in self.group_keys.items() if k != "train"}
        datasets = {**self.datasets, "train": train}
        return replace(self, datasets=datasets, text_keys=keys, group_keys=groups, given=self.digest)

    def without_test(self) -> Splits:
        """Return the others alone: train and validation are what they are beside the test split. Which texts it holds
        stays known, so that they are not learned without their labels either.
        """  # fmt: skip
        kept: list[SplitName] = [name for name in self.datasets if name != "test"]
        return replace(
            self, datasets={name: self.datasets[name] for name in kept},
            origin={name: self.origin[name] for name in kept}, cut=tuple(name for name in self.cut if name in kept),
            parts={name: part.without_test() for name, part in self.parts.items()},
        )  # fmt: skip


def open_splits(
    settings: DataSettings, columns: Sequence[Column], *, base: Path = Path(), seed: int, layout: Layout | None = None,
    without: Collection[str] = (), alike: np.ndarray | None = None,
) -> Splits:  # fmt: skip
    """Open the recipe's data as splits of role columns.

    A split that is not given as a file, or held by train's folder, is cut from train: seeded, stratified by label,
    whole groups, the same text never on both sides; which rows go where does not hang on the order of the file. Texts
    of train that stand in a given validation or test file are left out of train, with a warning. With `fold` the test
    split is one of several parts of train; one that is given stays aside, its texts too. Rows at one of `without`
    (``reviews.csv:12``) are not read. Rows of train with the same number in `alike` (shape (n,), 0 and above)
    stay together, too.
    """
    tables = _tables(settings, base, layout, without)
    chosen = choose_columns(tables["train"], columns, laid_out(layout, settings.columns))
    findings = [finding for table in tables.values() for finding in table.notes] + chosen.findings
    parts = {split: _part(split, table, chosen, columns, settings, base) for split, table in tables.items()}
    origin: dict[SplitName, str] = {split: part.name for split, part in parts.items()}
    findings += keep_apart(parts, settings)
    aside, aside_groups, whole = _nothing(), _nothing(), parts["train"]
    if settings.fold is not None and (given := parts.pop("test", None)) is not None:
        settings = settings.model_copy(update={"test_size": 0.0})  # what is given is what would be kept
        origin.pop("test")
        aside, aside_groups = given.keys, _nothing() if given.groups is None else given.groups
    findings += cut_missing(parts, origin, settings, columns, seed, alike)
    if settings.fold is not None and settings.fold.keep_test:
        aside = np.append(aside, _unused(whole.keys, [part.keys for part in parts.values()]))
        if whole.groups is not None:
            used = [part.groups for part in parts.values() if part.groups is not None]
            aside_groups = np.append(aside_groups, _unused(whole.groups, used))
    sample_seed = seed if settings.sample_seed is None else settings.sample_seed
    findings += shorten(parts, origin, settings.max_examples, columns, sample_seed)
    ordered = [split for split in SPLITS if split in parts]
    return Splits(
        datasets={split: parts[split].dataset() for split in ordered},
        columns=chosen,
        origin={split: origin[split] for split in ordered},
        findings=list(dict.fromkeys(findings)),
        text_keys={split: parts[split].keys for split in ordered},
        cut=tuple(split for split in ordered if split not in tables or (split == "test" and settings.fold is not None)),
        aside=aside,
        group_keys={split: groups for split in ordered if (groups := parts[split].groups) is not None},
        aside_groups=aside_groups,
    )


def _unused(keys: np.ndarray, used: Sequence[np.ndarray]) -> np.ndarray:
    return np.setdiff1d(keys, np.concatenate(used))


def _tables(
    settings: DataSettings, base: Path, layout: Layout | None, without: Collection[str]
) -> dict[SplitName, Table]:
    def opened(source: str, split: SplitName | None) -> Table:
        return open_table(source, base=base, split=split, layout=layout, named=settings.columns, without=without)

    inside = splits_inside(settings.train, base, layout)
    tables: dict[SplitName, Table] = {"train": opened(settings.train, "train" if "train" in inside else None)}
    given: dict[SplitName, str | None] = {"validation": settings.validation, "test": settings.test}
    for split, source in given.items():
        if source is not None:
            tables[split] = opened(source, split if split in splits_inside(source, base, layout) else None)
        elif "train" in inside and split in inside:
            tables[split] = opened(settings.train, split)
    return tables


def splits_inside(source: str, base: Path, layout: Layout | None) -> set[SplitName]:
    """Return the splits that a source has in it; none where it names one itself."""
    path, named = locate(source, base=base, layout=layout)
    return set() if named else splits_in(path, layout)


def _part(
    split: SplitName, table: Table, chosen: ChosenColumns, columns: Sequence[Column], settings: DataSettings, base: Path
) -> Part:
    if split != "train":
        for name in file_columns(chosen.names)[:-2]:
            check_column(table, name, f"data.{split}")
        if settings.group not in table.columns:
            settings = settings.model_copy(update={"group": None})
    data = rename(table, chosen.names, settings, base=base, columns=columns)
    groups = group_keys(data) if settings.group is not None else None
    return Part(data, table.name, input_keys(data, columns), np.arange(len(data)), groups)
