"""The rules by which models are ruled out and put in order: each a small function with its reason.

An order is by the first rule that tells two models apart; nothing is added up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from weitiao.models.catalogue import Entry
from weitiao.recommendation.cost import START, Estimate, Tokens
from weitiao.recommendation.languages import language_name
from weitiao.recommendation.need import Need
from weitiao.recommendation.suits import IN_PIECES, place_of
from weitiao.trackers.units import count, duration

ENOUGH = 3  # epochs that are worth a training

# --- what rules a model out: told once for all that it is true of


def of_another_family(entry: Entry, need: Need) -> str:
    """The task cannot train it."""
    return "" if entry.family in need.families else f"{need.task} cannot train the family {entry.family}"


def reads_something_else(entry: Entry, need: Need) -> str:
    """Speech models read no text, and the other way round."""
    return "" if entry.reads == need.reads else f"made for {entry.reads}, and these data are {need.reads}"


def made_for_something_else(entry: Entry, need: Need) -> str:
    """A translator, a summariser, a model of code, where that is not the task."""
    if place_of(entry, need):
        return ""
    if entry.pairs and need.pair and need.pair not in entry.pairs:
        return f"translates another pair of languages than {need.pair}"
    what = " and ".join(entry.traits) or f"another head ({entry.head})"
    return f"made for something else than {need.task}: {what}"


def does_not_know_the_language(entry: Entry, need: Need) -> str:
    """A language of the data is none of its own."""
    missing = [code for code in need.languages if not entry.knows(code)]
    return f"does not know {language_name(missing[0])}" if missing else ""


def of_another_licence(entry: Entry, need: Need) -> str:
    """Its licence is not the one wanted."""
    return "" if need.allows(entry) else f"its licence is not {need.licence}"


def not_at_hand(entry: Entry, need: Need) -> str:
    """Not on this machine, where only such are wanted."""
    return "not on this machine" if need.at_hand and not entry.here else ""


def reads_too_little(entry: Entry, need: Need) -> str:
    """It reads less at once than was asked for."""
    short = entry.reads == "text" and entry.context < need.context
    return f"reads fewer than {need.context:,} tokens at once" if short else ""


Refusal = Callable[[Entry, Need], str]
REFUSALS: tuple[Refusal, ...] = (
    of_another_family, reads_something_else, does_not_know_the_language, of_another_licence, not_at_hand,
    reads_too_little, made_for_something_else,
)  # fmt: skip


def refused(entry: Entry, need: Need) -> str:
    """Return why a model is ruled out, the first reason; "" where none does."""
    return next((why for rule in REFUSALS if (why := rule(entry, need))), "")


# --- what puts models in order


@dataclass(frozen=True)
class Weighed:
    """A model with its forecast, as the rules look at it."""

    entry: Entry
    need: Need
    tokens: Tokens
    method: str
    estimate: Estimate


Judged = tuple[float, str]  # lower is better; the reason in words, "" where there is nothing to say


def is_in_reach(model: Weighed) -> Judged:
    """What takes more than twice the time that it may ranks behind whatever it is; by each fourfold. Less than twice is
    within what such an estimate is off, or a matter of fewer epochs.
    """  # fmt: skip
    found = model.estimate
    enough = START + (found.seconds - START) * min(1.0, ENOUGH / found.epochs)  # fewer epochs are run then
    times = enough / model.need.limit
    return (0 if times <= 2 else math.ceil(math.log2(times / 2) / 2)), ""


def ends_in_time(model: Weighed) -> Judged:
    """Of what suits alike, what ends in the time that it may take; else what is less over it, by each doubling."""
    times = model.estimate.seconds / model.need.limit
    return (0, "") if times <= 1 else (math.ceil(math.log2(times)), f"takes longer than {duration(model.need.limit)}")


def suits_the_task(model: Weighed) -> Judged:
    """The kind of model for the task; see `suits.py`."""
    return place_of(model.entry, model.need) or (99, "")


def learns_enough(model: Weighed) -> Judged:
    """A new head on a frozen body is enough where the body's vectors tell meanings apart and rows are few; else all
    that learns less does worse than a smaller model that learns whole.
    """  # fmt: skip
    if model.method != "head" or (model.need.few and "sentences" in model.entry.traits):
        return 0, ""
    return 1, "only a new head would learn: no more fits"


def knows_the_language_well(model: Weighed) -> Judged:
    """A small model of one language does better in it than one as large of a hundred (Conneau et al. 2020,
    https://arxiv.org/abs/1911.02116, the curse of multilinguality). Large decoders are of many anyway.
    """  # fmt: skip
    entry, languages = model.entry, model.need.languages
    if not entry.languages:
        return 1, "its languages are not known"
    told = " and ".join(language_name(code) for code in languages)
    if entry.family == "decoder" or len(languages) > 1:
        return 0, ""
    if entry.multilingual:
        return 1, f"knows {told} among {len(entry.languages)} languages"
    return 0, f"made for {told}" if told else ""


def reads_it_whole(model: Weighed) -> Judged:
    """Texts that are longer than what it reads at once lose their end, or are left out."""
    whole = model.entry.reads == "speech" or model.need.task in IN_PIECES
    if whole or model.tokens.usual <= model.entry.context:
        return 0, ""
    return 1, f"one text in twenty is longer than the {model.entry.context:,} tokens it reads at once"


def loads_as_it_is(model: Weighed) -> Judged:
    """The Hub has no safetensors of it: it must be converted first."""
    if not model.entry.pickles or model.entry.here:
        return 0, ""
    return 1, "the Hub may have its weights as pickles alone: convert it once"


def is_large(model: Weighed) -> Judged:
    """Of what trains in time the largest, by each doubling of the weights that a token passes."""
    shape = model.entry.shape
    return -math.floor(math.log2(shape.read + shape.written) + 0.25), ""


def is_here(model: Weighed) -> Judged:
    """What is on this machine, or a package away, before what must be fetched from a hub."""
    if model.entry.here:
        return 0, "on this machine"
    return (1, "in a package, where no hub can be reached") if model.entry.pypi else (2, "")


def is_new(model: Weighed) -> Judged:
    """Of models as large the newer."""
    return -model.entry.year, ""


Preference = Callable[[Weighed], Judged]
PREFERENCES: tuple[Preference, ...] = (
    is_in_reach, suits_the_task, learns_enough, knows_the_language_well, reads_it_whole, loads_as_it_is, ends_in_time,
    is_large, is_here, is_new,
)  # fmt: skip


def order_of(model: Weighed) -> tuple[float | str, ...]:
    """Return what a model is sorted by."""
    return (*(rule(model)[0] for rule in PREFERENCES), model.entry.id)


def reasons_for(model: Weighed) -> list[str]:
    """Return the reasons in words."""
    telling: tuple[Preference, ...] = (
        suits_the_task, learns_enough, knows_the_language_well, reads_it_whole, loads_as_it_is, is_here,
    )  # fmt: skip
    return [*(why for rule in telling if (why := rule(model)[1])), _about_size(model)]


def _about_size(model: Weighed) -> str:
    shape = model.entry.shape
    return f"{count(model.entry.parameters)} parameters, {count(shape.read + shape.written)} of them in layers"
