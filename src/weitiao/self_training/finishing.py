"""What came of a self-training: its rounds, measured on test when validation has chosen, beside longer training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from weitiao.artifacts.run_folder import Run, find_run
from weitiao.auto_values import epoch_steps
from weitiao.comparison import finished
from weitiao.costs import spent
from weitiao.evaluation.by_seed import adjusted, pair_by_seed
from weitiao.evaluation.verdicts import Drawn, Pair
from weitiao.facts import environment
from weitiao.self_training.choosing import Guess, classes_of, right
from weitiao.self_training.ongoing import Ongoing
from weitiao.self_training.trained import (
    ALONE,
    LONGER,
    TRAINED,
    Chain,
    Round,
    SelfTrained,
    advise,
    best_of,
    chosen,
    counted,
    notes_of,
)
from weitiao.trials import TESTED, measure_on_test


def chain_of(on: Ongoing, seed: int) -> Chain | None:
    """Return the rounds of a seed, without what test says; None where none came to its end."""
    runs = on.finished(seed)
    if not runs:
        return None
    rounds = [_round(on, seed, number, run) for number, run in enumerate(runs)]
    ended, after = "", on.chosen_file(seed, len(runs))
    if (seed, len(runs)) in on.problems:
        rounds.append(replace(_round(on, seed, len(runs)), problem=on.problems[seed, len(runs)]))
    elif after.exists():
        ended = on.nothing_new(seed, len(runs))
    return Chain(seed, rounds, best_of(rounds, greater=on.greater(runs[0])), ended)


def _round(on: Ongoing, seed: int, number: int, run: Run | None = None) -> Round:
    rows = on.pseudo_labels(seed, number) if number else []
    guesses = [Guess(row[on.target], row["confidence"]) for row in rows]
    classes = list(dict.fromkeys(name for row in on.labelled for name in classes_of(row[on.target])))
    found, known = right(guesses, [row.get("answer") for row in rows], classes)
    return Round(
        number, counted([guess.classes for guess in guesses], classes) if number else {}, len(rows),
        len(rows) / len(on.pool.inputs), min((guess.confidence for guess in guesses), default=None),
        found if known else None, known, run.score if run else None, run.seconds if run else None,
        str(on.path(seed, number).relative_to(on.folder)),
    )  # fmt: skip


def _longer(on: Ongoing, chain: Chain) -> Path:
    return on.folder / "runs" / f"as-many-steps-as-round{chain.best}-seed{chain.seed}"


def _sides(on: Ongoing, chain: Chain) -> dict[str, Path]:
    """What is measured on test: where the labels alone are best, all three are the same run."""
    alone, taken = on.path(chain.seed, 0), on.path(chain.seed, chain.best)
    return {ALONE: alone, TRAINED: taken, LONGER: _longer(on, chain) if chain.best else alone}


def measured(on: Ongoing, chain: Chain) -> Chain:
    """Measure a chain on test, with a training on the labels alone for as many steps beside it."""
    sides = _sides(on, chain)
    if chain.best and not finished(sides[LONGER]):
        title = f"seed {chain.seed}: {LONGER} as round {chain.best}"
        problem = on.to_its_end(sides[LONGER], chain.seed, on.file("labels"), title, _as_many_steps(on, sides[TRAINED]))
        if problem:
            on.notes.append(f"{title}: {problem}")
            del sides[LONGER]
    found: dict[str, float] = {}
    for which, path in sides.items():
        problem = "" if (path / TESTED).exists() else _test(on, path)
        if problem:
            on.notes.append(f"{path.name} could not be measured on test: {problem}")
        else:
            found[which] = _drawn(path).value
    looked = {path.parent for path in on.folder.glob(f"runs/*-seed{chain.seed}/{TESTED}")} - set(sides.values())
    if looked:
        on.notes.append(
            f"seed {chain.seed}: another round was measured on test before, as more rounds were asked for later"
        )
    _keep(on, chain)
    return replace(chain, test=found)


def _keep(on: Ongoing, chain: Chain) -> None:
    """Of what has been measured keep the models of round 0, of the best and of the last round."""
    last = max(each.number for each in chain.rounds if not each.problem)
    kept = {on.path(chain.seed, number) for number in (0, chain.best, last)}
    for path in set(on.folder.glob(f"runs/*-seed{chain.seed}")) - kept:
        shutil.rmtree(path / "artifact", ignore_errors=True)


def _as_many_steps(on: Ongoing, taken: Path) -> dict[str, Any]:
    """What makes a training on the labels alone do the steps that a run did: measured as often, and not ended early."""
    an_epoch = epoch_steps(on.ready.recipe, on.ready.task, on.ready.splits, on.ready.features)
    every = find_run(taken).recipe.training.evaluate_every
    return {"training.epochs": spent(taken).steps / an_epoch, "training.evaluate_every": every,
            "training.patience": None}  # fmt: skip


def _test(on: Ongoing, path: Path) -> str:
    on.say(f"{path.name}: measured on test")
    return measure_on_test(path, on.folder / "recipes" / f"{path.name}-test.json", {}, stop=on.stop)


def _drawn(path: Path) -> Drawn:
    return Drawn(**json.loads((path / TESTED).read_text(encoding="utf-8"))["drawn"][""])


def _pairs(on: Ongoing, chains: Sequence[Chain], score: str) -> dict[str, Pair]:
    """Self-trained beside the other ways, on the seeds that have both; none where it is the labels alone itself."""
    confidence, found = on.recipe.evaluation.confidence, {}
    for other, called in ((ALONE, "the labels alone"), (LONGER, "longer training")):
        shared = [_sides(on, chain) for chain in chains if {TRAINED, other} <= set(chain.test)]
        if any(sides[TRAINED] != sides[ALONE] for sides in shared):
            ours, theirs = ([_drawn(sides[which]) for sides in shared] for which in (TRAINED, other))
            found[other] = pair_by_seed((TRAINED, ours), (called, theirs), confidence)
    return dict(zip(found, adjusted(list(found.values()), score, confidence), strict=True))


def told(on: Ongoing, chains: list[Chain]) -> SelfTrained:
    """Return all that is to be told of these chains."""
    any_run = on.finished(chains[0].seed)[0]
    best = chosen(chains, greater=on.greater(any_run))
    features, pairs = on.ready.features, _pairs(on, chains, str(any_run.primary))
    found = SelfTrained(
        task=on.recipe.task.name, model=on.recipe.model.source, method=on.candidate.name,
        score=str(any_run.primary), greater_is_better=on.greater(any_run), labels=len(on.labelled),
        pool=len(on.pool.inputs), examples={name: len(features[name]) for name in on.fixed},
        threshold=on.threshold, per_class=on.per_class, shares=on.shares,
        confidence=on.recipe.evaluation.confidence, seeds=on.seeds, chains=chains,
        run=str(on.path(best.seed, best.best)), against=pairs.get(ALONE), longer=pairs.get(LONGER),
        recipe_yaml=on.recipe.to_yaml(),
        environment=environment(on.ready.facts), folder=str(on.folder),
    )  # fmt: skip
    notes = [*on.pool.notes, *on.notes, *notes_of(found, on.problems)]
    return replace(found, advice=advise(found), notes=notes)
