"""A search under way: what was asked for, and what is written down of its trials."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from weitiao.artifacts.run_folder import holding
from weitiao.candidates import digest_of
from weitiao.errors import Interrupted, RunError
from weitiao.preparation import Preparation
from weitiao.recipe import Recipe, SearchSettings
from weitiao.recipe.amounts import seconds_of
from weitiao.searching import drawing
from weitiao.searching.drawing import COST, PROBLEM, SCORES, SPENT, Known
from weitiao.searching.searched import State, Tried
from weitiao.searching.space import Point, Space
from weitiao.searching.trying import Cost, Part, run_folder
from weitiao.trials import Say

if TYPE_CHECKING:
    import optuna

TRIALS = 20  # where neither trials nor time are given


@dataclass
class Ongoing:
    """What all workers of a search share, and its end goes by."""

    folder: Path
    recipe: Recipe
    space: Space
    settings: SearchSettings
    study: optuna.Study
    ready: Preparation  # of one point
    objective: str  # a score on validation, or on folds
    notes: list[str]
    stop: threading.Event
    say: Say
    show: bool
    grid: list[Point] = field(init=False)
    deadline: float | None = field(init=False)

    def __post_init__(self) -> None:
        limit = self.settings.time
        self.grid = list(self.space.points()) if self.settings.strategy == "grid" else []
        self.deadline = None if limit is None else time.monotonic() + seconds_of(limit) - _spent(self.known())

    @property
    def trials(self) -> int | None:
        """How many there may be; None: as many as there is time for."""
        asked = self.settings.trials
        if self.grid:
            return min(asked or len(self.grid), len(self.grid))
        return TRIALS if asked is None and self.settings.time is None else asked

    @property
    def parts(self) -> list[Part]:
        """The trainings of each trial."""
        return parts_of(self.recipe)

    @property
    def is_late(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and time.monotonic() > self.deadline

    def known(self) -> list[Known]:
        """Return the trials as they are written down."""
        return [each for each in drawing.known(self.study, self.space) if each.counts]

    def known_of(self, number: int) -> Known:
        """Return one of them."""
        return next(each for each in self.known() if each.number == number)

    def all_drawn(self) -> bool:
        """Whether there are as many trials as there may be, or can."""
        there = self.known()
        if self.trials is not None and len(there) >= self.trials:
            return True
        tried = {digest_of(each.point) for each in there if each.state != "failed"}
        return not self.grid and self.space.size is not None and len(tried) >= self.space.size

    def tried(self) -> list[Tried]:
        """Return what is to be told of each trial."""
        known = self.known()
        by_number = {each.number: each for each in known}
        return [self._one(each, by_number) for each in known if each.state != "failed" or each.notes]

    def _one(self, each: Known, known: Mapping[int, Known]) -> Tried:
        folders = [run_folder(self.folder, each.number, part) for part in self.parts]
        runs = [str(path.relative_to(self.folder)) for path in folders if path.exists()]
        cost = cost_of(each) or Cost.of(folders)
        score, curve, scores = each.score, each.curve, each.notes.get(SCORES, [])
        state: State = {"running": "unfinished"}.get(each.state, each.state)  # type: ignore[assignment]
        if each.same_as is not None:
            first = known.get(each.same_as, each)
            state, score, curve = "same", first.score, first.curve
        elif state != "finished":
            score = curve[-1][1] if curve else None
        return Tried(
            each.number, each.point, state, score, scores, curve, cost.steps, cost.planned, cost.seconds, runs,
            each.same_as, str(each.notes.get(PROBLEM, "")),
        )  # fmt: skip

    def pause(self, seconds: float) -> None:
        """Wait; raises `Interrupted` once the search is to stop."""
        if self.stop.wait(seconds):
            raise Interrupted("stopped")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder; wait while another worker does."""
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(holding(self.folder, "this search"))
                    break
                except RunError:
                    self.pause(0.2)
            yield


def parts_of(recipe: Recipe, seeds: int | None = None) -> list[Part]:
    """The trainings that each trial of a recipe is made of: with each seed, or with so many, each fold."""
    settings, first = recipe.search, recipe.training.seed
    assert settings is not None
    folds = range(1, settings.folds + 1) if settings.folds else (None,)
    return [Part(first + number, fold) for number in range(seeds or settings.seeds) for fold in folds]


def cost_of(known: Known) -> Cost | None:
    """What a trial took, as it is written down; None before its end."""
    noted = known.notes.get(COST)
    return Cost(**noted) if isinstance(noted, dict) else None


def _spent(known: Sequence[Known]) -> float:
    """Seconds in which trials were worked on so far, those at the same time counted once."""
    ends = [(each.ended, cost) for each in known if each.ended is not None and (cost := cost_of(each)) is not None]
    spans = sorted((end - cost.worked, end) for end, cost in ends)
    total, end = sum(float(each.notes.get(SPENT, 0.0)) for each in known), float("-inf")  # on what was stopped
    for low, high in spans:
        total += max(0.0, high - max(low, end))
        end = max(end, high)
    return total
