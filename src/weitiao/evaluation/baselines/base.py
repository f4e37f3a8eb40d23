"""The `Baseline` interface: what a fine-tuned model has to beat to be worth its trouble."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Protocol

from weitiao.evaluation.evaluate import Inference, Labelled
from weitiao.records import Prediction, SplitName


class Baseline(Protocol):
    """A model that is there in seconds, made for a prepared task: ``TfidfLogistic(task, seed=0)``."""

    before_training: ClassVar[bool]  # whether its answers are shown as those from before training
    name: str  # for people: "majority class"
    notes: list[str]  # what a reader should know about this fit

    def __init__(self, task: Any, *, seed: int = 0) -> None: ...

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """Fit on train, tune on validation where it is there. `untouched` gives the model as it was before training,
        at the cost of loading it; a `WeitiaoError` from it leaves this baseline out with a note.
        """  # fmt: skip

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield what the task would predict, one for each of `on.rows`, in order."""
