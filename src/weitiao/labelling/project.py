"""A labelling project on disk.

::

    labels/reviews/
      project.json      what is asked, the label set, the pool with its digest and columns, how rounds go
      recipe.json       the recipe that rounds train by
      labels.jsonl      all that labellers did, one act a line; it only grows, and nothing else holds their work
      seed/             what the recipe's own data have labelled already: train, validation and test, by role
      unlabelled.jsonl  texts that the recipe learns without labels, by role; where it names any
      rounds/001/       a training: data/, an ordinary run in run/, queue.json: what to label next
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import registry
from weitiao.data.formats.encoding import text_lines
from weitiao.data.labels import GROUP
from weitiao.data.splits import open_splits, splits_inside
from weitiao.data.table import open_table
from weitiao.data.units import group_keys
from weitiao.data.unlabelled import UNLABELLED, unlabelled_rows
from weitiao.errors import DataError, RecipeError, RunError, WeitiaoError
from weitiao.labelling.acts import checked_name
from weitiao.labelling.kinds import KINDS, Kind, kind_for
from weitiao.labelling.log import Log
from weitiao.labelling.pool import Pool, open_pool
from weitiao.labelling.state import State
from weitiao.recipe import DataSettings, Recipe
from weitiao.records import FILE, LINE, SPLITS, SplitName
from weitiao.row_files import with_groups
from weitiao.sources.cache import publishing, write_synced

if TYPE_CHECKING:
    from datasets import Dataset

LABELS = Path("labels")
PROJECT, RECIPE, ACTS, SEED, ROUNDS = "project.json", "recipe.json", "labels.jsonl", "seed", "rounds"
VERSION = 1
AUTO = "auto"  # the strategy that fits the kind of answer


@dataclass(frozen=True)
class Settings:
    """How a project goes; what of it is said again when it is opened again may be other than before."""

    every: int = 50  # new labels after which a round begins by itself; 0: only when asked for
    overlap: float = 0.0  # share of rows that are shown to two labellers
    strategy: str = AUTO  # what chooses once there is a model
    cold: str = "cluster-uncertain"  # what chooses before
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= 1:
            raise WeitiaoError(f"found {self.overlap:g}", where="--overlap", fix="Give a share from 0 to 1.")
        if self.every < 0:
            raise WeitiaoError(f"found {self.every}", where="--every", fix="Give a number from 0 up.")


@dataclass(frozen=True, eq=False)
class Project:
    """An opened project: all but what labellers did."""

    folder: Path
    name: str
    recipe: Recipe
    kind: Kind
    target: str  # the role that answers stand in
    labels: tuple[str, ...]  # known from the start
    pool: Pool = field(repr=False)
    settings: Settings
    seeded: Mapping[SplitName, int]  # rows of the recipe's own data by split

    @property
    def log(self) -> Log:
        """What labellers did, from the start."""
        return Log(self.folder / ACTS)

    def state(self) -> State:
        """What stands after all that they did so far."""
        return State(unit=self.kind.unit).add(self.log.news())

    @property
    def rounds(self) -> Path:
        """Where trainings are."""
        return self.folder / ROUNDS

    @property
    def round_folders(self) -> list[Path]:
        """The folders of trainings, the first one's first."""
        found = (each for each in self.rounds.glob("[0-9]*") if each.name.isdecimal())
        return sorted(found, key=lambda each: int(each.name))

    def seed(self, split: SplitName) -> Iterator[dict[str, Any]]:
        """Yield the recipe's own rows of a split: role -> value."""
        with suppress(FileNotFoundError), (self.folder / SEED / f"{split}.jsonl").open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def folder_for(pool: str) -> Path:
    """Return the folder of a pool's project where none is named."""
    name = re.sub(r"[^\w]+", "-", Path(pool.rstrip("/")).stem.lower()).strip("-") or "pool"
    return LABELS / name


