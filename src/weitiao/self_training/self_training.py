"""`self_train`: labels, and a pool of texts without them.

::

    self-trainings/all-minilm-1f3a9c02/
      plan.json                              what was asked for
      data/labels.jsonl                      the labelled training rows; validation.jsonl and test.jsonl beside it
      guesses/round1-seed0.jsonl             what the model of round 0 says of the pool, until rows are chosen
      pseudo-labels/round1-seed0.jsonl       the rows that were chosen, with their label and its confidence
      data/round1-seed0.jsonl                what round 1 learns from: the labels, then these
      runs/round1-seed0/                     an ordinary run
      runs/as-long-as-round1-seed0/          the labels alone, for as many steps as the round that is taken
      self-training.html                     for people; self-training.json holds its numbers
"""

from __future__ import annotations

import gc
import json
import shutil
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, get_args

import numpy as np

from weitiao import data, models, registry
from weitiao.artifacts.artifact import write_json
from weitiao.artifacts.run_folder import Run, holding
from weitiao.candidates import Candidate, as_candidates, digest_of
from weitiao.comparison import finished, numbered
from weitiao.errors import DataError, Interrupted, RecipeError, RunError
from weitiao.evaluation.by_seed import compare_by_seed
from weitiao.evaluation.evaluate import take_rows
from weitiao.evaluation.verdicts import Drawn, Pair
from weitiao.facts import environment
from weitiao.metrics.words import greater_is_better
from weitiao.plans import check_disk, check_folder, keep_plan, own_folder, refuse_output, saying, silent, stoppable
from weitiao.preparation import Preparation, as_recipe, prepare, refuse_errors
from weitiao.recipe import Recipe
from weitiao.records import FILE, LINE, Example, SplitName
from weitiao.row_files import reading, rows_of, write_rows
from weitiao.self_training.choosing import Guess, Shares, classes_of, quotas, right, surest
from weitiao.self_training.page import write_self_training
from weitiao.self_training.predicting import guesses_of
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
from weitiao.tasks.base import GivesProbabilities, Task
from weitiao.training.fit import stop_on_signal
from weitiao.trials import TESTED, Say, Trial, measure_on_test

SELF_TRAININGS = Path("self-trainings")
WHAT = "self-training"
PAGE, NUMBERS = "self-training.html", "self-training.json"
WHY = "the self-training's"  # the origin of what it sets
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
    pool = _Pool.of(str(unlabelled), ready)
    check_disk(folder, {candidate.name: ready}, KEPT * len(numbers))
    folder.mkdir(parents=True, exist_ok=True)
    with holding(folder, f"this {WHAT}"), stop_on_signal() as stop:
        keep_plan(folder, recipe, digest_of([ready.digest, pool.digest]), WHAT, fixed=fixed)
        return _SelfTraining(
            folder, recipe, candidate, rounds, threshold, per_class, shares, numbers, ready, pool, stop, saying(show)
        ).carry_out()


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


@dataclass(frozen=True, eq=False)
class _Pool:
    """The rows that may become pseudo-labels."""

    inputs: list[Example]
    answers: list[Any]  # the label cells of the file, where it has them; else None
    places: list[str]  # where each stands, such as ``pool.csv:12``
    notes: list[str]
    digest: str

    @classmethod
    def of(cls, source: str, ready: Preparation) -> _Pool:
        """Open the pool: a path counts from the current folder, as on a command line."""
        there = str(Path(source).resolve()) if Path(source).exists() else source
        rows, findings = data.open_unlabelled(there, ready.recipe.data, ready.task.columns, ready.splits,
                                              base=ready.recipe.base, where="unlabelled", answers=True)  # fmt: skip
        target = _target(ready.task)
        examples = take_rows(rows, np.arange(len(rows)))
        roles = [role for role in ready.splits.columns.names if role != target]
        return cls(
            [{role: example[role] for role in roles} for example in examples],
            [example.get(target) for example in examples], [f"{example[FILE]}:{example[LINE]}" for example in examples],
            [finding.problem for finding in findings], data.fingerprint(rows),
        )  # fmt: skip


def _target(task: Task) -> str:
    return next(column.role for column in task.columns if column.target)


# --- the rounds


