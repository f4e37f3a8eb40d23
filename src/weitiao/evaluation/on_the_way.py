"""What is measured between steps: validation, and a few training examples beside it."""

from __future__ import annotations

from weitiao.evaluation.evaluate import Inference, Labelled, score, tuned
from weitiao.records import Scores


class OnTheWay:
    """Measures a model in training by the decision rule that would ship: thresholds are settled on validation, as at
    the end. Nothing is drawn at random, and the weights stay as they are.
    """  # fmt: skip

    def __init__(
        self, inference: Inference, validation: Labelled, most: int | None, train: Labelled, seen: int, seed: int
    ) -> None:  # fmt: skip
        self._inference = self._tuned = inference
        self._all, self._sample = validation, validation.sample(most, seed)
        self._train = train.sample(seen, seed) if seen else None

    def on_validation(self) -> Scores:
        """Score on validation, or a sample of it."""
        self._tuned = tuned(self._inference, self._all)
        return score(self._tuned, self._sample, answers=False).scores()

    def on_train(self) -> Scores | None:
        """Score on a sample of the training split as validation was scored last; None where that is not asked for."""
        return None if self._train is None else score(self._tuned, self._train, answers=False).scores()
