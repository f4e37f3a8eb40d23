"""What a comparison compares: methods by name, with what differs in the recipe for each."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weitiao.errors import RecipeError
from weitiao.recipe import Chosen, Recipe, choose

WHY = "the comparison's"  # the origin of what it sets
SECTIONS = ("training", "task", "data", "model")  # of a recipe, in which a method may differ from the others
CALLED = "as"  # what a method is called, where its name and options would not tell it

Named = str | Mapping[str, Any]  # a method: its name, or its name with options, `SECTIONS` and `CALLED`


@dataclass(frozen=True)
class Candidate:
    """A method to compare, with what differs in the recipe for it."""

    method: Chosen
    differs: dict[str, dict[str, Any]] = field(default_factory=dict)  # section -> key -> value
    given: dict[str, Any] = field(default_factory=dict)  # the options as they were written
    called: str = ""

    @property
    def name(self) -> str:
        """Its name for people: ``lora (rank 4)``."""
        told = ", ".join(f"{key.replace('_', ' ')} {shortly(value)}" for key, value in self._apart.items())
        return self.called or self.method.name + (f" ({told})" if told else "")

    @property
    def slug(self) -> str:
        """Its name as part of a folder's."""
        apart = [self.called] if self.called else [f"{key}-{shortly(value)}" for key, value in self._apart.items()]
        named = [] if self.called.startswith(self.method.name) else [self.method.name]
        whole = "-".join([*named, *apart])
        plain = re.sub(r"[^A-Za-z0-9.]+", "-", whole).strip("-.")
        told_apart = whole.isascii() and len(plain) <= 60
        return plain if told_apart else f"{plain[:50]}-{digest_of(whole)[:8]}".strip("-.")

    @property
    def _apart(self) -> dict[str, Any]:
        return {**self.given, **{key: value for values in self.differs.values() for key, value in values.items()}}

    def recipe(self, shared: Recipe, seed: int, folder: Path) -> Recipe:
        """The recipe of a run: the shared one with this method, a seed of its own, and the splits that all have."""
        values = {"method": self.method.model_dump(mode="json"), "training.seed": seed, "data.seed": shared.data_seed,
                  "evaluation.baselines": False, "output": os.path.relpath(folder, shared.base)}  # fmt: skip
        for section, own in self.differs.items():
            values |= {f"{section}.{key}": value for key, value in own.items()}
        return shared.resolved({key: (value, WHY) for key, value in values.items()})


def as_candidates(methods: Sequence[Named]) -> list[Candidate]:
    """Check names and options; a `RecipeError` for an unknown one, for no method at all, or one that stands twice."""
    if isinstance(methods, str | Mapping):
        methods = [methods]
    found: list[Candidate] = []
    for named in methods:
        candidate = _candidate(named)
        if any((each.method, each.differs) == (candidate.method, candidate.differs) or each.name == candidate.name
               for each in found):  # fmt: skip
            raise RecipeError(f"'{candidate.name}' stands there twice", where="methods",
                              fix="Give one of them other options, such as {name: lora, rank: 4}.")  # fmt: skip
        found.append(candidate)
    if not found:
        raise RecipeError("there is no method to compare", where="methods", fix="For example full,head,lora.")
    return found


def _candidate(named: Named) -> Candidate:
    given: Any = dict(named) if isinstance(named, Mapping) else named
    sections, called = {}, given.pop(CALLED, "") if isinstance(given, dict) else ""
    for section in SECTIONS if isinstance(given, dict) else ():
        own = given.pop(section, {})
        if not isinstance(own, Mapping) or "seed" in own:
            fix = "Write values of that section, but not the seed: {learning_rate: 0.001}."
            raise RecipeError(f"found {section}: {own!r}", where="methods", fix=fix)
        if own:
            sections[section] = dict(own)
    try:
        method: Chosen = choose("method", given)
    except RecipeError as error:
        raise RecipeError(error.problem, where="methods", fix=error.fix) from None
    defaults = choose("method", method.name).options.model_dump(mode="json")
    changed = {k: v for k, v in method.options.model_dump(mode="json").items() if v != defaults[k]}
    return Candidate(method, sections, changed, str(called))


# --- small things


def digest_of(value: Any) -> str:
    """Return what stands for JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def shortly(value: Any) -> str:
    """Return a value in few characters."""
    if isinstance(value, Iterable) and not isinstance(value, str | Mapping):
        return "+".join(shortly(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
