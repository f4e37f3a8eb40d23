"""The `Baseline` interface: what a fine-tuned model has to beat to be worth its trouble."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from weitiao.data import column_array
from weitiao.evaluation.evaluate import Inference, Labelled
from weitiao.records import Prediction, SplitName

LETTERS = 4  # of a token, about

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


@runtime_checkable
class TakesTime(Protocol):
    """A baseline that does more than count, or nothing: a forecast tells how long it is fitted."""

    def fit_seconds(self, train: Labelled) -> float:
        """About how many seconds `fit` takes on one core, told by the tokens of `train`, of which no text is read."""


def tokens_in(train: Labelled, *, most: int | None = None, letters: int | None = None) -> float:
    """About how many tokens a split has, before the model's length cut them: of `most` of its texts, drawn at random,
    and of each text at most so many `letters`.
    """  # fmt: skip
    features = train.features
    _, first = np.unique(column_array(features, "row"), return_index=True)  # windows of a text have its whole length
    name = "full_length" if "full_length" in features.column_names else "length"
    tokens = np.minimum(column_array(features, name)[first], np.inf if letters is None else letters / LETTERS)
    return float(tokens.sum()) * min(1.0, (len(tokens) if most is None else most) / max(len(tokens), 1))
