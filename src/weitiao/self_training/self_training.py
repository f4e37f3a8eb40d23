"""`self_train`: labels, and a pool of texts without them.

::

    self-trainings/all-minilm-1f3a9c02/
      plan.json                              what was asked for
      data/labels.jsonl                      the labelled training rows; validation.jsonl and test.jsonl beside it, and
                                             unlabelled.jsonl where the recipe names such texts, for consistency say
      guesses/round1-seed0.jsonl             what the model of round 0 says of the pool, until rows are chosen
      pseudo-labels/round1-seed0.jsonl       the rows that were chosen, with their label and its confidence
      data/round1-seed0.jsonl                what round 1 learns from: the labels, then these
      runs/round1-seed0/                     an ordinary run
      runs/as-many-steps-as-round1-seed0/    the labels alone, for as many steps as the round that is taken
      self-training.html                     for people; self-training.json holds its numbers
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from weitiao import models, registry
from weitiao.artifacts.artifact import write_json
from weitiao.artifacts.run_folder import holding
from weitiao.candidates import Candidate, as_candidates, digest_of
from weitiao.comparison import numbered
from weitiao.errors import DataError, RecipeError, RunError
from weitiao.plans import check_disk, check_folder, keep_plan, own_folder, refuse_output, saying, stoppable
from weitiao.preparation import Preparation, as_recipe, prepare, refuse_errors
from weitiao.recipe import Recipe
from weitiao.self_training.choosing import Shares
from weitiao.self_training.finishing import chain_of, measured, told
from weitiao.self_training.ongoing import WHY, Ongoing
from weitiao.self_training.page import write_self_training
from weitiao.self_training.pool import Pool
from weitiao.self_training.rounds import follow
from weitiao.self_training.trained import SelfTrained
from weitiao.tasks.base import GivesProbabilities, Task
from weitiao.training.fit import stop_on_signal

SELF_TRAININGS = Path("self-trainings")
WHAT = "self-training"
PAGE, NUMBERS = "self-training.html", "self-training.json"
KEPT = 5  # models of a seed that may be there at once


def self_train(
    recipe: Recipe | Path | str | Mapping[str, Any],
    unlabelled: str | Path,
    *,
    rounds: int = 3,
    threshold: float = 0.9,
    per_class: int | None = None,
    shares: Shares = "equal",
    seeds: int | Sequence[int] = 1,
    output: str | Path | None = None,
    show: bool = False,
) -> SelfTrained:
    """Train on labels, label a pool by what was trained, train afresh on both, and so on; say whether it helped.

    Round 0 trains by the recipe on its labels. In each round after it the model of the round before predicts
    `unlabelled`, a file of texts; the rows whose confidence is at least `threshold` are taken with their predicted
    label (pseudo-labels: Lee 2013), `per_class` of each class at most, the surest first (class-balanced self-training:
    Zou et al. 2018), and a model is trained from the pretrained one on these and the labels together. Rows are chosen
    anew each time. With `shares` "labels" `per_class` is the mean over classes, in the proportion of the labels.
    Validation chooses the round, and may choose round 0. It is never added to, nor is test, which is measured once for
    round 0, for the round that is taken, and for the labels alone trained for as many steps as that. Rows of the pool
    whose text stands in any split are left out. Where the pool has the column of the labels, it is only looked at to
    tell how many pseudo-labels are right.

    `seeds` is their number, counted from the recipe's `training.seed`, or the seeds themselves; each has its own
    rounds. Called again with the same `output` it goes on where it was stopped; more rounds and seeds may be asked for
    then. `show` tells progress on standard error.
    Raises `WeitiaoError` before the first run where anything is wrong, and `Interrupted` after ctrl-C or SIGTERM.
    """
    recipe = as_recipe(recipe)
    _check_asked(recipe, rounds, threshold, per_class, shares)
    numbers = numbered(seeds, recipe.training.seed)
    fixed = {"threshold": threshold, "per_class": per_class, "shares": shares}
    folder = Path(output) if output is not None else own_folder(
        SELF_TRAININGS, recipe, WHAT, {**fixed, "unlabelled": str(unlabelled)})  # fmt: skip
    check_folder(folder, recipe, WHAT, fixed=fixed, called=WHAT)
    [candidate] = as_candidates([recipe.method.model_dump(mode="json")])
    ready = _prepared(candidate, recipe, folder)
    pool = Pool.of(str(unlabelled), ready)
    check_disk(folder, {candidate.name: ready}, KEPT * len(numbers))
    folder.mkdir(parents=True, exist_ok=True)
    with holding(folder, f"this {WHAT}"), stop_on_signal() as stop:
        keep_plan(folder, recipe, digest_of([ready.digest, pool.digest]), WHAT, fixed=fixed)
        return _carried_out(Ongoing(
            folder, recipe, candidate, rounds, threshold, per_class, shares, numbers, ready, pool, stop, saying(show)
        ))  # fmt: skip


# --- before the first run


def _check_asked(recipe: Recipe, rounds: int, threshold: float, per_class: int | None, shares: str) -> None:
    refuse_output(recipe, WHAT)
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1:
        raise RecipeError(f"found {threshold}", where="threshold",
                          fix="Give the least confidence of a pseudo-label: over 0, 1 at most.")  # fmt: skip
    for name, value in (("rounds", rounds), ("per_class", per_class)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise RecipeError(f"found {value}", where=name, fix="Give a number from 1 up.")
    if shares not in get_args(Shares):
        raise RecipeError(f"found '{shares}'", where="shares", fix="Take equal or labels.")
    if shares != "equal" and per_class is None:
        raise RecipeError("there is no number to deal out in the proportion of the labels", where="shares",
                          fix="Give per_class: how many of each class on average.")  # fmt: skip
    task: Task = registry.get("task", recipe.task.name)(recipe.task.options)
    if task.parts or task.layout is not None or not isinstance(task, GivesProbabilities):
        raise _no_classes(recipe)


def _no_classes(recipe: Recipe) -> RecipeError:
    return RecipeError(f"'{recipe.task.name}' does not give each text a class, and such are learned here",
                       where=recipe.place("task"), fix="Take text-classification.")  # fmt: skip


def _prepared(candidate: Candidate, recipe: Recipe, folder: Path) -> Preparation:
    """Prepare as if to train on the labels, with all splits: no row of the pool may stand in one of them."""
    own = candidate.recipe(recipe, recipe.training.seed, folder / "runs" / candidate.slug)
    with models.quiet():
        ready = prepare(own.resolved({"evaluation.test": (True, WHY)}))
    refuse_errors(ready.findings)
    task = ready.task
    if isinstance(task, GivesProbabilities) and task.chooses() == "tags":
        raise _no_classes(recipe)
    if "validation" not in ready.features:
        raise DataError("there is no validation split to choose the round by", where="data",
                        fix="Set data.validation_size, or give a file as data.validation.")  # fmt: skip
    return ready


def _carried_out(on: Ongoing) -> SelfTrained:
    """Do all rounds, seed by seed, measure what is taken on test, then write the page."""
    on.say(f"{WHAT} of {on.rounds} rounds with {len(on.seeds)} seed{'s' if len(on.seeds) > 1 else ''} in {on.folder}")
    with stoppable(on.folder, on.done):
        on.write_splits()
        for seed in on.seeds:
            follow(on, seed)
        chains = [chain for seed in on.seeds if (chain := chain_of(on, seed))]
        if not chains:
            raise RunError("no round came to its end: " + next(iter(on.problems.values()), ""), where=str(on.folder))
        if on.tested:
            chains = [measured(on, chain) for chain in chains]
    found = told(on, chains)
    write_json(on.folder / NUMBERS, found.to_dict())
    write_self_training(found, on.folder / PAGE)
    return found
