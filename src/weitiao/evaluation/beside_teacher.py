"""What a student keeps of its teacher, and what it saves: score, parameters, room on the disk, time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from statistics import median
from typing import Any

from weitiao.metrics.words import greater_is_better, spoken, written


@dataclass(frozen=True)
class Spread:
    """A ratio that was measured several times."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, ratios: list[float]) -> Spread:
        """Gather them; there is one at least."""
        return cls(median(ratios), min(ratios), max(ratios))


@dataclass(frozen=True)
class BesideTeacher:
    """A student beside one of its teachers, measured on the same examples by the same machine."""

    teacher: str  # as the recipe names it
    split: str  # that both were measured on
    score: str  # the primary one; "" where the teacher was not scored
    score_here: float | None
    score_there: float | None
    parameters_here: int
    parameters_there: int
    bytes_here: int  # on the disk, of what is needed to predict
    bytes_there: int
    examples: int  # that the speed was measured on
    precision_here: str
    precision_there: str
    rates_here: list[float]  # examples a second, turn by turn
    rates_there: list[float]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BesideTeacher:
        """Read back what `to_dict` gave."""
        return cls(**{each.name: values[each.name] for each in fields(cls)})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the ratios among them."""
        return asdict(self) | {"score_kept": self.kept, "speed": asdict(self.speed)}

    @property
    def kept(self) -> float | None:
        """Share of the teacher's score; None of scores that are better when they are lower or may be below 0."""
        here, there = self.score_here, self.score_there
        if here is None or there is None or there <= 0 or not greater_is_better(self.score):
            return None
        return here / there

    @property
    def speed(self) -> Spread:
        """How many times as many examples it predicts in a second; each turn gives a ratio of its own."""
        return Spread.of([here / there for here, there in zip(self.rates_here, self.rates_there, strict=True)])

    @property
    def told(self) -> str:
        """All of it in one line."""
        fewer = f"{self.parameters_here / self.parameters_there:.0%} of its parameters"
        room = f"{self.bytes_here / self.bytes_there:.0%} of its room on the disk"
        speed = f"{self.speed.median:.2f} times its speed ({self.speed.low:.2f} to {self.speed.high:.2f} in "
        speed += f"{len(self.rates_here)} turns on this machine)"
        return f"beside the teacher {self.teacher}: {', '.join(filter(None, [self._kept, fewer, room, speed]))}"

    @property
    def _kept(self) -> str:
        if self.kept is not None:
            return f"{self.kept:.1%} of its {spoken(self.score)}"
        if self.score_here is None or self.score_there is None:
            return ""
        here, there = written(self.score, self.score_here), written(self.score, self.score_there)
        return f"{here} {spoken(self.score)}, where it has {there}"

    def rows(self) -> list[tuple[str, str, str, str]]:
        """What it is about, the student's, the teacher's, and the share: a table of words."""
        found = []
        if self.score_here is not None and self.score_there is not None:
            kept = "–" if self.kept is None else f"{self.kept:.1%}"
            found.append((spoken(self.score), written(self.score, self.score_here),
                          written(self.score, self.score_there), kept))  # fmt: skip
        found.append(("parameters", f"{self.parameters_here:,}", f"{self.parameters_there:,}",
                      f"{self.parameters_here / self.parameters_there:.1%}"))  # fmt: skip
        found.append(("MB on the disk", f"{self.bytes_here / 1e6:,.1f}", f"{self.bytes_there / 1e6:,.1f}",
                      f"{self.bytes_here / self.bytes_there:.1%}"))  # fmt: skip
        speed = self.speed
        found.append(("examples a second", f"{median(self.rates_here):,.1f}", f"{median(self.rates_there):,.1f}",
                      f"{speed.median:.2f} × ({speed.low:.2f} to {speed.high:.2f})"))  # fmt: skip
        return found
