"""What a strategy would have brought: a labelled training split is labelled again, round by round.

::

    simulations/all-minilm-1f3a9c02/
      plan.json                            the recipe that all runs share
      data/test.jsonl                      what all are measured on; unlabelled.jsonl where the recipe names such texts
      chosen/margin-seed0-200rows.json     the rows of each round, in the order in which they were chosen
      data/margin-seed0-200rows.jsonl      the same with their labels
      runs/margin-seed0-200rows/           an ordinary run, its model not kept; all strategies share runs/first-seed0
      simulation.html                      for people; simulation.json holds its numbers
"""

from __future__ import annotations

import gc
import json
import re
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from weitiao import models, registry
from weitiao.acquisition.choosing import check_fits, check_prepared, choose, keys_of, named, new_rows
from weitiao.acquisition.outcome import Ended, told
from weitiao.acquisition.simulated import RANDOM, Simulated
from weitiao.acquisition.simulation_page import write_simulation
from weitiao.artifacts.artifact import write_json
from weitiao.artifacts.run_folder import holding
from weitiao.candidates import Candidate, as_candidates, digest_of, shortly
from weitiao.comparison import finished, numbered
from weitiao.errors import DataError, Interrupted, RecipeError, RunError, WeitiaoError
from weitiao.evaluation.verdicts import DRAWN, Drawn, read_drawn
from weitiao.facts import environment
from weitiao.plans import check_folder, check_free, keep_plan, own_folder, refuse_output, saying, silent, stoppable
from weitiao.preparation import Preparation, as_recipe, prepare, refuse_errors
from weitiao.recipe import Chosen, Recipe
from weitiao.records import Example, SplitName
from weitiao.row_files import reading, rows_of, with_groups, write_rows, write_unlabelled
from weitiao.training.fit import stop_on_signal
from weitiao.trials import Say, Trial

SIMULATIONS = Path("simulations")
WHAT = "simulation"
PAGE, NUMBERS = "simulation.html", "simulation.json"
WHY = "the simulation's"  # the origin of what it sets
STRATEGIES = (RANDOM, "margin", "badge", "cluster-uncertain")
FIRST = "first"  # the name of the round that all strategies share
Named = str | Mapping[str, Any]


def simulate_labelling(
    recipe: Recipe | Path | str | Mapping[str, Any],
    strategies: Sequence[Named] = STRATEGIES,
    *,
    start: int = 100,
    step: int = 100,
    until: int = 1000,
    seeds: int | Sequence[int] = 3,
    first: Named = RANDOM,
    output: str | Path | None = None,
    show: bool = False,
) -> Simulated:
    """Replay a labelled training split with each strategy, and tell how many labels each would have needed.

    A round trains by the recipe on the rows that are labelled so far and is measured on the recipe's test split (its
    validation, where there is no test); then the strategy chooses `step` more of the training split, `until` so many
    are labelled. The first `start` rows are chosen by `first`, the same for all strategies of a seed. Where the recipe
    cuts validation from train, each round cuts it from its labelled rows (whole groups of `data.group`), for labels
    count wherever they are used.
    `strategies` are names of the registry's kind ``acquisition``, or maps with options; `random` is always one of them,
    and the others are compared with it. `seeds` is their number, counted from the recipe's `training.seed`, or the
    seeds themselves. Called again with the same `output` it goes on where it was stopped; other strategies, more seeds
    and a larger `until` may be asked for then. `show` tells progress on standard error.
    Raises `WeitiaoError` before the first run where anything is wrong, and `Interrupted` after ctrl-C or SIGTERM.
    """
    recipe = as_recipe(recipe)
    refuse_output(recipe, WHAT)
    chosen, begun, numbers = _strategies(strategies), named(first), numbered(seeds, recipe.training.seed)
    sizes = _sizes(start, step, until)
    fixed = {"start": start, "step": step, "first": begun.model_dump(mode="json")}
    folder = Path(output) if output is not None else own_folder(SIMULATIONS, recipe, WHAT, fixed)
    check_folder(folder, recipe, WHAT, fixed=fixed, called=WHAT)
    [candidate] = as_candidates([recipe.method.model_dump(mode="json")])
    ready = _prepared(candidate, recipe, folder)
    _check(ready, chosen, begun)
    pool = _Pool.of(ready)
    pool.check(sizes)
    folder.mkdir(parents=True, exist_ok=True)
    check_free(folder, ready.facts["disk_needed"] + 8 * ready.facts["parameters"] * len(chosen),
               "Put --output on a larger disk.")  # fmt: skip
    with holding(folder, f"this {WHAT}"), stop_on_signal() as stop:
        keep_plan(folder, recipe, ready.digest, WHAT, fixed=fixed)
        return _Simulation(
            folder, recipe, candidate, chosen, begun, sizes, numbers, ready, pool, stop, saying(show)
        ).carry_out()


