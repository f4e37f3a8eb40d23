"""How much of a given time is left, over all goes that a race takes."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from weitiao.artifacts.artifact import write_json


@dataclass
class Clock:
    """Counts this go, and what runs of earlier ones took, against a budget of seconds."""

    budget: float | None
    began: float  # by `time.monotonic`
    path: Path  # where it is kept what each run took
    took: dict[str, float] = field(default_factory=dict)  # run -> seconds, over all goes
    before: float = 0.0  # what runs took in earlier goes

    @classmethod
    def open(cls, path: Path, budget: float | None, began: float) -> Clock:
        """Read what earlier goes took."""
        try:
            took = {str(name): float(value) for name, value in json.loads(path.read_text(encoding="utf-8")).items()}
        except (OSError, ValueError, AttributeError):
            took = {}
        return cls(budget, began, path, took, sum(took.values()))

    @property
    def used(self) -> float:
        """The seconds that are gone."""
        return self.before + time.monotonic() - self.began

    @property
    def left(self) -> float:
        """The seconds that are left; without a budget there is no end of them."""
        return float("inf") if self.budget is None else self.budget - self.used

    @property
    def is_over(self) -> bool:
        """Whether nothing is left."""
        return self.left <= 0

    def note(self, run: str, seconds: float) -> None:
        """Keep what a run took, added to what it took before."""
        self.took[run] = self.took.get(run, 0.0) + seconds
        write_json(self.path, self.took)
