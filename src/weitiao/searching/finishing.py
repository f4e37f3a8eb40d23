"""The end of a search: its winner is measured on what no trial looked at, and all is written down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weitiao.artifacts.artifact import write_json
from weitiao.errors import RunError
from weitiao.evaluation.page import write
from weitiao.facts import environment
from weitiao.preparation import open_examples
from weitiao.recipe import Recipe
from weitiao.searching import drawing
from weitiao.searching.ongoing import Ongoing
from weitiao.searching.page import write_search
from weitiao.searching.searched import (
    FEWEST,
    ROUGH,
    OnTest,
    Searched,
    Tried,
    advice_of,
    best_of,
    chosen_on,
    tested_of,
)
from weitiao.searching.space import WHY, names_of
from weitiao.trials import TESTED, measure_on_test

PAGE, NUMBERS, BEST = "search.html", "search.json", "best.yaml"


def finish(search: Ongoing) -> Searched:
    """Measure the winner on test, write the recipe, the numbers and the page, and return what was found."""
    tried = search.tried()
    best = best_of(tried, search.objective)
    if best is None or best.score is None:
        raise _nothing(search, tried)
    tested, baselines = _tested(search, best, tried)
    shares, note = _importance(search, tried)
    open_ones = sum(each.state == "unfinished" for each in tried)
    if open_ones:
        search.notes.append(f"the time was up before {open_ones} trial{'s' if open_ones > 1 else ''} came to an end: "
                            "the same command with a longer time goes on with it")  # fmt: skip
    if not search.grid and search.space.size is not None and search.all_drawn() and len(tried) < (search.trials or 0):
        search.notes.append(f"all {search.space.size} points of the space were tried")
    recipe = _best_recipe(search, best)
    searched = Searched(
        task=search.recipe.task.name, model=search.recipe.model.source, score=search.objective,
        strategy=search.settings.strategy, pruning=search.settings.pruning.model_dump(),
        seeds=sorted({part.seed for part in search.parts}), folds=search.settings.folds,
        trials=tried, best=best.number, validation=best.score, values=best.point, test=tested,
        baselines=baselines, importance=shares, importance_note=note, notes=search.notes,
        advice=advice_of(search.objective, best, tested, baselines, chosen_on(search.settings.folds)),
        space={key: each.model_dump(mode="json", exclude_defaults=True)
               for key, each in search.space.dimensions.items()},
        recipe_yaml=recipe.to_yaml(), environment=environment(search.ready.facts), folder=str(search.folder),
    )  # fmt: skip
    write(searched.recipe_yaml, search.folder / BEST)
    write_json(search.folder / NUMBERS, searched.to_dict())
    write_search(searched, search.folder / PAGE)
    return searched


def _nothing(search: Ongoing, tried: Sequence[Tried]) -> RunError:
    if any(each.state == "unfinished" for each in tried) or not tried:
        return RunError(f"{search.settings.time} is too little for one trial", where="search.time",
                        fix="Give more: the same command goes on with what was begun.")  # fmt: skip
    problem = next((each.problem for each in tried if each.problem), "all were stopped early")
    return RunError(f"no trial came to its end: {problem}", where=str(search.folder))


def _best_recipe(search: Ongoing, best: Tried) -> Recipe:
    values = {"search": None, "data.seed": search.recipe.data_seed}
    recipe = search.space.at(best.point).changed({key: (value, WHY) for key, value in values.items()})
    return recipe.moved(search.folder)


def _tested(search: Ongoing, best: Tried, tried: Sequence[Tried]) -> tuple[OnTest | None, dict[str, float]]:
    """Measure the winner on the test split, where there is one, once; and the simple baselines beside it."""
    if "test" not in open_examples(search.recipe, search.ready.task)[0]:
        return None, {}
    before = sum((search.folder / each.runs[0] / TESTED).exists() for each in tried
                 if each.runs and each.number != best.number)  # fmt: skip
    for number, name in enumerate(best.runs):
        if not (search.folder / name / TESTED).exists():
            problem = _test(search, search.folder / name, baselines=number == 0)
            if problem:
                search.notes.append(f"the winner could not be measured on test: {problem}")
                return None, {}
    runs = [json.loads((search.folder / name / TESTED).read_text(encoding="utf-8")) for name in best.runs]
    if before:
        search.notes.append(f"the test split was looked at {before + 1} times: trials were added after a winner had "
                            "been measured")  # fmt: skip
    baselines = {
        name: each["values"][search.objective]["value"] for name, each in runs[0]["baselines"].items()
        if search.objective in each["values"]
    }  # fmt: skip
    return tested_of(runs, search.objective, search.recipe.evaluation.confidence, before), baselines


def _test(search: Ongoing, run: Path, *, baselines: bool) -> str:
    search.say(f"{run.name}: measured on test")
    own = search.recipe.evaluation
    values: dict[str, Any] = {"evaluation.bootstrap": own.bootstrap,
                              "evaluation.baselines": own.baselines and baselines}  # fmt: skip
    values |= {"data.fold": None} if search.settings.folds else {}  # the test split that all folds were kept from
    stored = search.folder / "recipes" / f"{run.name}-test.json"
    return measure_on_test(run, stored, {key: (value, WHY) for key, value in values.items()}, stop=search.stop)


def _importance(search: Ongoing, tried: Sequence[Tried]) -> tuple[dict[str, float], str]:
    """The share of each dimension, and what to think of it."""
    ended = [each for each in tried if each.state in ("finished", "same") and each.score is not None]
    keys = [key for key in search.space.dimensions if all(key in each.point for each in ended)]
    others = [key for key in search.space.dimensions if key not in keys]
    if len(ended) < FEWEST or len(keys) < 2:
        rare = len(ended) < FEWEST
        few = f"{len(ended)} trials came to their end" if rare else "only one dimension is in all trials"
        return {}, f"not told: {few}, and that says too little"
    if len({each.score for each in ended}) == 1:
        return {}, "not told: all trials have the same score"
    note = ""
    if len(ended) < ROUGH * len(keys):
        note = f"a hint: {len(ended)} trials say little about {len(keys)} dimensions"
    if any(each.state == "pruned" for each in tried):
        note += f"{'; ' if note else ''}of the trials that came to their end alone, which are the better ones"
    if others:
        names = ", ".join(names_of(others).values())
        note += f"{'; ' if note else ''}without {names}, which not all trials have"
    return drawing.importance(search.study, keys, search.recipe.training.seed), note
