"""The model as it was before training, on the same examples: what fine-tuning brought."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from weitiao.evaluation.baselines.base import Knows
from weitiao.evaluation.evaluate import Inference, Labelled
from weitiao.records import Prediction, SplitName


class Untouched:
    """The pretrained model with the same prompts and the same decoding."""

    knows: Knows = "before training"

    def __init__(self, task: Any, *, seed: int = 0) -> None:
        self.name = "the model before training"
        self.notes: list[str] = []
        self._inference: Inference | None = None

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """Load it."""
        self._inference = untouched()

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield its predictions in the order of the examples."""
        if self._inference is None:
            raise RuntimeError("the untouched model is used before it was fitted")
        found: dict[int, Prediction] = {}
        for _, rows, predictions in self._inference.over(on):
            found.update(zip(rows, predictions, strict=True))
        yield from (found[row] for row in on.rows.tolist())
