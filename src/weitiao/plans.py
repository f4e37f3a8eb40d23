"""A folder of many runs: where it is, and what was asked for, so that nothing else is ever mixed in."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weitiao.artifacts.artifact import write_json
from weitiao.candidates import digest_of, shortly
from weitiao.errors import RecipeError, RunError
from weitiao.preparation import Preparation
from weitiao.recipe import Recipe
from weitiao.trials import Say

PLAN = "plan.json"


def own_folder(parent: Path, recipe: Recipe) -> Path:
    """A folder named by model and recipe: the same command finds it again."""
    model = re.sub(r"[^a-z0-9]+", "-", recipe.model.source.rpartition("/")[2].rpartition(":")[2].lower()).strip("-")
    return parent / f"{model}-{digest_of([recipe.to_dict(), str(recipe.base.resolve())])[:8]}"


def refuse_output(recipe: Recipe, what: str) -> None:
    """Raise a `RecipeError` where the recipe says where its run goes: there will be many."""
    if recipe.output is not None:
        raise RecipeError(f"'{recipe.output}' is the folder of one run, and there will be many",
                          where=f"{recipe.origin('output')} (output)",
                          fix=f"Take it out: --set output=null. --output says where the {what} goes.")  # fmt: skip


def check_folder(folder: Path, recipe: Recipe, what: str) -> None:
    """Raise `RunError` where the folder holds something else than `what`, or the same of another recipe."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    plan = _plan(folder)
    if plan is None:
        held = "a run" if (folder / "run.json").exists() else "other files"
        raise RunError(f"holds {held}", where=str(folder), fix="Name another folder: --output.")
    if plan.get("what", what) != what:
        raise RunError(f"holds a {plan['what']}", where=str(folder), fix="Name another folder: --output.")
    changed = _changed(plan["recipe"], recipe.to_dict())
    if changed:
        raise RunError(f"holds a {what} of another recipe: {changed}", where=str(folder),
                       fix="Give the recipe as it was, or name another folder: --output.")  # fmt: skip


def keep_plan(folder: Path, recipe: Recipe, digest: str, what: str) -> None:
    """Write down what was asked for; `RunError` where the data or the model, told by `digest`, are others now."""
    plan = _plan(folder) or {}
    if plan.get("digest", digest) != digest:
        raise RunError("its data or its model is not what it was", where=str(folder),
                       fix="Put the files back as they were, or name another folder: --output.")  # fmt: skip
    write_json(folder / PLAN, {"what": what, "recipe": recipe.to_dict(), "digest": digest})


def check_disk(folder: Path, ready: Mapping[str, Preparation], each: int) -> None:
    """Raise `RunError` where the disk is too small for `each` runs of each method: all keep their artifact, checkpoints
    are there of one run at a time.
    """  # fmt: skip
    if (folder / PLAN).exists():
        return  # some of it is written already
    kept = sum(4 * (one.facts["parameters"] + one.facts["trainable"]) * each for one in ready.values())
    needed = kept + max(one.facts["disk_needed"] for one in ready.values())
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if needed > free:
        said = f"the runs may write {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free"
        raise RunError(said, where=str(folder), fix="Compare fewer methods, or put --output on a larger disk.")


def _plan(folder: Path) -> dict[str, Any] | None:
    try:
        plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    except FileNotFoundError:  # killed before there was one
        return {"recipe": {}} if folder.is_dir() and {path.name for path in folder.iterdir()} <= {"lock"} else None
    except (OSError, ValueError):
        return None
    return plan if isinstance(plan, dict) and "recipe" in plan else None


def _changed(before: Any, now: Any, key: str = "") -> str:
    """The first value that differs, in words; the method does not count, for all are compared."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        names = [name for name in before if key or name != "method"]
        return next(filter(None, (_changed(before[n], now.get(n), f"{key}.{n}".lstrip(".")) for n in names)), "")
    return "" if before == now else f"{key} was {shortly(before)} and is {shortly(now)}"


def saying(show: bool) -> Say:
    """Return what tells progress on standard error, or tells nothing."""
    return (lambda line: print(line, file=sys.stderr, flush=True)) if show else silent  # noqa: T201


def silent(_line: str) -> None:
    """Tell nothing."""
