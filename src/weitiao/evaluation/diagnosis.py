"""What went wrong in a training, if anything: a pure function of a run's events, scores and recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from weitiao.evaluation.diagnosis_rules import RULES
from weitiao.evaluation.signs import Signs, signs
from weitiao.evaluation.troubles import MEANINGS, Trouble

NOTHING = "nothing wrong found"


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a run, the clearest and what lies behind the rest first."""

    troubles: list[Trouble] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what could not be looked at, and why

    @property
    def verdict(self) -> str:
        """The troubles' names in a line."""
        named = [each.name + (" (mildly)" if each.level == "mild" else "") for each in self.troubles]
        return ", ".join(named) or NOTHING

    @property
    def clear(self) -> list[str]:
        """The names of what is clear."""
        return [each.name for each in self.troubles if each.level == "clear"]

    def lines(self) -> list[str]:
        """Return it in three lines at most: what it is, why, and what to try."""
        if not self.troubles:
            return [self.verdict]
        first = self.troubles[0]
        tries = [*map(str, first.next[:2]), *first.also[: 0 if first.next else 1]]
        return [self.verdict, first.evidence[0], *([f"try {' or '.join(tries)}"] if tries else [])]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"verdict": self.verdict, **dataclasses.asdict(self)}


def diagnose(
    events: Iterable[Mapping[str, Any]], scores: Mapping[str, Any], recipe: Mapping[str, Any], *,
    status: str = "finished", error: str = "",
) -> Diagnosis:  # fmt: skip
    """Say what is wrong with a run, by what it left: the lines of ``events.jsonl``, ``scores.json``, its recipe.

    `status` and `error` as in ``run.json``.
    """
    seen = signs(events, scores, recipe, status=status, error=error)
    notes = list(_unseen(seen))
    if not len(seen.steps) and not seen.rolled_back and not seen.not_finite:
        return Diagnosis(notes=["no step was taken: there is nothing to look at", *notes])
    found: dict[str, Trouble] = {}
    for rule in RULES if len(seen.steps) else RULES[:1]:
        trouble = rule(seen, found)
        if trouble:
            found[trouble.name] = trouble
    order = list(MEANINGS)
    ranked = sorted(found.values(), key=lambda each: (each.level != "clear", order.index(each.name)))
    return Diagnosis(ranked, notes)


def _unseen(seen: Signs) -> Iterator[str]:
    if seen.status != "finished":
        done = int(seen.steps[-1]) if len(seen.steps) else 0
        yield f"the run is {seen.status} after {done:,} of {seen.planned:,} steps: this is about what there is"
    if not seen.measures:
        yield "nothing was measured on validation: whether it carries over to other examples is not seen"
    elif not any(each.train for each in seen.measures):
        told = "no training examples were measured beside validation (evaluation.train_examples)"
        yield f"{told}: the loss of the steps stands in"
    if seen.untold:
        yield "the run does not say what its baselines learned from, as it is an older one: they are not looked at"
    if len(seen.steps) and seen.usual is None:
        yield "the run does not say which learning rate is usual for its method: the rate is not set beside it"
