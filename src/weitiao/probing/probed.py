"""What a probe tells, as plain data: how well frozen features tell the target, and how the race ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from weitiao.evaluation.compared import Reference, Row, recommend
from weitiao.evaluation.verdicts import Pair
from weitiao.metrics.words import distance, scale, spoken, written
from weitiao.probing.linear import Probe
from weitiao.recipe.reading import override, written_value


@dataclass(frozen=True)
class Transfer:
    """What a model's frozen features tell of the target."""

    model: str  # what it is called
    source: str
    width: int | None = None
    examples: int | None = None  # that were looked at
    linear: Probe | None = None
    log_me: float | None = None
    h_score: float | None = None  # of labels only
    problem: str = ""  # why there are no numbers


@dataclass(frozen=True)
class Standing:
    """A candidate at the end of the race."""

    row: Row
    model: str  # what it is called
    rows: int | None  # training rows of the last rung that it finished
    stretch: float = 1.0  # what its epochs were multiplied by there
    rung: int | None = None  # counted from 1
    low: float | None = None  # interval of the mean, over seeds and examples
    high: float | None = None
    against: Pair | None = None  # the best of that rung against it
    in_final: bool = False

    @property
    def name(self) -> str:
        """What it is called."""
        return self.row.name

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"row": self.row.to_dict(), "name": self.name}


@dataclass(frozen=True)
class Round:
    """One rung as it was run."""

    rows: int
    stretch: float
    entrants: list[str]
    seeds: list[int]  # that all entrants finished
    planned_seeds: list[int]
    unfinished: list[str] = field(default_factory=list)  # entrants without a score: the time was over, or they failed


@dataclass(frozen=True)
class Probed:
    """All that a probe tells."""

    task: str
    score: str
    greater_is_better: bool
    examples: int  # of validation, the same for all
    confidence: float
    rows: int  # all that can be trained on
    models: list[Transfer]
    standings: list[Standing]  # the best first; those of earlier rungs behind, those without a score last
    rounds: list[Round]
    pairs: list[Pair]  # of those in the last rung
    baselines: list[Reference] = field(default_factory=list)
    recommended: str | None = None
    advice: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    time: str | None = None  # as it was given
    seconds: float = 0.0  # that were used
    recipe_yaml: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = ""

    @property
    def ranking(self) -> list[str]:
        """The candidates that have a score, the best first."""
        return [each.name for each in self.standings if each.row.mean is not None]

    def __getitem__(self, name: str) -> Standing:
        """Return a candidate's standing by its name."""
        return {each.name: each for each in self.standings}[name]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"standings": [each.to_dict() for each in self.standings], "ranking": self.ranking}


def advise(
    standings: Sequence[Standing], pairs: Sequence[Pair], score: str, *, time: str | None, settings: Mapping[str, Any]
) -> tuple[str | None, list[str]]:
    """Return which candidate to take and why, in sentences; `settings` are a name's dotted keys in a recipe."""
    last = [each for each in standings if each.in_final]
    taken, said = recommend([each.row for each in last], pairs, score)
    if taken is None:
        return None, said
    if len(last) == 1:
        said = [f"Take {taken} ({written(score, last[0].row.mean or 0.0)} {spoken(score)}): no other one has such a "
                "score to be compared with."]  # fmt: skip
    said[0] = _first(said[0], time)
    return taken, [*said, *_ties(last, pairs), *_early(standings, score), _command(settings[taken])]


def _first(sentence: str, time: str | None) -> str:
    return sentence if time is None else f"Within {time}: {sentence[:1].lower()}{sentence[1:]}"


def _ties(last: Sequence[Standing], pairs: Sequence[Pair]) -> list[str]:
    """Who cannot be told from the best."""
    best = last[0].name
    tied = [pair.second for pair in pairs if pair.first == best and pair.finding == "no difference"]
    return [f"Not distinguishable from {best}: {listed(tied)}."] if tied else []


def _early(standings: Sequence[Standing], score: str) -> list[str]:
    """Who left the race before its end without being measurably worse."""
    left = [each for each in standings if not each.in_final and each.against and each.row.mean is not None]
    unsure = [each for each in left if each.against and each.against.finding == "no difference"]
    if not unsure:
        return []
    told = [f"{each.name} (after {each.rows:,} rows, {behind(score, each)})" for each in unsure]
    return [f"Left early without being measurably worse: {listed(told)}. More time would tell."]


def behind(score: str, standing: Standing) -> str:
    """Return how far behind the best of its rung a candidate was, in words."""
    pair = standing.against
    return "" if pair is None else f"{distance(score, pair.difference)} behind"


def _command(settings: Mapping[str, Any]) -> str:
    words = " ".join(override(key, written_value(value)) for key, value in settings.items())
    return f"Train it on all rows: weitiao train RECIPE {words}"


def listed(names: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def interval(score: str, low: float | None, high: float | None) -> str:
    """Return ``78.2 – 83.4``; "" where there is none."""
    if low is None or high is None:
        return ""
    return f"{written(score, low, unit=False)} – {written(score, high, unit=False)}"


def signed(score: str, difference: float) -> str:
    """Return a difference with its sign, in the score's unit."""
    factor, digits = scale(score, difference)
    return f"{round(factor * difference, digits) + 0.0:+,.{digits}f}".replace("-", "−")
