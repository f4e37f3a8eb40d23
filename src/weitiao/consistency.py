"""Texts without labels, and copies of them that say the same, put beside the examples that a run learns from."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import auto_values, data
from weitiao.chats.kept import Kept
from weitiao.data.arrow import digest
from weitiao.errors import DataError, RecipeError
from weitiao.preparation import Preparation, Unlabelled, encode_split
from weitiao.recipe import Chosen, ConsistencySettings, Recipe
from weitiao.recipe.consistency import FILES
from weitiao.records import FILE, LINE, Example, Finding
from weitiao.sources.digests import file_digest
from weitiao.training.order import times_of
from weitiao.workshop.augment import Operator, Rewriter
from weitiao.workshop.copies import Copier, Copy, opened

if TYPE_CHECKING:
    from datasets import Dataset

OPERATORS = "consistency.operators"
MICRO = "training.micro_batch_tokens"
USUAL = {"uda": (0.8, "what UDA takes for images"), "fixmatch": (0.95, "what FixMatch takes")}  # thresholds


def with_unlabelled(ready: Preparation, *, settled: bool = False, silent: bool = False) -> Preparation:
    """Return the preparation with the recipe's texts without labels and copies of them; itself where it names none.

    The copies are made once, and kept in the cache. `settled`: the recipe's ``auto`` values stay what they are, as in a
    run that goes on. `silent`: no model is asked to rewrite a text, for steps that are only tried out. Raises a
    `WeitiaoError` where the file cannot be used, or the operators cannot change its texts.
    """
    wanted = ready.recipe.consistency
    if wanted is None:
        return ready
    where = ready.recipe.place("consistency.unlabelled")
    pool, findings = ready.pool(wanted.unlabelled, where)
    copies, told = _copies(ready, pool, wanted, silent=silent)
    pool, left_out = _with_copies(ready, pool, copies, wanted)
    texts, features = (encode_split(each, ready.task, ready.reader) for each in (pool, copies))
    ready = replace(ready, unlabelled=Unlabelled(texts, features, wanted.variants),
                    digest=digest(ready.digest, *map(data.fingerprint, (pool, copies))))  # fmt: skip
    recipe = _resolved(ready, settled=settled)
    facts = {"micro_batch_tokens": recipe.training.micro_batch_tokens,
             "unlabelled": {"texts": len(pool), "copies of each": wanted.variants}}  # fmt: skip
    notes = [Finding("note", where, problem) for problem in (*told, *left_out)]
    findings = [*ready.findings, *findings, *notes, _course(ready, wanted, where)]
    return replace(ready, recipe=recipe, findings=findings, facts=ready.facts | facts)


def _with_copies(
    ready: Preparation, pool: Dataset, copies: Dataset, wanted: ConsistencySettings
) -> tuple[Dataset, list[str]]:  # fmt: skip
    """The texts that there are copies of, and what is to be told of the others."""
    kept = np.unique(data.column_array(copies, "of"))
    if not len(kept):
        names = ", ".join(each.name for each in wanted.operators)
        raise DataError(f"none of the {len(pool):,} texts can be changed by {names}: there is nothing to compare them "
                        "with", where=ready.recipe.place(OPERATORS),
                        fix="Name operators that change such texts, for example typos.")  # fmt: skip
    if len(kept) == len(pool):
        return pool, []
    rows = data.select_rows(pool, kept, digest(data.fingerprint(pool), kept.astype("<i8").tobytes()))
    missing = len(pool) - len(kept)
    are = "is" if missing == 1 else "are"
    return rows, [f"{missing:,} of {len(pool):,} texts {are} left out: the operators change nothing in them"]


# --- copies


def _copies(
    ready: Preparation, pool: Dataset, wanted: ConsistencySettings, *, silent: bool
) -> tuple[Dataset, list[str]]:  # fmt: skip
    """Copies of the texts, as `data.copies_of` gives them, and what is to be told of making them."""
    recipe, told = ready.recipe, list[str]()
    chosen = [_found(each, recipe.base) for each in wanted.operators]
    operators = _opened(chosen, recipe)
    roles = [name for name in pool.column_names if name not in (LINE, FILE)]
    copier = Copier(operators, roles, variants=wanted.variants, together=wanted.together, seed=recipe.data_seed)
    writers = ", ".join(operator.name for operator in operators if isinstance(operator, Rewriter))
    if writers and len(roles) > 1:
        raise RecipeError(f"{writers} makes a new text of a whole one, and a row has {len(roles)} to read",
                          where=recipe.place(OPERATORS),
                          fix="Take operators that change words in their places.")  # fmt: skip
    if writers and silent:
        told.append(f"what {writers} writes is not in the forecast: what other operators make of the texts, or the "
                    "texts themselves, stand in for it")  # fmt: skip
    version = importlib.metadata.version("weitiao")  # another one may change texts otherwise
    what = [version, [each.model_dump(mode="json") for each in chosen], list(_contents(chosen)), roles, wanted.variants,
            recipe.data_seed]  # fmt: skip
    if writers and not silent:
        told += _rewritten(copier, list(pool[roles[0]]), data.fingerprint(pool), what)
    instead: list[Copy] = [{}] * wanted.variants if writers and silent else []

    def made(start: int, part: list[Example]) -> list[list[Copy]]:
        return [copier.copies(row, start + at) or instead for at, row in enumerate(part)]

    what += [wanted.together, sorted(copier.rewritten.items()), len(instead)]
    return data.copies_of(pool, roles, made, key=digest(json.dumps(what))), told


def _rewritten(copier: Copier, texts: list[str], *key: Any) -> list[str]:
    """Have the texts rewritten where they were not before, under `key`; return what is to be told of it.

    A model that stopped at its limit, asked again by another process or by a run that goes on, would have more of them.
    """
    kept = Kept("rewritten")
    found = kept.get(*key)
    if found is None:
        told = copier.rewrite(texts)
        kept.put({"told": told, "texts": [[*place, text] for place, text in copier.rewritten.items()]}, *key)
        return told
    copier.rewritten = {(row, copy): text for row, copy, text in found["texts"]}
    return [f"{each} (kept from before; another option of it, or an empty cache, has it asked again)"
            for each in found["told"]]  # fmt: skip


def _opened(chosen: list[Chosen], recipe: Recipe) -> list[Operator | Rewriter]:
    try:
        return opened(chosen, OPERATORS)
    except RecipeError as error:
        origin = recipe.place(OPERATORS).removesuffix(f" ({OPERATORS})").removesuffix(OPERATORS)
        where = f"{origin} ({error.where})" if origin else error.where
        raise RecipeError(error.problem, where=where, fix=error.fix) from None


def _found(chosen: Chosen, base: Path) -> Chosen:
    """The operator with files that its options name counted from the recipe's folder."""
    named = {name: getattr(chosen.options, name, None) for name in FILES}
    there = {name: str(base / value) for name, value in named.items()
             if isinstance(value, str) and (base / value).exists()}  # fmt: skip
    return chosen.model_copy(update={"options": chosen.options.model_copy(update=there)})


