"""How gradients and updates fare from layer to layer: measured at next to no cost, told where it goes wrong."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from weitiao.events import LayersMeasured, LayersUnwell
from weitiao.module_lists import outer_lists
from weitiao.parallel import local
from weitiao.training.optimizer import trainable

if TYPE_CHECKING:
    import torch

MEASUREMENTS = 25  # of a run, at most
SAMPLE = 1024  # numbers of each parameter that the size of an update is estimated from
IN_A_ROW = 3  # measurements that say the same before it is told
SMALL = 1e-4  # of the median layer's gradient: vanishing
LARGE = 100.0  # times the median layer's gradient, or its own usual one: exploding
IDLE_STEPS, IDLE_SHARE = 20, 0.25  # so long without any gradient, in steps and in share of the run: dead

Trouble = Literal["vanishing", "exploding", "dead"]
TOLD: dict[Trouble, tuple[str, str]] = {
    "vanishing": (
        f"the gradient is under 1/{1 / SMALL:,.0f} of that of the other layers: next to nothing is learned there",
        "Layers far from the loss starve where the ones above saturate: lower the learning rate, train fewer layers "
        "(method layers or lora), or look at what was done to the model before.",
    ),
    "exploding": (
        f"the gradient is over {LARGE:,.0f} times that of the other layers, or its own usual one",
        "Clipping (training.clip_norm) then leaves the other layers next to nothing: lower the learning rate, lengthen "
        "the warmup, or use precision: fp32.",
    ),
    "dead": (
        "no gradient has arrived for a quarter of the run: nothing is learned there",
        "The loss does not depend on it: a part that this task does not use may be left frozen (method layers or "
        "lora); of several tasks one may have too few examples; else units have died, and a lower rate helps.",
    ),
}  # fmt: skip


def gradient_norms(parameters: Iterable[torch.nn.Parameter]) -> torch.Tensor:
    """Return the L2 norm of each parameter's gradient, fp32 of shape (parameters,); 0 where there is none.

    The norm over all of them is this one's. Of sharded parameters it is that of this process's shares.
    """
    import torch

    parameters = list(parameters)
    gradients = {number: _numbers(local(p.grad)) for number, p in enumerate(parameters) if p.grad is not None}
    found = list(torch._foreach_norm(list(gradients.values()), 2, torch.float32)) if gradients else []
    if len(found) == len(parameters):
        return torch.stack(found)
    norms = torch.zeros(len(parameters), device=parameters[0].device)
    if found:
        norms[list(gradients)] = torch.stack(found)
    return norms


def _numbers(gradient: torch.Tensor) -> torch.Tensor:
    """A gradient, or the rows that it holds."""
    return gradient.coalesce().values() if gradient.is_sparse else gradient


@dataclass
class _Layer:
    """One layer's parameters, by their numbers."""

    name: str
    parameters: list[int]


