"""From a preparation to a model in training: the first weights are loaded here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from weitiao import data, models
from weitiao.evaluation.evaluate import Inference, take_rows
from weitiao.kernels import quickly
from weitiao.methods.base import Paced, StartsFromData, TakesPart
from weitiao.methods.parts import body_parameters
from weitiao.parallel import SINGLE, Parallel
from weitiao.preparation import Preparation
from weitiao.recipe import TrainingSettings
from weitiao.records import Batch
from weitiao.tasks.base import Compares, Examines
from weitiao.tasks.vocabulary import forward
from weitiao.training.average import Average
from weitiao.training.loop import Training
from weitiao.training.mixout import Mixout
from weitiao.training.penalty import Penalty
from weitiao.training.r_drop import Agreement, TwoPasses
from weitiao.training.range_test import range_test, suggested
from weitiao.training.recompute import recomputed
from weitiao.training.seeds import seed_everything, seed_process

if TYPE_CHECKING:
    import numpy as np
    import torch


Loaded = tuple[Training, Inference]
Run = Callable[[Any, Batch], Any]
Loss = Callable[[Any, Batch], "torch.Tensor"]


def with_rate(ready: Preparation, parallel: Parallel = SINGLE) -> Preparation:
    """Return the preparation with the learning rate found by a range test, where the recipe asks for one."""
    if ready.recipe.training.learning_rate != "range-test":
        return ready
    training, _ = load_for_training(with_usual_rate(ready), parallel=parallel)
    usual = float(training.settings.learning_rate)
    again = recomputed(training.model, ready.recipe.training.checkpoint_activations)
    with quickly(training.model, ready.precision, learns=True), again:
        rates, losses = range_test(training, usual)
    found = suggested(rates, losses)
    if found is None:
        return _with_rate(ready, usual, f"the usual rate: the loss did not fall in a range test of {len(losses)} steps")
    told = f"range test of {len(losses)} steps from {rates[0]:.1g} to {rates[-1]:.1g}; the usual rate is {usual:g}"
    return _with_rate(ready, found, told)


def with_usual_rate(ready: Preparation) -> Preparation:
    """Return the preparation with the method's usual rate, where the recipe asks for a range test."""
    if ready.recipe.training.learning_rate != "range-test":
        return ready
    width = int(ready.pretrained.config.get_text_config().hidden_size)
    return _with_rate(ready, ready.method.learning_rate(ready.pretrained.family, width)[0], "before the range test")


def _with_rate(ready: Preparation, rate: float, why: str) -> Preparation:
    recipe = ready.recipe.resolved({"training.learning_rate": (rate, why)})
    return replace(ready, recipe=recipe, facts=ready.facts | {"learning_rate": rate})


def load_for_training(ready: Preparation, *, fresh: bool = True, parallel: Parallel = SINGLE) -> Loaded:
    """Load the model, apply the method, and put both into the loop and into evaluation; all draws are seeded.

    Where it is not `fresh`, the weights that move will come from a checkpoint.
    """
    settings, method = ready.recipe.training, ready.method
    model, pretrained = _model(ready)
    if isinstance(ready.task, Examines):
        ready.task.examine(model)
    order, collate = _order(ready), _collate(ready)

    def begun(model: torch.nn.Module) -> torch.nn.Module:
        _begin(ready, model, _endless(order, collate, ready.device))
        seed_process(settings.seed, parallel.rank)
        return model

    if fresh:
        begun(model)
    parallel.place(model)
    run, loss = _passes(ready, model, pretrained)
    inference = Inference(model, ready.task, ready.reader, ready.device, ready.precision, parallel)
    training = Training(
        model=model, settings=settings, forward=run, loss=loss, parts=_parts(ready, model, pretrained),
        autocast=partial(models.autocast, ready.device, ready.precision), device=ready.device,
        order=order, collate=collate, paces=method.paces(model) if isinstance(method, Paced) else {},
        parallel=parallel, by_rows=parallel.size == 1 and _by_rows(settings), fresh=lambda: begun(_model(ready)[0]),
    )  # fmt: skip
    if fresh:
        for part in training.parts.values():
            part.restore(model, {})
    return training, inference


def plain(ready: Preparation, inference: Inference) -> Inference:
    """The same for one process alone, however many have trained the model."""
    model = inference.parallel.whole(inference.model, lambda: _model(ready)[0])
    return replace(inference, model=model, parallel=SINGLE)


