"""Which rows of a pool become pseudo-labels: pure functions of what a model says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from weitiao.metrics.classification import label_names
from weitiao.records import Prediction

NONE = "(none)"  # the class of a row of which a model with several labels says that it has none
Shares = Literal["equal", "labels"]


@dataclass(frozen=True)
class Guess:
    """What a model says of a row, and how sure it is."""

    label: Any  # as the data has it: a label, or a list of labels
    confidence: float  # 0 to 1

    @property
    def classes(self) -> list[str]:
        """The classes that it counts for."""
        return classes_of(self.label)


def classes_of(label: Any) -> list[str]:
    """Return the classes that a label cell counts for."""
    return label_names(label) or [NONE]


def guess_of(prediction: Prediction) -> Guess:
    """Return a prediction as a guess: the label with its probability; of several labels those that it decided for, and
    the probability of the one yes or no that it is least sure of.
    """  # fmt: skip
    if "labels" not in prediction:
        return Guess(prediction["label"], float(prediction["score"]))
    taken = set(prediction["labels"])
    sure = (p if name in taken else 1 - p for name, p in prediction["probabilities"].items())
    return Guess(list(prediction["labels"]), float(min(sure)))


def quotas(labels: Iterable[Any], per_class: int | None, shares: Shares) -> dict[str, int] | None:
    """Return the most rows of each class; None: as many as are sure enough.

    `labels` are the label cells that there are. By ``equal`` it is `per_class` of each, so that what is frequent, or
    easy, does not crowd out the rest (Zou et al. 2018); by ``labels`` so many on average, one at least, in the
    proportion in which the labels have them.
    """
    if per_class is None:
        return None
    counts = Counter(name for cell in labels for name in classes_of(cell))
    if shares == "equal":
        return dict.fromkeys(counts, per_class)
    mean = sum(counts.values()) / len(counts)
    return {name: max(1, round(per_class * count / mean)) for name, count in counts.items()}


def surest(guesses: Sequence[Guess], threshold: float, most: Mapping[str, int] | None) -> list[int]:
    """Return the numbers of the rows to take, the surest first, of equals the first in the pool.

    Only those whose confidence is at least `threshold` are taken, and none of a class that has `most` already; of one
    with several labels each has to have room.
    """
    taken: list[int] = []
    counts: Counter[str] = Counter()
    sure = [row for row, guess in enumerate(guesses) if guess.confidence >= threshold]
    for row in sorted(sure, key=lambda row: -guesses[row].confidence):
        guess = guesses[row]
        if most is None or all(counts[name] < most.get(name, 0) for name in guess.classes):
            taken.append(row)
            counts.update(guess.classes)
    return taken


def right(guesses: Sequence[Guess], answers: Sequence[Any], classes: Collection[str]) -> tuple[int, int]:
    """Return how many guesses are right, and of how many the answer is known: no empty cell, and of these `classes`."""
    known = [(guess, cell) for guess, cell in zip(guesses, answers, strict=True)
             if label_names(cell) and set(label_names(cell)) <= set(classes)]  # fmt: skip
    return sum(set(label_names(guess.label)) == set(label_names(cell)) for guess, cell in known), len(known)
