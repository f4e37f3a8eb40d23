"""A folder of many runs: where it is, and what was asked for, so that nothing else is ever mixed in."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from weitiao.artifacts.artifact import write_json
from weitiao.candidates import digest_of, shortly
from weitiao.errors import Interrupted, RecipeError, RunError
from weitiao.preparation import Preparation
from weitiao.recipe import Recipe
from weitiao.trials import Say

PLAN = "plan.json"


def shared(recipe: Recipe) -> dict[str, Any]:
    """What all runs share: the recipe without what `weitiao search` alone reads."""
    return {key: value for key, value in recipe.to_dict().items() if key != "search"}


def own_folder(parent: Path, recipe: Recipe, what: str, fixed: Mapping[str, Any] | None = None) -> Path:
    """A folder named by model, recipe and what is done: the same command finds it again. `fixed`: what else must be the
    same, such as the space of a search.
    """  # fmt: skip
    model = re.sub(r"[^a-z0-9]+", "-", recipe.model.source.rpartition("/")[2].rpartition(":")[2].lower()).strip("-")
    told = [shared(recipe), str(recipe.base.resolve()), what, dict(fixed or {})]
    return parent / f"{model}-{digest_of(told)[:8]}"


def refuse_output(recipe: Recipe, what: str) -> None:
    """Raise a `RecipeError` where the recipe says where its run goes: there will be many."""
    if recipe.output is not None:
        raise RecipeError(f"'{recipe.output}' is the folder of one run, and there will be many",
                          where=recipe.place("output"),
                          fix=f"Take it out: --set output=null. --output says where the {what} goes.")  # fmt: skip


def check_folder(
    folder: Path, recipe: Recipe, what: str, *, fixed: Mapping[str, Any] | None = None, free: Collection[str] = (),
    called: str = "search",
) -> None:  # fmt: skip
    """Raise `RunError` where the folder holds something else than `what`, or the same of another recipe; keys in `free`
    may be others. `called`: where what is `fixed` is asked for.
    """  # fmt: skip
    if not folder.exists() or (
        folder.is_dir() and {each.name for each in folder.iterdir() if each.name[0] != "."} <= {"lock"}
    ):
        return
    plan = read_plan(folder)
    if plan is None or plan.get("what") != what:
        held = f"a {plan['what']}" if plan and "what" in plan else "a run" if (folder / "run.json").exists() else None
        raise RunError(f"holds {held or 'other files'}", where=str(folder), fix="Name another folder: --output.")
    changed = _changed(plan["recipe"], shared(recipe), free) or _changed(
        plan.get("fixed", {}), dict(fixed or {}), key=called
    )
    if changed:
        raise RunError(f"holds a {what} of another recipe: {changed}", where=str(folder),
                       fix="Give the recipe as it was, or name another folder: --output.")  # fmt: skip


def keep_plan(
    folder: Path, recipe: Recipe, digest: str, what: str, *, fixed: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write down what was asked for, and `more`, or read what another process wrote first; return what stands there.

    Raises `RunError` where the data or the model, told by `digest`, are others now.
    """
    own = {"what": what, "recipe": shared(recipe), "fixed": dict(fixed or {}), "digest": digest, **(more or {})}
    plan = read_plan(folder)
    if plan is None:
        _publish(folder / PLAN, own)
        plan = read_plan(folder)
    if plan is None:
        raise RunError("cannot be read", where=str(folder / PLAN), fix="Name another folder: --output.")
    if plan["digest"] != digest:
        raise RunError("its data or its model is not what it was", where=str(folder),
                       fix="Put the files back as they were, or name another folder: --output.")  # fmt: skip
    return plan


def _publish(path: Path, plan: Mapping[str, Any]) -> None:
    """Write it whole; of several processes by the first one alone."""
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    write_json(new, plan)
    try:
        os.link(new, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        if not path.exists():
            new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def check_disk(folder: Path, ready: Mapping[str, Preparation], each: int) -> None:
    """Raise `RunError` where the disk is too small for `each` runs of each method: all keep their artifact, checkpoints
    are there of one run at a time.
    """  # fmt: skip
    if (folder / PLAN).exists():
        return  # some of it is written already
    kept = sum(4 * (one.facts["parameters"] + one.facts["trainable"]) * each for one in ready.values())
    needed = kept + max(one.facts["disk_needed"] for one in ready.values())
    check_free(folder, needed, "Do fewer runs, or put --output on a larger disk.")


def check_free(folder: Path, needed: int, fix: str) -> None:
    """Raise `RunError` where the disk that a folder is on, or will be, has fewer bytes free than the runs may write."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if needed > free:
        said = f"the runs may write {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free"
        raise RunError(said, where=str(folder), fix=fix)


def read_plan(folder: Path) -> dict[str, Any] | None:
    """Return what was written down; None where there is nothing, or something else."""
    try:
        plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return plan if isinstance(plan, dict) and {"recipe", "digest"} <= set(plan) else None


def _changed(before: Any, now: Any, free: Collection[str] = (), key: str = "") -> str:
    """The first value that differs, in words."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        names = [name for name in dict.fromkeys([*before, *now]) if key or name not in free]
        each = (_changed(before.get(n), now.get(n), free, f"{key}.{n}".lstrip(".")) for n in names)
        return next(filter(None, each), "")
    return "" if before == now else f"{key} was {shortly(before)} and is {shortly(now)}"


@contextmanager
def stoppable(folder: Path, done: Callable[[], str]) -> Iterator[None]:
    """Where the work inside is stopped, say how much of it is `done`, and that the same command goes on."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        raise Interrupted(f"stopped with {done()}", where=str(folder),
                          fix="Give the same command again to go on.") from None  # fmt: skip


def saying(show: bool) -> Say:
    """Return what tells progress on standard error, or tells nothing."""
    return (lambda line: print(line, file=sys.stderr, flush=True)) if show else silent  # noqa: T201


def silent(_line: str) -> None:
    """Tell nothing."""