def _order(ready: Preparation) -> Callable[[int], list[np.ndarray]]:
    """Epoch -> the rows of each step."""
    settings = ready.recipe.training
    train = ready.features["train"]
    lengths = data.column_array(train, "length")
    parts, times = (
        data.column_array(train, name) if name in train.column_names else None for name in ("part", "times")
    )
    return lambda epoch: data.length_bucketed(
        lengths, settings.batch_size, seed=settings.seed, epoch=epoch, parts=parts, times=times
    )


def _collate(ready: Preparation) -> Callable[[np.ndarray], list[Batch]]:
    """Rows of a step -> its micro-batches."""
    return partial(_micro_batches, ready, training_lengths(ready))


def _model(ready: Preparation) -> tuple[torch.nn.Module, set[str]]:
    """The model at the start of training, all random numbers too, and the names of its pretrained body's parameters."""
    seed = ready.recipe.training.seed
    seed_everything(seed)
    plain = models.load_model(ready.pretrained, ready.task.head(ready.pretrained.family), seed=seed)
    body = body_parameters(plain)
    model = ready.method.apply(plain, ready.pretrained.new_tokens).to(ready.device)
    return model, {name for name, parameter in model.named_parameters() if id(parameter) in body}


def _parts(ready: Preparation, model: torch.nn.Module, pretrained: set[str]) -> dict[str, TakesPart]:
    """What takes part in each step, by name: the method, penalties, an average, where there are any."""
    settings = ready.recipe.training
    wanted = settings.regularization
    parts: dict[str, TakesPart] = {}
    if isinstance(ready.method, TakesPart):
        parts["method"] = ready.method
    if wanted.l1 or wanted.l2 or wanted.l2_sp:
        parts["penalty"] = Penalty(wanted, model, pretrained)
    if settings.ema is not None:
        parts["average"] = Average(settings.ema, model)
    return parts


def _by_rows(settings: TrainingSettings) -> bool:
    """Whether embeddings may be behind between evaluations: not where something reads all weights at each step."""
    wanted = settings.regularization
    return not (wanted.l1 or wanted.l2 or wanted.l2_sp or wanted.mixout or settings.ema is not None)


def _passes(ready: Preparation, model: torch.nn.Module, pretrained: set[str]) -> tuple[Run, Loss]:
    """How a batch goes through the model, and the loss of what comes out."""
    wanted, task = ready.recipe.training.regularization, ready.task
    run: Run = forward
    loss: Loss = task.loss
    if wanted.mixout:
        run = Mixout(wanted.mixout, model, pretrained, run)
    if wanted.r_drop and isinstance(task, Compares):
        run, loss = TwoPasses(run), Agreement(wanted.r_drop, loss, task.divergence)
    return run, loss


def _begin(ready: Preparation, model: torch.nn.Module, batches: Iterator[Batch]) -> None:
    """Let a method that starts from the data look at it."""
    if isinstance(ready.method, StartsFromData):
        ready.method.start_from(model, batches, partial(_run, ready, model))


def _endless(
    order: Callable[[int], list[np.ndarray]], collate: Callable[[np.ndarray], list[Batch]], device: torch.device
) -> Iterator[Batch]:
    """The batches of a training, epoch after epoch."""
    for epoch in count():
        for rows in order(epoch):
            yield from (batch.to(device) for batch in collate(rows))


def _run(ready: Preparation, model: torch.nn.Module, batch: Batch) -> Any:
    with models.autocast(ready.device, ready.precision):
        return forward(model, batch)


def training_lengths(ready: Preparation) -> np.ndarray:
    """What each training example counts in a micro-batch: its tokens and the positions of what is heard."""
    lengths: np.ndarray = data.column_array(ready.features["train"], "length") + models.heard(ready.pretrained)
    return lengths


def settled(ready: Preparation, training: Training, **limits: Any) -> Training:
    """Return the training, which has not begun, by what was chosen when the weights were there; `limits`: `deadline`,
    `room`.
    """  # fmt: skip
    return replace(training, settings=ready.recipe.training, collate=_collate(ready), **limits)


def _micro_batches(ready: Preparation, lengths: np.ndarray, rows: np.ndarray) -> list[Batch]:
    """The rows of one step as padded micro-batches."""
    most, train = int(ready.recipe.training.micro_batch_tokens), ready.features["train"]
    return [
        ready.task.collate(take_rows(train, part), ready.reader, training=True)
        for part in data.micro_batches(rows, lengths[rows], most)
    ]
