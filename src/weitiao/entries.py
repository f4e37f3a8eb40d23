"""Every candidate with every seed, or on every fold: ordinary runs in a folder, and a row a candidate of what came."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from weitiao.artifacts.run_folder import Run
from weitiao.candidates import Candidate
from weitiao.costs import attempt, kept
from weitiao.errors import RunError, WeitiaoError
from weitiao.evaluation.compared import Attempt, Row
from weitiao.plans import silent
from weitiao.preparation import Preparation
from weitiao.recipe import Recipe
from weitiao.trials import Say, Trial, at_once, cores


class Part(Protocol):
    """What the runs of a candidate differ in."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def slug(self) -> str:
        """Its name as part of a folder's."""


@dataclass(frozen=True)
class Seed:
    """A seed that runs are trained with."""

    number: int

    @property
    def name(self) -> str:
        """What it is called."""
        return f"seed {self.number}"

    @property
    def slug(self) -> str:
        """Its name as part of a folder's."""
        return f"seed{self.number}"


P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class Entries(Generic[P]):
    """The runs: one of each candidate that fits, and part."""

    folder: Path
    candidates: Sequence[Candidate]
    parts: Sequence[P]
    ready: Mapping[str, Preparation]  # of each candidate that fits, by name
    unfit: Mapping[str, WeitiaoError]  # why the others do not
    recipe: Callable[[Candidate, P, Path], Recipe]  # of a run, and where it shall be
    finished: Callable[[Path], Run | None]  # the run in a folder, where it is finished and can be compared
    stop: threading.Event
    say: Say
    problems: dict[Path, str] = field(default_factory=dict)  # why a run did not come to its end

    @property
    def work(self) -> list[tuple[Candidate, P]]:
        """All of them, part by part."""
        fit = [candidate for candidate in self.candidates if candidate.name in self.ready]
        return [(candidate, part) for part in self.parts for candidate in fit]

    def path(self, candidate: Candidate, part: P) -> Path:
        """Where a run is."""
        return self.folder / "runs" / f"{candidate.slug}-{part.slug}"

    def run(self, candidate: Candidate, part: P) -> Run | None:
        """Return a run where it is finished."""
        return self.finished(self.path(candidate, part))

    def runs(self) -> list[Run]:
        """Return all that are finished."""
        return [run for each in self.work if (run := self.run(*each)) is not None]

    def done(self) -> str:
        """How many are finished, in words."""
        return f"{len(self.runs())} of {len(self.work)} runs finished"

    def carry_out(self, jobs: int = 1) -> None:
        """Do what is not finished yet, so many at once. Raises a `RunError` where none comes to its end."""
        work = self.work

        def one(each: tuple[int, tuple[Candidate, P]]) -> None:
            number, (candidate, part) = each
            problem = self._train(candidate, part, f"[{number}/{len(work)}]", jobs)
            if problem:
                self.problems[self.path(candidate, part)] = problem
                self.say(f"error: {candidate.name}, {part.name}: {problem}")

        at_once(one, enumerate(work, 1), jobs, self.stop)
        if len(self.problems) == len(work):
            raise RunError("no run came to its end: " + next(iter(self.problems.values())), where=str(self.folder))

    def _train(self, candidate: Candidate, part: P, place: str, jobs: int) -> str:
        """Train, or go on, or nothing where it is finished; return why it failed."""
        path = self.path(candidate, part)
        stored = self.folder / "recipes" / f"{path.name}.json"
        title = f"{place} {candidate.name}, {part.name}"
        trial = Trial(lambda: self.recipe(candidate, part, path), path, stored, title)
        shown, threads = self.say is not silent and jobs == 1, max(1, cores() // jobs) if jobs > 1 else None
        return trial.to_its_end(say=self.say, stop=self.stop, show=shown, threads=threads)

    def row(self, candidate: Candidate) -> Row:
        """Return what came of a candidate."""
        known: dict[str, Any] = {"method": candidate.method.model_dump(mode="json"), "differs": candidate.differs}
        if candidate.name in self.unfit:
            return Row(candidate.name, problem=str(self.unfit[candidate.name]), **known)
        facts = self.ready[candidate.name].facts
        first = next((run for part in self.parts if (run := self.run(candidate, part))), None)
        return Row(
            candidate.name, attempts=[self._attempt(candidate, part) for part in self.parts],
            trainable=facts["trainable"], parameters=facts["parameters"], **known, **(kept(first) if first else {}),
        )  # fmt: skip

    def _attempt(self, candidate: Candidate, part: P) -> Attempt:
        path = self.path(candidate, part)
        where, seed = str(path.relative_to(self.folder)), self.recipe(candidate, part, path).training.seed
        run = self.finished(path)
        if run is None:
            return Attempt(seed, where, problem=self.problems.get(path, "did not come to its end"), name=part.name)
        return attempt(run, seed, where, name=part.name)
