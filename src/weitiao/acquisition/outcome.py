"""What came of a simulation: the curve of each strategy, each beside random, and what is to be known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from weitiao.acquisition.curves import labels_needed, over_curve
from weitiao.acquisition.simulated import RANDOM, Course, Point, Simulated, advise, ordered
from weitiao.comparison import split_note
from weitiao.errors import RunError
from weitiao.evaluation.by_seed import compare_by_seed
from weitiao.evaluation.verdicts import Drawn, Pair
from weitiao.metrics.words import greater_is_better
from weitiao.recipe import Chosen, Recipe
from weitiao.records import SplitName

Rounds = Mapping[int, Sequence[Drawn]]  # seed -> what each round scored


@dataclass(frozen=True)
class Ended:
    """A simulation whose rounds have come to their end. Keys are names of strategies."""

    recipe: Recipe
    method: str
    first: str  # how the first labels were chosen
    strategies: Mapping[str, Chosen]  # random is one of them
    sizes: list[int]  # labels of each round
    seeds: list[int]
    pool: int  # rows with different texts
    fixed: Sequence[SplitName]  # splits that were the same for all rounds; one of them is measured on
    rounds: Mapping[str, Rounds]  # of the seeds whose rounds are all there
    seconds: Mapping[str, float | None]  # that choosing once took, on average
    problems: Mapping[tuple[str, int], str]  # (strategy, seed): why it came to no end
    environment: dict[str, str]
    folder: str


def told(ended: Ended) -> Simulated:
    """Tell what came of a simulation. Raises `RunError` where random has no curve that others could stand beside."""
    random = ended.rounds[RANDOM]
    if not random:
        why = next(iter(ended.problems.values()), "its rounds did not come to their end")
        raise RunError(f"random, which all are compared with, has no curve: {why}", where=ended.folder)
    one = next(iter(random.values()))[-1]
    target = float(np.mean([drawn[-1].value for drawn in random.values()]))
    split = "test" if "test" in ended.fixed else "validation"
    simulated = Simulated(
        task=ended.recipe.task.name, model=ended.recipe.model.source, method=ended.method, score=one.score,
        greater_is_better=greater_is_better(one.score), split=split, examples=one.examples, pool=ended.pool,
        confidence=ended.recipe.evaluation.confidence, sizes=ended.sizes, seeds=ended.seeds, first=ended.first,
        target=target, courses=ordered(_courses(ended, target), one.score), notes=_notes(ended, split),
        recipe_yaml=ended.recipe.to_yaml(), environment=ended.environment, folder=ended.folder,
    )  # fmt: skip
    simulated.advice.extend(advise(simulated))
    return simulated


def _courses(ended: Ended, target: float) -> list[Course]:
    against, at_end = _pairs(ended, whole=True), _pairs(ended, whole=False)
    return [_course(ended, name, target, against.get(name), at_end.get(name)) for name in ended.rounds]


def _pairs(ended: Ended, *, whole: bool) -> dict[str, Pair]:
    """Each strategy beside random on the seeds that all have: over the whole curve, or with all labels."""
    there = {name: own for name, own in ended.rounds.items() if own}
    shared = [seed for seed in ended.seeds if all(seed in own for own in there.values())]
    if not shared or len(there) < 2:
        return {}
    drawn = {name: [over_curve(ended.sizes, own[seed]) if whole else own[seed][-1] for seed in shared]
             for name, own in there.items()}  # fmt: skip
    random = drawn.pop(RANDOM)
    pairs = compare_by_seed(drawn, random, RANDOM, ended.recipe.evaluation.confidence)
    return {pair.first: pair for pair in pairs}


def _course(ended: Ended, name: str, target: float, against: Pair | None, at_end: Pair | None) -> Course:
    strategy, own = ended.strategies[name].model_dump(mode="json"), ended.rounds[name]
    if not own:
        why = next((problem for (who, _), problem in ended.problems.items() if who == name), "not finished")
        return Course(name, strategy, [], problem=why)
    curves = [[each.value for each in drawn] for drawn in own.values()]
    score = next(iter(own.values()))[0].score
    return Course(
        name, strategy, list(own),
        points=[Point(size, [curve[place] for curve in curves]) for place, size in enumerate(ended.sizes)],
        over_curve=[over_curve(ended.sizes, drawn).value for drawn in own.values()],
        needed=[labels_needed(ended.sizes, curve, target, score) for curve in curves],
        against=against, at_end=at_end, seconds=ended.seconds[name],
    )  # fmt: skip


def _notes(ended: Ended, split: str) -> list[str]:
    notes = [f"{name}, seed {seed}: {problem}" for (name, seed), problem in ended.problems.items()]
    notes += split_note(split)
    if len(ended.seeds) == 1:
        notes.append("one seed: another one begins with other labels and may turn the verdicts round; take 3 or more")
    if "validation" in ended.fixed and split == "test":
        notes.append("validation was given whole from the first round on; its labels are not counted")
    if len(ended.strategies) > 2:
        notes.append("the best of several strategies on one test set looks a little better than it is")
    return notes
