"""Train, validation and test: given as files, or cut from train, with nothing shared between them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from weitiao.data.arrow import arrow_batches, digest, select_rows
from weitiao.data.columns import ChosenColumns, check_column, choose_columns, file_columns
from weitiao.data.cut import sample
from weitiao.data.dialogue import asked
from weitiao.data.fold import Rows, check_fold, placed_in_fold
from weitiao.data.formats.base import Layout
from weitiao.data.formats.detect import splits_in
from weitiao.data.keys import mixed, occurrences, text_key, text_keys
from weitiao.data.labels import GROUP, label_codes, lines_where, rename
from weitiao.data.table import Table, laid_out, locate, open_table
from weitiao.errors import DataError
from weitiao.recipe import DataSettings
from weitiao.records import FILE, LINE, SPLITS, Column, Finding, SplitName

if TYPE_CHECKING:
    from datasets import Dataset

NUMBERS = 20  # more distinct numbers than this, fractions among them, are measured, not classes
BINS = 10  # quantiles that such numbers are stratified by


@dataclass(frozen=True, eq=False)
class Splits(Mapping[SplitName, "Dataset"]):
    """The splits by name: data sets with a column a role, `LINE` and `FILE`, memory-mapped."""

    datasets: dict[SplitName, Dataset]
    columns: ChosenColumns
    origin: dict[SplitName, str]  # such as ``reviews.csv`` or ``10% of reviews.csv, stratified``
    findings: list[Finding]
    text_keys: dict[SplitName, np.ndarray]  # `input_keys` of each split's rows, of one that is held back, too
    parts: dict[str, Splits] = field(default_factory=dict)  # of each task, where several are learned together
    given: str = ""  # digest of what was given, where what is learned is not that
    aside: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))  # of a test split that a fold leaves out

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

    def learning(self, train: Dataset, columns: Sequence[Column]) -> Splits:
        """Return the same with other training examples in place of those that were given."""
        keys = {**self.text_keys, "train": input_keys(train, columns)}
        return replace(self, datasets={**self.datasets, "train": train}, text_keys=keys, given=self.digest)

    def without_test(self) -> Splits:
        """Return the others alone: train and validation are what they are beside the test split. Which texts it holds
        stays known, so that they are not learned without their labels either.
        """  # fmt: skip
        kept: list[SplitName] = [name for name in self.datasets if name != "test"]
        return replace(
            self, datasets={name: self.datasets[name] for name in kept},
            origin={name: self.origin[name] for name in kept},
            parts={name: part.without_test() for name, part in self.parts.items()},
        )  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """Rows of a table that make up a split, on the way there."""

    data: Dataset
    name: str
    keys: np.ndarray
    rows: np.ndarray = field(repr=False)

    def only(self, keep: np.ndarray) -> _Part:
        return replace(self, keys=self.keys[keep], rows=self.rows[keep])

    def dataset(self) -> Dataset:
        kept = [name for name in self.data.column_names if name != GROUP]
        key = digest(fingerprint(self.data), self.rows.astype("<i8").tobytes(), kept)
        data = self.data.select_columns(kept, new_fingerprint=key) if GROUP in self.data.column_names else self.data
        if len(self.rows) == len(data):
            return data
        return select_rows(data, self.rows, key)


def fingerprint(dataset: Dataset) -> str:
    """Return what stands for a data set's content, the same in each process for what this package opens."""
    return str(dataset._fingerprint)


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
    findings += _keep_apart(parts, settings)
    aside, whole = np.empty(0, np.uint64), parts["train"].keys
    if settings.fold is not None and (given := parts.pop("test", None)) is not None:
        settings = settings.model_copy(update={"test_size": 0.0})  # what is given is what would be kept
        origin.pop("test")
        aside = given.keys
    findings += _cut_missing(parts, origin, settings, columns, seed, alike)
    if settings.fold is not None and settings.fold.keep_test:
        aside = np.append(aside, np.setdiff1d(whole, np.concatenate([part.keys for part in parts.values()])))
    sample_seed = seed if settings.sample_seed is None else settings.sample_seed
    findings += _shorten(parts, origin, settings.max_examples, columns, sample_seed)
    ordered = [split for split in SPLITS if split in parts]
    return Splits(
        datasets={split: parts[split].dataset() for split in ordered},
        columns=chosen,
        origin={split: origin[split] for split in ordered},
        findings=list(dict.fromkeys(findings)),
        text_keys={split: parts[split].keys for split in ordered},
        aside=aside,
    )


