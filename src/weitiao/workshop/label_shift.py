"""Are labels as frequent where a model is to be used as in training? Told without any label of the target's texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weitiao.workshop.found import Found

FEWEST = 50  # texts of the target below which nothing is told
ROUNDS = 100  # samples drawn for intervals
SLIGHT = 0.05  # of a distance, which nobody has to mind
TOLD = 8  # labels


@dataclass(frozen=True)
class LabelShare:
    """How frequent a label is."""

    label: str
    training: float
    target: float  # estimated
    low: float  # 95% interval of the estimate
    high: float


@dataclass(frozen=True)
class LabelShift:
    """Estimated shares of labels in the target beside training's; `labels` with the largest difference first."""

    labels: tuple[LabelShare, ...]
    distance: float  # total variation, 0 to 1: the share of texts that would need another label
    by_chance: float  # what 97.5% of samples of the training data, as large as the target, stay below

    @property
    def clear(self) -> bool:
        """Whether the shares differ by more than chance gives, and not only slightly."""
        return self.distance > max(self.by_chance, SLIGHT)


def label_shift(
    known: np.ndarray, labels: np.ndarray, target: np.ndarray, names: Sequence[str], *, seed: int = 0
) -> LabelShift:
    """Estimate how frequent labels are in the target.

    `known`: label probabilities of training texts by a model that was not fitted on them, shape (n, labels); `labels`:
    their labels, shape (n,); `target`: probabilities of the target's texts, shape (m, labels). The estimate is the
    most likely one (EM: Saerens, Latinne & Decaestecker 2002) after the probabilities were calibrated by a temperature
    and a bias for each label (Alexandari, Kundaje & Shrikumar 2020). It holds where texts of a label look alike on both
    sides.
    """
    random = np.random.default_rng(seed)
    sharpness, biases = _calibration(known, labels)
    known, target = (_calibrated(each, sharpness, biases) for each in (known, target))
    prior = np.bincount(labels, minlength=known.shape[1]) / len(labels)
    found = shares(target, prior)
    drawn = [shares(target[random.integers(0, len(target), len(target))], prior, found) for _ in range(ROUNDS)]
    chance = [
        _distance(shares(known[random.integers(0, len(known), len(target))], prior), prior) for _ in range(ROUNDS)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    order = np.argsort(-np.abs(found - prior), kind="stable")
    rows = [LabelShare(names[i], float(prior[i]), float(found[i]), float(low[i]), float(high[i])) for i in order]
    return LabelShift(tuple(rows), _distance(found, prior), float(np.quantile(chance, 0.975)))


def told(shift: LabelShift, *, alike: bool) -> str:
    """Say it in a line; `alike`: whether texts look alike on both sides."""
    unsure = "" if alike else " As the texts differ, too, this is a guess only."
    if not shift.clear:
        return f"Labels are about as frequent in the target as in training, as far as can be told.{unsure}"
    shown = ", ".join(
        f"{each.label} {each.target:.1%} ({each.low:.1%} to {each.high:.1%}; training {each.training:.1%})"
        for each in shift.labels[:TOLD]
    )
    return (
        f"Labels are not as frequent in the target as in training: {shift.distance:.0%} of its texts would need "
        f"another label (by chance up to {shift.by_chance:.0%}). Estimated: {shown}.{unsure}"
    )


def found_shift(shift: LabelShift, training: str, target: str) -> Found:
    """Return a finding of it."""
    first = shift.labels[0]
    return Found(
        "label-shift", "warning", f"{training}, {target}",
        f"labels are not as frequent in {target} as in {training}: '{first.label}' about {first.target:.1%}, "
        f"in {training} {first.training:.1%}",
        "Sample or weigh labels as they will come, and measure on labelled rows of it.", 0, shift.distance,
    )  # fmt: skip


def shares(probabilities: np.ndarray, prior: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """Return the most likely shares of labels, given probabilities by a model that learned with the shares `prior`."""
    ratio = probabilities / np.maximum(prior, 1e-12)
    found = prior if start is None else start
    for _ in range(1000):
        weights = ratio * found
        new = (weights / weights.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(new - found).sum() < 1e-5:
            return np.asarray(new)
        found = new
    return np.asarray(found)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).sum() / 2)


def _calibration(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """By what logits are multiplied, and what is added to each label's, so that the given labels are most likely."""
    from scipy.optimize import minimize

    rows, logits = np.arange(len(labels)), np.log(np.maximum(probabilities, 1e-12))

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        off = _calibrated(probabilities, values[0], values[1:])
        unlikely = float(-np.log(off[rows, labels]).mean())
        off[rows, labels] -= 1
        return unlikely, np.concatenate([[(off * logits).sum()], off.sum(axis=0)]) / len(rows)

    start = np.concatenate([[1.0], np.zeros(probabilities.shape[1])])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.01, 100), *[(-20, 20)] * (len(start) - 1)])
    return float(found.x[0]), np.asarray(found.x[1:])


def _calibrated(probabilities: np.ndarray, sharpness: float, biases: np.ndarray) -> np.ndarray:
    logits = np.log(np.maximum(probabilities, 1e-12)) * sharpness + biases
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(np.maximum(raised / raised.sum(axis=1, keepdims=True), 1e-12))
