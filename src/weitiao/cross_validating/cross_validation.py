"""Cross-validation: every example is tested on once, by a model that was trained on the others.

::

    folds/all-minilm-1f3a9c02/
      plan.json                          the recipe that all runs share, and into how many folds it is cut
      recipes/lora-repeat0-fold1.json    the recipe of each run
      runs/lora-repeat0-fold1/           an ordinary run
      searches/repeat0-fold1/            instead, where a search is nested: an ordinary search
      cv.html                            for people; cv.json holds its numbers
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weitiao.artifacts.run_folder import holding
from weitiao.candidates import Named, as_candidates
from weitiao.comparison import checked, rate_notes
from weitiao.cross_validating.nested import Nested
from weitiao.cross_validating.plain import Plain
from weitiao.cross_validating.plan import WHAT, Jobs, Plan, cut, folded
from weitiao.errors import RecipeError
from weitiao.evaluation.cross_validated import CrossValidated
from weitiao.plans import check_disk, check_folder, keep_plan, own_folder, refuse_output, saying
from weitiao.preparation import as_recipe
from weitiao.recipe import Recipe
from weitiao.searching import drawing
from weitiao.searching.space import Space
from weitiao.training.fit import stop_on_signal

FOLDS = Path("folds")


def cross_validate(
    recipe: Recipe | Path | str | Mapping[str, Any],
    folds: int = 5,
    repeats: int = 1,
    *,
    methods: Sequence[Named] | None = None,
    rope: float | None = None,
    keep_test: bool = False,
    jobs: Jobs = "auto",
    output: str | Path | None = None,
    skip_unfit: bool = False,
    nested: bool = False,
    show: bool = False,
) -> CrossValidated:
    """Cut the training examples into `folds`, train on all but one and test on that one, for each; `repeats` times.

    Folds are stratified by label and whole by `data.group`; the same text is never in two. What early stopping looks at
    is cut from the part that is trained on. A test split that is given as a file stays aside; one that would be cut by
    `test_size` does with `keep_test`. `methods` are as in `compare`; the recipe's own when absent. `rope` is the
    difference of scores that is practically none, in the score's unit. `jobs` is how many runs go on at once; ``auto``
    by processors and memory. Each is an ordinary run in a process of its own; called again with the same `output` it
    goes on where it was stopped, and may have more methods and repeats. `nested`: the recipe's section `search` is
    carried out inside each fold, and the fold measures what it chose: how good is the search, not one setting.
    Raises `WeitiaoError` before the first run where anything is wrong, and `Interrupted` after ctrl-C or SIGTERM.
    """
    recipe = as_recipe(recipe)
    _check_numbers(folds, repeats, jobs, rope)
    refuse_output(recipe, WHAT)
    if nested:
        _check_nested(recipe, methods, jobs)
    candidates = as_candidates(methods or [recipe.method.model_dump(mode="json")])
    planned = folded(recipe, 1, folds, 0, keep_test)
    what = f"nested {WHAT}" if nested else WHAT
    fixed = recipe.search.fixed if nested and recipe.search else {}
    folder = Path(output) if output is not None else own_folder(FOLDS, planned, what, fixed)
    check_folder(folder, planned, what, fixed=fixed, free=("method",))
    notes = rate_notes(recipe, candidates)
    ready, unfit = checked(candidates, planned, folder, skip_unfit)
    first = next(iter(ready.values()))
    parts = cut(recipe, first, folds, repeats, keep_test)
    if not nested:
        check_disk(folder, ready, len(parts))
    folder.mkdir(parents=True, exist_ok=True)
    with holding(folder, f"this {WHAT}"), stop_on_signal() as stop:
        keep_plan(folder, planned, first.digest, what, fixed=fixed)
        plan = Plan(folder, recipe, parts, folds, repeats, rope, keep_test, first, notes, stop, saying(show))
        if nested:
            return Nested(plan, candidates[0]).carry_out()
        return Plain(plan, candidates, ready, unfit).carry_out(jobs)


def _check_nested(recipe: Recipe, methods: Sequence[Named] | None, jobs: Jobs) -> None:
    if recipe.search is None:
        raise RecipeError("there is nothing to search in each fold", where="--nested",
                          fix="Give the recipe a section `search`, as for `weitiao search`.")  # fmt: skip
    if methods:
        raise RecipeError("the search chooses in each fold, and methods are named beside it", where="--methods",
                          fix="Leave it out.")  # fmt: skip
    if jobs != "auto":
        raise RecipeError("a search has workers of its own", where="--jobs", fix="Set search.workers.")
    if recipe.search.folds is not None:
        raise RecipeError("one fold is tested on, the search sees the others alone", where=recipe.place("search.folds"),
                          fix="Take it out.")  # fmt: skip
    drawing.require()
    Space(recipe).check()


def _check_numbers(folds: int, repeats: int, jobs: Jobs, rope: float | None) -> None:
    for name, value, least in (("folds", folds, 2), ("repeats", repeats, 1), ("jobs", jobs, 1)):
        if value != "auto" and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise RecipeError(f"found {value}", where=name, fix=f"Give a number from {least} up.")
    if rope is not None and not 0 <= rope < float("inf"):
        raise RecipeError(f"found {rope}", where="rope", fix="Give a difference of the score from 0 up, such as 0.01.")
