"""From a need and the models there are to a shortlist: what is ruled out, by which method each trains, the order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from weitiao.models.catalogue import Entry
from weitiao.recommendation.cost import START, Estimate, Machine, Tokens, counted, estimate
from weitiao.recommendation.need import Need
from weitiao.recommendation.proposal import COMPARED, FEW_EACH, FEW_ROWS, LARGE_MODEL
from weitiao.recommendation.rules import Weighed, is_in_reach, order_of, refused
from weitiao.recommendation.suits import CUT, place_of
from weitiao.trackers.units import duration, size

SMALL_WRITER = 300_000_000  # parameters: an encoder-decoder below is trained whole
LABELS_ONLY = frozenset({"text-classification", "text-regression"})  # a new head on a frozen body can do these

FULL = "all weights learn: best for a small model"
LORA = "LoRA trains a small share of the weights: memory stays low"
LORA_LARGE = "LoRA trains a small share of the weights: the usual way for a model so large"
FEW_SHOT = "few examples of each label: the encoder learns which are alike, then a head is fitted (SetFit)"
HEAD_FEW = "few rows: only a new head learns, the body's outputs are computed once"
HEAD = "only a new head learns: all else would not fit"


@dataclass(frozen=True)
class RuledOut:
    """Models that are out for the same reason."""

    reason: str
    models: tuple[str, ...]


@dataclass(frozen=True)
class Fitted:
    """A model that can be trained, and how."""

    weighed: Weighed
    why_method: str
    alike: tuple[str, ...] = ()  # models of the same shape and kind, which rank behind


def methods_for(entry: Entry, need: Need) -> Iterator[tuple[str, str]]:
    """Yield the methods to think of, the first best, each with its reason."""
    if need.task in COMPARED and 0 < need.each <= FEW_EACH and "sentences" in entry.traits:
        yield "few-shot", FEW_SHOT
    few = need.rows < FEW_ROWS and need.task in LABELS_ONLY and entry.family == "encoder"
    if few:
        yield "head", HEAD_FEW
    large = 4 * entry.parameters >= LARGE_MODEL
    writer = entry.family == "seq2seq" and entry.parameters < SMALL_WRITER
    if writer or (entry.family == "encoder" and not large):
        yield "full", FULL
    yield "lora", LORA_LARGE if large or entry.family == "decoder" else LORA
    if need.task in LABELS_ONLY and entry.family == "encoder" and not few:
        yield "head", HEAD


def weigh(entry: Entry, need: Need, machine: Machine) -> tuple[list[Fitted], Tokens]:
    """Return the ways to train a model within the memory there is, the best first, and what it reads."""
    tokens = counted(entry, need.texts.read, need.texts.written, need.rows, cut=need.task in CUT)
    found = []
    for method, why in methods_for(entry, need):
        needed = estimate(entry, method, tokens, need.epochs, machine, need.memory)
        if needed.least <= need.memory:
            found.append(Fitted(Weighed(entry, need, tokens, method, needed), why))
    return sorted(found, key=lambda fitted: is_in_reach(fitted.weighed)[0]), tokens  # stable: else as they came


def too_slow(fitted: Fitted) -> bool:
    """Whether not even one epoch fits into the time that was given."""
    need = fitted.weighed.need
    return need.time is not None and fitted.weighed.estimate.epoch > need.time


def in_time(weighed: Weighed) -> Estimate:
    """The estimate with as many epochs as fit into the time that was given."""
    found, time = weighed.estimate, weighed.need.time
    if time is None or found.seconds <= time or weighed.method == "head":
        return found
    an_epoch = found.epoch - START
    epochs = max(1, math.floor((time - START) / an_epoch))
    share = epochs / found.epochs
    low, high = (START + share * (end - START) for end in (found.low, found.high))
    return replace(found, epochs=epochs, seconds=START + epochs * an_epoch, low=low, high=high)


@dataclass(frozen=True)
class Chosen:
    """Models in order, what was ruled out, and the least that a budget would have to be."""

    fitting: list[Fitted]
    ruled_out: list[RuledOut]
    local: list[Fitted]  # those on this machine, also such as have the same shape
    least_memory: tuple[int, str] | None = None  # bytes, and which model
    least_time: tuple[float, str] | None = None  # seconds of one epoch, and which model


def choose(entries: Iterable[Entry], need: Need, machine: Machine) -> Chosen:
    """Rule out, find a method for each that is left, and put them in order."""
    out: dict[str, list[str]] = {}
    fitting: list[Fitted] = []
    least: list[tuple[int, str]] = []
    slow: list[tuple[float, str]] = []
    for entry in entries:
        if why := refused(entry, need):
            out.setdefault(why, []).append(entry.id)
            continue
        ways, tokens = weigh(entry, need, machine)
        if not ways:
            method = list(methods_for(entry, need))[-1][0]
            needed = estimate(entry, method, tokens, 1, machine, need.memory).least
            least.append((needed, f"{entry.id} with {method}"))
            out.setdefault(f"needs more memory than {size(need.memory)} by any method", []).append(entry.id)
        elif all(map(too_slow, ways)):
            quickest = min(ways, key=lambda way: way.weighed.estimate.epoch).weighed
            slow.append((quickest.estimate.epoch, f"{entry.id} with {quickest.method}"))
            why = f"one epoch takes longer than {duration(need.limit)} by any method"
            out.setdefault(why, []).append(entry.id)
        else:
            fitting.append(next(way for way in ways if not too_slow(way)))
    ruled_out = [RuledOut(why, tuple(names)) for why, names in sorted(out.items(), key=lambda each: -len(each[1]))]
    fitting.sort(key=lambda fitted: order_of(fitted.weighed))
    local = [fitted for fitted in fitting if fitted.weighed.entry.here]
    return Chosen(without_twins(fitting), ruled_out, local, min(least, default=None), min(slow, default=None))


def without_twins(fitting: Sequence[Fitted]) -> list[Fitted]:
    """Keep the first of models that have the same shape and are of the same kind; it names the others."""
    groups: dict[tuple[object, ...], list[Fitted]] = {}
    for fitted in fitting:
        entry, need = fitted.weighed.entry, fitted.weighed.need
        place = place_of(entry, need)
        key = (entry.shape, place and place[0], entry.multilingual, entry.context, tuple(sorted(entry.traits)))
        groups.setdefault(key, []).append(fitted)
    return [
        replace(group[0], alike=tuple(each.weighed.entry.id for each in group[1:])) for group in groups.values()
    ]  # fmt: skip
