"""The rungs of a race: how many candidates train on how many rows, and what of it fits into the time that is left.

Successive halving (Jamieson & Talwalkar 2016): many candidates on few rows, the better half of them on more, and the
last ones with several seeds on all of them. Numbers only, no runs.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

FINAL = 3  # candidates that the last rung is planned for
FEWEST = 2  # that go on: one alone could not be compared
SHARES = {2: (4, 1), 3: (4, 2, 1), 4: (8, 4, 2, 1)}  # rungs -> what the training rows are divided by
STEPS = 60  # that a run on few rows shall have: it gets more epochs
MOST_EPOCHS = 2.0  # times those of the recipe: with more, few rows would cost what all of them do
SPARE = 0.9  # share of the time that is planned with
SMALLER = ((1.0, 2), (0.7, 2), (0.5, 2), (1.0, 1), (0.7, 1), (0.5, 1), (0.35, 1), (0.25, 1))  # (share of rows, seeds)


@dataclass(frozen=True)
class Rung:
    """One round: each entrant is trained on the same rows, with each seed."""

    rows: int
    stretch: float  # what a candidate's epochs are multiplied by
    entrants: int
    seeds: int


@dataclass(frozen=True)
class Cost:
    """What a run of a candidate takes, as measured."""

    fixed: float  # seconds whatever its rows
    a_row: float  # seconds for each row that it goes through
    epochs: float  # of the candidate, over all rows

    def seconds(self, rung: Rung) -> float:
        """The seconds of one run of a rung."""
        return self.fixed + self.a_row * rung.rows * rung.stretch * self.epochs


@dataclass(frozen=True)
class Ladder:
    """What rungs are planned from."""

    rows: int  # all that can be trained on
    epochs: float
    batch: int
    seeds: int

    def planned(self, candidates: int, usable: Collection[int] | None = None) -> list[Rung]:
        """Return the rungs for so many candidates; `usable` are the sizes below `rows` that can be trained on."""
        sizes = [size for size in self.sizes(candidates) if usable is None or size in usable or size == self.rows]
        found, entrants = [], candidates
        for size in sizes:
            found.append(self._rung(size, entrants, self.seeds if size == self.rows else 1))
            entrants = max(min(FEWEST, candidates), math.ceil(entrants / 2))
        return found

    def sizes(self, candidates: int) -> list[int]:
        """Return how many rows the rungs for so many candidates have."""
        rungs = 1 + min(3, max(1, math.ceil(math.log2(max(candidates, 1) / FINAL))))
        return [math.ceil(self.rows / share) for share in SHARES[rungs]]

    def fitted(self, rungs: Sequence[Rung], costs: Sequence[Cost], left: float) -> list[Rung]:
        """Return what of the rungs to come fits into the seconds `left`: as many seeds and rows as do, or nothing.

        Given up first are seeds but two, then rungs before the last, then rows down to half, then the second seed.
        The `costs` are the candidates', the best first.
        """
        if not rungs or needed(rungs, costs) <= SPARE * left:
            return list(rungs)
        *between, last = rungs
        for share, seeds in SMALLER:
            own = self._rung(math.ceil(last.rows * share), last.entrants, min(seeds, last.seeds))
            for middle in (between, []):
                option = [*(rung for rung in middle if rung.rows < own.rows), own]
                if needed(option, costs) <= SPARE * left:
                    return option
        return []

    def _rung(self, rows: int, entrants: int, seeds: int) -> Rung:
        steps = math.ceil(rows / self.batch) * self.epochs
        return Rung(rows, round(min(MOST_EPOCHS, max(1.0, STEPS / steps)), 2), entrants, seeds)


def needed(rungs: Sequence[Rung], costs: Sequence[Cost]) -> float:
    """Return the seconds that rungs take."""
    return sum(rung.seeds * cost.seconds(rung) for rung in rungs for cost in costs[: rung.entrants])


def ordered(scores: Mapping[str, float], *, greater_is_better: bool, ties: Sequence[str]) -> list[str]:
    """Return names by their score, the best first; equal ones in the order of `ties`."""
    sign = -1 if greater_is_better else 1
    return sorted(scores, key=lambda name: (sign * scores[name], ties.index(name)))


def shrunk(rung: Rung, entrants: int) -> Rung:
    """Return the rung for no more than so many entrants."""
    return replace(rung, entrants=min(rung.entrants, entrants))
