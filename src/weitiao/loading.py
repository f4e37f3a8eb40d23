"""From a preparation to a model in training: the first weights are loaded here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao import auto_values, data, models
from weitiao.errors import RecipeError
from weitiao.evaluation.evaluate import BATCH, TOKENS, Inference, take_rows
from weitiao.kernels import halve, quickly
from weitiao.methods.base import Contrasts, Paced, StartsFromData, TakesPart
from weitiao.methods.parts import body_parameters
from weitiao.models.states import Watch
from weitiao.parallel import SINGLE, Parallel
from weitiao.predictor import Predictor
from weitiao.preparation import Preparation, Unlabelled
from weitiao.recipe import TrainingSettings
from weitiao.records import Batch, Head
from weitiao.tasks.base import (
    Compares,
    Examines,
    LearnsFromTeacher,
    LearnsLabels,
    LearnsTokens,
    LossByExample,
)
from weitiao.tasks.sequences import inner_model, token_divergence_from
from weitiao.tasks.vocabulary import forward
from weitiao.teachers import is_trained, open_teacher, pretrained_teacher
from weitiao.training.average import Average, Even, Moving
from weitiao.training.by_label import ByLabel
from weitiao.training.checkpoint import restart
from weitiao.training.consistency import (
    ANNEALING,
    Annealing,
    BesideUnchanged,
    Consistent,
    Difference,
    HeldBack,
    LatestAnswers,
    PseudoLabelled,
    Sharpened,
)
from weitiao.training.contrast import FittedHead, PairLoss
from weitiao.training.curriculum import Curriculum, LossesAfter
from weitiao.training.distil import Distilled
from weitiao.training.distil_tokens import DistilledTokens, WithTeacher
from weitiao.training.loop import Training, planned_steps
from weitiao.training.match import Matched, TeacherInside, Until, WithInsides, attach, detach, paces
from weitiao.training.micro_batches import MicroBatches, Rows
from weitiao.training.mixout import Mixout
from weitiao.training.mixup import MixedLoss, Mixup
from weitiao.training.order import Order, Shuffled, label_role, times_of
from weitiao.training.penalty import Penalty
from weitiao.training.pruning import NewestLosses, Pruned, Reweighted
from weitiao.training.r_drop import Agreement, TwoPasses
from weitiao.training.range_test import range_test, suggested
from weitiao.training.recompute import recomputed
from weitiao.training.seeds import seed_everything, seed_process
from weitiao.training.with_unlabelled import WithUnlabelled

if TYPE_CHECKING:
    import torch
    from datasets import Dataset


Loaded = tuple[Training, Inference]
Run = Callable[[Any, Batch], Any]
Loss = Callable[[Any, Batch], "torch.Tensor"]


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
    settings, method = ready.recipe.training, ready.method
    model, pretrained = _model(ready)
    if isinstance(ready.task, Examines):
        ready.task.examine(model)
    shuffled, collate = _shuffled(ready), micro_batches(ready)

    def begun(model: torch.nn.Module) -> torch.nn.Module:
        _begin(ready, model, _endless(shuffled, collate, ready.device))
        seed_process(settings.seed, parallel.rank)
        return model

    if fresh:
        begun(model)
    parallel.place(model)
    parts = _parts(ready, model, pretrained, parallel)
    run, loss = _passes(ready, model, pretrained, parts)
    inference = Inference(model, ready.task, ready.reader, ready.device, ready.precision, parallel)
    own_paces = method.paces(model) if isinstance(method, Paced) else {}
    training = Training(
        model=model, settings=settings, forward=run, loss=loss, parts=parts,
        autocast=partial(models.autocast, ready.device, ready.precision), device=ready.device,
        order=_order(ready, shuffled, parts), collate=collate,
        paces={**own_paces, **paces(model, float(settings.learning_rate))},
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


def _shuffled(ready: Preparation) -> Shuffled:
    """All rows in random order."""
    settings, train = ready.recipe.training, ready.features["train"]
    parts = data.column_array(train, "part") if "part" in train.column_names else None
    times = times_of(train, ready.splits["train"], ready.task.columns, settings.selection)
    return Shuffled(data.column_array(train, "length"), settings.batch_size, settings.seed, parts, times)


def _order(ready: Preparation, shuffled: Shuffled, parts: Mapping[str, TakesPart]) -> Order:
    """Which rows each step takes, with and without a label."""
    labelled, answers = _labelled_order(ready, shuffled, parts), parts.get("answers")
    wanted, beside = ready.recipe.consistency, ready.unlabelled
    if wanted is None or beside is None or not isinstance(answers, LatestAnswers):
        return labelled
    settings, lengths = ready.recipe.training, data.column_array(beside.texts, "length")
    return WithUnlabelled(
        labelled, sum(map(len, shuffled(0))), settings.batch_size, lengths, beside.variants, wanted.ratio,
        first=len(shuffled.lengths), seed=settings.seed, begin=answers.begin,
    )  # fmt: skip


def _labelled_order(ready: Preparation, shuffled: Shuffled, parts: Mapping[str, TakesPart]) -> Order:
    """Which labelled rows each step takes, as the recipe selects them."""
    settings, wanted = ready.recipe.training, ready.recipe.training.selection
    remembered, after = parts.get("newest-losses"), parts.get("losses-after")
    if isinstance(ready.method, Contrasts):
        return ByLabel(_label_codes(ready), ready.method.together, settings.batch_size, settings.seed)
    if isinstance(remembered, NewestLosses):
        examples = data.column_array(ready.features["train"], "row")
        return Pruned(shuffled, remembered, wanted.prune, wanted.prune_until * settings.epochs, examples)
    if wanted.curriculum is None:
        return shuffled
    an_epoch = len(shuffled(0))
    all_steps = wanted.curriculum_steps * planned_steps(an_epoch, settings)
    if isinstance(after, LossesAfter):
        return Curriculum(shuffled, after.known_at, wanted.curriculum_start, all_steps, first=an_epoch)
    return Curriculum(shuffled, lambda _: shuffled.lengths, wanted.curriculum_start, all_steps)


def _label_codes(ready: Preparation) -> np.ndarray:
    """A number for the label of each training row, of several for the rarest; shape (rows,)."""
    role = label_role(ready.task.columns)
    assert role is not None
    codes, _ = data.label_codes(ready.splits["train"], role)
    of_rows: np.ndarray = codes[data.column_array(ready.features["train"], "row")]
    return of_rows


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
        parts["losses-after"] = LossesAfter(len(_shuffled(ready)(0)), partial(_losses, ready, parallel))
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


def _vectors(ready: Preparation, model: torch.nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """The vector of each training example without dropout, fp32 of shape (rows, width), and the labels of a batch."""
    import torch

    train, batches = ready.features["train"], list[tuple[np.ndarray, np.ndarray]]()
    order = data.in_length_order(data.column_array(train, "length"), BATCH, tokens=TOKENS)
    model.eval()
    for rows in order:
        batch = ready.task.collate(take_rows(train, rows), ready.reader).to(ready.device)
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
    batches = data.in_length_order(data.column_array(train, "length"), BATCH, tokens=TOKENS)

    def work(rows: np.ndarray) -> list[float]:
        batch = task.collate(take_rows(train, rows), ready.reader).to(ready.device)
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


def _passes(
    ready: Preparation, model: torch.nn.Module, pretrained: set[str], parts: Mapping[str, TakesPart]
) -> tuple[Run, Loss]:
    """How a batch goes through the model, and the loss of what comes out."""
    wanted, task = ready.recipe.training.regularization, ready.task
    remembered = parts.get("newest-losses")
    run: Run = forward
    loss: Loss = task.loss
    if isinstance(ready.method, Contrasts) and isinstance(task, LearnsLabels):
        loss = PairLoss(ready.method, task)
    if wanted.mixout:
        run = Mixout(wanted.mixout, model, pretrained, run)
    run, loss = _with_teacher(ready, model, run, loss, parts)
    if wanted.r_drop and isinstance(task, Compares):
        run, loss = TwoPasses(run), Agreement(wanted.r_drop, loss, task.divergence)
    if wanted.mixup and isinstance(task, LossByExample):
        run, loss = Mixup(wanted.mixup, run), MixedLoss(task.losses)
    if isinstance(remembered, NewestLosses) and isinstance(task, LossByExample):
        loss = Reweighted(remembered, task.losses)
    return _beside_unlabelled(ready, run, loss, parts)


def _beside_unlabelled(
    ready: Preparation, run: Run, loss: Loss, parts: Mapping[str, TakesPart]
) -> tuple[Run, Loss]:  # fmt: skip
    """The same where there are texts without labels to be answered as their copies are."""
    wanted, answers, annealing = ready.recipe.consistency, parts.get("answers"), parts.get("annealing")
    assert wanted is None or ready.unlabelled is not None, (
        "texts without labels were forgotten: `consistency.with_unlabelled`"
    )
    if wanted is None or not isinstance(answers, LatestAnswers):
        return run, loss
    if isinstance(annealing, Annealing) and isinstance(ready.task, LossByExample):
        loss = HeldBack(ready.task.losses, annealing)
    kinds: dict[str, Difference] = {"uda": Sharpened(wanted.temperature), "fixmatch": PseudoLabelled()}
    return BesideUnchanged(run), Consistent(loss, kinds[wanted.kind], wanted.weight, float(wanted.threshold), answers)


def _with_teacher(
    ready: Preparation, model: torch.nn.Module, run: Run, loss: Loss, parts: Mapping[str, TakesPart]
) -> tuple[Run, Loss]:
    """The same with what is learned of a teacher: what it said, what it says beside its student, its insides."""
    wanted, task = ready.recipe.distillation, ready.task
    if wanted is None:
        return run, loss
    assert "teachers" in ready.facts, "what the teachers say was forgotten: `teaching.with_teacher`"
    rest = 1 - wanted.share  # of the loss without the insides
    if ready.taught is not None:
        assert isinstance(task, LearnsFromTeacher)
        assert isinstance(task, LossByExample)
        labelled, rest = len(ready.labelled("train").examples), 1.0
        loss = Distilled(task.losses, task.divergence_from, ready.taught, wanted.share, wanted.temperature, labelled,
                         wanted.outputs)  # fmt: skip
    beside = wanted.level == "token" and wanted.outputs > 0
    if beside:
        assert isinstance(task, LearnsTokens)
        loss, rest = DistilledTokens(loss, token_divergence_from, wanted.share, wanted.temperature, wanted.outputs), 1.0
    if ready.match is not None:
        run = _with_insides(ready, model, run, parts["match"], speaks=beside)
        loss = Matched(loss, ready.match, wanted.share, rest, pair=beside)
    elif beside:
        run = WithTeacher(run, _teacher(ready, wanted.teachers[0]))
    return run, loss


def _with_insides(
    ready: Preparation, model: torch.nn.Module, run: Run, until: TakesPart, *, speaks: bool
) -> WithInsides:  # fmt: skip
    """How a batch goes through the student and its teacher where the latter's insides are learned; it `speaks` where
    what it says is learned, too.

    Raises where states of one of them cannot be had, or none of the student's would move.
    """
    assert ready.match is not None
    assert ready.recipe.distillation is not None
    assert isinstance(until, Until)
    student, [name] = Watch(model, ready.match.wanted(0)), ready.recipe.distillation.teachers
    lowest = student.blocks[: student.wanted.last + 1]
    if not any(parameter.requires_grad for block in lowest for parameter in block.parameters()):
        raise RecipeError(f"with the method '{ready.method.name}' nothing moves in the blocks that are matched",
                          where=f"{ready.recipe.origin('distillation.match')} (distillation.match)",
                          fix="Take full or lora, or take match out.")  # fmt: skip
    teacher = _teacher_model(ready, name)
    watch = Watch(teacher.model, ready.match.wanted(1))
    return WithInsides(run, student, TeacherInside(_saying(ready, teacher), watch, speaks), until)


def _teacher(ready: Preparation, name: str) -> Callable[[Batch], Any]:
    """A trained model that says what comes next, without gradients."""
    return _saying(ready, _teacher_model(ready, name))


@dataclass(frozen=True)
class _Teacher:
    """A model as it predicts."""

    model: torch.nn.Module
    as_loaded: object  # kept beside it: the model computes by the kernels for as long as this is there


def _teacher_model(ready: Preparation, name: str) -> _Teacher:
    """A run's model, or the body of one as it was pretrained, in bf16 where that is computed."""
    if is_trained(name, ready.recipe):
        predictor = Predictor(open_teacher(name, ready.recipe), device=str(ready.device), precision=ready.precision)
        return _Teacher(predictor.inference.model.eval().requires_grad_(False), predictor)
    body = models.load_model(pretrained_teacher(name, ready.recipe), Head("AutoModel"), seed=0)
    body, as_loaded = body.to(ready.device).eval().requires_grad_(False), ExitStack()
    if ready.precision == "bf16" and ready.device.type == "cpu":
        halve(body)
    as_loaded.enter_context(quickly(body, ready.precision, learns=False))
    return _Teacher(body, as_loaded)


