"""Which model to take for data on this machine, by which method, and why; what was ruled out, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from weitiao import registry
from weitiao.errors import DataError, WeitiaoError, closest, nearest
from weitiao.models.at_hand import Unread, at_hand
from weitiao.models.catalogue import ANY_OPEN, Entry, catalogue
from weitiao.probing.probed import Probed
from weitiao.recipe.amounts import bytes_of, seconds_of
from weitiao.recommendation.choosing import Chosen, Fitted, RuledOut, choose, in_time
from weitiao.recommendation.cost import START, Estimate, Machine, measure_machine
from weitiao.recommendation.languages import language_code
from weitiao.recommendation.looking import Texts, look_closely, moved, seen_from
from weitiao.recommendation.need import Need
from weitiao.recommendation.proposal import Look, epochs_for, propose
from weitiao.recommendation.rules import learns_enough, order_of, reasons_for, suits_the_task
from weitiao.records import FAMILIES, Family
from weitiao.trackers.units import count, duration, size

BUSY = 0.5  # of the cores: from here on the times are told with a note
QUICKER = 4.0  # times as quick: worth telling of beside the first choice
PATIENT = 12.0  # times the usual time: as much more is told of as "with more time"


@dataclass(frozen=True)
class Choice:
    """A model of the shortlist."""

    entry: Entry
    method: str
    why_method: str
    reasons: tuple[str, ...]
    estimate: Estimate
    alike: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """What a recipe names the model by."""
        return self.entry.source

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"entry": self.entry.to_dict(), "source": self.source}


@dataclass(frozen=True)
class Recommendation:
    """What was seen in the data, a shortlist, and the recipe of its first model."""

    source: str
    look: Look
    need: Need
    machine: Machine
    choices: list[Choice]  # the first is recommended
    ruled_out: list[RuledOut]
    advice: list[str]
    notes: list[str]
    recipe: str  # YAML
    base: Path  # the folder that paths in it count from
    budgets: dict[str, str] = field(default_factory=dict)  # as they were given
    local: list[Choice] = field(default_factory=list)  # all on this machine that are not ruled out, in order
    probed: Probed | None = None  # what `probe` measured, where it was asked for

    @property
    def first(self) -> Choice:
        """The recommended model."""
        return self.choices[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        need = {"task": self.need.task, "rows": self.need.rows, "labels": self.need.labels,
                "languages": list(self.need.languages), "pair": self.need.pair, "memory": self.need.memory,
                "time": self.need.time, "licence": self.need.licence, "context": self.need.context}  # fmt: skip
        machine = {
            "gflops": {str(width): speed for width, speed in self.machine.gflops.items()},
            "precision": self.machine.precision,
            "device": self.machine.device,
            "free": self.machine.free,
        }
        return {
            "source": self.source, "need": need, "machine": machine, "advice": self.advice, "notes": self.notes,
            "choices": [choice.to_dict() for choice in self.choices],
            "ruled_out": [asdict(each) for each in self.ruled_out], "recipe": self.recipe,
        } | ({"probed": self.probed.to_dict()} if self.probed else {})  # fmt: skip


def known_models(
    *, task: str | None = None, language: str | None = None, family: str | None = None, licence: str | None = None,
    max_parameters: float | None = None, here: bool = False, folders: Iterable[str | Path] = (), search: str = "",
) -> tuple[list[Entry], list[Unread]]:  # fmt: skip
    """Return the models of the catalogue and of this machine that fit, and the `folders` in which none could be read.

    `task` is one that the model's family can be trained for, `language` a code or name, `licence` a licence's name or
    ``open``, `here` those on this machine alone, `search` words that all stand in what is known of a model. Raises a
    `WeitiaoError` for an unknown task, language, licence or family.
    """
    entries, unread = all_models(folders)
    families = frozenset(registry.get("task", task).families if task else FAMILIES)
    reads = registry.get("task", task).reads if task else None
    wanted = language_code(language, spoken()) if language else ""
    licence, family = checked_licence(licence), checked_family(family)
    return [
        entry for entry in entries
        if entry.family in families and (reads is None or entry.reads == reads) and family in ("", entry.family)
        and (not wanted or (bool(entry.languages) and entry.knows(wanted))) and entry.allows(licence)
        and (max_parameters is None or entry.parameters <= max_parameters) and (entry.here or not here)
        and _speaks_of(entry, search)
    ], unread  # fmt: skip


def all_models(folders: Iterable[str | Path] = ()) -> tuple[list[Entry], list[Unread]]:
    """Return the catalogue with the models on this machine in it: those known by name in their places, others first."""
    found, unread = at_hand(folders)
    named: dict[str, Entry] = {}
    for entry in found:
        if entry.recognised == "name":
            named.setdefault(entry.id, entry)
    others = [entry for entry in found if entry.recognised != "name"]
    return others + [named.get(entry.id, entry) for entry in catalogue()], unread


def spoken() -> set[str]:
    """All languages that a model of the catalogue knows."""
    return {code for entry in catalogue() for code in entry.languages}


def checked_licence(given: str | None) -> str:
    """Return a licence as the catalogue writes it, or ``open``; "" for none; a `WeitiaoError` for an unknown one."""
    if not given:
        return ""
    known = {name.casefold(): name for name in (ANY_OPEN, *(entry.licence for entry in catalogue()))}
    if given.strip().casefold() in known:
        return known[given.strip().casefold()]
    raise WeitiaoError(f"no model in the catalogue has the licence '{given}'", where="--licence",
                       fix=_nearest(given, known.values()))  # fmt: skip


def checked_family(given: str | None) -> str:
    """Return a family, "" for none; a `WeitiaoError` for an unknown one."""
    if given and given not in FAMILIES:
        raise WeitiaoError(f"unknown family '{given}'", where="--family", fix=nearest(given, FAMILIES))
    return given or ""


def _nearest(given: str, known: Iterable[str]) -> str:
    by_plain = {name.casefold(): name for name in known}
    close = closest(given.strip().casefold(), by_plain)
    return f"Did you mean '{by_plain[close]}'?" if close else f"There is: {', '.join(sorted(set(by_plain.values())))}."


def _speaks_of(entry: Entry, search: str) -> bool:
    about = " ".join([entry.id, entry.good_at, entry.licence, entry.architecture, entry.here, *entry.traits]).casefold()
    return all(word in about for word in search.casefold().split())


def recommend(
    data: str | Path,
    *,
    task: str | None = None,
    columns: Mapping[str, str] | None = None,
    memory: str | None = None,
    time: str | None = None,
    language: str | None = None,
    licence: str | None = None,
    family: str | None = None,
    models: Sequence[str | Path] = (),
    context: int = 0,
    here: bool = False,
    top: int = 5,
    out: str | Path | None = None,
    machine: Machine | None = None,
) -> Recommendation:
    """Look at data and recommend models for it on this machine, with a recipe of the first.

    `memory` and `time` are the most that training may take (``8GB``, ``1h``); without them all that is free, and what
    takes longer than an hour ranks behind. `models` are folders with models of your own. `context` is how many tokens
    a model must read at once; `here` leaves out what would have to be fetched; `out` is the folder that the recipe's
    paths count from. `machine` is what `measure_machine` found, measured when absent. Trains and writes nothing.
    Raises a `WeitiaoError` where data cannot be read, a name is unknown, or nothing fits.
    """
    _check(top, context, task)
    licence, family = checked_licence(licence), checked_family(family)
    budget, limit = _amount(memory, bytes_of, "--memory"), _amount(time, seconds_of, "--time")
    spoken_here = language_code(language, spoken()) if language else ""
    base = Path(out) if out else Path()
    look, texts, notes = look_closely(str(data), base, task, dict(columns or {}))
    if not look.rows:
        raise DataError("holds no rows", where=str(data))
    entries, unread = all_models(models)
    notes += [f"note: {each.folder} {each.problem}: left out" for each in unread]
    machine = machine or measure_machine()
    need = _need(look, texts, machine, budget, limit, spoken_here, licence, family, context, here)
    notes += _busy(machine)
    if texts.unsure and not language:
        notes.append(
            "note: which language it is cannot be told from its letters; taken for English, --language says otherwise"
        )
    chosen = choose(entries, need, machine)
    if not chosen.fitting:
        raise _nothing_fits(chosen, need)
    shown = _shortlist(chosen.fitting, top)
    choices = [_choice(fitted) for fitted in shown]
    advice = _advice(choices, chosen.fitting, need)
    budgets = {name: amount for name, amount in (("memory", memory), ("time", time)) if amount}
    return Recommendation(
        str(data), look, need, machine, choices, chosen.ruled_out, advice, notes,
        _recipe(look, choices[0], need, budgets, base), base, budgets,
        [_choice(fitted) for fitted in chosen.local],
    )  # fmt: skip


def _check(top: int, context: int, task: str | None) -> None:
    if top < 1:
        raise WeitiaoError(f"found {top}", where="--top", fix="Give a number from 1 up.")
    if context < 0:
        raise WeitiaoError(f"found {context}", where="--context", fix="Give a number of tokens.")
    if task is not None:
        registry.get("task", task)


def _amount(given: str | None, read: Callable[[str], float], where: str) -> float | None:
    if given is None:
        return None
    try:
        return read(given)
    except ValueError as error:
        raise WeitiaoError(f"found '{given}': {error}", where=where) from None


def _need(
    look: Look, texts: Texts, machine: Machine, budget: float | None, limit: float | None, language: str, licence: str,
    family: str, context: int, here: bool,
) -> Need:  # fmt: skip
    kind = registry.get("task", look.task)
    families: frozenset[Family] = frozenset(each for each in kind.families if family in ("", each))
    if not families:
        raise WeitiaoError(f"'{look.task}' trains no {family}", where="--family",
                           fix=nearest(family, kind.families))  # fmt: skip
    alone = bool(language) and (
        not texts.pair or look.task != "translation"
    )  # a pair that was told from letters may err
    room = machine.free if budget is None else min(int(budget), machine.free)
    return Need(
        task=look.task, families=families, reads=kind.reads, rows=look.learned, epochs=epochs_for(look.rows),
        labels=len(look.labels), texts=texts, languages=(language,) if alone else texts.languages,
        roles=frozenset(look.columns), memory=room, time=limit, memory_asked=budget is not None, licence=licence,
        context=context, at_hand=here, pair="" if alone else texts.pair,
    )  # fmt: skip


def _nothing_fits(chosen: Chosen, need: Need) -> WeitiaoError:
    """Say what the least would be where a budget is to blame, else what ruled the models out."""
    if chosen.least_memory and not chosen.least_time:
        least, model = chosen.least_memory
        return WeitiaoError(f"no model can be trained in {size(need.memory)}", where="--memory",
                            fix=f"The least is about {size(least)}: {model}.")  # fmt: skip
    if chosen.least_time:
        least_time, model = chosen.least_time
        rows = _rows_in(need, least_time)
        fix = f"The least is about {duration(least_time)} for one epoch: {model}."
        fix += f" Or train on {rows:,} of the rows: data.max_examples." if rows >= 100 else ""
        return WeitiaoError(f"no model can be trained on {need.rows:,} rows in {duration(need.limit)} here",
                            where="--time", fix=fix)  # fmt: skip
    told = "; ".join(f"{each.reason} ({len(each.models)})" for each in chosen.ruled_out)
    return WeitiaoError(f"no model is left: {told}", where=f"weitiao recommend, {need.task}",
                        fix="Ask for less, or name folders with models of your own: --models.")  # fmt: skip


def _rows_in(need: Need, an_epoch: float) -> int:
    """How many rows can be learned from in the time, in one epoch, in two digits."""
    share = (need.limit - START) / max(an_epoch - START, 1.0)
    rows = int(need.rows * max(0.0, min(share, 1.0)))
    digits = int(10 ** max(len(str(rows)) - 2, 0))
    return rows // digits * digits


def _busy(machine: Machine) -> list[str]:
    """A note where others use the machine while it is measured."""
    if machine.busy < BUSY:
        return []
    return [f"note: other programs keep {machine.busy:.0%} of the cores busy: until they end it takes longer than told"]


def _shortlist(fitting: Sequence[Fitted], top: int) -> list[Fitted]:
    """The first of all, and the first on this machine if it is none of them."""
    shown = list(fitting[:top])
    local = next((fitted for fitted in fitting if fitted.weighed.entry.here), None)
    return shown if local is None or local in shown else [*shown, local]


def _choice(fitted: Fitted) -> Choice:
    weighed = fitted.weighed
    return Choice(weighed.entry, weighed.method, fitted.why_method, tuple(reasons_for(weighed)), in_time(weighed),
                  fitted.alike)  # fmt: skip


def _advice(choices: Sequence[Choice], fitting: Sequence[Fitted], need: Need) -> list[str]:
    first = choices[0]
    told = [start_told(first)]
    if first.estimate.epochs < need.epochs:
        told.append(f"Of {need.epochs} epochs {first.estimate.epochs} fit into {duration(need.limit)}.")
    if first.estimate.seconds > 2 * need.limit:
        told.append(_too_long(first, need))
    told += _beside(first, fitting, need)
    local = next((choice for choice in choices if choice.entry.here), None)
    if local and not first.entry.here:
        told.append(
            f"On this machine already: {_named(local)}, {_taking(local.estimate)}. --at-hand looks at no others."
        )
    if need.few and need.labels:
        told.append(f"{need.rows:,} rows for {need.labels:,} labels, about {need.each:.0f} each, are few: which model "
                    "is best may hang on the seed. Compare two or three with `weitiao compare`.")  # fmt: skip
    return told


def start_told(first: Choice) -> str:
    """Return the recommendation in a sentence."""
    return f"Start with {_named(first)}: {_taking(first.estimate)}. Why: {first.reasons[0]}."


def _named(choice: Choice) -> str:
    return f"{choice.source} with {choice.method}"


def _taking(found: Estimate) -> str:
    if found.measured:
        return f"{duration(found.seconds)}, {size(found.memory)} as tried out here"
    ends = f"{duration(found.low)} to {duration(found.high)}"
    return f"about {duration(found.seconds)} here ({ends}), {size(found.memory)} by formula"


def _too_long(first: Choice, need: Need) -> str:
    rows = _rows_in(need, first.estimate.epoch)
    less = f" One epoch on {rows:,} rows would fit: data.max_examples." if first.estimate.epoch > need.limit else ""
    return (f"Nothing that suits trains on all {need.rows:,} rows in {duration(need.limit)} on this machine; "
            f"--time says how long it may take.{less}")  # fmt: skip


def _beside(first: Choice, fitting: Sequence[Fitted], need: Need) -> list[str]:
    """A quicker model for trials, and a larger one for those who have time."""
    told = []
    most = first.estimate.seconds / QUICKER
    quicker = [f for f in fitting if f.weighed.estimate.seconds <= most and _as_fit(f, fitting[0])]
    if quicker and first.estimate.seconds > 120:
        choice = _choice(quicker[0])
        told.append(f"For quick trials: {_named(choice)}, {_taking(choice.estimate)}.")
    if need.time is None:
        patient = [f for f in fitting if need.limit < f.weighed.estimate.seconds <= PATIENT * need.limit]
        patient.sort(key=lambda fitted: order_of(fitted.weighed)[1:])
        least = first.entry.shape.read
        better = [f for f in patient if f.weighed.entry.shape.read > least and _as_fit(f, fitting[0])]
        if better:
            choice = _choice(better[0])
            told.append(
                f"With more time: {_named(choice)}, {_taking(choice.estimate)}; larger, and likely somewhat better."
            )
    return told


def recipe_of(found: Recommendation, choice: Choice, base: Path) -> str:
    """Return the recipe of a model of the shortlist, whose paths count from `base`."""
    seen = moved(found.look, found.base, base)
    return _recipe(seen, choice, found.need, found.budgets, base)


def _as_fit(one: Fitted, other: Fitted) -> bool:
    """Whether a model suits the task as well as another, and learns as much."""
    return all(rule(one.weighed)[0] <= rule(other.weighed)[0] for rule in (suits_the_task, learns_enough))


def _recipe(look: Look, first: Choice, need: Need, budgets: Mapping[str, str], base: Path) -> str:
    entry = first.entry
    about = [f"{first.reasons[0][:1].upper()}{first.reasons[0][1:]}.",
             f"{count(entry.parameters)} parameters; licence {entry.licence or 'not known'}."]  # fmt: skip
    if entry.modelscope and not entry.here:
        about.append(f"On ModelScope: ms:{entry.modelscope}")
    most = _rows_in(need, first.estimate.epoch) if first.estimate.epoch > need.limit else 0
    source = seen_from(base, entry.source)
    return propose(look, source, method=(first.method, first.why_method), about=about, budgets=budgets, most=most)


def measured(choice: Choice, seconds: float, memory: int | None) -> Choice:
    """Return a choice with what steps that were tried out say in place of the formula."""
    found = replace(choice.estimate, seconds=seconds, low=seconds, high=seconds, measured=True,
                    memory=memory or choice.estimate.memory)  # fmt: skip
    return replace(choice, estimate=found)
