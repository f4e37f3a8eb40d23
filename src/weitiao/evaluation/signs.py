"""What a diagnosis goes by: numbers read off a run's events, scores and recipe."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np

from weitiao.metrics.words import greater_is_better, kind

WINDOWS, LEAST = 12, 5  # that the steps of a run are cut into, to tell rises of the loss from noise; steps of each
SURE = 3.0  # standard errors from which on a difference is taken for one
LOSSES = ("log_loss", "loss")  # names of the score that is the loss


@dataclass(frozen=True)
class Measure:
    """One evaluation: scores on validation, and on a sample of the training split where they were taken."""

    step: int
    validation: Mapping[str, float]
    train: Mapping[str, float]


@dataclass(frozen=True)
class Final:
    """What was measured of a split at the end."""

    split: str
    value: float  # the primary score
    error: float | None  # its standard error
    examples: int
    surest: tuple[float, int] | None = None  # share right of the fifth that the model was surest of, and its examples


@dataclass(frozen=True)
class Signs:
    """The numbers; what is not known is None or empty."""

    status: str
    error: str
    ended: str  # why training stopped
    planned: int  # steps
    steps: np.ndarray  # numbers of the steps done, ascending
    losses: np.ndarray  # their losses
    rates: np.ndarray  # their learning rates
    epochs: np.ndarray  # how many were done after each
    batch: int
    penalty: float  # mean share of the penalties in what is minimised
    measures: list[Measure]
    kept: int | None  # the step of the weights that are kept
    primary: str
    labels: int  # where each example has one of them; else 0
    examples: Mapping[str, int]  # split -> examples
    seen: int  # training examples in each measure
    final: list[Final]
    chance: Mapping[str, float]  # scores of the answer that is right most often, without reading
    ahead: str  # a baseline that learned and did better than the model, in words
    untold: bool  # whether there are baselines of which is not kept what they know
    parameters: int  # of the model with the method applied
    trainable: int  # of these, those that move
    head: int  # outside the pretrained body
    usual: float | None  # the method's usual learning rate
    rate: float  # the highest learning rate
    peaks: list[tuple[float, float]]  # of each spike of the loss: how high, and what was usual
    not_finite: int  # steps skipped for it
    rolled_back: int
    options: Mapping[str, Any] = field(default_factory=dict)  # of the recipe

    @property
    def sampled(self) -> int:
        """Examples of a split that are scored at most."""
        most = self.options.get("evaluation", {}).get("examples")
        return most if isinstance(most, int) else 1 << 62

    # --- what moves

    @property
    def all_move(self) -> bool:
        """Whether each weight moves, at some time."""
        return self.trainable == self.parameters

    @property
    def head_alone(self) -> bool:
        """Whether nothing moves but the head."""
        return self.trainable <= self.head

    # --- scores

    @property
    def better(self) -> int:
        """1 where more of the primary score is better, else -1."""
        return 1 if greater_is_better(self.primary) else -1

    @property
    def shares(self) -> bool:
        """Whether the primary score is 1 at best and about 0 by chance or above: a share, or a correlation."""
        return bool(self.primary) and kind(self.primary) in ("share", "correlation") and self.better > 0

    @property
    def at_kept(self) -> Measure | None:
        """The evaluation of the weights that are kept."""
        found = [each for each in self.measures if each.step == self.kept]
        return found[-1] if found else self.measures[-1] if self.measures else None

    @property
    def least(self) -> float:
        """The primary score of who does not read, 0 where that is not known."""
        known = self.chance.get(self.primary)
        return known if known is not None else 1 / self.labels if self.labels else 0.0

    @property
    def ignorant(self) -> float | None:
        """The loss of who does not read."""
        known = next((self.chance[name] for name in LOSSES if name in self.chance), None)
        return known if known is not None else math.log(self.labels) if self.labels > 1 else None

    def above_chance(self, value: float) -> float:
        """Return a share of what can be reached above chance: 0 no better than chance, 1 all right."""
        return (value - self.least) / max(1 - self.least, 1e-9)

    def score(self, measure: Measure | None, split: str) -> float | None:
        """Return the primary score of an evaluation on ``validation`` or ``train``."""
        return None if measure is None else getattr(measure, split).get(self.primary)

    def loss_at(self, measure: Measure | None, split: str) -> float | None:
        """Return the loss of an evaluation on ``validation`` or ``train``."""
        scores = {} if measure is None else getattr(measure, split)
        return next((scores[name] for name in LOSSES if scores.get(name) is not None), None)

    def error_of(self, value: float, split: str) -> float:
        """Return the standard error of a share (binomial) or a correlation: what other examples would change."""
        count = self.seen if split == "train" else min(self.examples.get(split, 0), self.sampled)
        if kind(self.primary) == "correlation":
            return (1 - value**2) / math.sqrt(max(count, 1))
        return math.sqrt(max(value * (1 - value), 0.25 / max(count, 1)) / max(count, 1))

    def gap(self, measure: Measure | None) -> float | None:
        """How much better the score is on training examples than on validation, a share."""
        here, there = self.score(measure, "train"), self.score(measure, "validation")
        return here - there if self.shares and here is not None and there is not None else None

    def gap_error(self, measure: Measure | None) -> float:
        """The standard error of `gap`."""
        known = [(self.score(measure, split), split) for split in ("train", "validation")]
        return math.hypot(*(self.error_of(value, split) for value, split in known if value is not None), 0.0)

    @property
    def risen(self) -> float:
        """By what share the loss on validation rose from its lowest to the last evaluation; 0 where it did not."""
        losses = [loss for each in self.measures if (loss := self.loss_at(each, "validation")) is not None]
        return losses[-1] / min(losses) - 1 if losses and min(losses) > 0 else 0.0

    # --- the course of the loss

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch, about."""
        return max(1, round(len(self.steps) / self.epochs[-1])) if len(self.steps) and self.epochs[-1] else 1

    @property
    def began(self) -> float:
        """The loss of the first steps: 32 examples at least, a tenth of the steps at most; not more than a tenth above
        that of who does not read: steps that are too large may do harm at once.
        """  # fmt: skip
        first = float(self.losses[: max(1, min(-(-32 // self.batch), len(self.losses) // 10))].mean())
        return min(first, 1.1 * self.ignorant) if self.ignorant else first

    @property
    def last(self) -> float:
        """The loss of the last steps: of the last epoch, a quarter of all steps at most."""
        return float(self.losses[-max(1, min(self.per_epoch, len(self.losses) // 4)) :].mean())

    @property
    def learned(self) -> float:
        """By what share the training loss fell from `began` to `last`; below 0 where it rose."""
        return 1 - self.last / self.began if len(self.losses) and self.began > 0 else 0.0

    def windows(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean loss of windows of steps and its standard error; nothing of fewer than 25 steps."""
        count = min(WINDOWS, len(self.losses) // LEAST)
        parts = np.array_split(self.losses, count) if count >= LEAST else []
        means = np.array([part.mean() for part in parts])
        return means, np.array([part.std(ddof=1) / math.sqrt(len(part)) for part in parts])

    @property
    def rises(self) -> int:
        """How often the training loss rose from a window to the next, by more than noise and a twentieth of `began`."""
        means, errors = self.windows()
        if not len(means):
            return 0
        noise = SURE * np.hypot(errors[1:], errors[:-1])
        return int((np.diff(means) > np.maximum(noise, 0.05 * self.began)).sum())

    @property
    def spikes(self) -> int:
        """Spikes that rose by half of `began` or more: where next to nothing is left to learn, a single odd example is
        a spike, and does no harm.
        """  # fmt: skip
        return sum(high - usual > 0.5 * self.began for high, usual in self.peaks) if len(self.losses) else 0

    @property
    def peak(self) -> float:
        """The highest mean loss of a window, less its noise, as a multiple of `began`."""
        means, errors = self.windows()
        return float((means - SURE * errors).max() / self.began) if len(means) and self.began > 0 else 0.0

    @property
    def falling(self) -> float:
        """By what share of `began` the training loss fell from the middle third of the steps to the last, no noise."""
        if len(self.losses) < 6 or self.began <= 0:
            return 0.0
        _, middle, end = np.array_split(self.losses, 3)
        noise = math.hypot(*(np.diff(part).std() / math.sqrt(2 * len(part)) for part in (middle, end)))
        return float(middle.mean() - end.mean() - 2 * noise) / self.began

    @property
    def falls(self) -> list[tuple[int, float]]:
        """Where the score on validation fell between evaluations by more than three standard errors: step, by how much.

        Both are of the same examples, so that this is careful.
        """
        found = []
        for before, after in zip(self.measures, self.measures[1:], strict=False):
            one, other = (self.score(each, "validation") for each in (before, after))
            if self.shares and one is not None and other is not None:
                noise = self.error_of(one, "validation")
                if one - other > max(SURE * noise, 0.05):
                    found.append((after.step, one - other))
        return found

    @property
    def shrunk(self) -> float:
        """By what share weight decay alone has shrunk the matrices: ``1 - exp(-decay * sum of the rates)``."""
        decay = float(self.options.get("training", {}).get("weight_decay") or 0)
        return 1 - math.exp(-decay * float(self.rates.sum()))


def signs(
    events: Iterable[Mapping[str, Any]], scores: Mapping[str, Any], recipe: Mapping[str, Any], *, status: str,
    error: str = "",
) -> Signs:  # fmt: skip
    """Read the numbers off the lines of ``events.jsonl``, ``scores.json`` and a resolved recipe."""
    told: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        told.setdefault(event["event"], []).append(event)
    every = {event["step"]: event for event in told.get("StepDone", [])}
    done = [every[number] for number in sorted(every) if every[number]["loss"] is not None]
    measured = {event["step"]: event for event in told.get("Evaluated", []) if event["split"] == "validation"}
    measures = [Measure(step, measured[step]["scores"], measured[step].get("train") or {}) for step in sorted(measured)]
    summary: Mapping[str, Any] = (told.get("RunStarted") or [{}])[-1].get("summary", {})
    stopped = (told.get("Stopped") or [{}])[-1]
    best = [event["step"] for event in measured.values() if event["best"]]
    training, split = recipe.get("training", {}), [name for name in ("validation", "test") if name in scores]
    last = scores[split[-1]] if split else {}
    primary = next((event["primary"] for event in measured.values()), last.get("scores", {}).get("primary", ""))
    seen = recipe.get("evaluation", {}).get("train_examples")
    return Signs(
        status=status, error=error, ended=stopped.get("reason", ""),
        planned=done[-1]["steps"] if done else int(summary.get("steps") or 0),
        steps=np.array([event["step"] for event in done]), losses=np.array([event["loss"] for event in done], float),
        rates=np.array([event["learning_rate"] for event in done], float),
        epochs=np.array([event["epoch"] for event in done], float),
        batch=int(training.get("batch_size") or 32), penalty=_penalty(done), measures=measures,
        kept=stopped.get("best_step") or max(best, default=None), primary=primary,
        labels=len(summary.get("labels") or ()) if any("accuracy" in each.validation for each in measures) else 0,
        examples={name: int(each["examples"]) for name, each in summary.get("splits", {}).items()},
        seen=seen if isinstance(seen, int) else 0, final=[_final(name, scores[name]) for name in split],
        chance=_chance(last), ahead=_ahead(last), usual=summary.get("usual_learning_rate"),
        untold=any("knows" not in scores for scores in last.get("baselines", {}).values()),
        parameters=int(summary.get("parameters") or 0), trainable=int(summary.get("trainable") or 0),
        head=int(summary.get("head") or 0),
        rate=float(training["learning_rate"]) if isinstance(training.get("learning_rate"), int | float) else 0.0,
        peaks=[(float(event["loss"] or math.inf), float(event["usual"])) for event in told.get("LossSpiked", [])],
        rolled_back=len(told.get("RolledBack", [])),
        not_finite=sum(event["trouble"] == "non-finite" for event in told.get("StepSkipped", [])),
        options=recipe,
    )  # fmt: skip


def _penalty(done: Sequence[Mapping[str, Any]]) -> float:
    shares = [each["penalty"] / (each["penalty"] + each["loss"]) for each in done if each.get("penalty")]
    return float(np.mean(shares)) if shares else 0.0


def _final(split: str, measured: Mapping[str, Any]) -> Final:
    scores = measured["scores"]
    value = scores["values"].get(scores["primary"], {"value": math.nan})
    low, high = value.get("low"), value.get("high")
    level = NormalDist().inv_cdf(0.5 + scores.get("details", {}).get("bootstrap", {}).get("confidence", 0.95) / 2)
    surest, count = scores.get("details", {}).get("surest"), scores["examples"]
    error = None if low is None or high is None else (high - low) / (2 * level)
    if error is None and count and 0 <= value["value"] <= 1:
        error = math.sqrt(max(value["value"] * (1 - value["value"]), 0.25 / count) / count)
    return Final(
        split, value["value"], error, count,
        (surest["right"], surest["examples"]) if surest else None,
    )  # fmt: skip


def _chance(measured: Mapping[str, Any]) -> dict[str, float]:
    """The scores of a baseline that reads no example, such as the majority class, where one was measured."""
    for scores in measured.get("baselines", {}).values():
        if scores.get("knows") == "answers":
            return {score: value["value"] for score, value in scores["values"].items()}
    return {}


def _ahead(measured: Mapping[str, Any]) -> str:
    """The verdict on a baseline that learned from the same data and does better."""
    learned = {name for name, scores in measured.get("baselines", {}).items() if scores.get("knows") == "examples"}
    for each in measured.get("comparisons", []):
        if each["finding"] == "worse" and each["name"] in learned:
            return str(each["verdict"])
    return ""
