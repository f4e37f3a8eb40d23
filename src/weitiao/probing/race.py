"""A race: candidates train on growing parts of the data, the better half goes on, the last ones with several seeds.

All are measured on validation; nothing looks at test. Each run is an ordinary one in a process of its own, whose model
is not kept.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from weitiao.artifacts.artifact import write_json
from weitiao.artifacts.run_folder import Run, find_run
from weitiao.candidates import digest_of
from weitiao.comparison import finished
from weitiao.costs import attempt
from weitiao.errors import RunError
from weitiao.evaluation.compared import Attempt
from weitiao.evaluation.comparison_page import duration
from weitiao.evaluation.verdicts import DRAWN, Drawn, read_drawn
from weitiao.metrics.words import greater_is_better
from weitiao.plans import silent
from weitiao.probing.clock import Clock
from weitiao.probing.crossing import Entrant
from weitiao.probing.rungs import Cost, Ladder, Rung, ordered, shrunk
from weitiao.recipe import Recipe
from weitiao.trackers.jsonl import read_events
from weitiao.trials import Say, Trial

RUNGS = "rungs.json"
WHY = "the race's"  # the origin of what it sets


@dataclass
class Heat:
    """What came of one rung."""

    rung: Rung
    entrants: list[str]
    seeds: list[int]
    drawn: dict[tuple[str, int], Drawn] = field(default_factory=dict)
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)  # why one did not come to its end

    @property
    def there(self) -> list[str]:
        """The entrants that could finish, whether they did or not."""
        return [name for name in self.entrants if name not in self.problems]

    @property
    def common(self) -> list[int]:
        """The seeds that all of these have finished."""
        return [seed for seed in self.seeds if self.there and all((name, seed) in self.drawn for name in self.there)]

    @property
    def scored(self) -> dict[str, list[Drawn]]:
        """What is compared: of each entrant the scores of the common seeds; where there are none, of those that have
        finished the first seed.
        """  # fmt: skip
        if self.common:
            return {name: [self.drawn[name, seed] for seed in self.common] for name in self.there}
        first = self.seeds[0]
        return {name: [self.drawn[name, first]] for name in self.there if (name, first) in self.drawn}

    @property
    def means(self) -> dict[str, float]:
        """The mean score of each that is compared."""
        return {name: sum(each.value for each in drawn) / len(drawn) for name, drawn in self.scored.items()}


@dataclass
class Race:
    """The runs of a probe, rung by rung."""

    folder: Path
    recipe: Recipe  # that all share
    entrants: Mapping[str, Entrant]  # in the order in which they start
    digests: Mapping[str, str]  # of each one's examples and model
    ladder: Ladder
    usable: Sequence[int]  # sizes below all rows that can be trained on
    seeds: list[int]
    clock: Clock
    stop: threading.Event
    say: Say
    heats: list[Heat] = field(default_factory=list)

    def run(self) -> list[Heat]:
        """Run rung after rung, as far as the time goes; return what came of each that was begun.

        Raises `RunError` where no run came to its end, with what is needed where the time was too short.
        """
        names = list(self.entrants)
        rungs = self.ladder.planned(len(names), self.usable)
        plans = Plans.read(self.folder, self._planned_from())
        while rungs and names:
            heat = self._heat(shrunk(rungs[0], len(names)), names)
            self.heats.append(heat)
            better = greater_is_better(self._score(heat)) if heat.means else True
            names = ordered(heat.means, greater_is_better=better, ties=list(self.entrants))
            rungs = rungs[1:]
            if self.clock.budget is not None and names:
                costs = [self._cost(name, heat) for name in names]
                rungs = plans.after(len(self.heats), lambda: self.ladder.fitted(rungs, costs, self.clock.left))  # noqa: B023
            if self.clock.is_over and not (rungs and names and self._begun(rungs[0], names)):
                break
        if not any(heat.drawn for heat in self.heats):
            raise self._nothing_done()
        return self.heats

    def _begun(self, rung: Rung, names: Sequence[str]) -> bool:
        """Whether any run of a rung came to its end before this command was given."""
        there = shrunk(rung, len(names))
        return any(finished(self.path(name, there, seed)) for name in names[: there.entrants]
                   for seed in self.seeds[: there.seeds])  # fmt: skip

    @property
    def final(self) -> Heat:
        """The heat that decides: the last one that all its entrants have finished, with one seed at least."""
        there = [heat for heat in self.heats if heat.common] or [heat for heat in self.heats if heat.drawn]
        return there[-1]

    def path(self, name: str, rung: Rung, seed: int) -> Path:
        """Where a run lies: named by all that makes it another one, the model's files among that."""
        own = f"{self.entrants[name].candidate.slug}-{self._digest(name)}"
        return self.folder / "runs" / f"{own}-{rung.rows}rows-seed{seed}"

    def _digest(self, name: str) -> str:
        """Stands for a candidate: its method, what differs for it, its examples and its model's files."""
        candidate = self.entrants[name].candidate
        return digest_of([candidate.method.model_dump(mode="json"), candidate.differs, self.digests[name]])[:8]

    def _planned_from(self) -> dict[str, Any]:
        """What the rungs are planned from, besides the recipe."""
        entrants = {name: self._digest(name) for name in self.entrants}
        return {"budget": self.clock.budget, "seeds": self.seeds, "entrants": entrants}

    # --- one rung

    def _heat(self, rung: Rung, names: Sequence[str]) -> Heat:
        heat = Heat(rung, list(names[: rung.entrants]), self.seeds[: rung.seeds])
        told = f"{len(heat.entrants)} candidates on {rung.rows:,} rows"
        self.say(told + (f", {len(heat.seeds)} seeds" if len(heat.seeds) > 1 else ""))
        for seed in heat.seeds:
            for name in heat.there:
                if not self.clock.is_over or finished(self.path(name, rung, seed)):
                    self._train(heat, name, seed)
        return heat

    def _train(self, heat: Heat, name: str, seed: int) -> None:
        path, began = self.path(name, heat.rung, seed), time.monotonic()
        stored = self.folder / "recipes" / f"{path.name}.json"
        title = f"{name}, {heat.rung.rows:,} rows, seed {seed}"
        trial = Trial(lambda: self._recipe(name, heat.rung, seed, path), path, stored, title)
        was_done = finished(path) is not None
        try:
            problem = trial.to_its_end(say=self.say, stop=self.stop, show=self.say is not silent,
                                       enough=lambda: self.clock.is_over)  # fmt: skip
        finally:
            if not was_done:
                self.clock.note(path.name, time.monotonic() - began)
        run = finished(path)
        if run is not None:
            heat.drawn[name, seed] = read_drawn(path / DRAWN)[""]
            heat.attempts.setdefault(name, []).append(attempt(run, seed, str(path.relative_to(self.folder))))
            if len(heat.drawn) > 1:  # one model is kept until baselines are measured beside it
                shutil.rmtree(path / "artifact", ignore_errors=True)
        elif problem:
            heat.problems[name] = problem
            self.say(f"error: {title}: {problem}")

    def _recipe(self, name: str, rung: Rung, seed: int, path: Path) -> Recipe:
        own = self.entrants[name].candidate.recipe(self.recipe, seed, path)
        return own.resolved({
            "data.max_examples": (rung.rows, WHY),
            "training.epochs": (round(own.training.epochs * rung.stretch, 3), WHY),
        })  # fmt: skip

    def _cost(self, name: str, heat: Heat) -> Cost:
        """What a run took, told apart into steps and the rest."""
        seed = next(seed for seed in heat.seeds if (name, seed) in heat.drawn)
        path = self.path(name, heat.rung, seed)
        steps, rows = trained(find_run(path))
        whole = self.clock.took.get(path.name, steps)
        recipe = self.entrants[name].candidate.recipe(self.recipe, seed, path)
        return Cost(max(0.0, whole - steps), steps / max(rows, 1), recipe.training.epochs)

    def _score(self, heat: Heat) -> str:
        return next(iter(heat.drawn.values())).score

    def _nothing_done(self) -> RunError:
        """Why there is no result at all."""
        problems = {name: problem for heat in self.heats for name, problem in heat.problems.items()}
        if not self.clock.is_over:
            return RunError("no run came to its end: " + next(iter(problems.values()), ""), where=str(self.folder))
        heat = self.heats[0]
        name = heat.entrants[0]
        need = forecast(self.path(name, heat.rung, heat.seeds[0]), self.clock)
        told = f"one run ({name} on {heat.rung.rows:,} rows) takes about {duration(need)}" if need else "no run ended"
        fix = "Give more time, fewer training.epochs, or smaller models; the same command goes on."
        return RunError(f"{duration(self.clock.budget)} is too little: {told}", where="time", fix=fix)