def open_project(
    pool: str,
    recipe: Recipe | None = None,
    *,
    folder: Path | None = None,
    labels: Sequence[str] = (),
    several: bool | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Project:
    """Open the project of a pool, or make one by a recipe. `settings`: those of `Settings` that were said.

    `labels`: the label set where the recipe has no labelled data, or more of it. `several`: whether a row may have
    several labels; as the recipe says, or its data has it, when None. What the recipe's data hold labelled is taken
    over: its ``data.train`` where that is not the pool, and validation and test. Raises `WeitiaoError` where the
    project is of another recipe, or rows that were labelled are not in the pool any more.
    """
    folder = folder or folder_for(pool)
    if (folder / PROJECT).exists():
        return _again(folder, pool, recipe, labels, settings or {})
    if folder.exists() and any(folder.iterdir()):
        raise RunError("holds other files", where=str(folder), fix="Name another folder: --output.")
    if recipe is None:
        raise WeitiaoError("needs a recipe to begin with", where="--recipe",
                           fix="Name one: --recipe recipe.yaml. `weitiao init` writes one.")  # fmt: skip
    if recipe.task.options.brings_data:
        raise DataError("its tasks name their own data", where="data", fix="Give a recipe of one task.")
    kind_for(recipe, several=False)  # whatever there is to be labelled, it has to be of a kind that can be
    _check_strategies(settings or {}, recipe)
    opened = open_pool(pool, recipe)
    said = [checked_name(label, "--labels") for label in labels]
    with publishing(folder) as inside:
        counts, found, lists = _write_seed(inside / SEED, recipe, pool)
        task: Any = recipe.task.options
        several = _several(task, lists) if several is None else several
        kind, column = kind_for(recipe, several)
        _check_pool(kind, opened)
        known = [*(getattr(task, "labels", None) or ()), *said, *found, *_label_names(recipe)]
        if kind.labelled and not known:
            raise WeitiaoError("there are no labels to give", where="--labels",
                               fix="Name them: --labels good,bad. More can be added in the page.")  # fmt: skip
        _write_unlabelled(inside / UNLABELLED, recipe, opened)
        recipe.moved(folder.resolve()).store(inside / RECIPE)
        chosen = Settings(**(settings or {}))
        stored = {
            "version": VERSION, "name": folder.name, "pool": _stored_path(pool, folder), "digest": opened.digest,
            "rows": len(opened), "columns": dict(opened.columns), "kind": kind.name, "target": column.role,
            "labels": list(dict.fromkeys(known)) if kind.labelled else [], "seeded": counts,
            "settings": asdict(chosen),
        }  # fmt: skip
        write_synced(inside / PROJECT, json.dumps(stored, ensure_ascii=False, indent=1))
        (inside / ACTS).touch()
    return read_project(folder, pool=opened)


def read_project(folder: Path, *, pool: Pool | None = None) -> Project:
    """Read a project from its folder; `RunError` where there is none, `DataError` where its pool lost labelled rows."""
    try:
        stored = json.loads((folder / PROJECT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError("is no labelling project", where=str(folder),
                       fix="`weitiao label POOL --recipe RECIPE` begins one.") from None  # fmt: skip
    except ValueError as error:
        raise RunError(f"cannot be read: {error}", where=str(folder / PROJECT)) from None
    recipe = Recipe.restore(folder / RECIPE)
    source = stored["pool"]
    opened = pool or open_pool(source, recipe, base=folder)
    return Project(
        folder, stored["name"], recipe, KINDS[stored["kind"]], stored["target"], tuple(stored["labels"]), opened,
        Settings(**stored["settings"]), stored["seeded"],
    )  # fmt: skip


def _again(
    folder: Path, pool: str, recipe: Recipe | None, labels: Sequence[str], settings: Mapping[str, Any]
) -> Project:
    """Open what is there, with other settings or more labels where these were said."""
    here = open_pool(pool, Recipe.restore(folder / RECIPE))
    project = read_project(folder, pool=here)
    stored = json.loads((folder / PROJECT).read_text(encoding="utf-8"))
    if recipe is not None and _compared(recipe.moved(folder.resolve())) != _compared(project.recipe):
        raise RunError("is of another recipe", where=str(folder),
                       fix="Leave --recipe out, give it as it was, or name another folder: --output.")  # fmt: skip
    said = [checked_name(label, "--labels") for label in labels]
    _check_strategies(settings, project.recipe)
    changed = stored | {
        "pool": _stored_path(pool, folder), "digest": here.digest, "rows": len(here),
        "labels": list(dict.fromkeys([*stored["labels"], *said])) if project.kind.labelled else [],
        "settings": asdict(Settings(**(stored["settings"] | settings))),
    }  # fmt: skip
    _check_kept(project, here)
    if changed != stored:
        write_synced(folder / PROJECT, json.dumps(changed, ensure_ascii=False, indent=1))
    return read_project(folder, pool=here)


def _check_strategies(said: Mapping[str, Any], recipe: Recipe) -> None:
    """Those that were said have to be there and to fit the task: a round would fail that has trained already."""
    asked = [("--cold-start", said.get("cold"), False), ("--strategy", said.get("strategy"), True)]
    for option, name, trained in asked:
        if name is None or (trained and name == AUTO):
            continue
        from weitiao.acquisition.choosing import check_fits, named  # torch comes with it

        task = registry.get("task", recipe.task.name)(recipe.task.options)
        try:
            check_fits(named(name), task, trained=trained)
        except RecipeError as error:
            raise RecipeError(error.problem, where=option, fix=error.fix) from None


def _compared(recipe: Recipe) -> dict[str, Any]:
    return {
        key: value for key, value in recipe.to_dict().items() if key not in ("output", "search", "clean", "augment")
    }


def _check_kept(project: Project, pool: Pool) -> None:
    """A pool may grow or be sorted anew; what was labelled has to stay."""
    gone = [row for row in project.state().rows() if row not in pool.by_id]
    if gone:
        raise DataError(f"{len(gone):,} rows that were labelled are not in it any more", where=pool.source,
                        fix="Put them back; rows may be added. Or name another folder: --output.")  # fmt: skip


def _stored_path(pool: str, folder: Path) -> str:
    """A pool's path from the project's folder; other sources as they are."""
    return os.path.relpath(Path(pool).resolve(), folder.resolve()) if Path(pool).exists() else pool


def _check_pool(kind: Kind, pool: Pool) -> None:
    if kind.name == "spans" and "text" not in pool.columns:
        there = ", ".join(pool.columns)
        raise DataError(f"spans are marked in a text, and the pool has {there}", where=pool.source,
                        fix="Name the column of the texts: data.columns: {text: NAME}")  # fmt: skip


def _several(task: Any, lists: bool) -> bool:
    wanted = getattr(task, "multi_label", False)
    return lists if wanted == "auto" else bool(wanted)


def _label_names(recipe: Recipe) -> list[str]:
    if recipe.data.label_names is None:
        return []
    from weitiao import sources

    path = sources.fetch(recipe.data.label_names, base=recipe.base, kind="data")
    return [name for _, text in text_lines(path) if (name := text.strip())]


# --- what is labelled already


def _write_seed(folder: Path, recipe: Recipe, pool: str) -> tuple[dict[SplitName, int], list[str], bool]:
    """Write what the recipe's data hold, by role, with its groups; return rows by split, the labels in them, and
    whether cells are lists.
    """  # fmt: skip
    folder.mkdir()
    task = registry.get("task", recipe.task.name)
    kind, column = kind_for(recipe, several=False)
    splits = _own_splits(recipe, task, pool)
    for split, (dataset, _) in splits.items():
        if column.role not in dataset.column_names:
            raise DataError(f"holds no {column.role}, which are given here", where=f"data.{split}",
                            fix=f"Name their column: data.columns: {{{column.role}: NAME}}")  # fmt: skip
    counts: dict[SplitName, int] = {}
    labels: dict[str, None] = {}
    lists = bool(recipe.data.label_separator)
    for split in (name for name in SPLITS if name in splits):
        dataset, groups = splits[split]
        counts[split] = len(dataset)
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for row in with_groups(dataset, groups):
                place = f"{row[FILE]}:{row[LINE]}"
                cell = row.get(column.role)
                if split == "train" and cell is not None:
                    lists = lists or isinstance(cell, list)
                    answering = KINDS["labels"] if isinstance(cell, list) and column.kind == "label" else kind
                    text = next((row[c.role] for c in task.columns if not c.target and row.get(c.role)), "")
                    answer = answering.read(cell, str(text), place)
                    labels |= dict.fromkeys(sorted(answering.labels_in(answer)) if answer is not None else ())
                file.write(_line(row))
    return counts, sorted(labels, key=_label_order), lists


def _write_unlabelled(path: Path, recipe: Recipe, pool: Pool) -> None:
    """Write the texts without labels that the recipe names, if any, by role as rounds read them."""
    if recipe.unlabelled is None:
        return
    key, source = recipe.unlabelled
    names = {role: recipe.data.columns.get(role, name) for role, name in pool.columns.items()}
    columns = registry.get("task", recipe.task.name).columns
    rows = unlabelled_rows(source, columns, names, base=recipe.base, where=recipe.place(key), group=recipe.data.group)
    groups = group_keys(rows) if GROUP in rows.column_names else None
    with path.open("w", encoding="utf-8") as file:
        file.writelines(map(_line, with_groups(rows, groups)))


def _line(row: Mapping[str, Any]) -> str:
    kept = {role: value for role, value in row.items() if role not in (FILE, LINE, GROUP)}
    return json.dumps(kept, ensure_ascii=False) + "\n"


def _own_splits(recipe: Recipe, task: Any, pool: str) -> dict[SplitName, tuple[Dataset, np.ndarray | None]]:
    """The recipe's data but for the pool, whole, nothing cut off; with the groups of its rows, where it has such."""
    whole = recipe.data.model_copy(update={"validation_size": 0.0, "test_size": 0.0, "max_examples": None,
                                           "fold": None})  # fmt: skip

    def opened(settings: DataSettings) -> dict[SplitName, tuple[Dataset, np.ndarray | None]]:
        splits = open_splits(settings, task.columns, base=recipe.base, seed=recipe.data_seed, layout=task.layout)
        return {split: (splits[split], splits.group_keys.get(split)) for split in splits}

    if not _same(recipe.data.train, recipe.base, pool):
        return opened(whole)
    given: dict[SplitName, str | None] = {"validation": whole.validation, "test": whole.test}
    found: dict[SplitName, tuple[Dataset, np.ndarray | None]] = {}
    for split, source in given.items():
        if source is not None:
            inside = split in splits_inside(source, recipe.base, task.layout)
            own = f"{source}/{split}" if inside else source
            there = open_table(own, base=recipe.base, layout=task.layout, limit=1).columns
            alone = {"train": own, "validation": None, "test": None,
                     "group": whole.group if whole.group in there else None}  # fmt: skip
            found[split] = opened(whole.model_copy(update=alone))["train"]
    return found


def _label_order(label: str) -> tuple[int, float, str]:
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)


def _same(source: str, base: Path, pool: str) -> bool:
    one, other = base / source, Path(pool)
    return one.exists() and other.exists() and one.resolve() == other.resolve()