def _saying(ready: Preparation, teacher: _Teacher) -> Callable[[Batch], Any]:
    """What a teacher says of a batch, without gradients; what its student reads and it does not know is left out."""
    import torch

    def said(batch: Batch) -> Any:
        inputs = {name: value for name, value in batch.inputs.items() if _takes(teacher.model, name)}
        with torch.no_grad(), models.autocast(ready.device, ready.precision):
            return forward(teacher.model, replace(batch, inputs=inputs))

    return said


def _takes(model: torch.nn.Module, name: str) -> bool:
    """Whether a model, or its body, knows an input of this name."""
    whole: Any = inner_model(model)
    own, body = (inspect.signature(each.forward).parameters for each in (whole, whole.base_model))
    passes_on = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in own.values())
    return name in own or (passes_on and (name in body or "input_ids" not in body))


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


def micro_batches(ready: Preparation) -> MicroBatches:
    """Rows of a step -> its micro-batches: the training examples, then copies of texts without labels."""
    kinds = [Rows(_lengths(ready, ready.features["train"]), partial(_padded, ready, ready.features["train"]))]
    if ready.unlabelled is not None:
        texts, copies, variants = ready.unlabelled.texts, ready.unlabelled.copies, ready.unlabelled.variants
        lengths = np.maximum(_lengths(ready, texts).repeat(variants), _lengths(ready, copies))
        kinds.append(Rows(lengths, partial(_copies, ready, ready.unlabelled)))
    return MicroBatches(kinds, int(ready.recipe.training.micro_batch_tokens))


