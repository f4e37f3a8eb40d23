"""A model soup: the weights of the best checkpoints of one run, averaged (Wortsman et al. 2022, *Model soups*)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from weitiao.events import SoupMade
from weitiao.records import Scores
from weitiao.training.checkpoint import Checkpoints, put_weights, weights_of
from weitiao.training.optimizer import trainable

if TYPE_CHECKING:
    import torch

    from weitiao.training.loop import Training

Weights = dict[str, "torch.Tensor"]  # by name; fp32


def soup(training: Training, checkpoints: Checkpoints, evaluate: Callable[[], Scores], best: Sequence[int]) -> SoupMade:
    """Have the model hold the soup of the checkpoints of the steps `best`, the best one first; tell what was taken.

    Greedy: each is added where the average is then no worse on validation than without it (algorithm 1). A checkpoint
    that is damaged is left out. The model holds the weights of the best one before.
    """
    began, wanted = time.perf_counter(), training.settings.soup
    assert wanted is not None
    mixed: Weights = {name: p.detach().float().clone() for name, p in trainable(training.model).items()}
    alone = reached = evaluate()
    taken = [best[0]]
    for step in best[1:]:
        found = checkpoints.at(step)
        if found is None:
            continue
        tried = _with(mixed, weights_of(training.model, found), len(taken) + 1)
        put_weights(training.model, tried)
        scores = evaluate() if wanted.recipe == "greedy" else reached
        if wanted.recipe == "uniform" or _no_worse(scores, reached):
            mixed, reached, taken = tried, scores, [*taken, step]
    put_weights(training.model, mixed)
    reached = evaluate() if wanted.recipe == "uniform" else reached
    return SoupMade(
        recipe=wanted.recipe, candidates=list(best), wanted=wanted.best, taken=taken, primary=alone.primary,
        best=alone.main, score=reached.main, seconds=time.perf_counter() - began,
    )  # fmt: skip


def _with(mixed: Weights, more: Weights, count: int) -> Weights:
    """The mean of `count` weights, of which `mixed` is that of all but `more`."""
    return {name: tensor + (more[name].float() - tensor) / count for name, tensor in mixed.items()}


def _no_worse(scores: Scores, than: Scores) -> bool:
    return scores.main >= than.main if scores.greater_is_better else scores.main <= than.main
