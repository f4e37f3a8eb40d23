"""Which model, and which method on it? Measured on one's own data, within a given time.

::

    probes/all-minilm-1f3a9c02/
      plan.json                             the recipe that all runs share
      took.json                             seconds of each run
      recipes/lora-on-minilm-375rows-seed0.json
      runs/lora-on-minilm-375rows-seed0/    an ordinary run, its model not kept
      baselines.json                        simple baselines, measured once
      probe.html                            for people; probe.json holds its numbers
"""

from __future__ import annotations

import shutil
import threading
import time as clocks
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from weitiao import models as open_models
from weitiao.artifacts.artifact import write_json
from weitiao.artifacts.run_folder import holding
from weitiao.candidates import Named
from weitiao.comparison import finished, numbered, references
from weitiao.errors import DataError, Interrupted, RecipeError, WeitiaoError
from weitiao.evaluation.compared import Reference, Row, beside_baseline
from weitiao.evaluation.comparison_page import duration
from weitiao.evaluation.verdicts import Pair, compare_pairs, mean_interval
from weitiao.facts import environment
from weitiao.metrics.words import greater_is_better
from weitiao.plans import (
    PLAN,
    check_folder,
    check_free,
    keep_plan,
    own_folder,
    refuse_output,
    saying,
    silent,
    stoppable,
)
from weitiao.preparation import Preparation, as_recipe, prepare, refuse_errors
from weitiao.probing.clock import Clock
from weitiao.probing.crossing import Entrant, Model, crossed
from weitiao.probing.frozen_features import can_be_probed, frozen_features
from weitiao.probing.linear import linear_probe
from weitiao.probing.pages import write_probe
from weitiao.probing.probed import Probed, Round, Standing, Transfer, advise
from weitiao.probing.race import WHY, Heat, Race
from weitiao.probing.readying import ready_for
from weitiao.probing.rungs import Ladder, ordered
from weitiao.probing.transferability import h_score, is_numbers, log_me
from weitiao.recipe import Recipe
from weitiao.recipe.amounts import seconds_of
from weitiao.training.fit import stop_on_signal
from weitiao.trials import BASELINES, Say, carry_out

PROBES = Path("probes")
WHAT = "probe"
PAGE, NUMBERS, TOOK = "probe.html", "probe.json", "took.json"


def probe(
    recipe: Recipe | Path | str | Mapping[str, Any],
    models: Sequence[Model],
    methods: Sequence[Named] = ("full",),
    *,
    time: str | None = None,
    seeds: int | Sequence[int] = 3,
    output: str | Path | None = None,
    show: bool = False,
) -> Probed:
    """Try models, and methods on them, on the recipe's data, and say which to take.

    `models` are sources, or values of a recipe's section `model`; `methods` are given as to `compare`, and are tried on
    each model that has no `methods` of its own: ``{"source": "models/large", "methods": ["lora"]}``. First the frozen
    features of each model are looked at (`linear_probe`, `log_me`, `h_score`), where the task is one of labels or
    numbers; then all candidates race: short runs on a part of the training rows, the better half of them on more, the
    last ones on all, with all `seeds`. All is measured on validation, of which more is cut for it where that is small;
    nothing looks at test. Within `time` (``"1h"``) as much of it is done as fits. Called again with the same `output`
    it goes on where it was stopped, and what it took counts. What does not fit the task is left out, and said.
    Raises `WeitiaoError` where there is nothing to choose from or no candidate fits, `RunError` where the time is too
    short for one run, and `Interrupted` after ctrl-C or SIGTERM.
    """
    began = clocks.monotonic()
    recipe = as_recipe(recipe)
    refuse_output(recipe, WHAT)
    budget, numbers = _budget(time), numbered(seeds, recipe.training.seed)
    entrants = crossed(models, methods, recipe)
    folder = Path(output) if output is not None else own_folder(PROBES, recipe, WHAT)
    check_folder(folder, recipe, WHAT, free=("method", "model"))
    shared, ready, unfit = ready_for(entrants, recipe, folder)
    _check_disk(folder, ready)
    folder.mkdir(parents=True, exist_ok=True)
    with holding(folder, f"this {WHAT}"), stop_on_signal() as stop:
        keep_plan(folder, recipe, _digest(ready), WHAT)
        clock = Clock.open(folder / TOOK, budget, began)
        probing = _Probing(folder, recipe, shared, entrants, ready, unfit, numbers, time, clock, stop, saying(show))
        return probing.carry_out()