def training_lengths(ready: Preparation) -> np.ndarray:
    """What each row of the training counts in a micro-batch, by its number in `micro_batches`."""
    return micro_batches(ready).lengths


def _lengths(ready: Preparation, features: Dataset) -> np.ndarray:
    """What each row counts in a micro-batch: its tokens and the positions of what is heard."""
    lengths: np.ndarray = data.column_array(features, "length") + models.heard(ready.pretrained)
    return lengths


def _padded(ready: Preparation, features: Dataset, rows: np.ndarray) -> Batch:
    return ready.task.collate(take_rows(features, rows), ready.reader, training=True)


def _copies(ready: Preparation, unlabelled: Unlabelled, rows: np.ndarray) -> Batch:
    """Copies with the texts that they were made of; its `rows` are the numbers of these."""
    texts = rows // unlabelled.variants
    copies, own = _padded(ready, unlabelled.copies, rows), _padded(ready, unlabelled.texts, texts)
    return replace(copies, targets=float(len(rows)), tokens=copies.tokens + own.tokens, rows=texts.tolist(),
                   unchanged=own)  # fmt: skip


def settled(ready: Preparation, training: Training, **limits: Any) -> Training:
    """Return the training, which has not begun, by what was chosen when the weights were there; `limits`: `deadline`,
    `room`.
    """  # fmt: skip
    order = _order(ready, _shuffled(ready), training.parts)
    return replace(training, settings=ready.recipe.training, order=order, collate=micro_batches(ready), **limits)
