"""From a preparation to a model in training: the first weights are loaded here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from weitiao import data, models
from weitiao.evaluation.evaluate import Inference, take_rows
from weitiao.methods.base import Paced, StartsFromData, TakesPart
from weitiao.preparation import Preparation
from weitiao.records import Batch
from weitiao.tasks.base import Examines
from weitiao.tasks.vocabulary import forward
from weitiao.training.loop import Training
from weitiao.training.range_test import range_test, suggested
from weitiao.training.seeds import seed_everything

if TYPE_CHECKING:
    import numpy as np


Loaded = tuple[Training, Inference]


def with_rate(ready: Preparation) -> Preparation:
    """Return the preparation with the learning rate found by a range test, where the recipe asks for one."""
    if ready.recipe.training.learning_rate != "range-test":
        return ready
    width = int(ready.pretrained.config.get_text_config().hidden_size)
    usual, _ = ready.method.learning_rate(ready.pretrained.family, width)
    training, _ = load_for_training(_with_rate(ready, usual, ""))
    rates, losses = range_test(training, usual)
    found = suggested(rates, losses)
    if found is None:
        return _with_rate(ready, usual, f"the usual rate: the loss did not fall in a range test of {len(losses)} steps")
    told = f"range test of {len(losses)} steps from {rates[0]:.1g} to {rates[-1]:.1g}; the usual rate is {usual:g}"
    return _with_rate(ready, found, told)


def _with_rate(ready: Preparation, rate: float, why: str) -> Preparation:
    recipe = ready.recipe.resolved({"training.learning_rate": (rate, why)})
    return replace(ready, recipe=recipe, facts=ready.facts | {"learning_rate": rate})


def load_for_training(ready: Preparation, *, fresh: bool = True) -> Loaded:
    """Load the model, apply the method, and put both into the loop and into evaluation; all draws are seeded.

    Where it is not `fresh`, the weights that move will come from a checkpoint.
    """
    settings = ready.recipe.training
    seed_everything(settings.seed)
    plain = models.load_model(ready.pretrained, ready.task.head(ready.pretrained.family), seed=settings.seed)
    method = ready.method
    model = method.apply(plain, ready.pretrained.new_tokens).to(ready.device)
    if isinstance(ready.task, Examines):
        ready.task.examine(model)
    autocast = partial(models.autocast, ready.device, ready.precision)
    inference = Inference(model, ready.task, ready.reader, ready.device, autocast)
    train = ready.features["train"]
    lengths = data.column_array(train, "length")
    parts, times = (
        data.column_array(train, name) if name in train.column_names else None for name in ("part", "times")
    )
    training = Training(
        model=model, settings=settings, loss=ready.task.loss, autocast=autocast, device=ready.device,
        order=lambda epoch: data.length_bucketed(
            lengths, settings.batch_size, seed=settings.seed, epoch=epoch, parts=parts, times=times
        ),
        collate=partial(_micro_batches, ready),
        paces=method.paces(model) if isinstance(method, Paced) else {},
        method=method if isinstance(method, TakesPart) else None,
    )  # fmt: skip
    if fresh and isinstance(method, StartsFromData):
        method.start_from(model, _endless(training), partial(_run, training))
    return training, inference


def _endless(training: Training) -> Iterator[Batch]:
    """The batches of a training, epoch after epoch."""
    for epoch in count():
        for rows in training.order(epoch):
            yield from (batch.to(training.device) for batch in training.collate(rows))


def _run(training: Training, batch: Batch) -> Any:
    with training.autocast():
        return forward(training.model, batch)


def _micro_batches(ready: Preparation, rows: np.ndarray) -> list[Batch]:
    """The rows of one step as padded micro-batches."""
    size, train = int(ready.recipe.training.micro_batch_size), ready.features["train"]
    return [
        ready.task.collate(take_rows(train, part), ready.reader, training=True)
        for part in data.micro_batches(rows, size)
    ]
