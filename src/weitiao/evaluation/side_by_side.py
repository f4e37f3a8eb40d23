"""Models on the same examples, each beside each other: tests, sizes, and the examples that they disagree about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from weitiao.evaluation.compare import Finding, in_words, is_share_right, judge
from weitiao.evaluation.compared import Compared, Row
from weitiao.evaluation.intervals import affordable_rounds, percentiles, samples
from weitiao.evaluation.paired import (
    approximate_randomisation,
    bootstrap_p,
    cohens_d,
    cohens_h,
    discordant,
    mcnemar,
    odds_ratio,
)
from weitiao.evaluation.verdicts import Pair, holm
from weitiao.metrics.words import greater_is_better
from weitiao.records import Example, Prediction

if TYPE_CHECKING:
    from weitiao.tasks.base import Scorer

KEPT = 200  # examples that models disagree about, in the JSON
Test = Literal["exact McNemar", "approximate randomisation", "none"]


@dataclass(frozen=True)
class Duel:
    """Two models on the same examples, by one score."""

    first: str
    second: str
    score: str
    examples: int
    difference: float  # first - second
    low: float | None  # bootstrap interval of the difference, of this pair by itself
    high: float | None
    test: Test
    p_value: float | None  # two-sided, of the test
    adjusted: float | None  # the same after Holm, over all pairs
    bootstrap_p: float | None  # of the paired bootstrap, beside it
    only_first_right: int | None  # examples; None where they are not simply right or wrong
    only_second_right: int | None
    odds_ratio: float | None  # of these two numbers
    effect: Literal["Cohen's h", "Cohen's d"]
    effect_size: float | None
    finding: Finding
    verdict: str  # in words

    @property
    def pair(self) -> Pair:
        """The same as a comparison of methods keeps it."""
        return Pair(self.first, self.second, self.difference, self.low, self.high, self.p_value, self.adjusted, None,
                    self.finding, self.verdict)  # fmt: skip


@dataclass(frozen=True)
class Apart:
    """An example that models disagree about."""

    where: str  # ``test.csv:12``
    given: str
    expected: list[str]
    said: dict[str, list[str]]  # by the model's name
    right: dict[str, float]  # 1.0 right, 0.0 wrong, or between


@dataclass(frozen=True)
class Leaderboard:
    """All that a comparison of runs tells: a row of `compared` is a run."""

    compared: Compared
    duels: list[Duel]
    front: list[str]  # runs that no other is better than in score, time and memory together
    apart: list[Apart]  # what runs disagree about, the most first
    counts: dict[str, int]  # examples that all have right, that none has right, that they disagree about
    only_right: dict[str, int] = field(default_factory=dict)  # examples that a run alone has right
    about: dict[str, str] = field(default_factory=dict)  # what a run is: its method and model

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            **self.compared.to_dict(), "pairs": [asdict(duel) for duel in self.duels], "front": self.front,
            "apart": [asdict(each) for each in self.apart], "counts": self.counts, "only_right": self.only_right,
            "about": self.about,
        }  # fmt: skip


def duels(
    scorers: Mapping[str, Scorer], together: Scorer, primary: str, *, rounds: int, confidence: float, seed: int
) -> tuple[list[Duel], dict[str, tuple[float, float] | None]]:
    """Test every two models (name -> scorer) that saw the same examples in the same order; also each score's interval.

    `together` is a scorer that saw the answers of all, one model after the other. Where `primary` is a share of right
    examples the test is exact McNemar, else approximate randomisation; "better" and "worse" hold for all pairs
    together (Holm 1979) and need an interval of the difference without 0.
    """
    names = list(scorers)
    outcomes = {name: scorer.outcomes() for name, scorer in scorers.items()}
    values = {name: scorer.compute()[primary] for name, scorer in scorers.items()}
    examples = len(outcomes[names[0]])
    drawn = _drawn(scorers, primary, affordable_rounds(rounds, examples), seed)
    counted = all(is_share_right(primary, values[name], outcomes[name]) for name in names)
    found: list[tuple[str, str, tuple[int, int] | None, float | None]] = []
    for a, b in combinations(names, 2):
        p: float | None
        apart = discordant(outcomes[a], outcomes[b]) if counted else None
        if apart:
            p = mcnemar(*apart)
        else:
            score = _of_two(together, primary, names.index(a), names.index(b), examples)
            p = approximate_randomisation(score, examples, rounds=affordable_rounds(rounds, examples), seed=seed)
        found.append((a, b, apart, p))
    adjusted = holm([p for *_, p in found])
    told = [
        _duel(a, b, primary, (values[a], values[b]), (outcomes[a], outcomes[b]), drawn[a] - drawn[b], apart, p, after,
              confidence)
        for (a, b, apart, p), after in zip(found, adjusted, strict=True)
    ]  # fmt: skip
    return told, {name: percentiles(drawn[name], confidence) for name in names}


def _drawn(scorers: Mapping[str, Scorer], primary: str, rounds: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """The score of each model on the same bootstrap samples."""
    examples = len(next(iter(scorers.values())).outcomes())
    return {
        name: np.array([each.compute(rows).get(primary, np.nan) for rows in samples(examples, rounds, seed)], float)
        for name, each in scorers.items()
    }


def _of_two(together: Scorer, primary: str, first: int, second: int, examples: int) -> Any:
    """The score of answers of two models, numbered as `approximate_randomisation` does."""
    at = np.concatenate([np.arange(examples) + first * examples, np.arange(examples) + second * examples])
    return lambda rows: together.compute(at[rows]).get(primary, np.nan)


def _duel(
    first: str, second: str, primary: str, values: tuple[float, float], outcomes: tuple[Any, Any],
    differences: NDArray[np.float64], apart: tuple[int, int] | None, p: float | None, adjusted: float | None,
    confidence: float,
) -> Duel:  # fmt: skip
    difference, interval = values[0] - values[1], percentiles(differences, confidence)
    finding = judge(difference, interval, adjusted, confidence, greater_is_better(primary))
    test: Test = "exact McNemar" if apart else "none" if p is None else "approximate randomisation"
    low, high = interval or (None, None)
    size = cohens_h(*values) if apart else cohens_d(*outcomes)
    return Duel(
        first, second, primary, len(outcomes[0]), difference, low, high, test, p, adjusted, bootstrap_p(differences),
        apart[0] if apart else None, apart[1] if apart else None, odds_ratio(*apart) if apart else None,
        "Cohen's h" if apart else "Cohen's d", size, finding,
        in_words(finding, second, primary, difference, interval, confidence, f"{test}, adjusted", adjusted),
    )  # fmt: skip


def disagreements(scorers: Mapping[str, Scorer]) -> tuple[list[int], dict[str, int], dict[str, int]]:
    """Return the numbers of the examples that models disagree about, the most first; how many they agree about; and
    how many each alone has right.
    """  # fmt: skip
    right = np.array([scorer.outcomes() for scorer in scorers.values()])
    spread = right.std(axis=0)
    order = np.lexsort((np.arange(right.shape[1]), -np.round(spread, 9)))
    apart = [int(row) for row in order if spread[row] > 0]
    wholly = right >= 1
    counts = {"all right": int(wholly.all(axis=0).sum()), "none right": int((~wholly).all(axis=0).sum()),
              "apart": len(apart)}  # fmt: skip
    alone = {name: int((wholly[i] & (wholly.sum(axis=0) == 1)).sum()) for i, name in enumerate(scorers)}
    return apart, counts, alone


def told_apart(
    row: int, where: str, scorers: Mapping[str, Scorer], example: Example, answers: Mapping[str, Prediction]
) -> Apart:
    """Put one such example into words."""
    told = {name: scorer.tell(example, answers[name]) for name, scorer in scorers.items()}
    one = next(iter(told.values()))
    return Apart(where, one.given, one.expected, {name: each.said for name, each in told.items()},
                 {name: float(scorer.outcomes()[row]) for name, scorer in scorers.items()})  # fmt: skip


def front(rows: Sequence[Row], *, greater: bool) -> list[str]:
    """Return the rows that no other is better than: as good a score with as little time and memory, and one of these
    better still (Pareto). What is not known of all does not count.
    """  # fmt: skip
    there = [row for row in rows if row.mean is not None]
    costs: list[list[float | None]] = [[row.seconds for row in there], [row.peak_memory for row in there]]
    known = [each for each in costs if None not in each]
    points = np.array([[(-1 if greater else 1) * (row.mean or 0.0) for row in there], *known], float).T
    kept = [
        not any(np.all(other <= point) and np.any(other < point) for other in points) for point in points
    ]  # fmt: skip
    return [row.name for row, on in zip(there, kept, strict=True) if on]
