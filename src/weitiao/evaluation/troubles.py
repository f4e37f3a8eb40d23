"""What can be wrong with a training, and how it is told: with its evidence and the next thing to try.

A trouble is `clear` where its evidence leaves little else, and `mild` where it is worth knowing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from weitiao.recipe.reading import override

Name = Literal[
    "learning rate too high", "learning rate too low", "noisy labels", "too little data", "overfits", "underfits",
    "stopped too early", "unstable", "validation unlike test",
]  # fmt: skip
Level = Literal["clear", "mild"]

# What the names mean, for people; in the order in which they are told: causes before what follows from them.
MEANINGS: dict[Name, str] = {
    "learning rate too high": "its steps are too large: they destroy more than they teach",
    "learning rate too low": "its steps are too small: the model hardly moved",
    "noisy labels": "where the model is surest, it is often wrong: many labels are wrong, or people would disagree",
    "too little data": "it knows its examples, and there are too few of them to carry over to others",
    "overfits": "it goes on learning its training examples by heart, and gets worse on others",
    "underfits": "it has not even learned its training examples",
    "stopped too early": "it was still getting better when it ended",
    "unstable": "its loss or its score jumps up and down",
    "validation unlike test": "what decides on validation says little about the test split",
}


@dataclass(frozen=True)
class Change:
    """A change of the recipe to try next."""

    key: str
    value: str  # by YAML's rules
    why: str = ""

    def __str__(self) -> str:
        """Return it as it is given to a command."""
        return override(self.key, self.value)


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong."""

    name: Name
    level: Level
    evidence: list[str]  # sentences with the numbers
    next: list[Change] = field(default_factory=list)
    also: list[str] = field(default_factory=list)  # what else to do, no change of the recipe

    @property
    def meaning(self) -> str:
        """What the name means, in words."""
        return MEANINGS[self.name]