def _tables(
    settings: DataSettings, base: Path, layout: Layout | None, without: Collection[str]
) -> dict[SplitName, Table]:
    def opened(source: str, split: SplitName | None) -> Table:
        return open_table(source, base=base, split=split, layout=layout, named=settings.columns, without=without)

    inside = _inside(settings.train, base, layout)
    tables: dict[SplitName, Table] = {"train": opened(settings.train, "train" if "train" in inside else None)}
    given: dict[SplitName, str | None] = {"validation": settings.validation, "test": settings.test}
    for split, source in given.items():
        if source is not None:
            tables[split] = opened(source, split if split in _inside(source, base, layout) else None)
        elif "train" in inside and split in inside:
            tables[split] = opened(settings.train, split)
    return tables


def _inside(source: str, base: Path, layout: Layout | None) -> set[SplitName]:
    path, named = locate(source, base=base, layout=layout)
    return set() if named else splits_in(path, layout)


def _part(
    split: SplitName, table: Table, chosen: ChosenColumns, columns: Sequence[Column], settings: DataSettings, base: Path
) -> _Part:
    if split != "train":
        for name in file_columns(chosen.names)[:-2]:
            check_column(table, name, f"data.{split}")
        if settings.group not in table.columns:
            settings = settings.model_copy(update={"group": None})
    data = rename(table, chosen.names, settings, base=base, columns=columns)
    return _Part(data, table.name, input_keys(data, columns), np.arange(len(data)))


def input_keys(dataset: Dataset, columns: Sequence[Column]) -> np.ndarray:
    """Return `keys.text_keys` over what a model reads: all columns but the targets, of a dialogue what it is asked."""
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


# --- files given


def _keep_apart(parts: dict[SplitName, _Part], settings: DataSettings) -> list[Finding]:
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


def _shared(train: _Part, shared: np.ndarray, other: str, kept: bool) -> Finding:
    have, they_stay, they_are = _words(shared, "have", "they stay", "they are")
    done = f"{they_stay}, as data.duplicates says" if kept else f"{they_are} left out of train"
    problem = f"{_rows(shared)} of train {have} a text that is in {other} too; {done}"
    fix = f"With them in both, the {other} scores are too good." if kept else ""
    return Finding("warning", f"data.train {_where(train, shared)}", problem, fix)


def _both_given(validation: _Part, shared: np.ndarray) -> Finding:
    have, they_stay = _words(shared, "have", "they stay")
    problem = f"{_rows(shared)} of validation {have} a text that is in test too; {they_stay} in both"
    return Finding("warning", f"data.validation {_where(validation, shared)}", problem, "Take them out of one file.")


def _shared_groups(parts: Mapping[SplitName, _Part]) -> list[Finding]:
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


def _where(part: _Part, mask: np.ndarray) -> str:
    return lines_where(part.data, part.rows[mask])


SINGULAR = {"have": "has", "are": "is", "they stay": "it stays", "they are": "it is"}


def _words(mask: np.ndarray, *words: str) -> list[str]:
    """Return what is said of several rows, or the same of one."""
    return [SINGULAR[word] for word in words] if int(mask.sum()) == 1 else list(words)


def _rows(mask: np.ndarray) -> str:
    count = int(mask.sum())
    return f"{count:,} rows" if count != 1 else "1 row"


# --- cut from train


