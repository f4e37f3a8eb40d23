"""What to try next where something is wrong with a training: changes of its recipe."""

from __future__ import annotations

import math

from weitiao.evaluation.signs import Signs
from weitiao.evaluation.troubles import Change

WELL_ABOVE = 3.0  # times the usual learning rate


def number(value: float | None) -> str:
    """Return a learning rate as it is given to a command."""
    return f"{value:.2g}".replace("e-0", "e-") if value else "auto"


def lower(seen: Signs) -> Change:
    """Smaller steps: by the method's usual learning rate where that is well below, else by a third of what it was."""
    usual = seen.usual and seen.rate > WELL_ABOVE * seen.usual
    return Change("training.learning_rate", number(seen.usual if usual else seen.rate / 3),
                  "the usual one" if usual else "a third")  # fmt: skip


def fewer_epochs(seen: Signs) -> list[Change]:
    """The epoch of the lowest loss on validation, where that is well before the end."""
    losses = [(loss, each.step) for each in seen.measures if (loss := seen.loss_at(each, "validation")) is not None]
    if not losses or not len(seen.epochs):
        return []
    epoch = max(1, math.ceil(min(losses)[1] / seen.per_epoch - 1e-6))
    early = epoch < seen.epochs[-1]
    return [Change("training.epochs", str(epoch), "where the loss on validation was lowest")] if early else []


def stronger(seen: Signs) -> list[Change]:
    """What holds the weights back."""
    wanted = seen.options.get("training", {}).get("regularization", {})
    changes = [] if wanted.get("dropout") else [Change("training.regularization.dropout", "0.2")]
    return [*changes, Change("training.weight_decay", "0.1"), *smaller(seen)]


def smaller(seen: Signs) -> list[Change]:
    """Fewer weights that move."""
    if seen.all_move:
        return [Change("method", "lora", "fewer weights move")]
    return [Change("method", "head", "fewer weights move")] if seen.head and not seen.head_alone else []


def larger(seen: Signs) -> list[Change]:
    """More weights that move."""
    return [] if seen.all_move else [Change("method", "full")]


def longer(seen: Signs) -> list[Change]:
    """More steps."""
    epochs = float(seen.options.get("training", {}).get("epochs") or 3)
    return [Change("training.epochs", f"{max(3, math.ceil(3 * epochs))}", "three times as long")]


def smoothed_labels(seen: Signs) -> list[Change]:
    """Less trust in each label, where the task can and does not yet."""
    return [Change("task.label_smoothing", "0.1")] if seen.options.get("task", {}).get("label_smoothing") == 0 else []
