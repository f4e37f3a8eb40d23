"""What can happen in a run. Trackers, the progress bar and `events.jsonl` all see exactly these."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events; `time` is seconds since the epoch."""

    time: float = field(default_factory=time.time)

    @property
    def name(self) -> str:
        """The event's name as written to `events.jsonl`."""
        return type(self).__name__

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able dict with ``event`` first."""
        return {"event": self.name, **dataclasses.asdict(self)}


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """Everything is resolved; work begins."""

    run: str
    folder: str
    summary: dict[str, Any]  # task, model, method, precision, device, examples per split, parameters, trainable


@dataclass(frozen=True, kw_only=True)
class Found(Event):
    """A warning or note about recipe, data or model."""

    level: str
    where: str
    problem: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Resumed(Event):
    """The run goes on from a checkpoint; `skipped` names damaged newer ones."""

    step: int
    checkpoint: str
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class FrozenCached(Event):
    """What the frozen layers give is being computed, once for all epochs; comes at the start and now and then."""

    done: int  # rows of features
    rows: int
    bytes: int  # all of them will take
    where: str  # memory, disk


@dataclass(frozen=True, kw_only=True)
class StepDone(Event):
    """One optimizer update."""

    step: int  # counted from 1
    steps: int  # planned in all
    epoch: float  # epochs done, fractional; a whole number after an epoch's last step
    loss: float  # per target, over this step
    penalty: float = 0.0  # what is added to the loss: of a method, `training.regularization`
    learning_rate: float
    gradient_norm: float  # before clipping
    examples: int
    tokens: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class StepSkipped(Event):
    """A step whose gradients were dropped, see `training.recovery`; no `StepDone` tells of it."""

    step: int  # counted from 1
    steps: int  # planned in all
    trouble: str  # `non-finite` or `spike`
    loss: float  # per target
    gradient_norm: float  # before clipping
    layers: list[str] = field(default_factory=list)  # those whose gradients are not finite
    weights: list[str] = field(default_factory=list)  # layers whose weights are not


@dataclass(frozen=True, kw_only=True)
class LossSpiked(Event):
    """The loss of a step stood far above that of the steps before; told once for several in a row."""

    step: int
    loss: float
    usual: float  # median of the steps before
    skipped: bool  # whether its gradients were dropped


@dataclass(frozen=True, kw_only=True)
class RolledBack(Event):
    """The run went back to a good state, see `training.recovery`."""

    step: int  # where it went wrong
    to_step: int  # the step of the checkpoint; 0: the start
    trouble: str  # `non-finite` or `spike`
    rate: float  # factor on the learning rate from now on
    left: int  # roll-backs that may follow


@dataclass(frozen=True, kw_only=True)
class LayersMeasured(Event):
    """How the layers that move fared in a step, 25 measurements in a run at most."""

    step: int
    gradient_norms: dict[str, float]  # layer -> L2 norm of its gradient, before clipping
    update_ratios: dict[str, float]  # layer -> norm of the update / norm of the weights, estimated from a sample


@dataclass(frozen=True, kw_only=True)
class LayersUnwell(Event):
    """Several measurements in a row showed the same trouble in some layers; each is told once."""

    step: int
    trouble: str  # `vanishing`, `exploding`, `dead`
    layers: list[str]
    problem: str
    fix: str


@dataclass(frozen=True, kw_only=True)
class Evaluated(Event):
    """Scores on a split; `best` when it is the best so far."""

    split: str
    step: int
    primary: str
    scores: dict[str, float]
    best: bool
    seconds: float
    train: dict[str, float] = field(default_factory=dict)  # the same scores on a sample of the training split


@dataclass(frozen=True, kw_only=True)
class UnlabelledSeen(Event):
    """What the model answered to texts without labels since it was told last, see `consistency`; comes at each time to
    evaluate."""

    step: int
    rows: int  # texts that came by, one that came twice counted twice
    sure: float  # share of them that was learned: the likeliest label was over the threshold
    again: int  # of them that had come by before
    changed: float  # share of these whose likeliest label is another than it was the last time


@dataclass(frozen=True, kw_only=True)
class SoupMade(Event):
    """The weights of several checkpoints were averaged, see `training.soup`; scores are primary ones on validation."""

    recipe: str  # greedy, uniform
    candidates: list[int]  # the steps of the best checkpoints, the best one first
    wanted: int  # how many of them there should have been
    taken: list[int]  # the steps of those that are averaged
    primary: str
    best: float  # of the best checkpoint alone
    score: float  # of the average
    seconds: float


@dataclass(frozen=True, kw_only=True)
class CheckpointSaved(Event):
    """A checkpoint was published."""

    step: int
    path: str


@dataclass(frozen=True, kw_only=True)
class Stopped(Event):
    """Training ended: planned steps done, no improvement, or interrupted."""

    step: int
    reason: str
    best_step: int


@dataclass(frozen=True, kw_only=True)
class Measuring(Event):
    """A part of the final measurement begins; it may take minutes, above all where text is generated."""

    split: str  # or the name of other data, see `evaluation.also`
    examples: int
    baseline: str = ""  # what is measured there instead of the model


@dataclass(frozen=True, kw_only=True)
class Timing(Event):
    """The speed of the model is being measured beside its teacher's, see `distillation`."""

    teacher: str  # as the recipe names it


@dataclass(frozen=True, kw_only=True)
class Writing(Event):
    """The model or the report is being written."""

    what: str


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """The artifact and report are on disk."""

    run: str
    artifact: str
    report: str
    primary: str | None = None  # absent: no split to measure on
    score: float | None = None
    seconds: float
