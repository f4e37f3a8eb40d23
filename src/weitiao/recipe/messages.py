"""What is wrong with a recipe, in words: the key, the line, what was found, the nearest valid name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from weitiao.errors import RecipeError, guessed, nearest
from weitiao.recipe.reading import Key, line_of

Record = TypeVar("Record", bound=BaseModel)


class PlacedError(RecipeError):
    """A recipe error whose problems can still be placed: (key, text) pairs."""

    def __init__(self, problems: list[tuple[Key, str]]) -> None:
        self.problems = problems
        super().__init__("\n".join(f"{'.'.join(key)}: {text}" if key else text for key, text in problems))


def explain(error: ValidationError, model: type[BaseModel], prefix: Key = ()) -> PlacedError:
    """Turn pydantic's errors into one line a key, unions told as one, unknown keys with the nearest known one."""
    texts: dict[Key, list[str]] = {}
    for item in error.errors():
        key, owner = _field_path(item["loc"], model)
        kind, message = item["type"], item["msg"].removeprefix("Value error, ")
        if kind == "extra_forbidden":
            message = f"unknown key. {nearest(str(item['loc'][-1]), owner.model_fields)}"
            key = tuple(map(str, item["loc"]))
        elif kind == "missing":
            message = "is missing"
            key = tuple(map(str, item["loc"]))
        else:
            message = f"{message[0].lower()}{message[1:]}"
            if kind in ("model_type", "model_attributes_type"):
                message = "it is a section: write its `key: value` lines below it"
            found = "nothing" if item["input"] is None else repr(item["input"])
            message = f"found {found}; {message}" if key not in texts else message
            if kind == "literal_error" and isinstance(item["input"], str) and "expected" in item.get("ctx", {}):
                known = re.findall(r"'([^']+)'", item["ctx"]["expected"])
                guess = guessed(item["input"], known)
                message += f". {guess}" if guess else ""
        texts.setdefault(key, []).append(message)
    return PlacedError([((*prefix, *key), " or ".join(parts)) for key, parts in texts.items()])


def _field_path(location: tuple[int | str, ...], model: type[BaseModel]) -> tuple[Key, type[BaseModel]]:
    """Cut union tags and list positions off a pydantic location; also return the model that owns its last key."""
    key: list[str] = []
    rest = list(location)
    while rest and isinstance(rest[0], str) and rest[0] in model.model_fields:
        name = rest.pop(0)
        key.append(str(name))
        inner = model.model_fields[str(name)].annotation
        if get_origin(inner) is dict and rest:
            key.append(str(rest.pop(0)))
            inner = get_args(inner)[1]
        section = _section(inner)
        if section is None:
            break
        model = section
    return tuple(key), model


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that a field is, or may be."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    inner = [each for each in (annotation, *get_args(annotation)) if isinstance(each, type)]
    return next((each for each in inner if issubclass(each, BaseModel)), None)


def checked(model: type[Record], values: Any, section: Key = ()) -> Record:
    """Return the values of a section as its record; a `RecipeError` tells each that is wrong."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise explain(error, model, section) from None


def locate(error: RecipeError, name: str, lines: Mapping[Key, int], origins: Mapping[str, str]) -> RecipeError:
    """Return the error with the place of each problem: file and line, or ``--set``."""
    if not isinstance(error, PlacedError):
        key = tuple(error.where.split("."))
        named = (origins.get(error.where), origins.get(f"{error.where}.name"))
        below = (origin for k, origin in origins.items() if k.startswith(f"{error.where}."))
        place = next(filter(None, (*named, *below)), f"{name}:{line_of(lines, key)}")
        return RecipeError(error.problem, where=f"{place} ({error.where})", fix=error.fix)
    told = []
    for key, text in sorted(error.problems, key=lambda problem: line_of(lines, problem[0])):
        dotted = ".".join(key)
        place = origins.get(dotted) or f"{name}:{line_of(lines, key)}"
        told.append(f"{place}: {dotted}: {text}")
    return RecipeError("\n".join(told))