# --- before the first run


def _strategies(given: Sequence[Named]) -> dict[str, Chosen]:
    """Name for people -> strategy, random the first."""
    found: dict[str, Chosen] = {}
    for each in (RANDOM, *([given] if isinstance(given, str | Mapping) else given)):
        chosen = named(each)
        name = called(chosen)
        if name in found and name != RANDOM:
            raise RecipeError(f"'{name}' stands there twice", where="strategies", fix="Give one of them other options.")
        found[name] = chosen
    return found


def called(chosen: Chosen) -> str:
    """Return a strategy's name with the options that are not their defaults: ``bald (passes 20)``."""
    usual = type(chosen.options)().model_dump(mode="json")
    own = {key: value for key, value in chosen.options.model_dump(mode="json").items() if value != usual[key]}
    listed = ", ".join(f"{key.replace('_', ' ')} {shortly(value)}" for key, value in own.items())
    return chosen.name + (f" ({listed})" if listed else "")


def _sizes(start: int, step: int, until: int) -> list[int]:
    for name, value, least in (("start", start, 1), ("step", step, 1), ("until", until, start + 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise RecipeError(f"found {value}", where=name, fix=f"Give a number of labels from {least:,} up.")
    return [*range(start, until, step), until]


def _prepared(candidate: Candidate, recipe: Recipe, folder: Path) -> Preparation:
    """Prepare the whole training split; validation stays in it where each round cuts its own."""
    own = candidate.recipe(recipe, recipe.training.seed, folder / "runs" / FIRST)
    with models.quiet():
        ready = prepare(own)
        if "test" in ready.splits and recipe.data.validation_size:
            ready = prepare(own.resolved({"data.validation_size": (0.0, WHY)}))
    refuse_errors(ready.findings)
    if all(name == "train" for name in ready.features):
        raise DataError("there is neither a test nor a validation split to measure on", where="data",
                        fix="Set data.test_size, or give a file as data.test.")  # fmt: skip
    return ready


def _check(ready: Preparation, strategies: Mapping[str, Chosen], first: Chosen) -> None:
    task = ready.task
    if task.parts or task.layout is not None:
        raise RecipeError(f"'{task.name}' does not learn from single rows of a table, and these are labelled here",
                          where="task", fix="Take a task such as text-classification.")  # fmt: skip
    check_fits(first, task, trained=False)
    for chosen in strategies.values():
        check_fits(chosen, task, trained=True)
        check_prepared(chosen, task)
        drops = "dropout" in registry.get("acquisition", chosen.name).needs
        if drops and not any(models.dropouts(ready.pretrained.config).values()):
            raise RecipeError(f"'{chosen.name}' needs a model with dropout, and {ready.pretrained.source} has none",
                              where="strategies", fix="Take margin, entropy or badge.")  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Pool:
    """The training split as a pool."""

    examples: list[Example]  # with their targets, and their groups where there are such
    inputs: list[Example]  # without
    distinct: int  # rows with different texts

    @classmethod
    def of(cls, ready: Preparation) -> _Pool:
        split, targets = ready.splits["train"], {column.role for column in ready.task.columns if column.target}
        examples = rows_of(split, ready.splits.columns.names)
        inputs: list[Example] = [{k: v for k, v in row.items() if k not in targets} for row in examples]
        roles = [column.role for column in ready.task.columns if not column.target and column.role in inputs[0]]
        distinct = len(new_rows(keys_of(inputs, roles), (), np.empty(0, np.uint64)))
        return cls(list(with_groups(examples, ready.splits.group_keys.get("train"))), inputs, distinct)

    def check(self, sizes: Sequence[int]) -> None:
        """Raise a `DataError` where more labels are asked for than there are."""
        if sizes[-1] > self.distinct:
            raise DataError(f"{sizes[-1]:,} labels are asked for, and the training split has {self.distinct:,} "
                            "different texts", where="until", fix=f"Ask for {self.distinct:,} at most.")  # fmt: skip


# --- the rounds


@dataclass(frozen=True)
class _Simulation:
    folder: Path
    recipe: Recipe
    candidate: Candidate
    strategies: dict[str, Chosen]
    first: Chosen
    sizes: list[int]
    seeds: list[int]
    ready: Preparation
    pool: _Pool
    stop: threading.Event
    say: Say
    problems: dict[tuple[str, int], str] = field(default_factory=dict)  # (strategy, seed): why it came to no end

    def carry_out(self) -> Simulated:
        """Do all rounds, seed by seed, then write the page."""
        self.say(f"{WHAT} of {len(self.strategies)} strategies with {len(self.seeds)} seeds in {self.folder}")
        with stoppable(self.folder, self._done):
            self._write_fixed()
            for seed in self.seeds:
                self._follow(seed)
        return self._written()

    def _follow(self, seed: int) -> None:
        """All rounds of a seed, those of all strategies with as many labels after each other."""
        self._round(FIRST, seed, 0)
        for place in range(1, len(self.sizes)):
            for name in self.strategies:
                before = FIRST if place == 1 else name
                if self.problems.get((before, seed)):
                    self.problems[name, seed] = self.problems[before, seed]
                else:
                    self._round(name, seed, place)
                if before != FIRST:
                    self._let_go(before, seed, place - 1)
            if place == 1:
                self._let_go(FIRST, seed, 0)
        for name in self.strategies:
            self._let_go(name, seed, len(self.sizes) - 1)

    def _round(self, name: str, seed: int, place: int) -> None:
        """Choose and train; nothing where it is finished."""
        if finished(self._path(name, seed, place)):
            return
        try:
            rows = self._chosen(name, seed, place)
            write_rows(self._file(name, seed, place), [self.pool.examples[row] for row in rows])
            problem = self._trained(name, seed, place)
        except Interrupted:
            raise
        except WeitiaoError as error:  # a strategy that does not fit this model
            problem = str(error)
        if problem:
            self.problems[name, seed] = problem
            self.say(f"error: {self._title(name, seed, place)}: {problem}")

    def _trained(self, name: str, seed: int, place: int) -> str:
        path = self._path(name, seed, place)
        trial = Trial(lambda: self._recipe(name, seed, place), path, self.folder / "recipes" / f"{path.name}.json",
                      self._title(name, seed, place))  # fmt: skip
        return trial.to_its_end(say=self.say, stop=self.stop, show=self.say is not silent)

    def _chosen(self, name: str, seed: int, place: int) -> list[int]:
        """The rows that are labelled in a round, in the order in which they were chosen; written down once."""
        note = self.folder / "chosen" / f"{self._path(name, seed, place).name}.json"
        if note.exists():
            return [int(row) for row in json.loads(note.read_text(encoding="utf-8"))["rows"]]
        strategy = self.first if place == 0 else self.strategies[name]
        before = FIRST if place == 1 else name
        known = self._chosen(before, seed, place - 1) if place else []
        begun = time.monotonic()
        query = choose(
            self.ready.recipe, self.pool.inputs, known, strategy=strategy.model_dump(mode="json"),
            number=self.sizes[place] - len(known), seed=drawn_seed(seed, place), guesses=False, tell=self._go_on,
            artifact=self._model(before, seed, place - 1) if place else None,
        )  # fmt: skip
        gc.collect()  # modules of a model point at each other: it would stay in memory beside the next one
        note.parent.mkdir(parents=True, exist_ok=True)
        noted = {"rows": [*known, *query.rows], "scores": query.scores, "seconds": time.monotonic() - begun,
                 "strategy": strategy.model_dump(mode="json")}  # fmt: skip
        write_json(note, noted)
        return [*known, *query.rows]

    def _go_on(self, _what: str, _done: int, _whole: int) -> None:
        if self.stop.is_set():
            raise Interrupted("stopped")

    def _model(self, name: str, seed: int, place: int) -> Path:
        """The model of a round, trained again where it is not there any more: strategies may be added later."""
        path = self._path(name, seed, place)
        if not (path / "artifact").exists():
            shutil.rmtree(path, ignore_errors=True)
            problem = self._trained(name, seed, place)
            if problem:
                raise RunError(f"its model is needed again, and {problem}", where=str(path))
        return path

    def _let_go(self, name: str, seed: int, place: int) -> None:
        shutil.rmtree(self._path(name, seed, place) / "artifact", ignore_errors=True)

    def _done(self) -> str:
        rounds = [(FIRST, 0), *((name, place) for name in self.strategies for place in range(1, len(self.sizes)))]
        done = sum(finished(self._path(name, seed, place)) is not None for seed in self.seeds for name, place in rounds)
        return f"{done} of {len(rounds) * len(self.seeds)} rounds finished"

    # --- where things are, and how a round is trained

    def _path(self, name: str, seed: int, place: int) -> Path:
        size = "" if place == 0 else f"-{self.sizes[place]}rows"
        return self.folder / "runs" / f"{slug(FIRST if place == 0 else name)}-seed{seed}{size}"

    def _file(self, name: str, seed: int, place: int) -> Path:
        return self.folder / "data" / f"{self._path(name, seed, place).name}.jsonl"

    def _title(self, name: str, seed: int, place: int) -> str:
        who = "the first labels" if place == 0 else name
        return f"[{self._done().partition(' rounds')[0]} done] {who}, seed {seed}, {self.sizes[place]:,} labels"

    def _recipe(self, name: str, seed: int, place: int) -> Recipe:
        own = self.candidate.recipe(self.recipe, seed, self._path(name, seed, place))
        files: dict[SplitName, Path] = {"train": self._file(name, seed, place)}
        files |= {split: self._split(split) for split in self._fixed}
        cut = "test" in self._fixed and "validation" not in self._fixed
        size = self.recipe.data.validation_size if cut else 0.0
        return reading(own, self.ready, files, why=WHY, validation_size=size)

    @cached_property
    def _fixed(self) -> list[SplitName]:
        """The splits that are the same for all rounds."""
        return [name for name in self.ready.splits if name != "train"]

    def _split(self, name: SplitName) -> Path:
        return self.folder / "data" / f"{name}.jsonl"

    def _write_fixed(self) -> None:
        write_unlabelled(self.ready, self.folder / "data")
        for name in self._fixed:
            if not self._split(name).exists():
                write_rows(self._split(name), rows_of(self.ready.splits[name], self.ready.splits.columns.names))

    # --- what came of them

    def _drawn(self, name: str, seed: int) -> list[Drawn] | None:
        """What each round of a strategy scored with a seed; None where one is missing."""
        paths = [self._path(name, seed, place) for place in range(len(self.sizes))]
        return [read_drawn(path / DRAWN)[""] for path in paths] if all(map(finished, paths)) else None

    def _written(self) -> Simulated:
        simulated = told(self._ended())
        write_json(self.folder / NUMBERS, simulated.to_dict())
        write_simulation(simulated, self.folder / PAGE)
        return simulated

    def _ended(self) -> Ended:
        rounds = {name: {seed: drawn for seed in self.seeds if (drawn := self._drawn(name, seed))}
                  for name in self.strategies}  # fmt: skip
        return Ended(
            recipe=self.recipe, method=self.candidate.name, first=called(self.first), strategies=self.strategies,
            sizes=self.sizes, seeds=self.seeds, pool=self.pool.distinct, fixed=self._fixed, rounds=rounds,
            seconds={name: self._seconds(name, list(own)) for name, own in rounds.items()}, problems=self.problems,
            environment=environment(self.ready.facts), folder=str(self.folder),
        )  # fmt: skip

    def _seconds(self, name: str, seeds: Sequence[int]) -> float | None:
        notes = [self.folder / "chosen" / f"{self._path(name, seed, place).name}.json"
                 for seed in seeds for place in range(1, len(self.sizes))]  # fmt: skip
        took = [json.loads(note.read_text(encoding="utf-8"))["seconds"] for note in notes]
        return float(np.mean(took)) if took else None


def slug(name: str) -> str:
    """Return a strategy's name as part of a file's."""
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")
    return plain if len(plain) <= 60 else f"{plain[:50]}-{digest_of(name)[:8]}"


def drawn_seed(seed: int, place: int) -> int:
    """Return the seed that a round chooses by."""
    return int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
