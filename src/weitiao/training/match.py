"""Learning what goes on inside of a teacher: hidden states and attention scores (TinyBERT, Jiao et al. 2020,
arXiv:1909.10351), relations of queries, keys and values (MiniLMv2, Wang et al. 2021, arXiv:2012.15828).
"""  # fmt: skip

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weitiao.models.states import Attended, States, Wanted, Watch
from weitiao.records import UNTRAINED, Pace
from weitiao.training.layer_maps import LayerMaps

if TYPE_CHECKING:
    import torch

    from weitiao.recipe import MatchSettings
    from weitiao.records import Batch

PROJECTIONS = "projections_to_teacher"  # what they are called in a model while it is training
RATE = 1e-3  # the highest learning rate of a projection: it is new, whatever the model's own rate is
SMALLEST = 1e-6  # mean square of a teacher's state that distances are divided by, at least
UNSEEN = -1e9  # the score of what a token does not see


@dataclass(frozen=True)
class Match:
    """What is learned of a teacher's insides, of which blocks."""

    settings: MatchSettings
    maps: LayerMaps
    relation_heads: int
    widths: tuple[int, int]  # of hidden states: the student's, the teacher's

    @property
    def projected(self) -> list[str]:
        """What has to be brought to the teacher's width."""
        if self.widths[0] == self.widths[1]:
            return []
        return [name for name in ("hidden", "embeddings") if getattr(self.settings, name)]

    def wanted(self, side: int) -> Wanted:
        """Return the states that are needed of the student (0) or the teacher (1)."""
        maps, settings = self.maps, self.settings
        hidden = maps.hidden if settings.hidden else ()
        attended = [*(maps.attention if settings.attention else ()), *(maps.relations if settings.relations else ())]
        return Wanted(frozenset(pair[side] for pair in hidden), frozenset(pair[side] for pair in attended),
                      bool(settings.embeddings))  # fmt: skip

    def distance(
        self, student: States, teacher: States, real: torch.Tensor, projections: Mapping[str, Any] | None = None
    ) -> torch.Tensor:
        """Return ``M = hidden H + attention A + relations R + embeddings E`` of each row, fp32 of shape (rows,).

        `real`, bool of shape (rows, tokens), is false at padding, which counts nowhere. `projections` bring a student's
        states to the teacher's width.
        """
        import torch

        settings, maps, total = self.settings, self.maps, _zeros(real)
        if settings.hidden:
            own = _projected(projections, "hidden")
            each = [hidden_distance(own(student.hidden[m]), teacher.hidden[n], real) for m, n in maps.hidden]
            total = total + settings.hidden * torch.stack(each).mean(0)
        if settings.attention:
            each = [attention_distance(student.attended[m], teacher.attended[n], real) for m, n in maps.attention]
            total = total + settings.attention * torch.stack(each).mean(0)
        if settings.relations:
            each = [relation_distance(student.attended[m], teacher.attended[n], real, self.relation_heads)
                    for m, n in maps.relations]  # fmt: skip
            total = total + settings.relations * torch.stack(each).mean(0)
        if settings.embeddings:
            assert student.embeddings is not None
            assert teacher.embeddings is not None
            own = _projected(projections, "embeddings")
            total = total + settings.embeddings * hidden_distance(own(student.embeddings), teacher.embeddings, real)
        return total


# --- distances