def _cut_missing(
    parts: dict[SplitName, _Part],
    origin: dict[SplitName, str],
    settings: DataSettings,
    columns: Sequence[Column],
    seed: int,
    alike: np.ndarray | None,
) -> list[Finding]:
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
    units, bound = _units(view, whole.keys, settings, None if alike is None else alike[whole.rows])
    rows = Rows(units, strata, whole.keys if settings.duplicates == "together" else _each(whole.keys))
    how = (", stratified" if strata.any() else "") + (f", whole groups of '{settings.group}'" if settings.group else "")
    if (fold := settings.fold) is not None:
        placed = placed_in_fold(rows, fold, shares, seed)
        check_fold(placed, fold, view, columns, strata)
        how += f", fold {fold.number} of {fold.of}" + (f" of repeat {fold.repeat}" if fold.repeat else "")
        used = float((placed >= 0).mean())
        shares = {"validation": used * (1 - 1 / fold.of) * shares["validation"], "test": used / fold.of}
    else:
        placed = rows.cut(seed, validation=shares["validation"], test=shares["test"])
    findings = []
    for number, split in enumerate(SPLITS):
        chosen = placed == number
        if split == "train" or chosen.any():
            parts[split] = whole.only(chosen) if split == "train" or shares[split] else parts[split]
        if split == "train" or (shares[split] and chosen.any()):
            origin[split] = f"{chosen.mean():.0%} of {whole.name}{how}"
        findings += _size_finding(split, chosen, shares)
    if not bound:
        findings += _drop_shared(parts)
    return findings


def _each(keys: np.ndarray) -> np.ndarray:
    """Tell rows with the same key apart, so that each is drawn by itself."""
    return mixed(keys, 0) + occurrences(keys).astype(np.uint64)


def _size_finding(split: SplitName, chosen: np.ndarray, shares: Mapping[SplitName, float]) -> list[Finding]:
    wanted = shares.get(split, 0.0)
    if not wanted:
        return []
    if not chosen.any():
        problem = f"there are too few examples to cut a {split} split: it is left out"
        return [Finding("warning", f"data.{split}_size", problem, f"Give a file as data.{split}.")]
    got = float(chosen.mean())
    if abs(got - wanted) <= max(0.3 * wanted, 2 / len(chosen)):
        return []
    problem = f"{split} got {got:.0%} of the rows rather than {wanted:.0%}: groups and repeated texts stay whole"
    return [Finding("warning", f"data.{split}_size", problem)]


def _units(
    dataset: Dataset, keys: np.ndarray, settings: DataSettings, alike: np.ndarray | None
) -> tuple[np.ndarray, bool]:
    """Number the rows by what must stay together; False where repeated texts could not be bound in with the groups."""
    texts = np.unique(keys, return_inverse=True)[1] if settings.duplicates == "together" else None
    if alike is not None:
        texts = alike if texts is None else _connected(texts, alike)
    if settings.group is None:
        return (np.arange(len(keys)) if texts is None else texts), True
    groups = _groups(dataset)
    if texts is None:
        return groups, True
    both = _connected(groups, texts)
    half = len(keys) / 2
    if np.bincount(both).max() > half >= np.bincount(groups).max():  # a text such as "ok" links all groups into one
        return groups, False
    return both, True


def _groups(dataset: Dataset) -> np.ndarray:
    """Number the groups; a row without one is a group of its own."""
    keys = text_keys(dataset, [GROUP])
    empty = np.concatenate([batch.column(0).is_null().to_numpy(False) for batch in arrow_batches(dataset, [GROUP])])
    numbers: np.ndarray = np.unique(keys, return_inverse=True)[1]
    numbers[empty] = len(keys) + np.arange(int(empty.sum()))
    return np.unique(numbers, return_inverse=True)[1]


def _connected(groups: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Join groups that share a text, and so on: connected components."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    first = int(groups.max()) + 1
    size = first + int(texts.max()) + 1
    edges = coo_matrix((np.ones(len(groups), np.int8), (groups, first + texts)), shape=(size, size))
    found: np.ndarray = connected_components(edges, directed=False)[1][groups]
    return np.unique(found, return_inverse=True)[1]


def _drop_shared(parts: dict[SplitName, _Part]) -> list[Finding]:
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


def _shorten(
    parts: dict[SplitName, _Part],
    origin: dict[SplitName, str],
    most: int | None,
    columns: Sequence[Column],
    seed: int,
) -> list[Finding]:
    train = parts["train"]
    if most is None or len(train.rows) <= most:
        return []
    strata = strata_of(select_rows(train.data, train.rows, "sample"), columns)
    parts["train"] = train.only(sample(strata, _each(train.keys), most, seed=seed))
    origin["train"] += f", {most:,} of {len(train.rows):,} examples"
    return [Finding("note", "data.max_examples", f"training on {most:,} of {len(train.rows):,} examples")]