class Health:
    """Watches the layers of a model in training; a frozen one is none of them.

    Events it has to tell gather in `told`. What it remembers is not in a checkpoint: after a resume it looks anew.
    """

    def __init__(self, model: torch.nn.Module, steps: int) -> None:
        self.every = -(-steps // MEASUREMENTS)
        self.steps = steps
        self.names = list(trainable(model))
        self.layers = [_Layer(name, numbers) for name, numbers in _by_layer(self.names, layer_names(model))]
        self._recent: dict[tuple[Trouble, str], int] = defaultdict(int)
        self._usual: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=MEASUREMENTS))
        self._told: set[tuple[Trouble, str]] = set()
        self._gradient_at: torch.Tensor | None = None  # the step at which each parameter last had a gradient
        self._sample: torch.Tensor | None = None

    def due(self, step: int) -> bool:
        """Whether update `step`, counted from 1, is one to measure."""
        return step % self.every == 0

    def seen(self, norms: torch.Tensor, step: int) -> None:
        """Take note of each parameter's gradient norm at a step; no number leaves the device."""
        if self._gradient_at is None or len(self._gradient_at) != len(norms):
            self._gradient_at = norms.new_full((len(norms),), step - 1)
        self._gradient_at.masked_fill_(norms != 0, step)

    def before(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Take a sample of the weights before an update."""
        self._sample = _sampled(parameters)

    def after(
        self, parameters: Sequence[torch.nn.Parameter], norms: torch.Tensor, step: int, waiting: Collection[str]
    ) -> list[LayersMeasured | LayersUnwell]:
        """Return what there is to tell after the update; layers of `waiting` parameters alone are left out."""
        assert self._sample is not None
        now = _sampled(parameters)
        weights, moves = (_squares(each, parameters) for each in (self._sample, now - self._sample))
        self._sample = None
        gradients = norms.double().square().tolist()
        found, ratios = {}, {}
        for layer in self.layers:
            moving = [number for number in layer.parameters if self.names[number] not in waiting]
            if not moving:
                continue
            found[layer.name] = math.sqrt(sum(gradients[number] for number in moving))
            size = sum(weights[number] for number in moving)
            if size > 0:
                ratios[layer.name] = math.sqrt(sum(moves[number] for number in moving) / size)
        idle = self._idle(step, waiting)
        measured = LayersMeasured(step=step, gradient_norms=_short(found), update_ratios=_short(ratios))
        return [measured, *self.diagnose(found, idle, step)]

    def diagnose(self, norms: Mapping[str, float], idle: Collection[str], step: int) -> Iterator[LayersUnwell]:
        """Yield each trouble that `IN_A_ROW` measurements have shown, with the layers it has not been told of before.

        `norms` are the layers' gradient norms, `idle` those that had none for long.
        """
        there = [norm for norm in norms.values() if norm > 0]
        middle = statistics.median(there) if there else 0.0
        for name, norm in norms.items():
            usual = self._usual[name]
            own = statistics.median(usual) if len(usual) >= IN_A_ROW + 2 else math.inf
            self._count("vanishing", name, 0 < norm < SMALL * middle)
            self._count("exploding", name, norm > LARGE * middle or norm > LARGE * own > 0)
            self._count("dead", name, name in idle, enough=True)
            usual.append(norm)
        for trouble, (problem, fix) in TOLD.items():
            new = [name for name in norms if self._recent[trouble, name] >= IN_A_ROW
                   and (trouble, name) not in self._told]  # fmt: skip
            if new:
                self._told |= {(trouble, name) for name in new}
                yield LayersUnwell(step=step, trouble=trouble, layers=new, problem=problem, fix=fix)

    def broken(
        self,
        parameters: Mapping[str, torch.nn.Parameter],
        anywhere: Callable[[Sequence[bool]], list[bool]] = list,
    ) -> tuple[list[str], list[str]]:
        """Return the layers whose gradients are not finite, and those whose weights are not. It reads all numbers.

        `anywhere` tells which flags of some any process has set.
        """
        values = list(parameters.values())
        found = [_numbers(local(p.grad)) if p.grad is not None else None for p in values]
        gradients = anywhere([numbers is not None and not bool(numbers.isfinite().all()) for numbers in found])
        weights = anywhere([not bool(local(p.detach()).isfinite().all()) for p in values])
        return (
            [layer.name for layer in self.layers if any(gradients[number] for number in layer.parameters)],
            [layer.name for layer in self.layers if any(weights[number] for number in layer.parameters)],
        )

    def _count(self, trouble: Trouble, name: str, there: bool, *, enough: bool = False) -> None:
        key = trouble, name
        self._recent[key] = (IN_A_ROW if enough else self._recent[key] + 1) if there else 0

    def _idle(self, step: int, waiting: Collection[str]) -> set[str]:
        assert self._gradient_at is not None
        longest = max(IDLE_STEPS, IDLE_SHARE * self.steps)
        for number, name in enumerate(self.names):
            if name in waiting:  # its time has not begun
                self._gradient_at[number] = step
        last = self._gradient_at.tolist()
        return {layer.name for layer in self.layers if step - max(last[n] for n in layer.parameters) >= longest}


def layer_names(model: torch.nn.Module) -> dict[str, str]:
    """Parameter name -> its layer: a block such as ``bert.encoder.layer.3``, or a part outside of the blocks such as
    ``bert.embeddings`` or ``classifier``. What PEFT puts around a model is left out of the names.
    """  # fmt: skip
    outer = [name for name, _ in outer_lists(model)]
    found = {}
    for name, _ in model.named_parameters():
        block = next((each for each in outer if name.startswith(f"{each}.")), None)
        if block is not None:
            found[name] = _plain(f"{block}.{name.removeprefix(f'{block}.').split('.')[0]}")
        else:
            path = _plain(name.rpartition(".")[0]).split(".")
            found[name] = ".".join(path[:2]) or "model"
    return found


def _plain(path: str) -> str:
    return path.removeprefix("base_model.model.").partition(".modules_to_save")[0]


def _by_layer(names: Sequence[str], layers: Mapping[str, str]) -> Iterator[tuple[str, list[int]]]:
    numbers: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        numbers.setdefault(layers[name], []).append(number)
    yield from numbers.items()


def _stride(parameter: torch.nn.Parameter) -> int:
    """Odd, so that a sample of a matrix is not of one of its columns."""
    return -(-local(parameter.detach()).numel() // SAMPLE) | 1


def sampled_rows(parameter: torch.nn.Parameter) -> torch.Tensor:
    """The rows of a parameter that its sample is from."""
    import torch

    width = parameter[0].numel()
    found: torch.Tensor = torch.unique_consecutive(torch.arange(0, parameter.numel(), _stride(parameter)) // width)
    return found


def _sampled(parameters: Sequence[torch.nn.Parameter]) -> torch.Tensor:
    """Some numbers of each parameter, evenly spread, one behind the other in fp32."""
    import torch

    return torch.cat([local(p.detach()).reshape(-1)[:: _stride(p)].float() for p in parameters])


def _squares(sample: torch.Tensor, parameters: Sequence[torch.nn.Parameter]) -> list[float]:
    """The sum of squares of each parameter, or of this process's share of it, as its sample tells it."""
    import torch

    sizes = [local(p.detach()).numel() for p in parameters]
    counts = [-(-size // _stride(p)) for size, p in zip(sizes, parameters, strict=True)]
    norms = torch.stack(list(torch._foreach_norm(torch.split(sample, counts)))).double().square().tolist()
    return [square * size / max(count, 1) for square, size, count in zip(norms, sizes, counts, strict=True)]


def _short(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in values.items()}
