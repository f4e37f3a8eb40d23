"""One trial: its runs, one a seed and fold, stopped early where its evaluations tell so."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weitiao.artifacts.run_folder import Run, find_run
from weitiao.costs import spent
from weitiao.errors import RecipeError, nearest
from weitiao.recipe import Recipe
from weitiao.searching.space import WHY, Point, Space
from weitiao.trackers.jsonl import EVENTS
from weitiao.trials import Say, Trial

if TYPE_CHECKING:
    import optuna


@dataclass
class Curve:
    """A run's evaluations on validation, read from its events as they come."""

    folder: Path
    score: str  # which one
    values: list[tuple[int, float]] = field(default_factory=list)  # (step, score), each evaluation once
    steps: int = 0  # planned
    _offset: int = 0

    def read(self) -> None:
        """Take over what has been written since the last time."""
        path = self.folder / EVENTS
        if not path.exists() or path.stat().st_size <= self._offset:
            return
        with path.open("rb") as file:
            file.seek(self._offset)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return
        kind = event.get("event")
        if kind == "StepDone":
            self.steps = event["steps"]
        elif kind == "Resumed":  # what came after the checkpoint is done again
            self.values = [(step, value) for step, value in self.values if step <= event["step"]]
        elif kind == "Evaluated" and event["split"] == "validation":
            value = score_in(event["scores"], self.score)
            self.values.append((event["step"], math.nan if value is None else value))


def score_in(scores: dict[str, Any], name: str) -> Any:
    """A score by name; a `RecipeError` with the nearest one where there is none of this name."""
    if name not in scores:
        raise RecipeError(f"there is no score '{name}' on validation", where="search.objective",
                          fix=nearest(name, scores))  # fmt: skip
    return scores[name]


@dataclass(frozen=True)
class Part:
    """One of the trainings that a trial is made of."""

    seed: int
    fold: int | None = None  # the part of the training examples that it is scored on; None: it is on validation

    @property
    def name(self) -> str:
        """Its name as part of a folder's."""
        return f"seed{self.seed}" + (f"-fold{self.fold}" if self.fold else "")

    @property
    def told(self) -> str:
        """Its name for people."""
        return f"seed {self.seed}" + (f", fold {self.fold}" if self.fold else "")


@dataclass(frozen=True)
class Ended:
    """How a trial ended: by its scores, or by one of the three."""

    scores: list[float] = field(default_factory=list)  # of each part that came to its end
    pruned: bool = False
    out_of_time: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Cost:
    """What a trial took, all its runs together."""

    steps: int  # done
    planned: int  # of the runs that were begun
    seconds: float  # of training, evaluations on validation included
    worked: float = 0.0  # seconds of its worker, until its end

    @classmethod
    def of(cls, folders: Iterable[Path], worked: float = 0.0) -> Cost:
        """Add up what the runs in some folders took so far."""
        runs = [spent(folder) for folder in folders]
        return cls(sum(run.steps for run in runs), sum(run.planned for run in runs),
                   sum(run.seconds for run in runs), worked)  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass
class Tryout:
    """A trial with its point, to be brought to its end."""

    number: int
    point: Point
    space: Space
    folder: Path  # of the search
    trial: optuna.Trial
    reported: set[int]  # evaluations that are written down already
    objective: str  # the score on validation, or on folds
    parts: list[Part]

    def run_folder(self, part: Part) -> Path:
        """Where the run of a part is."""
        return run_folder(self.folder, self.number, part)

    def carry_out(
        self, *, say: Say, title: str, stop: threading.Event, show: bool, threads: int | None,
        out_of_time: Callable[[], bool],
    ) -> Ended:  # fmt: skip
        """Do its runs, one after the other. Raises `Interrupted` once `stop` is set."""
        try:
            self.space.at(self.point)
        except RecipeError as error:  # values that are sound by themselves and not together
            return Ended(problem=str(error))
        scores: list[float] = []
        for number, part in enumerate(self.parts):
            if out_of_time():
                return Ended(scores, out_of_time=True)
            folder = self.run_folder(part)
            watch = _Watch(self, Curve(folder, self.objective), first=number == 0, out_of_time=out_of_time)
            told = title if len(self.parts) == 1 else f"{title}, {part.told}"
            one = Trial(
                lambda part=part, folder=folder: trial_recipe(self.space, self.point, part, folder),  # type: ignore[misc]
                folder, self.folder / "recipes" / f"{folder.name}.json", told,
            )  # fmt: skip
            problem = one.to_its_end(say=say, stop=stop, show=show, enough=watch.enough, threads=threads)
            watch.look()  # at what came between the last look and the end
            run = _finished(folder)
            if run is None:
                return watch.why(scores, problem)
            scores.append(score_of(run, self.objective, "test" if part.fold else "validation"))
        return Ended(scores)


@dataclass
class _Watch:
    """Looks at a run while it trains: is it enough?"""

    tryout: Tryout
    curve: Curve
    first: bool  # of the trial's parts: the others are not stopped by their scores
    out_of_time: Callable[[], bool]
    pruned: bool = False
    late: bool = False

    def enough(self) -> bool:
        """Whether to stop."""
        self.look()
        self.late = self.late or (not self.pruned and self.out_of_time())
        return self.pruned or self.late

    def look(self) -> None:
        """Report each evaluation that is new."""
        self.curve.read()
        for number, (step, value) in enumerate(self.curve.values, 1):
            if not self.first or number in self.tryout.reported:
                continue
            self.tryout.reported.add(number)
            self.tryout.trial.report(value, number)
            if self.tryout.trial.should_prune() and step < self.curve.steps:  # else nothing would be saved
                self.pruned = True

    def why(self, scores: list[float], problem: str) -> Ended:
        """Why the run has not come to its end: what it was asked to stop for counts where nothing went wrong."""
        if problem or not (self.pruned or self.late):
            return Ended(scores, problem=problem or "did not come to its end")
        return Ended(scores, pruned=self.pruned, out_of_time=not self.pruned)


def run_folder(folder: Path, number: int, part: Part) -> Path:
    """Where a search has the run of a trial's part."""
    return folder / "runs" / f"{number}-{part.name}"


def trial_recipe(space: Space, point: Point, part: Part, folder: Path) -> Recipe:
    """The recipe of a run: the point's, without anything that looks at the test split; with a fold in its place. Other
    data to measure on stays only where its texts would else be learned without their labels.
    """  # fmt: skip
    shared, own = space.recipe, space.at(point)
    values: dict[str, Any] = {
        "training.seed": part.seed, "data.seed": shared.data_seed, "search": None,
        "evaluation.test": part.fold is not None, "evaluation.baselines": False, "evaluation.bootstrap": 0,
        "output": os.path.relpath(folder, shared.base),
    }  # fmt: skip
    if own.unlabelled is None:
        values["evaluation.also"] = {}
    if part.fold is not None and shared.search is not None:
        values["data.fold"] = {"number": part.fold, "of": shared.search.folds, "keep_test": True}
    return own.resolved({key: (value, WHY) for key, value in values.items()})


def _finished(folder: Path) -> Run | None:
    run = find_run(folder) if (folder / "run.json").exists() else None
    return run if run and run.status == "finished" else None


def score_of(run: Run, objective: str, split: str) -> float:
    """The score on a split of what a run kept."""
    return float(score_in(run.scores[split]["scores"]["values"], objective)["value"])