@dataclass(frozen=True)
class _SelfTraining:
    folder: Path
    recipe: Recipe
    candidate: Candidate
    rounds: int
    threshold: float
    per_class: int | None
    shares: Shares
    seeds: list[int]
    ready: Preparation
    pool: _Pool
    stop: threading.Event
    say: Say
    problems: dict[tuple[int, int], str] = field(default_factory=dict)  # (seed, round): why it came to no end
    notes: list[str] = field(default_factory=list)

    def carry_out(self) -> SelfTrained:
        """Do all rounds, seed by seed, measure what is taken on test, then write the page."""
        self.say(f"{WHAT} of {self.rounds} rounds with {len(self.seeds)} "
                 f"seed{'s' if len(self.seeds) > 1 else ''} in {self.folder}")  # fmt: skip
        with stoppable(self.folder, self._done):
            self._write_splits()
            for seed in self.seeds:
                self._follow(seed)
            chains = {seed: chain for seed in self.seeds if (chain := self._chain(seed))}
            if not chains:
                raise RunError("no round came to its end: " + next(iter(self.problems.values()), ""),
                               where=str(self.folder))  # fmt: skip
            if self._tested:
                chains = {seed: self._measured(chain) for seed, chain in chains.items()}
        return self._written(list(chains.values()))

    def _follow(self, seed: int) -> None:
        """All rounds of a seed, until there are no pseudo-labels that the round before had not."""
        for number in count():
            if number > self.rounds and not self._path(seed, number).exists():
                return
            if number:
                self._choose(seed, number)
                self._let_go(seed, number)
                if self._nothing_new(seed, number):
                    return
            problem = self._trained(seed, number)
            if problem:
                self.problems[seed, number] = problem
                self.say(f"error: {self._title(seed, number)}: {problem}")
                return

    def _trained(self, seed: int, number: int) -> str:
        path = self._path(seed, number)
        if finished(path):
            return ""
        if number:
            rows = sorted(self._pseudo_labels(seed, number), key=self._read)  # the same ones make the same run
            roles = self.ready.splits.columns.names
            write_rows(self._file(path.name), [*self._labelled, *({role: row[role] for role in roles} for row in rows)])
        file = self._file(path.name if number else "labels")
        return self._to_its_end(path, seed, file, self._title(seed, number))

    def _to_its_end(self, path: Path, seed: int, train: Path, title: str, times: float = 1.0) -> str:
        trial = Trial(lambda: self._recipe(seed, path, train, times), path,
                      self.folder / "recipes" / f"{path.name}.json", title)  # fmt: skip
        return trial.to_its_end(say=self.say, stop=self.stop, show=self.say is not silent)

    def _recipe(self, seed: int, path: Path, train: Path, times: float) -> Recipe:
        own = self.candidate.recipe(self.recipe, seed, path)
        files: dict[SplitName, Path] = {"train": train}
        files |= {name: self._file(name) for name in self._fixed}
        own = reading(own, self.ready, files, why=WHY)
        values: dict[str, Any] = {"evaluation.test": False} if "test" in files else {}
        values |= {} if times == 1 else {"training.epochs": self.recipe.training.epochs * times}
        return own.resolved({key: (value, WHY) for key, value in values.items()})

    # --- pseudo-labels

    def _choose(self, seed: int, number: int) -> None:
        """Write down what the model of the round before is sure of, once."""
        path = self._chosen_file(seed, number)
        if path.exists():
            return
        guesses = self._guesses(seed, number)
        taken = surest(guesses, self.threshold, self._most)
        write_rows(path, [self._noted(row, guesses[row]) for row in taken])
        self._guesses_file(seed, number).unlink(missing_ok=True)
        self.say(f"{path.stem}: {len(taken):,} of {len(guesses):,} rows are taken")

    def _noted(self, row: int, guess: Guess) -> Example:
        noted = {**self.pool.inputs[row], self._target: guess.label, "confidence": guess.confidence,
                 "where": self.pool.places[row]}  # fmt: skip
        answer = self.pool.answers[row]
        return noted if answer is None else {**noted, "answer": answer}

    def _pseudo_labels(self, seed: int, number: int) -> list[Example]:
        """The rows of a round, the surest first, as they are written down."""
        lines = self._chosen_file(seed, number).read_text(encoding="utf-8").removesuffix("\n")
        return [json.loads(line) for line in lines.split("\n")] if lines else []

    def _read(self, row: Example) -> str:
        """What a model reads of a row: no two of the pool have the same."""
        return json.dumps([row[role] for role in self.ready.splits.columns.names if role != self._target])

    def _nothing_new(self, seed: int, number: int) -> str:
        """Why a round would bring nothing, in words; "" where it has pseudo-labels that the one before had not."""
        rows = self._pseudo_labels(seed, number)
        if not rows:
            return f"no row of the pool is {self.threshold:.0%} sure in round {number}: there are no more rounds"
        before = self._pseudo_labels(seed, number - 1) if number > 1 else []
        one, other = ({(self._read(row), repr(row[self._target])) for row in each} for each in (rows, before))
        same = f"round {number} would learn from the same pseudo-labels as round {number - 1}: there are no more rounds"
        return same if one == other else ""

    def _guesses(self, seed: int, number: int) -> list[Guess]:
        self.say(f"{self._path(seed, number).name}: {len(self.pool.inputs):,} rows are predicted")

        def go_on(_done: int, _whole: int) -> None:
            if self.stop.is_set():
                raise Interrupted("stopped")

        with models.quiet():
            found = guesses_of(self._path(seed, number - 1), self.pool.inputs, self._guesses_file(seed, number), go_on)
        gc.collect()  # modules of a model point at each other: it would stay in memory beside the next training
        return found

    @cached_property
    def _most(self) -> dict[str, int] | None:
        return quotas([row[self._target] for row in self._labelled], self.per_class, self.shares)

    def _let_go(self, seed: int, number: int) -> None:
        """Remove the models that no round needs any more: round 0 and the best so far stay."""
        there = self._finished(seed)[:number]
        best = best_of([Round(n, validation=run.score) for n, run in enumerate(there)], greater=self._greater(there[0]))
        for before in range(1, number):
            if before != best:
                shutil.rmtree(self._path(seed, before) / "artifact", ignore_errors=True)

    # --- where things are

    def _path(self, seed: int, number: int) -> Path:
        return self.folder / "runs" / f"round{number}-seed{seed}"

    def _file(self, name: str) -> Path:
        return self.folder / "data" / f"{name}.jsonl"

    def _chosen_file(self, seed: int, number: int) -> Path:
        return self.folder / "pseudo-labels" / f"{self._path(seed, number).name}.jsonl"

    def _guesses_file(self, seed: int, number: int) -> Path:
        return self.folder / "guesses" / f"{self._path(seed, number).name}.jsonl"

    def _title(self, seed: int, number: int) -> str:
        learned = f", {len(self._pseudo_labels(seed, number)):,} pseudo-labels" if number else ""
        return f"round {number} of {self.rounds}, seed {seed}: {len(self._labelled):,} labels{learned}"

    def _done(self) -> str:
        done = sum(len(self._finished(seed)) for seed in self.seeds)
        return f"{done} of {(self.rounds + 1) * len(self.seeds)} rounds finished"

    @cached_property
    def _target(self) -> str:
        return _target(self.ready.task)

    @cached_property
    def _labelled(self) -> list[Example]:
        return rows_of(self.ready.splits["train"], self.ready.splits.columns.names)

    @cached_property
    def _fixed(self) -> list[SplitName]:
        """The splits that are the same for all rounds."""
        return [name for name in self.ready.splits if name != "train"]

    def _write_splits(self) -> None:
        for split in self.ready.splits:
            file = self._file("labels" if split == "train" else split)
            if not file.exists():
                write_rows(file, rows_of(self.ready.splits[split], self.ready.splits.columns.names))

    # --- what came of them

    def _finished(self, seed: int) -> list[Run]:
        """The runs of the rounds that have come to their end."""
        found: list[Run] = []
        while (run := finished(self._path(seed, len(found)))) is not None:
            found.append(run)
        return found

    @staticmethod
    def _greater(run: Run) -> bool:
        return greater_is_better(str(run.primary))

    def _chain(self, seed: int) -> Chain | None:
        runs = self._finished(seed)
        if not runs:
            return None
        rounds = [self._round(seed, number, run) for number, run in enumerate(runs)]
        ended, after = "", self._chosen_file(seed, len(runs))
        if (seed, len(runs)) in self.problems:
            rounds.append(replace(self._round(seed, len(runs)), problem=self.problems[seed, len(runs)]))
        elif after.exists():
            ended = self._nothing_new(seed, len(runs))
        return Chain(seed, rounds, best_of(rounds, greater=self._greater(runs[0])), ended)

    def _round(self, seed: int, number: int, run: Run | None = None) -> Round:
        rows = self._pseudo_labels(seed, number) if number else []
        guesses = [Guess(row[self._target], row["confidence"]) for row in rows]
        found, known = right(guesses, [row.get("answer") for row in rows])
        classes = [name for row in self._labelled for name in classes_of(row[self._target])]
        return Round(
            number, counted([guess.classes for guess in guesses], list(Counter(classes))) if number else {}, len(rows),
            len(rows) / len(self.pool.inputs), min((guess.confidence for guess in guesses), default=None),
            found if known else None, known, run.score if run else None, run.seconds if run else None,
            str(self._path(seed, number).relative_to(self.folder)),
        )  # fmt: skip

    @property
    def _tested(self) -> bool:
        return "test" in self._fixed and self.recipe.evaluation.test

    def _longer(self, chain: Chain) -> Path:
        return self.folder / "runs" / f"as-long-as-round{chain.best}-seed{chain.seed}"

    def _sides(self, chain: Chain) -> dict[str, Path]:
        """What is measured on test: where the labels alone are best, all three are the same run."""
        alone, taken = self._path(chain.seed, 0), self._path(chain.seed, chain.best)
        return {ALONE: alone, TRAINED: taken, LONGER: self._longer(chain) if chain.best else alone}

    def _measured(self, chain: Chain) -> Chain:
        """Measure a chain on test, with a training on the labels alone for as many steps beside it."""
        sides = self._sides(chain)
        if chain.best and not finished(sides[LONGER]):
            times = 1 + chain.taken.taken / len(self._labelled)
            title = f"seed {chain.seed}: {LONGER} as round {chain.best}"
            problem = self._to_its_end(sides[LONGER], chain.seed, self._file("labels"), title, times)
            if problem:
                self.notes.append(f"{title}: {problem}")
                del sides[LONGER]
        found: dict[str, float] = {}
        for which, path in sides.items():
            problem = "" if (path / TESTED).exists() else self._test(path)
            if problem:
                self.notes.append(f"{path.name} could not be measured on test: {problem}")
            else:
                found[which] = self._drawn(path).value
        looked = {path.parent for path in self.folder.glob(f"runs/*-seed{chain.seed}/{TESTED}")} - set(sides.values())
        if looked:
            self.notes.append(f"seed {chain.seed}: another round was measured on test before, as more rounds were "
                              "asked for later")  # fmt: skip
        return replace(chain, test=found)

    def _test(self, path: Path) -> str:
        self.say(f"{path.name}: measured on test")
        return measure_on_test(path, self.folder / "recipes" / f"{path.name}-test.json",
                               {"evaluation.baselines": (False, WHY)}, stop=self.stop)  # fmt: skip

    @staticmethod
    def _drawn(path: Path) -> Drawn:
        return Drawn(**json.loads((path / TESTED).read_text(encoding="utf-8"))["drawn"][""])

    def _pair(self, chains: Sequence[Chain], other: str, called: str) -> Pair | None:
        """Self-trained beside another way, on the seeds that have both; None where it is the labels alone itself."""
        shared = [self._sides(chain) for chain in chains if {TRAINED, other} <= set(chain.test)]
        if not shared or not any(sides[TRAINED] != sides[ALONE] for sides in shared):
            return None
        ours, theirs = ([self._drawn(sides[which]) for sides in shared] for which in (TRAINED, other))
        return compare_by_seed({TRAINED: ours}, theirs, called, self.recipe.evaluation.confidence)[0]

    def _written(self, chains: list[Chain]) -> SelfTrained:
        any_run = self._finished(chains[0].seed)[0]
        best = chosen(chains, greater=self._greater(any_run))
        features = self.ready.features
        found = SelfTrained(
            task=self.recipe.task.name, model=self.recipe.model.source, method=self.candidate.name,
            score=str(any_run.primary), greater_is_better=self._greater(any_run), labels=len(self._labelled),
            pool=len(self.pool.inputs), examples={name: len(features[name]) for name in self._fixed},
            threshold=self.threshold, per_class=self.per_class, shares=self.shares,
            confidence=self.recipe.evaluation.confidence, seeds=self.seeds, chains=chains,
            run=str(self._path(best.seed, best.best)), against=self._pair(chains, ALONE, "the labels alone"),
            longer=self._pair(chains, LONGER, "longer training"), recipe_yaml=self.recipe.to_yaml(),
            environment=environment(self.ready.facts), folder=str(self.folder),
        )  # fmt: skip
        found = replace(found, advice=advise(found), notes=[*self.pool.notes, *self.notes,
                                                            *notes_of(found, self.problems)])  # fmt: skip
        write_json(self.folder / NUMBERS, found.to_dict())
        write_self_training(found, self.folder / PAGE)
        return found
