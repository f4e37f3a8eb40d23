"""From a preparation to a model in training: the first weights are loaded here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import auto_values, data, models
from weitiao.batching import micro_batches, order_of, shuffled_rows
from weitiao.evaluation.evaluate import BATCH, TOKENS, Inference
from weitiao.kernels import quickly
from weitiao.methods.base import Contrasts, Paced, StartsFromData, TakesPart
from weitiao.methods.parts import body_parameters
from weitiao.parallel import SINGLE, Parallel
from weitiao.passes import passes
from weitiao.preparation import Preparation
from weitiao.recipe import TrainingSettings
from weitiao.records import Batch, Pace
from weitiao.tasks.base import (
    Examines,
    LossByExample,
)
from weitiao.tasks.vocabulary import forward
from weitiao.training.average import Average, Even, Moving
from weitiao.training.checkpoint import restart
from weitiao.training.consistency import (
    ANNEALING,
    Annealing,
    LatestAnswers,
)
from weitiao.training.contrast import FittedHead
from weitiao.training.curriculum import LossesAfter
from weitiao.training.loop import Training
from weitiao.training.match import Until, attach, detach, paces
from weitiao.training.order import Order
from weitiao.training.penalty import Penalty
from weitiao.training.pruning import NewestLosses
from weitiao.training.range_test import range_test, suggested
from weitiao.training.recompute import recomputed
from weitiao.training.seeds import seed_everything, seed_process

if TYPE_CHECKING:
    import torch


Loaded = tuple[Training, Inference]


def with_rate(ready: Preparation, loaded: Loaded, asked: object) -> tuple[Preparation, Loaded]:
    """Return the same with the learning rate found by a range test, where that is what was `asked` for.

    The test is a short run of the training itself, within the memory that it has; all is put back to the start after.
    """
    if asked != "range-test":
        return ready, loaded
    training, inference = loaded
    usual = float(training.settings.learning_rate)
    again = recomputed(training.model, ready.recipe.training.checkpoint_activations)
    with quickly(training.model, ready.precision, learns=True), again:
        rates, losses = range_test(training, usual)
    assert training.fresh is not None
    restart(training, training.fresh())
    found = suggested(rates, losses)
    if found is None:
        found, told = usual, f"the usual rate: the loss did not fall in a range test of {len(losses)} steps"
    else:
        told = f"range test of {len(losses)} steps from {rates[0]:.1g} to {rates[-1]:.1g}; the usual rate is {usual:g}"
    ready = _with_rate(ready, found, told)
    return ready, (settled(ready, training), inference)


def with_usual_rate(ready: Preparation) -> Preparation:
    """Return the preparation with the usual rate, where the recipe asks for a range test."""
    if ready.recipe.training.learning_rate != "range-test":
        return ready
    usual, _ = auto_values.rate(ready.task, ready.method, ready.pretrained)
    return _with_rate(ready, usual, "before the range test")


def _with_rate(ready: Preparation, rate: float, why: str) -> Preparation:
    recipe = ready.recipe.resolved({"training.learning_rate": (rate, why)})
    return replace(ready, recipe=recipe, facts=ready.facts | {"learning_rate": rate})


def load_for_training(ready: Preparation, *, fresh: bool = True, parallel: Parallel = SINGLE) -> Loaded:
    """Load the model, apply the method, and put both into the loop and into evaluation; all draws are seeded.

    Where it is not `fresh`, the weights that move will come from a checkpoint.
    """
    settings = ready.recipe.training
    model, pretrained = _model(ready)
    if isinstance(ready.task, Examines):
        ready.task.examine(model)
    shuffled, collate = shuffled_rows(ready), micro_batches(ready)

    def begun(model: torch.nn.Module) -> torch.nn.Module:
        _begin(ready, model, _endless(shuffled, collate, ready.device))
        seed_process(settings.seed, parallel.rank)
        return model

    if fresh:
        begun(model)
    parallel.place(model)
    parts = _parts(ready, model, pretrained, parallel)
    run, loss = passes(ready, model, pretrained, parts)
    inference = Inference(model, ready.task, ready.reader, ready.device, ready.precision, parallel)
    training = Training(
        model=model, settings=settings, forward=run, loss=loss, parts=parts,
        autocast=partial(models.autocast, ready.device, ready.precision), device=ready.device,
        order=order_of(ready, shuffled, parts), collate=collate,
        paces=_paces(ready, model),
        parallel=parallel, by_rows=parallel.size == 1 and _by_rows(settings), fresh=lambda: begun(_model(ready)[0]),
    )  # fmt: skip
    if fresh:
        for part in training.parts.values():
            part.restore(model, {})
    return training, inference


def plain(ready: Preparation, inference: Inference) -> Inference:
    """The same for one process alone, however many have trained the model, without what only training had use for."""
    model = inference.parallel.whole(inference.model, lambda: _model(ready)[0])
    detach(model)
    return replace(inference, model=model, parallel=SINGLE)


def _model(ready: Preparation) -> tuple[torch.nn.Module, set[str]]:
    """The model at the start of training, all random numbers too, and the names of its pretrained body's parameters."""
    seed = ready.recipe.training.seed
    seed_everything(seed)
    plain = models.load_model(ready.pretrained, ready.task.head(ready.pretrained.family), seed=seed)
    body = body_parameters(plain)
    model = ready.method.apply(plain, ready.pretrained.new_tokens).to(ready.device)
    if ready.match is not None:
        attach(model, ready.match, seed)
    return model, {name for name, parameter in model.named_parameters() if id(parameter) in body}


