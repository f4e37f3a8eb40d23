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

Model = str | Mapping[str, Any]  # its source, or values of a recipe's section `model`


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
    """Return each method on each model, model by model. Raises `RecipeError` where there are not two to choose from, or
    one stands twice.
    """  # fmt: skip
    found = [_settings(model, recipe) for model in ([models] if isinstance(models, str | Mapping) else models)]
    sources = [str(values["source"]) for values in found]
    if twice := [source for source, count in Counter(sources).items() if count > 1]:
        raise RecipeError(f"'{twice[0]}' stands there twice", where="models", fix="Name each model once.")
    plain = as_candidates(methods)
    if len(found) * len(plain) < 2:
        raise RecipeError("there is one candidate, and nothing to choose from" if found else "there is no model",
                          where="models", fix="Name two models or more, or two methods: full,head,lora.")  # fmt: skip
    return [
        Entrant(_on(candidate, values, name, alone=(len(found) == 1, len(plain) == 1)), name)
        for values, name in zip(found, labels(sources), strict=True) for candidate in plain
    ]  # fmt: skip


def labels(sources: Sequence[str]) -> list[str]:
    """Return short names of models: the last part of each source, more of it where two would be the same."""
    short = [PurePath(source.rpartition(":")[2]).name or source for source in sources]
    return [source if short.count(name) > 1 else name for source, name in zip(sources, short, strict=True)]


def _settings(model: Model, recipe: Recipe) -> dict[str, Any]:
    """What differs in the section `model`. What the recipe says of its own model does not hold for another one: not its
    revision, and least of all that its code is trusted.
    """  # fmt: skip
    given = {"source": model} if isinstance(model, str) else dict(model)
    if not isinstance(given.get("source"), str) or not given["source"]:
        raise RecipeError(f"found {model!r}", where="models", fix="Give sources, or {source: ..., max_length: 256}.")
    checked(ModelSettings, given, ("models",))
    if given["source"] == recipe.model.source:
        return given
    return {"revision": None, "trust_remote_code": False, **given}


def _on(candidate: Candidate, model: dict[str, Any], label: str, *, alone: tuple[bool, bool]) -> Candidate:
    one_model, one_method = alone
    called = label if one_method else candidate.name if one_model else f"{candidate.name} on {label}"
    return replace(candidate, called=called, differs={**candidate.differs, "model": model})
