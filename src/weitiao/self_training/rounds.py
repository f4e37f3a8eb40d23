"""The rounds of a self-training: each chooses what the last model is sure of, and trains on that and the labels."""

from __future__ import annotations

import gc
import shutil
from itertools import count

from weitiao import models
from weitiao.comparison import finished
from weitiao.errors import Interrupted, WeitiaoError
from weitiao.records import Example
from weitiao.row_files import write_rows
from weitiao.self_training.choosing import Guess, quotas, surest
from weitiao.self_training.ongoing import Ongoing
from weitiao.self_training.predicting import guesses_of
from weitiao.self_training.trained import Round, best_of


def follow(on: Ongoing, seed: int) -> None:
    """Do all rounds of a seed, until there are no pseudo-labels that the round before had not."""
    for number in count():
        if number > on.rounds and finished(on.path(seed, number)) is None:
            return
        try:
            if number:
                _choose(on, seed, number)
                if on.nothing_new(seed, number):
                    return
                _let_go(on, seed, number)
            problem = _trained(on, seed, number)
        except Interrupted:
            raise
        except WeitiaoError as error:  # the pool could not be predicted
            problem = str(error)
        if problem:
            on.problems[seed, number] = problem
            on.say(f"error: {_title(on, seed, number)}: {problem}")
            return


def _trained(on: Ongoing, seed: int, number: int) -> str:
    path = on.path(seed, number)
    if finished(path):
        return ""
    if number:
        rows = sorted(on.pseudo_labels(seed, number), key=on.read_of)  # the same ones make the same run
        added = [{role: row[role] for role in on.ready.splits.columns.names} for row in rows]
        write_rows(on.file(path.name), [*on.labelled, *added])
    file = on.file(path.name if number else "labels")
    return on.to_its_end(path, seed, file, _title(on, seed, number))


def _choose(on: Ongoing, seed: int, number: int) -> None:
    """Write down what the model of the round before is sure of, once."""
    path = on.chosen_file(seed, number)
    if path.exists():
        return
    guesses = _guesses(on, seed, number)
    taken = surest(guesses, on.threshold, _most(on))
    write_rows(path, [_noted(on, row, guesses[row]) for row in taken])
    on.guesses_file(seed, number).unlink(missing_ok=True)
    on.say(f"{path.stem}: {len(taken):,} of {len(guesses):,} rows are taken")


def _noted(on: Ongoing, row: int, guess: Guess) -> Example:
    noted = {**on.pool.inputs[row], on.target: guess.label, "confidence": guess.confidence,
             "where": on.pool.places[row]}  # fmt: skip
    answer = on.pool.answers[row]
    return noted if answer is None else {**noted, "answer": answer}


def _guesses(on: Ongoing, seed: int, number: int) -> list[Guess]:
    on.say(f"{on.path(seed, number).name}: {len(on.pool.inputs):,} rows are predicted")

    def go_on(_done: int, _whole: int) -> None:
        if on.stop.is_set():
            raise Interrupted("stopped")

    kept = on.guesses_file(seed, number)
    with models.quiet():
        found = guesses_of(on.path(seed, number - 1), on.pool.inputs, kept, go_on)
    gc.collect()  # modules of a model point at each other: it would stay in memory beside the next training
    return found


def _most(on: Ongoing) -> dict[str, int] | None:
    return quotas([row[on.target] for row in on.labelled], on.per_class, on.shares)


def _let_go(on: Ongoing, seed: int, number: int) -> None:
    """Remove the models that no round needs any more: round 0 and the best so far stay."""
    there = on.finished(seed)[:number]
    best = best_of([Round(n, validation=run.score) for n, run in enumerate(there)], greater=on.greater(there[0]))
    for before in range(1, number):
        if before != best:
            shutil.rmtree(on.path(seed, before) / "artifact", ignore_errors=True)


def _title(on: Ongoing, seed: int, number: int) -> str:
    learned = f", {len(on.pseudo_labels(seed, number)):,} pseudo-labels" if number else ""
    return f"round {number} of {on.rounds}, seed {seed}: {len(on.labelled):,} labels{learned}"