def _parts(
    ready: Preparation, model: torch.nn.Module, pretrained: set[str], parallel: Parallel
) -> dict[str, TakesPart]:
    """What takes part in each step, by name: the method, penalties, an average, losses, where there are any."""
    settings = ready.recipe.training
    wanted, selection = settings.regularization, settings.selection
    parts: dict[str, TakesPart] = {}
    if isinstance(ready.method, TakesPart):
        parts["method"] = ready.method
    if wanted.l1 or wanted.l2 or wanted.l2_sp:
        parts["penalty"] = Penalty(wanted, model, pretrained)
    if settings.ema is not None:
        parts["average"] = Average(Moving(settings.ema), model)
    if settings.swa is not None:
        parts["average"] = Average(Even(settings.swa), model)
    if selection.prune:
        parts["newest-losses"] = NewestLosses(len(ready.splits["train"]), parallel)
    if selection.curriculum == "loss":
        parts["losses-after"] = LossesAfter(len(shuffled_rows(ready)(0)), partial(_losses, ready, parallel))
    if ready.unlabelled is not None and (consistency := ready.recipe.consistency) is not None:
        texts = len(ready.unlabelled.texts)
        parts["answers"] = LatestAnswers(texts, consistency.ratio * settings.batch_size, parallel)
        if consistency.annealing != "none":
            labels = len(ready.task.head(ready.pretrained.family).config["id2label"])
            parts["annealing"] = Annealing(ANNEALING[consistency.annealing], labels)
    if ready.match is not None:
        parts["match"] = Until(ready.match.settings.until)
    if isinstance(ready.method, Contrasts):
        parts["head"] = FittedHead(ready.method, partial(_vectors, ready))  # of the average, where there is one
    return parts


def _paces(ready: Preparation, model: torch.nn.Module) -> dict[str, Pace]:
    """What moves otherwise than the rest: as the method has it, and what brings states to a teacher's width."""
    own = dict(ready.method.paces(model)) if isinstance(ready.method, Paced) else {}
    if ready.match is None:
        return own
    return own | paces(model, float(ready.recipe.training.learning_rate), ready.match.settings.until)


def _vectors(ready: Preparation, model: torch.nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """The vector of each training example without dropout, fp32 of shape (rows, width), and the labels of a batch."""
    import torch

    train, batches = ready.features["train"], list[tuple[np.ndarray, np.ndarray]]()
    lookup = data.RowLookup(train)
    order = data.in_length_order(data.column_array(train, "length"), BATCH, tokens=TOKENS)
    model.eval()
    for rows in order:
        batch = ready.task.collate(lookup(rows), ready.reader).to(ready.device)
        assert batch.labels is not None
        with torch.no_grad(), models.autocast(ready.device, ready.precision):
            vectors = forward(model, batch).vectors.float()
        batches.append((vectors.cpu().numpy(), batch.labels.cpu().numpy()))
    back = np.argsort(np.concatenate(order))
    found, labels = (np.concatenate(each)[back] for each in zip(*batches, strict=True))
    return found, labels


def _losses(ready: Preparation, parallel: Parallel, model: torch.nn.Module) -> np.ndarray:
    """The loss of each training example, without dropout, shape (rows,), fp32."""
    import torch

    task, train = ready.task, ready.features["train"]
    assert isinstance(task, LossByExample)
    lookup = data.RowLookup(train)
    batches = data.in_length_order(data.column_array(train, "length"), BATCH, tokens=TOKENS)

    def work(rows: np.ndarray) -> list[float]:
        batch = task.collate(lookup(rows), ready.reader).to(ready.device)
        with torch.no_grad(), models.autocast(ready.device, ready.precision):
            found: list[float] = task.losses(forward(model, batch), batch).tolist()
        return found

    model.eval()
    losses = np.zeros(len(train), np.float32)
    for rows, found in zip(batches, parallel.spread(batches, work), strict=True):
        losses[rows] = found
    return losses


def _by_rows(settings: TrainingSettings) -> bool:
    """Whether embeddings may be behind between evaluations: not where something reads all weights at each step."""
    wanted = settings.regularization
    return not (wanted.l1 or wanted.l2 or wanted.l2_sp or wanted.mixout or settings.averaged)


def _begin(ready: Preparation, model: torch.nn.Module, batches: Iterator[Batch]) -> None:
    """Let a method that starts from the data look at it."""
    if isinstance(ready.method, StartsFromData):
        ready.method.start_from(model, batches, partial(_run, ready, model))


def _endless(order: Order, collate: Callable[[np.ndarray], list[Batch]], device: torch.device) -> Iterator[Batch]:
    """The batches of a training, epoch after epoch."""
    for epoch in count():
        for rows in order(epoch):
            yield from (batch.to(device) for batch in collate(rows))


def _run(ready: Preparation, model: torch.nn.Module, batch: Batch) -> Any:
    with models.autocast(ready.device, ready.precision):
        return forward(model, batch)


def settled(ready: Preparation, training: Training, **limits: Any) -> Training:
    """Return the training, which has not begun, by what was chosen when the weights were there; `limits`: `deadline`,
    `room`.
    """  # fmt: skip
    order = order_of(ready, shuffled_rows(ready), training.parts)
    return replace(training, settings=ready.recipe.training, order=order, collate=micro_batches(ready),
                   paces=_paces(ready, training.model), **limits)  # fmt: skip
