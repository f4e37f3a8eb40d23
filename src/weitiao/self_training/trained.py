"""What came of a self-training, as plain data: its rounds, the one that is taken, and whether it helped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from weitiao.evaluation.verdicts import Pair
from weitiao.metrics.words import spoken, written

ALONE, TRAINED, LONGER = "labels alone", "self-trained", "labels alone, as many steps"


@dataclass(frozen=True)
class Round:
    """A training on the labels and the pseudo-labels that the model of the round before gave; round 0 has none."""

    number: int
    classes: dict[str, int] = field(default_factory=dict)  # pseudo-labels of each class that the labels know
    taken: int = 0
    share: float = 0.0  # of the pool
    least_sure: float | None = None  # the confidence of the last row that was taken
    right: int | None = None  # pseudo-labels that are right; None where no answer is known
    known: int = 0  # pseudo-labels whose answer is known
    validation: float | None = None
    seconds: float | None = None  # of training
    folder: str = ""  # of the run, within that of the self-training
    problem: str = ""  # why it has no score

    @property
    def least(self) -> tuple[str, int] | None:
        """The class with the fewest pseudo-labels."""
        return min(self.classes.items(), key=lambda each: each[1], default=None)

    @property
    def most(self) -> tuple[str, int] | None:
        """The class with the most."""
        return max(self.classes.items(), key=lambda each: each[1], default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"least": self.least, "most": self.most}


@dataclass(frozen=True)
class Chain:
    """All rounds of a seed."""

    seed: int
    rounds: list[Round]
    best: int  # the number of the round with the best validation score; of equals the first
    ended: str = ""  # why there are no more rounds, where they ended early
    test: dict[str, float] = field(default_factory=dict)  # `ALONE`, `TRAINED`, `LONGER` -> score on test

    @property
    def taken(self) -> Round:
        """The best round."""
        return self.rounds[self.best]


@dataclass(frozen=True)
class SelfTrained:
    """All that a self-training tells."""

    task: str
    model: str
    method: str
    score: str
    greater_is_better: bool
    labels: int  # labelled training examples
    pool: int  # rows that there were to choose from
    examples: dict[str, int]  # split -> examples that are measured on
    threshold: float
    per_class: int | None
    shares: str  # equal or labels: how `per_class` is dealt out
    confidence: float
    seeds: list[int]
    chains: list[Chain]  # of the seeds whose round 0 came to its end
    run: str = ""  # the folder of the run whose model to take
    against: Pair | None = None  # self-trained beside the labels alone, on test
    longer: Pair | None = None  # beside the labels alone with as many steps
    advice: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    recipe_yaml: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = ""

    def __getitem__(self, seed: int) -> Chain:
        return next(chain for chain in self.chains if chain.seed == seed)

    @property
    def chosen(self) -> Chain:
        """The chain whose best round is the best on validation."""
        return chosen(self.chains, greater=self.greater_is_better)

    @property
    def improved(self) -> bool:
        """Whether a round after the first is taken with any seed."""
        return any(chain.best for chain in self.chains)

    def mean(self, which: str) -> float | None:
        """The mean score on test over seeds, of `ALONE`, `TRAINED` or `LONGER`; None where there is none."""
        found = [chain.test[which] for chain in self.chains if which in chain.test]
        return float(np.mean(found)) if found else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        chains = [asdict(chain) | {"rounds": [each.to_dict() for each in chain.rounds]} for chain in self.chains]
        test = {which: self.mean(which) for which in (ALONE, TRAINED, LONGER)}
        return asdict(self) | {"chains": chains, "test": test}


def best_of(rounds: Sequence[Round], *, greater: bool) -> int:
    """Return the number of the round with the best validation score, of equals the first."""
    sign = 1 if greater else -1
    return max((each for each in rounds if each.validation is not None),
               key=lambda each: (sign * (each.validation or 0.0), -each.number)).number  # fmt: skip


def chosen(chains: Sequence[Chain], *, greater: bool) -> Chain:
    """Return the chain whose best round is the best on validation."""
    sign = 1 if greater else -1
    return max(chains, key=lambda chain: sign * (chain.taken.validation or 0.0))


def counted(classes: Sequence[Sequence[str]], known: Sequence[str]) -> dict[str, int]:
    """Return how many rows count for each class, of those that the labels know none left out."""
    counts = dict.fromkeys(known, 0)
    for names in classes:
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    return counts


def advise(found: SelfTrained) -> list[str]:
    """Return in sentences which model to take, and whether self-training helped."""
    taken, score = found.chosen, found.score
    first = taken.rounds[0].validation
    assert taken.taken.validation is not None
    assert first is not None
    value = f"{written(score, taken.taken.validation)} {spoken(score)} on validation"
    if not found.improved:
        others = max(len(chain.rounds) for chain in found.chains) > 1
        why = "no round was better on validation" if others else "there was no round with pseudo-labels"
        return [f"Self-training did not help: {why}. Take the model of the labels alone ({value}): {found.run}."]
    one = f"round {taken.best}" + (f" of seed {taken.seed}" if len(found.chains) > 1 else "")
    beside = f", the labels alone {written(score, first)}" if taken.best else ": no round of any seed is better"
    said = [f"Take {one if taken.best else 'the labels alone'}: it has {value}{beside}. It is {found.run}."]
    if found.against is None:
        return [*said, "Whether self-training helped is not known: nothing was measured on test, and validation chose "
                "the round."]  # fmt: skip
    said.append(f"On test: {found.against.verdict}.")
    if found.longer is not None:
        said.append(f"Beside the labels alone trained for as many steps: {found.longer.verdict}.")
        if found.longer.finding == "worse":
            said.append("So longer training on the labels is worth more here than the pool.")
        elif found.against.finding == "better" and found.longer.finding != "better":
            said.append("So it may be the longer training that helped, rather than the pool.")
    return said


def notes_of(found: SelfTrained, problems: Mapping[tuple[int, int], str]) -> list[str]:
    """Return what is to be known of it."""
    notes = [f"seed {seed}, round {number}: {problem}" for (seed, number), problem in problems.items()]
    notes += [f"seed {chain.seed}: {chain.ended}" for chain in found.chains if chain.ended]
    rounds = [each for chain in found.chains for each in chain.rounds if each.taken]
    without = [each for each in rounds if each.least and each.least[1] == 0]
    if without and without[0].least:
        notes.append(f"round {without[0].number} has no pseudo-label of {without[0].least[0]}: no row was taken for it")
    if found.per_class is None and any(_uneven(each) for each in rounds):
        notes.append("some classes have ten times the pseudo-labels of others: --per-class keeps them level")
    notes.append("validation chose the round: its scores are a little too good")
    if len(found.chains) == 1:
        notes.append("one seed: the verdict is about these trainings, another seed may turn it round; take 3 or more")
    return notes


def _uneven(each: Round) -> bool:
    return each.least is not None and each.most is not None and each.most[1] > 10 * max(each.least[1], 1)