def hidden_distance(student: torch.Tensor, teacher: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Return ``|h_S - h_T|^2 / |h_T|^2``, the mean over each row's real tokens, fp32 of shape (rows,).

    States are (rows, tokens, width). TinyBERT's eq. 8 but for the divisor, by which a weight of 1 means as much
    whatever the size of a model's states: those of some decoders are a thousand times larger at their first token.
    """
    wanted = teacher.float()
    size = wanted.square().mean(-1).clamp(min=SMALLEST)
    return _mean((student.float() - wanted).square().mean(-1) / size, real)


def attention_distance(student: Attended, teacher: Attended, real: torch.Tensor) -> torch.Tensor:
    """Return the squared difference of attention scores before the softmax (TinyBERT's eq. 7), the mean over heads and
    over the pairs of a row's real tokens of which both models let one see the other, fp32 of shape (rows,).
    """  # fmt: skip
    off = (_scores(student) - _scores(teacher)).square()
    return _mean(off, _pairs(student, teacher, real).expand_as(off))


def relation_distance(student: Attended, teacher: Attended, real: torch.Tensor, heads: int) -> torch.Tensor:
    """Return ``sum over X in Q, K, V of KL(softmax(X_T X_T' / sqrt d), softmax(X_S X_S' / sqrt d))`` (MiniLMv2's eq. 4
    to 6), the mean over `heads` parts and a row's real tokens, fp32 of shape (rows,).

    A token is related to those that both models let it see.
    """
    pairs, total = _pairs(student, teacher, real), _zeros(real)
    for name in ("query", "key", "value"):
        one, other = (_relations(getattr(each, name), heads) for each in (teacher, student))
        p, q = (each.masked_fill(~pairs, UNSEEN).log_softmax(-1) for each in (one, other))
        divergence = (p.exp() * (p - q)).sum(-1)
        total = total + _mean(divergence, real[:, None].expand_as(divergence))
    return total


def _scores(attended: Attended) -> torch.Tensor:
    """What the softmax of attention is taken of, (rows, heads, tokens, tokens)."""
    query, key = attended.query.float(), attended.key.float()
    key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    found = query @ key.transpose(-1, -2) * attended.scaling
    return found if attended.bias is None else found + attended.bias.float()


def _relations(states: torch.Tensor, heads: int) -> torch.Tensor:
    """Scaled products of each two tokens' states, heads joined and cut anew, (rows, heads, tokens, tokens)."""
    rows, _, tokens, _ = states.shape
    cut = states.float().transpose(1, 2).reshape(rows, tokens, heads, -1).transpose(1, 2)
    products: torch.Tensor = cut @ cut.transpose(-1, -2)
    return products / math.sqrt(cut.shape[-1])


def _pairs(one: Attended, other: Attended, real: torch.Tensor) -> torch.Tensor:
    """Which token sees which in both models, padding aside, bool of shape (rows, 1 or heads, tokens, tokens)."""
    found = real[:, None, :, None] & real[:, None, None, :]
    for seen in (one.seen, other.seen):
        found = found if seen is None else found & seen
    return found


def _mean(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The mean over what is chosen of each row; 0 where nothing is."""
    return values.where(chosen, 0.0).flatten(1).sum(1) / chosen.flatten(1).sum(1).clamp(min=1)


def _zeros(real: torch.Tensor) -> torch.Tensor:
    """A 0 for each row."""
    return real[:, 0].float() * 0


def _projected(projections: Mapping[str, Any] | None, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    if projections is None or name not in projections:
        return lambda states: states
    layer = projections[name]
    return lambda states: layer(states.float())


# --- projections


def attach(model: torch.nn.Module, match: Match, seed: int) -> None:
    """Give a model the linear layers that bring its states to the teacher's width, where they are needed: they move,
    and are kept in checkpoints, as its own do. They are drawn by `seed`; the caller's random numbers go on as before.
    """
    import torch
    from torch import nn

    if not match.projected:
        return
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = {name: nn.Linear(*match.widths, bias=False) for name in match.projected}
        for layer in layers.values():
            nn.init.orthogonal_(layer.weight)  # keeps lengths and angles, or as many of them as it has room for
    model.add_module(PROJECTIONS, nn.ModuleDict(layers).to(device))


def detach(model: torch.nn.Module) -> None:
    """Take them out again: they are of use in training alone."""
    if hasattr(model, PROJECTIONS):
        delattr(model, PROJECTIONS)


def paces(model: torch.nn.Module, rate: float, until: float) -> dict[str, Pace]:
    """Return how they move, by the parameters' names; `rate` is the learning rate of the training, `until` the share of
    its steps in which they are learned.
    """  # fmt: skip
    pace = Pace(RATE / rate, end=until)
    return {name: pace for name, _ in model.named_parameters() if name.startswith(f"{PROJECTIONS}.")}


# --- in the steps


@dataclass(frozen=True)
class Inside:
    """What a student and its teacher gave for a batch, and what went on inside of them; None once that is over."""

    outputs: Any
    said: Any  # the teacher's outputs; None where they are not learned
    student: States | None
    teacher: States | None
    projections: Mapping[str, Any] | None


class Until:
    """Whether the insides are still learned, `share` of the steps long: a part of the steps (`TakesPart`)."""

    def __init__(self, share: float) -> None:
        self.share, self.over = share, False

    def penalty(self, model: torch.nn.Module) -> None:
        """Nothing is added to the loss."""

    def after_step(self, model: torch.nn.Module, step: int, steps: int) -> None:
        """Notice the end."""
        self.over = step >= round(self.share * steps)

    def state(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """Whether it is over."""
        import torch

        return {"over": torch.tensor([self.over])}

    def restore(self, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put that back."""
        self.over = bool(tensors["over"]) if tensors else False


@dataclass(frozen=True)
class TeacherInside:
    """A teacher in memory beside its student: what it says of a batch, where that is learned, and its states."""

    run: Callable[[Batch], Any]  # without gradients
    watch: Watch
    speaks: bool  # whether what it says is learned, too

    def __call__(self, batch: Batch, *, watched: bool) -> tuple[Any, States | None]:
        """Return its outputs and its states, each None where it is not wanted; it computes no more than it has to."""
        said: Any = None
        if not watched:
            return (self.run(batch) if self.speaks else None), None
        with self.watch.watching(alone=not self.speaks) as states:
            said = self.run(batch)
        return said, states


@dataclass(frozen=True)
class WithInsides:
    """Run a batch through the student and through its teacher, and look into both."""

    forward: Callable[[Any, Batch], Any]
    watch: Watch  # of the student
    teacher: TeacherInside
    until: Until

    def __call__(self, model: Any, batch: Batch) -> Inside:
        """Return what both gave."""
        if self.until.over:
            said, _ = self.teacher(batch, watched=False)
            return Inside(self.forward(model, batch), said, None, None, None)
        with self.watch.watching() as states:
            outputs = self.forward(model, batch)
        said, theirs = self.teacher(batch, watched=True)
        return Inside(outputs, said, states, theirs, getattr(model, PROJECTIONS, None))


@dataclass(frozen=True)
class Matched:
    """``rest L + share sum over rows of n M``: the loss without the insides, and how far these are apart.

    n is what a row's targets count: how many they are, with class weights the sum of theirs, as in L. So the sum,
    divided by the targets of a step, is a mean in which a row weighs what it weighs in L, however the step is cut, and
    `share` is the share it says. Once matching is over the loss is L alone.
    """

    loss: Callable[[Any, Batch], torch.Tensor]  # outputs, or where it learns the teacher's, too, a pair; summed
    match: Match
    share: float
    rest: float  # 0: the loss is not computed
    pair: bool
    weights: Callable[[Batch], torch.Tensor | None] | None = None  # what each target counts; None: all alike

    def __call__(self, inside: Inside, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch, a scalar in fp32."""
        outputs = (inside.outputs, inside.said) if self.pair else inside.outputs
        if inside.student is None or inside.teacher is None:
            return self.loss(outputs, batch)
        each = self.match.distance(inside.student, inside.teacher, real_tokens(batch), inside.projections)
        weights = self.weights(batch) if self.weights else None
        total = self.share * (counts(batch, weights) * each).sum()
        return total + self.rest * self.loss(outputs, batch) if self.rest else total


def real_tokens(batch: Batch) -> torch.Tensor:
    """Return which tokens are no padding, bool of shape (rows, tokens)."""
    mask = batch.inputs.get("attention_mask")
    found: torch.Tensor = batch.inputs["input_ids"] >= 0 if mask is None else mask != 0
    return found


def counts(batch: Batch, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Return what the targets of each row count, fp32 of shape (rows,): of its labels by token those that are learned,
    of numbers and of labels of which there may be several all, else 1; 0 where none is learned. With `weights` (see
    `WeighsTargets`) the sum of theirs.
    """
    import torch

    ids, labels = batch.inputs["input_ids"], batch.labels
    if labels is None:
        return torch.ones(len(ids), device=ids.device)
    if labels.is_floating_point():
        return torch.full((len(ids),), float(labels[0].numel()), device=ids.device)
    learned = (labels != UNTRAINED).reshape(len(ids), -1)
    if weights is not None:
        return weights.float().reshape(len(ids), -1).where(learned, 0.0).sum(1)
    return (learned.sum(1) if labels.shape == ids.shape else learned.any(1)).float()