@dataclass
class Plans:
    """The rungs that were planned after each heat, kept: the same command, given again, goes on by them."""

    path: Path
    of: dict[str, Any]  # what they are planned from: the time, the seeds, who takes part
    known: dict[str, list[dict[str, Any]]]  # after how many heats -> rungs

    @classmethod
    def read(cls, folder: Path, of: dict[str, Any]) -> Plans:
        """Read what was planned from the same."""
        path = folder / RUNGS
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            stored = {}
        return cls(path, of, stored["after"] if stored.get("of") == of else {})

    def after(self, heats: int, plan: Callable[[], list[Rung]]) -> list[Rung]:
        """Return the rungs to come after so many heats."""
        if str(heats) not in self.known:
            self.known[str(heats)] = [asdict(rung) for rung in plan()]
            write_json(self.path, {"of": self.of, "after": self.known})
        return [Rung(**rung) for rung in self.known[str(heats)]]


def trained(run: Run) -> tuple[float, int]:
    """Return the seconds of a run's steps, and the rows that they went through."""
    steps = [event for event in read_events(run.folder) if event["event"] == "StepDone"]
    return sum(step["seconds"] for step in steps), sum(step["examples"] for step in steps)


def forecast(path: Path, clock: Clock) -> float | None:
    """Return the seconds that a run, stopped on its way, takes in all; None where it had not done a step."""
    if not (path / "run.json").exists():
        return None
    steps = [event for event in read_events(path) if event["event"] == "StepDone"]
    if not steps:
        return None
    spent = float(sum(step["seconds"] for step in steps))
    rest = spent / len(steps) * (int(steps[-1]["steps"]) - len(steps))
    return clock.used + rest
