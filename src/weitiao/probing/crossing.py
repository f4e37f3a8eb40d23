"""Models and methods crossed to candidates, each with a name that tells them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from weitiao.candidates import Candidate, Named, as_candidates
from weitiao.errors import RecipeError
from weitiao.recipe import ModelSettings, Recipe
from weitiao.recipe.messages import checked

FIX = "Give sources, or {source: ..., max_length: 256}."
METHODS = "methods"  # of a model: those that are tried on it, where they are others than on the rest
Model = str | Mapping[str, Any]  # its source, or values of a recipe's section `model` and `METHODS`


@dataclass(frozen=True)
class Entrant:
    """A model with a method."""

    candidate: Candidate
    model: str  # what it is called

    @property
    def name(self) -> str:
        """What both are called: ``lora (rank 4) on minilm``."""
        return self.candidate.name


def crossed(models: Sequence[Model], methods: Sequence[Named], recipe: Recipe) -> list[Entrant]:
    """Return each method on each model, model by model; a model with `METHODS` has these alone. Raises `RecipeError`
    where there are not two to choose from, or one stands twice.
    """  # fmt: skip
    given = [_named(model) for model in _listed(models)]
    tried = [as_candidates(model.pop(METHODS, methods)) for model in given]
    found = [_settings(model, recipe) for model in given]
    sources = [str(values["source"]) for values in found]
    if twice := [source for source, count in Counter(sources).items() if count > 1]:
        raise RecipeError(f"'{twice[0]}' stands there twice", where="models", fix="Name each model once.")
    if sum(map(len, tried)) < 2:
        raise RecipeError("there is one candidate, and nothing to choose from" if found else "there is no model",
                          where="models", fix="Name two models or more, or two methods: full,head,lora.")  # fmt: skip
    alone = (len(found) == 1, len({candidate.name for own in tried for candidate in own}) == 1)
    return [
        Entrant(_on(candidate, values, name, alone=alone), name)
        for values, name, own in zip(found, labels(sources), tried, strict=True) for candidate in own
    ]  # fmt: skip


def _listed(models: Sequence[Model]) -> Sequence[Model]:
    return [models] if isinstance(models, str | Mapping) else models


def _named(model: Model) -> dict[str, Any]:
    if isinstance(model, str):
        return {"source": model}
    if not isinstance(model, Mapping):
        raise RecipeError(f"found {model!r}", where="models", fix=FIX)
    return dict(model)


def labels(sources: Sequence[str]) -> list[str]:
    """Return short names of models: the last part of each source, more of it where two would be the same."""
    short = [PurePath(source.rpartition(":")[2]).name or source for source in sources]
    return [source if short.count(name) > 1 else name for source, name in zip(sources, short, strict=True)]


def _settings(given: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """The whole section `model`, so that a candidate is the same whichever model the recipe names. What the recipe says
    of its own model does not hold for another one: not its revision, and least of all that its code is trusted.
    """  # fmt: skip
    if not isinstance(given.get("source"), str) or not given["source"]:
        raise RecipeError(f"found {given!r}", where="models", fix=FIX)
    checked(ModelSettings, given, ("models",))
    own = {} if given["source"] == recipe.model.source else {"revision": None, "trust_remote_code": False}
    return {**recipe.model.model_dump(mode="json"), **own, **given}


def _on(candidate: Candidate, model: dict[str, Any], label: str, *, alone: tuple[bool, bool]) -> Candidate:
    one_model, one_method = alone
    called = label if one_method else candidate.name if one_model else f"{candidate.name} on {label}"
    return replace(candidate, called=called, differs={**candidate.differs, "model": model})
