"""What a search tells, as plain data: a record a trial, the best settings, and their honest score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from weitiao.metrics.words import distance, greater_is_better, spoken, written
from weitiao.searching.space import names_of, told, value_told

State = Literal["finished", "pruned", "failed", "same", "unfinished"]
STATES = {"finished": "", "failed": "failed", "unfinished": "not finished"}
FEWEST = 10  # trials that came to their end, for importance to mean anything
ROUGH = 5  # times the dimensions: with fewer trials it is a hint


@dataclass(frozen=True)
class Tried:
    """One trial."""

    number: int
    point: dict[str, Any]  # key of the recipe -> value
    state: State
    score: float | None = None  # on validation or folds, the mean; the last one of a trial that was stopped early
    scores: list[float] = field(default_factory=list)  # of each seed and fold
    curve: list[tuple[int, float]] = field(default_factory=list)  # (evaluation, score on validation) of the first one
    steps: int = 0  # done, of all seeds and folds
    planned: int = 0  # of the runs that were begun
    seconds: float = 0.0  # of training, evaluations on validation included
    runs: list[str] = field(default_factory=list)  # folders within the search's
    same_as: int | None = None  # the trial that had the same point before, and whose score this is
    problem: str = ""


@dataclass(frozen=True)
class OnTest:
    """The winner on the test split, which no trial looked at."""

    value: float
    low: float | None
    high: float | None
    examples: int
    values: list[float]  # of each seed and fold
    before: int = 0  # winners of this search that were tested before this one

    def verdict(self, score: str, validation: float, on: str) -> str:
        """How the score `on` validation or folds, by which the winner was chosen, fared where it was not."""
        sign = 1 if greater_is_better(score) else -1
        lost = sign * (validation - self.value)
        looked = "looked at once" if not self.before else f"looked at {self.before + 1} times"
        head = f"Chosen by {written(score, validation)} {on}; on test, {looked}, it is " \
               f"{written(score, self.value)}"  # fmt: skip
        ends = "" if self.low is None or self.high is None else (
            f" (interval {written(score, self.low, unit=False)} to {written(score, self.high)})")  # fmt: skip
        by = distance(score, lost)
        if round(100 * lost, 1) == 0:
            return f"{head}{ends}: nothing was lost."
        if lost < 0:
            return f"{head}{ends}: {by} better, by the luck of which examples are in which split."
        chance = self.low is not None and self.high is not None and self.low <= validation <= self.high
        why = ("no more than the choice of test examples explains, and in part the price of choosing the best of many"
               if chance else "the best of many is chosen in part for its luck")  # fmt: skip
        return f"{head}{ends}: {by} worse, {why}."


@dataclass(frozen=True)
class Searched:
    """All that a search tells."""

    task: str
    model: str
    score: str  # what was searched by
    strategy: str
    pruning: dict[str, Any]
    seeds: list[int]
    folds: int | None  # that each trial was cross-validated in; None: scored on validation
    trials: list[Tried]
    best: int  # number of the trial that won
    validation: float  # its score there: too good, as it was chosen by it
    values: dict[str, Any]  # key of the recipe -> value
    test: OnTest | None
    baselines: dict[str, float] = field(default_factory=dict)  # on test, by the primary score
    importance: dict[str, float] = field(default_factory=dict)
    importance_note: str = ""
    notes: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)  # sentences
    space: dict[str, Any] = field(default_factory=dict)
    recipe_yaml: str = ""  # of the winner
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = ""

    @property
    def greater_is_better(self) -> bool:
        """Which way the score is better."""
        return greater_is_better(self.score)

    @property
    def chosen_on(self) -> str:
        """Where the scores of trials are from: ``on validation``."""
        return chosen_on(self.folds)

    @property
    def winner(self) -> Tried:
        """The best trial."""
        return self[self.best]

    @property
    def steps(self) -> int:
        """Training steps of all trials."""
        return sum(trial.steps for trial in self.trials)

    @property
    def spared(self) -> float:
        """The share of the planned steps that was not done: trials that were stopped early, by pruning or patience."""
        planned = sum(trial.planned for trial in self.trials)
        return 1 - self.steps / planned if planned else 0.0

    @property
    def seconds(self) -> float:
        """Training time of all trials, one after the other."""
        return sum(trial.seconds for trial in self.trials)

    def __getitem__(self, number: int) -> Tried:
        """Return a trial by its number."""
        return next(trial for trial in self.trials if trial.number == number)

    def count(self, state: State) -> int:
        """How many trials ended so."""
        return sum(trial.state == state for trial in self.trials)

    def so_far(self) -> list[tuple[int, float]]:
        """(trial, the best score up to it), of those that came to their end."""
        sign, best, found = 1 if self.greater_is_better else -1, None, []
        for trial in self.trials:
            if trial.state == "finished" and trial.score is not None:
                best = trial.score if best is None or sign * trial.score > sign * best else best
                found.append((trial.number, best))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"steps": self.steps, "spared": self.spared, "seconds": self.seconds,
                               "greater_is_better": self.greater_is_better}  # fmt: skip


def best_of(trials: Sequence[Tried], score: str) -> Tried | None:
    """The trial with the best score of those that came to their end; of equal ones the cheapest, then the first."""
    sign = -1 if greater_is_better(score) else 1
    there = [trial for trial in trials if trial.state == "finished" and trial.score is not None]
    return min(there, key=lambda trial: (sign * (trial.score or 0.0), trial.steps, trial.number), default=None)


def tested_of(runs: Sequence[Mapping[str, Any]], score: str, confidence: float, before: int) -> OnTest:
    """The mean over seeds and folds of what each run has on test, with an interval over the test examples.

    Each of `runs` is what the action `test` left. Where a search went by another than the primary score, the interval
    of several seeds is left out.
    """
    found = [run["scores"]["values"][score] for run in runs]
    values = [each["value"] for each in found]
    low, high = found[0]["low"], found[0]["high"]
    if len(runs) > 1:
        low = high = None
        drawn = [run["drawn"].get("") for run in runs]
        if all(each and each["score"] == score and each["which"] == drawn[0]["which"] for each in drawn):
            means = np.array([each["samples"] for each in drawn], float).mean(axis=0)  # None becomes nan
            tail = (1 - confidence) / 2
            low, high = (float(end) for end in np.nanquantile(means, [tail, 1 - tail])) if len(means) else (None, None)
    return OnTest(float(np.mean(values)), low, high, runs[0]["scores"]["examples"], values, before)


def chosen_on(folds: int | None) -> str:
    """Where the scores of trials are from, in words."""
    return f"over {folds} folds" if folds else "on validation"


def advice_of(
    searched_score: str, best: Tried, tested: OnTest | None, baselines: Mapping[str, float], on: str
) -> list[str]:
    """What to take, what it is worth, and whether a simple baseline does as well."""
    assert best.score is not None
    said = [f"Take {told(best.point)}."]
    if tested is None:
        said.append(f"{written(searched_score, best.score)} {spoken(searched_score)} {on}, by which it was "
                    "chosen, is too good: there is no test split to say how much.")  # fmt: skip
        return said
    said.append(tested.verdict(searched_score, best.score, on))
    sign = 1 if greater_is_better(searched_score) else -1
    ahead = [name for name, value in baselines.items() if sign * value >= sign * tested.value]
    if ahead:
        said.append(f"But {ahead[0]} has {written(searched_score, baselines[ahead[0]])} there, at next to no cost.")
    return said


def ordered(searched: Searched) -> list[Tried]:
    """Return the trials as they are told: the best first, then by how they ended and by score."""
    sign = -1 if searched.greater_is_better else 1
    order = {"finished": 0, "same": 1, "pruned": 2, "unfinished": 3, "failed": 4}
    return sorted(
        searched.trials,
        key=lambda t: (
            t.number != searched.best,
            order[t.state],
            sign * t.score if t.score is not None else float("inf"),
            t.number,
        ),
    )


def table(searched: Searched) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """Return a row a trial, as they are `ordered`, with the header."""
    keys = list(searched.space)
    names = names_of(keys)
    rows = [
        (
            f"{'*' if trial.number == searched.best else ' '} {trial.number}",
            written(searched.score, trial.score) if trial.score is not None else "–",
            *(value_told(trial.point[key]) if key in trial.point else "" for key in keys),
            f"{trial.steps:,}" if trial.steps else "", ended(trial),
        )
        for trial in ordered(searched)
    ]  # fmt: skip
    return rows, ("  trial", spoken(searched.score), *(names[key] for key in keys), "steps", "")


def ended(trial: Tried) -> str:
    """How a trial ended, in words; nothing of one that came to its end."""
    if trial.state == "same":
        return f"the same as {trial.same_as}"
    if trial.state == "pruned":
        return f"stopped after {len(trial.curve)} evaluation{'s' if len(trial.curve) != 1 else ''}"
    return trial.problem.splitlines()[0] if trial.problem else STATES[trial.state]
