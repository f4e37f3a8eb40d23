"""AdamW with its two parameter groups, and the course of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from weitiao.errors import RunError
from weitiao.recipe import SwaSettings, TrainingSettings
from weitiao.records import Pace

if TYPE_CHECKING:
    import torch

    from weitiao.training.rows import RowAdamW


LOWEST = 0.05  # of the learning rate of a cycle of SWA, at its end


def trainable(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Name -> parameter of everything that moves, in the model's own order."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def make_optimizer(
    model: torch.nn.Module, settings: TrainingSettings, paces: Mapping[str, Pace] | None = None
) -> RowAdamW:
    """AdamW: decoupled decay on matrices, none on norms and biases.

    `paces` names the parameters that move otherwise than the rest; each group keeps its factor on the rate as `pace`.
    """
    from weitiao.training.rows import RowAdamW

    moving, paces = trainable(model), paces or {}
    if not moving:
        raise RunError("no weight of the model would move", where="method")
    groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in moving.items():
        pace = paces.get(name, Pace())
        decays = is_matrix(name, parameter) if pace.decays is None else pace.decays
        groups.setdefault((pace.rate, decays), []).append(parameter)
    rate = float(settings.learning_rate)
    return RowAdamW(
        [
            {"params": groups[pace, decays], "weight_decay": settings.weight_decay if decays else 0.0, "pace": pace}
            for pace, decays in sorted(groups, reverse=True)
        ],
        lr=rate, fused=True,
    )  # fmt: skip


def clip(optimizer: torch.optim.Optimizer, norm: torch.Tensor, most: float | None) -> None:
    """Have the next step scale the gradients, whose norm over all parameters is `norm`, so that it is at most `most`.

    As `clip_grad_norm_` does (Pascanu et al. 2013), but the fused optimizer scales them as it reads them, which saves
    a pass over all of them.
    """
    import torch

    optimizer.grad_scale = torch.clamp((norm + 1e-6) / most, min=1.0) if most else None  # type: ignore[attr-defined]


def is_matrix(name: str, parameter: torch.nn.Parameter) -> bool:
    """Norm weights and biases are vectors; T5's relative position bias is a matrix of biases."""
    return parameter.ndim >= 2 and "bias" not in name.rsplit(".", 2)[-1] and "attention_bias" not in name


def rate_factor(step: float, steps: int, settings: TrainingSettings) -> float:
    """Share of the highest learning rate at update `step` (from 0) of `steps`.

    Rises over the warmup to 1, then falls to 0 in a line or half a cosine (Loshchilov & Hutter 2017), or stays. Where
    the last steps are averaged (`training.swa`), it stays at what it was before them, or falls in each cycle anew.
    """
    swa = settings.swa
    if swa is not None and step >= (begin := _begin_of(swa, steps)):
        reached = swa.rate or rate_factor(begin, steps, settings.model_copy(update={"swa": None}))
        if swa.cycle is None:
            return reached
        done = ((step - begin) % swa.cycle + 1) / swa.cycle
        return reached * (1 - done + LOWEST * done)
    warmup = round(settings.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    left = (steps - step) / max(steps - warmup, 1)
    match settings.schedule:
        case "linear":
            return left
        case "cosine":
            return 0.5 * (1 - math.cos(math.pi * left))
        case "constant":
            return 1.0


def _begin_of(swa: SwaSettings, steps: int) -> int:
    """Updates before those that are averaged; at least one is."""
    return min(round((1 - swa.share) * steps), steps - 1)


def averaged_at(step: int, steps: int, swa: SwaSettings) -> bool:
    """Whether the weights after update `step` (from 1) of `steps` are averaged: with cycles those at their ends."""
    number = step - _begin_of(swa, steps)
    return number > 0 and (swa.cycle is None or number % swa.cycle == 0)


def optimizer_state(optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The optimizer's tensors by ``<what>/<parameter name>``; parameters not yet updated have none."""
    tensors = {}
    for name, parameter in trainable(model).items():
        for what, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{what}/{name}"] = value
    return tensors


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, model: torch.nn.Module, tensors: dict[str, torch.Tensor]
) -> None:
    """Put back what `optimizer_state` gave."""
    moving = trainable(model)
    for what, name, value in _named(tensors):
        parameter = moving[name]
        optimizer.state[parameter][what] = value.to(parameter.device, copy=True)


def _named(tensors: dict[str, torch.Tensor]) -> Iterator[tuple[str, str, torch.Tensor]]:
    for key, value in tensors.items():
        what, _, name = key.partition("/")
        yield what, name, value
