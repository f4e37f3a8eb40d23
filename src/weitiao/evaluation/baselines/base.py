"""The `Baseline` interface: what a fine-tuned model has to beat to be worth its trouble."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Protocol

from weitiao.evaluation.evaluate import Inference, Labelled
from weitiao.records import Prediction, SplitName

Knows = Literal["nothing", "answers", "examples", "before training", "teacher"]
"""What a baseline's answers come from: `nothing` that was learned, a rule; what `answers` are frequent in training, and
no example that is read; the training `examples`; the model `before training`; another model, the `teacher`."""


class Baseline(Protocol):
    """A model that is there in seconds, made for a prepared task: ``TfidfLogistic(task, seed=0)``."""

    knows: Knows  # stored beside its scores
    name: str  # for people: "majority class"
    notes: list[str]  # what a reader should know about this fit

    def __init__(self, task: Any, *, seed: int = 0) -> None: ...

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """Fit on train, tune on validation where it is there. `untouched` gives the model as it was before training,
        at the cost of loading it; a `WeitiaoError` from it leaves this baseline out with a note.
        """  # fmt: skip

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield what the task would predict, one for each of `on.rows`, in order."""
