"""A shortlist put to the test: the models on this machine, and methods on them, race on the data for a given time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from weitiao.candidates import Named
from weitiao.errors import WeitiaoError
from weitiao.probing.crossing import METHODS
from weitiao.probing.probe import probe
from weitiao.probing.probed import Probed
from weitiao.recipe import Recipe
from weitiao.recommendation.looking import seen_from
from weitiao.recommendation.page import RECIPE, RUNS
from weitiao.recommendation.recommended import Choice, Recommendation, recipe_of

MOST = 4  # models that race; the best by the rules


def with_probed(
    found: Recommendation, folder: Path, methods: Sequence[Named] = (), *, time: str | None = None, show: bool = False
) -> Recommendation:
    """Return the recommendation with what `probe` measured: its advice first, the recipe of what it recommends.

    The models are the best of those on this machine that are not ruled out; `methods` are those of their own when none
    are given, `time` is for all of it. The runs are kept in ``probe`` within `folder`: called again, it goes on. Raises
    a `WeitiaoError` where there are not two candidates on this machine, and as `probe` does.
    """
    local = found.local[:MOST]
    if not local:
        raise WeitiaoError("no model on this machine is left to be tried", where="--probe",
                           fix="Name folders with models: --models. Or fetch one: weitiao check RECIPE.")  # fmt: skip
    sources = {seen_from(folder, choice.source): choice for choice in local}
    tried = {source: list(methods) or [choice.method] for source, choice in sources.items()}
    if sum(map(len, tried.values())) < 2:
        only = methods[0] if methods else local[0].method
        raise WeitiaoError(f"{local[0].source} with {only} is the only candidate on this machine", where="--probe",
                           fix="Name methods: --methods head,lora,full. Or folders with models: --models.")  # fmt: skip
    recipe = _shared(found, local[0], folder)
    models = [{"source": source, METHODS: own} for source, own in tried.items()]
    told = probe(recipe, models, time=time, output=folder / RUNS, show=show)
    advice = [f"Measured: {sentence[:1].lower()}{sentence[1:]}" for sentence in told.advice[:1]] + told.advice[1:]
    before = f"By the rules alone: {found.advice[0][:1].lower()}{found.advice[0][1:]}"
    return replace(found, probed=told, advice=[*advice, before, *found.advice[1:]],
                   recipe=_best(found, told, sources, folder) or found.recipe)  # fmt: skip


def _shared(found: Recommendation, first: Choice, folder: Path) -> Recipe:
    """The recipe that all share, as if it stood in the folder; budgets are for one run alone."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".probing-{RECIPE}"
    try:
        beside.write_text(recipe_of(replace(found, budgets={}), first, folder), encoding="utf-8")
        return Recipe.read(beside)
    finally:
        beside.unlink(missing_ok=True)


def _best(found: Recommendation, told: Probed, sources: dict[str, Choice], folder: Path) -> str:
    """The recipe of the candidate that is recommended; "" where none is, or none that was compared with another."""
    if told.recommended is None or len(told.ranking) < 2:
        return ""
    row = told[told.recommended].row
    choice = sources[row.differs["model"]["source"]]
    given = {name: value for name, value in row.method.items() if name != "name"}
    method = json.dumps(row.method, ensure_ascii=False) if given else str(row.method["name"])
    measured = replace(choice, method=method, why_method="measured: see the page",
                       reasons=("the best of those that were tried on these data", *choice.reasons))  # fmt: skip
    return recipe_of(found, measured, folder)
