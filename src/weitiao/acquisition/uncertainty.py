"""How unsure a model is of what it chooses: pure functions of probabilities, (..., choices, options) -> (choices,).

A text with several choices is as unsure as these are on average: of several labels each, yes or no; of a sentence each
word (Settles & Craven 2008, "total token entropy" divided by the length, so that long ones are not favoured).
"""

from __future__ import annotations

import numpy as np

from weitiao.acquisition.base import Floats

TINY = 1e-12


def least_confidence(probabilities: Floats) -> Floats:
    """One less the probability of the most probable option (Lewis & Gale 1994); 0: sure."""
    return np.asarray(1 - probabilities.max(axis=-1))


def margin(probabilities: Floats) -> Floats:
    """One less what the most probable option is ahead of the second by (Scheffer et al. 2001); 0: sure."""
    if probabilities.shape[-1] < 2:
        return np.zeros(probabilities.shape[:-1])
    second, first = np.moveaxis(np.partition(probabilities, -2, axis=-1)[..., -2:], -1, 0)
    return np.asarray(1 - (first - second))


def entropy(probabilities: Floats) -> Floats:
    """Shannon's entropy in nats; 0: sure."""
    return np.asarray(-(probabilities * np.log(np.maximum(probabilities, TINY))).sum(axis=-1))


def surprise(probabilities: Floats) -> Floats:
    """Minus the logarithm of the probability of the most probable option, in nats; 0: sure."""
    return np.asarray(-np.log(np.maximum(probabilities.max(axis=-1), TINY)))


def disagreement(passes: Floats) -> Floats:
    """What knowing the weights would tell of the option, in nats: the entropy of the mean of several passes, shape
    (passes, choices, options), less the mean of their entropies (Houlsby et al. 2011); 0: all passes agree.
    """  # fmt: skip
    return np.asarray(np.maximum(entropy(passes.mean(axis=0)) - entropy(passes).mean(axis=0), 0))


MEASURES = {"least-confidence": least_confidence, "margin": margin, "entropy": entropy}