def _budget(time: str | None) -> float | None:
    try:
        return None if time is None else seconds_of(time)
    except ValueError as error:
        raise RecipeError(f"found {time!r}", where="time", fix=f"{error}.".capitalize()) from None


# --- before the first run


def _check_disk(folder: Path, ready: Mapping[str, Preparation]) -> None:
    """Raise `RunError` where the disk is too small for one run, and for the models of the last rung."""
    if (folder / PLAN).exists():
        return  # some of it is written already
    needed = max(4 * each.facts["disk_needed"] for each in ready.values())
    check_free(folder, needed, "Put --output on a larger disk, or leave large models out.")


def _digest(ready: Mapping[str, Preparation]) -> str:
    """Stands for the examples; each model's own digest is in its runs."""
    return next(iter(ready.values())).splits.digest


# --- the work


@dataclass(frozen=True)
class _Probing:
    folder: Path
    recipe: Recipe
    shared: Recipe  # of all runs
    entrants: Sequence[Entrant]
    ready: Mapping[str, Preparation]  # by name; what does not fit is in `unfit`
    unfit: Mapping[str, WeitiaoError]
    seeds: list[int]
    time: str | None
    clock: Clock
    stop: threading.Event
    say: Say
    notes: list[str] = field(default_factory=list)

    def carry_out(self) -> Probed:
        """Look at frozen features, race, and write the page."""
        fit = [entrant for entrant in self.entrants if entrant.name in self.ready]
        with stoppable(self.folder, self._done):
            models = self._models(fit)
            race = self._race(fit, models)
            race.run()
            self._measure_baselines(race)
        for path in (self.folder / "runs").glob("*/artifact"):
            shutil.rmtree(path, ignore_errors=True)
        return self._written(race, models)

    def _done(self) -> str:
        done = sum(finished(path) is not None for path in (self.folder / "runs").glob("*"))
        return f"{done} runs finished"

    # --- frozen features

    def _models(self, fit: Sequence[Entrant]) -> list[Transfer]:
        """What the frozen features of each model tell, the best first."""
        found = []
        for entrant in {each.model: each for each in reversed(fit)}.values():
            self.say(f"frozen features of {entrant.model}")
            found.append(self._transfer(entrant))
            if self.stop.is_set():
                raise Interrupted("stopped")
        names = [entrant.model for entrant in fit]
        return sorted(
            found, key=lambda each: (-(each.linear.value if each.linear else -np.inf), names.index(each.model))
        )

    def _transfer(self, entrant: Entrant) -> Transfer:
        ready = self.ready[entrant.name]
        source = ready.recipe.model.source
        if not can_be_probed(ready):
            return Transfer(entrant.model, source, problem=f"{self.recipe.task.name} has no linear head")
        with open_models.quiet():
            made = frozen_features(ready, seed=self.shared.data_seed)
        texts, groups = ready.splits.text_keys["train"], ready.splits.group_keys.get("train")
        try:
            linear = linear_probe(
                made.vectors, made.targets, texts[made.examples], None if groups is None else groups[made.examples],
                tokens=made.of_tokens, confidence=self.shared.evaluation.confidence,
            )  # fmt: skip
        except ValueError as error:
            return Transfer(entrant.model, source, problem=str(error))
        if linear.left_out:
            self._note(f"{linear.left_out:,} rows of labels that fewer than 5 texts or groups have were left out of "
                       "the linear probe")  # fmt: skip
        return Transfer(
            entrant.model, source, made.vectors.shape[1], len(np.unique(made.examples)), linear,
            log_me(made.vectors, made.targets),
            None if is_numbers(made.targets) else h_score(made.vectors, made.targets),
        )  # fmt: skip

    def _note(self, told: str) -> None:
        if told not in self.notes:
            self.notes.append(told)

    # --- the race

    def _race(self, fit: Sequence[Entrant], models: Sequence[Transfer]) -> Race:
        """The race, in which those start first whose frozen features tell most."""
        place = {each.model: number for number, each in enumerate(models)}
        first = sorted(fit, key=lambda entrant: place[entrant.model])
        training = self.shared.training
        ladder = Ladder(len(self._any.splits["train"]), training.epochs, training.batch_size, len(self.seeds))
        usable = [size for size in ladder.sizes(len(first)) if self._usable(size, ladder.rows)]
        entrants = {entrant.name: entrant for entrant in first}
        digests = {name: self.ready[name].digest for name in entrants}
        return Race(
            self.folder, self.shared, entrants, digests, ladder, usable, self.seeds, self.clock, self.stop, self.say
        )

    def _usable(self, size: int, rows: int) -> bool:
        """Whether so many rows can be trained on: each class has to be among them."""
        if size >= rows:
            return False
        own = self._any.recipe.changed({"data.max_examples": (size, WHY)})
        try:
            with open_models.quiet():
                refuse_errors(prepare(own).findings)
        except DataError as error:
            self._note(f"no race on {size:,} rows: {str(error).splitlines()[0]}")
            return False
        return True

    @property
    def _any(self) -> Preparation:
        return next(iter(self.ready.values()))

    def _measure_baselines(self, race: Race) -> None:
        """Once, beside a run of the heat that decides: they do not hang on the model."""
        final = race.final
        path = race.path(*next((name, final.rung, seed) for name, seed in final.drawn))
        if not self.recipe.evaluation.baselines or (self.folder / BASELINES).exists():
            return
        if self.clock.is_over or not (path / "artifact").exists():
            self._note("no time was left to measure simple baselines")
            return
        self.say("baselines")
        problem = carry_out("baselines", path, show=self.say is not silent, stop=self.stop)
        if problem:
            self._note(f"the baselines could not be measured: {problem}")

    # --- what came of it

    def _written(self, race: Race, models: Sequence[Transfer]) -> Probed:
        final = race.final
        score, one = next((drawn.score, drawn) for drawn in final.drawn.values())
        standings = self._standings(race, score)
        last = [each for each in standings if each.in_final]
        pairs = compare_pairs({each.name: final.scored[each.name] for each in last}, self._confidence)
        recommended, advice = advise(standings, pairs, score, time=self.time, settings=self._settings())
        baselines: list[Reference] = []
        if recommended:
            baselines, noted = references(
                self.folder / BASELINES, recommended, final.scored[recommended], self._confidence
            )
            self.notes.extend(noted)
            advice += beside_baseline(recommended, baselines, score)
        self._tell_rest(race)
        probed = Probed(
            task=self.recipe.task.name, score=score, greater_is_better=greater_is_better(score), examples=one.examples,
            confidence=self._confidence, rows=race.ladder.rows, models=list(models), standings=standings,
            rounds=[_round(heat) for heat in race.heats], pairs=pairs, baselines=baselines, recommended=recommended,
            advice=advice, notes=self.notes, time=self.time, seconds=self.clock.used,
            recipe_yaml=self.shared.to_yaml(), environment=environment(self._any.facts), folder=str(self.folder),
        )  # fmt: skip
        write_json(self.folder / NUMBERS, probed.to_dict())
        write_probe(probed, self.folder / PAGE)
        return probed

    @property
    def _confidence(self) -> float:
        return self.recipe.evaluation.confidence

    def _standings(self, race: Race, score: str) -> list[Standing]:
        """All candidates: those of the deciding heat by their mean, then those of earlier heats, then the rest."""
        heats = race.heats[: race.heats.index(race.final) + 1]
        found: dict[str, Standing] = {}
        for number, heat in reversed(list(enumerate(heats, 1))):
            names = ordered(heat.means, greater_is_better=greater_is_better(score), ties=list(race.entrants))
            against = {pair.second: pair for pair in compare_pairs({name: heat.scored[name] for name in names},
                       self._confidence) if pair.first == names[0]}  # fmt: skip
            for name in names:
                if name not in found:
                    found[name] = self._standing(name, race, heat, number, against.get(name))
        problems = {name: problem for heat in race.heats for name, problem in heat.problems.items()}
        for entrant in self.entrants:
            if entrant.name not in found:
                why = str(self.unfit.get(entrant.name, problems.get(entrant.name, "the time was over before its turn")))
                found[entrant.name] = Standing(self._row(entrant, problem=why), entrant.model, None)
        return list(found.values())

    def _standing(self, name: str, race: Race, heat: Heat, number: int, against: Pair | None) -> Standing:
        drawn = heat.scored[name]
        low, high = mean_interval(drawn, self._confidence) or (None, None)
        seeds = heat.seeds[: len(drawn)] if not heat.common else heat.common
        attempts = [each for each in heat.attempts.get(name, []) if each.seed in seeds]
        entrant = race.entrants[name]
        return Standing(
            self._row(entrant, attempts=attempts), entrant.model, heat.rung.rows, heat.rung.stretch, number, low, high,
            against, in_final=heat is race.final,
        )  # fmt: skip

    def _row(self, entrant: Entrant, **known: Any) -> Row:
        facts = self.ready[entrant.name].facts if entrant.name in self.ready else {}
        candidate = entrant.candidate
        rate = facts.get("learning_rate")
        return Row(
            entrant.name, candidate.method.model_dump(mode="json"), candidate.differs,
            learning_rate=rate if isinstance(rate, float) else None, trainable=facts.get("trainable"),
            parameters=facts.get("parameters"), **known,
        )  # fmt: skip

    def _settings(self) -> dict[str, dict[str, Any]]:
        """The dotted keys that make each candidate of the recipe."""
        found = {}
        for entrant in self.entrants:
            candidate = entrant.candidate
            method = {"name": candidate.method.name, **candidate.given}
            values: dict[str, Any] = {"method": method if candidate.given else candidate.method.name}
            for section, own in candidate.differs.items():
                values |= {f"{section}.{key}": value for key, value in own.items()
                           if value != self._value(section, key)}  # fmt: skip
            found[entrant.name] = values
        return found

    def _value(self, section: str, key: str) -> Any:
        """What the recipe has there already."""
        return self.recipe.to_dict()[section].get(key)

    def _tell_rest(self, race: Race) -> None:
        final, budget = race.final, self.clock.budget
        self._note("all scores are on validation, which also chose the step that each run keeps: they are a little too "
                   "good; train the one you take, and its report tests it once")  # fmt: skip
        if final.rung.rows < race.ladder.rows:
            self._note(f"the time was enough for {final.rung.rows:,} of {race.ladder.rows:,} training rows: with all "
                       "of them the order may be another")  # fmt: skip
        if len(final.common) < len(self.seeds):
            count = max(len(final.common), 1)
            self._note(f"{count} of {len(self.seeds)} seeds were run: verdicts hang on their luck")
        if budget is not None:
            self._note(f"{duration(self.clock.used)} of {self.time} were used")


def _round(heat: Heat) -> Round:
    done = set(heat.scored)
    return Round(heat.rung.rows, heat.rung.stretch, heat.entrants, heat.common, heat.seeds,
                 [name for name in heat.entrants if name not in done])  # fmt: skip