def _contents(chosen: list[Chosen]) -> Iterator[str]:
    """What stands for the content of each file, and of the weights in each folder, that an operator reads."""
    for each in chosen:
        for name in FILES:
            value: Any = getattr(each.options, name, None)
            path = Path(value) if isinstance(value, str) else Path()
            files = [path] if path.is_file() else sorted(path.rglob("*.safetensors")) if value else []
            yield from map(file_digest, files)


# --- what the recipe leaves open, and what is told


def _resolved(ready: Preparation, *, settled: bool) -> Recipe:
    """The recipe with its threshold, and micro-batches for as many texts as a step takes and the longest of all."""
    assert ready.recipe.consistency is not None
    recipe = auto_values.filled(ready.recipe, {"consistency.threshold": USUAL[ready.recipe.consistency.kind]})
    if settled or not recipe.origin(MICRO).startswith("auto:"):
        return recipe
    longest = max(ready.learned.values(), key=lambda split: int(data.column_array(split, "length").max()))
    rows = ready.recipe.consistency.ratio * recipe.training.batch_size  # of the larger part of a step
    larger = recipe.resolved({"training.batch_size": (rows, "the texts without labels of a step")})
    auto = auto_values.steps(larger, ready.task, ready.method, {"train": longest}, ready.pretrained, ready.device, 1)
    return recipe.resolved({MICRO: auto[MICRO]})


def _course(ready: Preparation, wanted: ConsistencySettings, where: str) -> Finding:
    """How often the texts come by; a warning where one step takes more than there are."""
    assert ready.unlabelled is not None
    there, a_step = len(ready.unlabelled.texts), wanted.ratio * ready.recipe.training.batch_size
    if a_step > there:
        return Finding("warning", where, f"a step takes {a_step:,} texts, and there are {there:,}: some come several "
                       "times in it, as other copies",
                       "Give more texts, or lower consistency.ratio or training.batch_size.")  # fmt: skip
    times = wanted.ratio * _an_epoch(ready) * ready.recipe.training.epochs / there
    more = "More training.epochs would let all of them come by." if times < 1 else ""
    return Finding("note", where, f"each text comes by about {times:.2g} times, {a_step:,} a step", more)


def _an_epoch(ready: Preparation) -> int:
    """Labelled rows of one, drawn as the recipe wants them."""
    train, columns = ready.features["train"], ready.task.columns
    times = times_of(train, ready.splits["train"], columns, ready.recipe.training.selection)
    return len(train) if times is None else data.rows_in_epoch(times)
