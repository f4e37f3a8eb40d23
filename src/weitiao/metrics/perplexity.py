"""Loss and perplexity of target tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from weitiao.metrics.sums import Floats, SummedScorer
from weitiao.metrics.words import written
from weitiao.records import Example, Prediction, Told

_MOST = 700.0  # nats a token; math.exp overflows above 709


class Perplexity:
    """`loss`, nats a target token over all examples together, and `perplexity`, its exponential.

    Takes predictions with ``loss`` (nats, summed over the example's target tokens) and ``tokens`` (how many). Long
    examples weigh more than short ones, as usual for language models (Jelinek et al. 1977).
    """

    names = ("perplexity", "loss")
    width = 2

    def row(self, example: Example, prediction: Prediction) -> Sequence[float]:
        """Return the loss and the number of tokens."""
        if prediction.get("loss") is None or not prediction.get("tokens"):
            return (0.0, 0.0)
        return (float(prediction["loss"]), float(prediction["tokens"]))

    def scores(self, sums: Floats) -> dict[str, float]:
        """Return both scores, none without tokens."""
        loss, tokens = sums
        if not tokens:
            return {}
        mean = float(loss / tokens)
        return {"perplexity": math.exp(min(mean, _MOST)), "loss": mean}

    def outcome(self, name: str, row: Sequence[float]) -> float:
        """Return the geometric mean of the probabilities of the example's tokens, which is 1 / perplexity."""
        loss, tokens = row
        return math.exp(-loss / tokens) if tokens else 0.0

    def details(self) -> dict[str, Any]:
        """Return nothing: the two numbers say all."""
        return {}


class PerplexityScorer(SummedScorer):
    """Scores of a language model on texts: the first of `measure` (primary, lower is better) and `loss`."""

    def __init__(self, given: Callable[[Example], str], measure: Perplexity | None = None) -> None:
        self._measure = measure or Perplexity()
        super().__init__([self._measure], self._measure.names[0], kind="text", given=given, expected=lambda _: [])

    def tell(self, example: Example, prediction: Prediction) -> Told:
        """Return the text and its own perplexity: there is no answer that could be right."""
        own = self._measure.scores(np.array(self._measure.row(example, prediction))).get(self.primary)
        said = [] if own is None else [written(self.primary, own)]
        return replace(super().tell(example, prediction), said=said, measure=self.primary)
