"""How training went from layer to layer and what went wrong in it, read from a run's events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from weitiao.records import Finding

MOST_COLUMNS = 25  # of measurements in a heat-map


@dataclass(frozen=True)
class Course:
    """How the layers fared in training, and what went wrong."""

    steps: list[int] = field(default_factory=list)  # of the measurements
    layers: list[str] = field(default_factory=list)  # from the input up
    gradient_norms: list[list[float | None]] = field(default_factory=list)  # a row a layer; None: it did not move yet
    update_ratios: list[list[float | None]] = field(default_factory=list)
    troubles: list[Finding] = field(default_factory=list)

    @classmethod
    def of(cls, events: Iterable[Mapping[str, Any]]) -> Course:
        """Read it from the lines of ``events.jsonl``; what is told twice, as after a resume, counts once."""
        told: dict[str, dict[Any, Mapping[str, Any]]] = {}
        for event in events:
            key = event.get("step"), event.get("trouble"), event.get("left")
            told.setdefault(event["event"], {})[key] = event
        found = {kind: list(each.values()) for kind, each in told.items()}
        measured = sorted(found.get("LayersMeasured", []), key=lambda event: event["step"])
        measured = [group[len(group) // 2] for group in _groups(measured, MOST_COLUMNS)]
        layers = list(dict.fromkeys(name for event in measured for name in event["gradient_norms"]))
        norms, ratios = (
            [[event[what].get(layer) for event in measured] for layer in layers]
            for what in ("gradient_norms", "update_ratios")
        )
        return cls([event["step"] for event in measured], layers, norms, ratios, list(_troubles(found, layers)))


def _troubles(events: Mapping[str, list[Mapping[str, Any]]], known: list[str]) -> Iterator[Finding]:
    """What went wrong, in words."""
    for event in events.get("LayersUnwell", []):
        yield Finding("warning", f"{', '.join(event['layers'])}, step {event['step']}", event["problem"], event["fix"])
    for event in events.get("RolledBack", []):
        back = f"step {event['to_step']}" if event["to_step"] else "the start"
        problem = f"training went back to {back}, at {event['rate']:g} times the learning rate: " + (
            "its loss or gradient was not finite"
            if event["trouble"] == "non-finite"
            else "its loss stayed far too high"
        )
        yield Finding("warning", f"step {event['step']}", problem, "A lower training.learning_rate would have held.")
    skipped = [event for event in events.get("StepSkipped", []) if event["trouble"] == "non-finite"]
    if skipped:
        layers = list(dict.fromkeys(name for event in skipped for name in event["layers"]))
        problem = f"{_counted(len(skipped), 'step')} skipped: the loss or gradient was not finite"
        where = "all layers" if known and set(known) <= set(layers) else ", ".join(layers)
        problem += f", the gradient in {where}" if where else ""
        fix = "A single one does no harm; several mean that the learning rate is too high, or numbers overflow."
        yield Finding("warning", _at(skipped), problem, fix)
    spikes = events.get("LossSpiked", [])
    if spikes:
        highest = max(spikes, key=lambda event: event["loss"] - event["usual"])
        problem = f"{_counted(len(spikes), 'loss spike')} seen, the highest {highest['loss']:.3g} where "
        problem += f"{highest['usual']:.3g} was usual"
        dropped = sum(event["skipped"] for event in spikes)
        problem += f"; the gradients of {dropped} were dropped" if dropped else ""
        fix = "Look at the rows of these steps if they recur; training.recovery.spike can skip them."
        yield Finding("note", _at(spikes), problem, fix)


def _counted(count: int, what: str) -> str:
    return f"{count} {what} was" if count == 1 else f"{count} {what}s were"


def _at(events: list[Mapping[str, Any]]) -> str:
    steps = [str(event["step"]) for event in events]
    return f"step{'s' if len(steps) > 1 else ''} {', '.join(steps[:8])}{', ...' if len(steps) > 8 else ''}"


def _groups(values: list[Any], most: int) -> list[list[Any]]:
    size = -(-len(values) // most) or 1
    return [values[start : start + size] for start in range(0, len(values), size)]
