"""What happens when a step goes wrong: it is skipped, the run rolled back, or ended, by the recipe's policy."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import Any, Literal

from weitiao.recipe import RecoverySettings

Action = Literal["take", "skip", "roll-back", "stop"]
Trouble = Literal["non-finite", "spike"]

WINDOW = 64  # losses that a spike is told by
FEWEST = 16  # losses that it takes
FLOOR = 0.05  # least deviation: a loss that hardly varies does not make each small rise a spike
ROBUST = 1.4826  # times the median absolute deviation: the standard deviation of a normal distribution


@dataclass(frozen=True)
class Verdict:
    """What is to be done with a step."""

    action: Action
    trouble: Trouble | None = None
    usual: float | None = None  # of a spike: the median loss before it


@dataclass
class Recovery:
    """Judges each step by its loss and gradient, and remembers what has been done.

    All that it decides by is in `state`, so a run that goes on from a checkpoint does as one that never stopped.
    """

    settings: RecoverySettings = field(default_factory=RecoverySettings)
    losses: list[float] = field(default_factory=list)  # of the last steps that were taken, at most `WINDOW`
    in_a_row: int = 0  # steps in trouble
    roll_backs: int = 0
    due: bool = False  # whether the last step asks for a roll-back

    @property
    def rate(self) -> float:
        """Factor on the learning rate."""
        return self.settings.rate**self.roll_backs

    def judge(self, loss: float, norm: float, *, sound: bool = True) -> Verdict:
        """Say what is to be done with a step of that loss and gradient norm, and remember it.

        `sound`: whether the weights themselves are finite; skipping would not help where they are not.
        """
        finite = math.isfinite(loss) and math.isfinite(norm)
        usual = self.spikes_over(loss) if finite else None
        if finite and usual is None:
            return self._taken(loss)
        trouble: Trouble = "spike" if finite else "non-finite"
        action = self._action(trouble, sound)
        self.in_a_row, self.due = self.in_a_row + 1, action == "roll-back"
        if action == "take":
            self._keep(loss)
        return Verdict(action, trouble, usual)

    def spikes_over(self, loss: float) -> float | None:
        """Return the median of the losses before where this one spikes; None where it does not."""
        if len(self.losses) < FEWEST:
            return None
        median = statistics.median(self.losses)
        deviation = ROBUST * statistics.median(abs(each - median) for each in self.losses)
        return median if loss > median + self.settings.spike_threshold * max(deviation, FLOOR) else None

    def state(self) -> dict[str, Any]:
        """Return plain JSON values for `restore`."""
        return {"losses": list(self.losses), "in_a_row": self.in_a_row, "roll_backs": self.roll_backs}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` gave; an empty one is that of the start."""
        self.losses = list(state.get("losses", ()))
        self.in_a_row, self.roll_backs, self.due = state.get("in_a_row", 0), state.get("roll_backs", 0), False

    def _action(self, trouble: Trouble, sound: bool) -> Action:
        chosen = self.settings.spike if trouble == "spike" else self.settings.non_finite
        at_last: Action = "take" if trouble == "spike" else "stop"
        if chosen in ("record", "stop"):
            return at_last
        if sound and self.in_a_row < self.settings.skips:
            return "skip"
        if chosen == "roll-back" and self.roll_backs < self.settings.roll_backs:
            return "roll-back"
        return at_last

    def _taken(self, loss: float) -> Verdict:
        self.in_a_row = 0
        self._keep(loss)
        return Verdict("take")

    def _keep(self, loss: float) -> None:
        self.losses = [*self.losses[-WINDOW + 1 :], loss]
