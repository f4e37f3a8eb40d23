"""How a batch goes through a model in training, and the loss of what comes out, as a recipe has it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from weitiao import models
from weitiao.errors import RecipeError
from weitiao.kernels import halve, quickly
from weitiao.methods.base import Contrasts, TakesPart
from weitiao.models.states import Watch
from weitiao.predictor import Predictor
from weitiao.preparation import Preparation
from weitiao.records import Batch, Head
from weitiao.tasks.base import (
    Compares,
    LearnsFromTeacher,
    LearnsLabels,
    LearnsTokens,
    LossByExample,
    WeighsTargets,
)
from weitiao.tasks.sequences import inner_model, token_divergence_from
from weitiao.tasks.vocabulary import forward
from weitiao.teachers import is_trained, open_teacher, pretrained_teacher
from weitiao.training.consistency import (
    Annealing,
    BesideUnchanged,
    Consistent,
    Difference,
    HeldBack,
    LatestAnswers,
    PseudoLabelled,
    Sharpened,
)
from weitiao.training.contrast import PairLoss
from weitiao.training.distil import Distilled
from weitiao.training.distil_tokens import DistilledTokens, WithTeacher
from weitiao.training.match import Matched, TeacherInside, Until, WithInsides
from weitiao.training.mixout import Mixout
from weitiao.training.mixup import MixedLoss, Mixup
from weitiao.training.pruning import NewestLosses, Reweighted
from weitiao.training.r_drop import Agreement, TwoPasses

if TYPE_CHECKING:
    import torch


Run = Callable[[Any, Batch], Any]
Loss = Callable[[Any, Batch], "torch.Tensor"]


def passes(
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
        weights = task.target_weights if isinstance(task, WeighsTargets) else None
        loss = Matched(loss, ready.match, wanted.share, rest, pair=beside, weights=weights)
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
