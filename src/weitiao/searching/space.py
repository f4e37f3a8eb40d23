"""What a search may choose among, tied to the recipe: which values a point has, what recipe it makes, all of a grid."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from weitiao.candidates import shortly
from weitiao.errors import RecipeError
from weitiao.recipe import Dimension, Recipe
from weitiao.recipe.messages import PlacedError
from weitiao.recipe.reading import long_form

WHY = "the search's"  # the origin of what it sets
DIGITS = 4  # of a number that is drawn from a range
MOST = 100_000  # points that are counted
STRUCTURE = ("task", "model", "data", "method")  # sections that say what is trained, and on which examples
ELSEWHERE = {  # what cannot be searched, and why
    "training.seed": "search.seeds says how many seeds each trial is trained with",
    "data.seed": "trials would be measured on other examples",
    "data.validation": "trials would be measured on other examples",
    "data.validation_size": "trials would be measured on other examples",
    "data.test": "the test split is not looked at",
    "data.test_size": "the test split is not looked at",
    "data.fold": "trials would be measured on other examples",
    "data.group": "trials would be measured on other examples",
    "data.duplicates": "trials would be measured on other examples",
    "evaluation": "trials would be measured in other ways",
    "trackers": "it moves no score",
    "clean": "training takes the data as they are",
    "augment": "training takes the data as they are",
    "search": "it is the search itself",
    "output": "each trial has a folder of its own",
}

Point = dict[str, Any]  # key of the recipe -> value, of the dimensions that are drawn
Suggest = Callable[[str, Dimension], Any]


@dataclass(frozen=True)
class Space:
    """The dimensions of a recipe's search."""

    recipe: Recipe  # what all trials share

    @cached_property
    def dimensions(self) -> dict[str, Dimension]:
        """The dimensions by key, each behind those that it hangs on."""
        given = dict(self.recipe.search.space) if self.recipe.search else {}
        ordered: dict[str, Dimension] = {}
        while given:
            free = [key for key in given if not any(other in given for other in self._above(key, given[key]))]
            if not free:
                raise RecipeError(f"{' and '.join(given)} hang on each other", where=f"{self.place(next(iter(given)))}",
                                  fix="Take one `when` out.")  # fmt: skip
            ordered |= {key: given.pop(key) for key in free}
        return ordered

    def _above(self, key: str, dimension: Dimension) -> list[str]:
        """The dimensions that one hangs on: named by its `when`, or a component that it is an option of."""
        space = self.recipe.search.space if self.recipe.search else {}
        return [other for other in space if other != key and (other in dimension.when or key.startswith(f"{other}."))]

    # --- points

    def draw(self, suggest: Suggest) -> Point:
        """Return a point: `suggest` gives a value of each dimension that is drawn."""
        point: Point = {}
        for key, dimension in self.dimensions.items():
            if self._holds(dimension, point):
                point[key] = suggest(key, dimension)
        return point

    def points(self) -> Iterator[Point]:
        """Yield each point of the grid once, the last dimension moving fastest."""
        yield from self._below(list(self.dimensions), {})

    def _below(self, keys: list[str], point: Point) -> Iterator[Point]:
        if not keys:
            yield point
            return
        key, *rest = keys
        dimension = self.dimensions[key]
        values = grid_of(dimension) if self._holds(dimension, point) else [None]
        for value in values or []:
            yield from self._below(rest, {**point, key: value} if self._holds(dimension, point) else point)

    @cached_property
    def size(self) -> int | None:
        """How many points there are; None where a range has no end of them, or they are too many to count."""
        if any(grid_of(dimension) is None or dimension.steps for dimension in self.dimensions.values()):
            return None
        count = sum(1 for _ in islice(self.points(), MOST))
        return count if count < MOST else None

    def _holds(self, dimension: Dimension, point: Mapping[str, Any]) -> bool:
        """Whether the dimension is drawn at a point, of which those above it are known."""
        space = self.recipe.search.space if self.recipe.search else {}
        for key, wanted in dimension.when.items():
            if key in space and key not in point:
                return False
            value = point[key] if key in point else self.own(key, point)
            if not any(_same(value, each) for each in (wanted if isinstance(wanted, list) else [wanted])):
                return False
        return True

    def own(self, key: str, point: Mapping[str, Any]) -> Any:
        """The recipe's own value at a key, or that of a component which the point has."""
        node: Any = self.recipe.to_dict()
        for name, value in point.items():
            if key.startswith(f"{name}.") and isinstance(value, Mapping):
                node, key = value, key.removeprefix(f"{name}.")
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        return node

    def at(self, point: Mapping[str, Any]) -> Recipe:
        """The recipe of a point, components before their options. Raises a `RecipeError` where it is none."""
        keys = sorted(point, key=lambda key: key.count("."))
        return self.recipe.changed({key: (long_form({key: point[key]})[key], WHY) for key in keys})

    # --- before the first trial

    def check(self) -> None:
        """Try each choice and each end of a range in the recipe; a `RecipeError` names what it refuses."""
        for key, dimension in self.dimensions.items():
            if (why := next((why for other, why in ELSEWHERE.items() if _within(key, other)), "")) != "":
                raise RecipeError(f"cannot be searched: {why}", where=self.place(key), fix="Take it out.")
            contexts = [point for point in self._contexts(key) if self._holds(dimension, point)]
            if not contexts:
                raise RecipeError(f"is never drawn: `when` {_told(dimension.when)} never holds", where=self.place(key),
                                  fix="Name a value that the recipe has, or another dimension takes.")  # fmt: skip
            for context in contexts:
                for value in extremes(dimension):
                    self._try(key, value, context)

    def _contexts(self, key: str) -> Iterator[Point]:
        """The points of all dimensions that one hangs on, by way of others, too."""
        above: list[str] = []
        wanted = [key]
        while wanted:
            found = self._above(wanted[0], self.dimensions[wanted.pop(0)])
            wanted += [other for other in found if other not in above]
            above += [other for other in found if other not in above]
        yield from self._ends([other for other in self.dimensions if other in above], {})

    def _ends(self, keys: list[str], point: Point) -> Iterator[Point]:
        if not keys:
            yield point
            return
        dimension = self.dimensions[keys[0]]
        if not self._holds(dimension, point):
            yield from self._ends(keys[1:], point)
            return
        for value in extremes(dimension):
            yield from self._ends(keys[1:], {**point, keys[0]: value})

    def _try(self, key: str, value: Any, context: Point) -> None:
        try:
            self.at({**context, key: value})
        except RecipeError as error:
            raise self._refused(key, value, context, error) from None

    def _refused(self, key: str, value: Any, context: Point, error: RecipeError) -> RecipeError:
        problems = error.problems if isinstance(error, PlacedError) else []
        told = "\n".join(text if ".".join(at) == key else f"{'.'.join(at)}: {text}" for at, text in problems)
        told, fix = told or error.problem, error.fix
        component = next((other for other in context if key.startswith(f"{other}.")), None)
        if "unknown key" in told and component and not self.dimensions[key].when:
            name = _name(context[component])
            told = f"'{name}' has no {key.removeprefix(f'{component}.')}. {told}"
            fix = f"Say where it is drawn, such as when: {{{component}: NAME}}."
        elif "unknown key" not in told:
            told = f"{shortly(value)} is refused: {told}"
        return RecipeError(told, where=self.place(key), fix=fix)

    def structures(self) -> Iterator[Point]:
        """Points that between them have each choice, and both ends of each range, of task, model, data and method; the
        rest as in the first one that has it.
        """  # fmt: skip
        there = [self._around("", None, {})]
        yield there[0]
        for key, dimension in self.dimensions.items():
            if key.partition(".")[0] not in STRUCTURE:
                continue
            context = next(point for point in self._contexts(key) if self._holds(dimension, point))
            for value in extremes(dimension):
                point = self._around(key, value, context)
                if point not in there:
                    there.append(point)
                    yield point

    def _around(self, key: str, value: Any, context: Point) -> Point:
        """The first point that has a value at a key, in its context."""
        known = {**context, key: value}
        return self.draw(lambda other, dimension: known.get(other, extremes(dimension)[0]))

    def place(self, key: str) -> str:
        """Where a dimension stands, for messages."""
        return self.recipe.place(f"search.space.{key}")


def name_of(key: str) -> str:
    """A dimension's name for people, and the shortest: ``training.learning_rate`` -> ``learning rate``."""
    return key.rpartition(".")[2].replace("_", " ")


def names_of(keys: list[str]) -> dict[str, str]:
    """Names for people that tell the keys apart."""
    short = [name_of(key) for key in keys]
    return {key: name if short.count(name) == 1 else key for key, name in zip(keys, short, strict=True)}


def value_told(value: Any) -> str:
    """A value of a dimension in few characters: a component by its name with its options."""
    if isinstance(value, Mapping):
        options = ", ".join(f"{k.replace('_', ' ')} {value_told(v)}" for k, v in value.items() if k != "name")
        return f"{value.get('name', '')} ({options})".strip() if options else str(value.get("name", value))
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return shortly(value)


def told(point: Mapping[str, Any]) -> str:
    """A point in one line."""
    names = names_of(list(point))
    return ", ".join(f"{names[key]} {value_told(value)}" for key, value in point.items())


def extremes(dimension: Dimension) -> list[Any]:
    """All choices, or the two ends of a range."""
    return list(dimension.choices or []) if dimension.kind == "choices" else list(dimension.ends)


def grid_of(dimension: Dimension) -> list[Any] | None:
    """The values that a grid has of a dimension; None where it does not say which."""
    if dimension.kind == "choices":
        return list(dimension.choices or [])
    low, high = dimension.ends
    whole = dimension.kind == "int"
    if dimension.steps:
        values = [_between(low, high, i / (dimension.steps - 1), dimension.logarithmic) for i in range(dimension.steps)]
        return list(dict.fromkeys(round(v) if whole else rounded(v, low, high) for v in values))
    if dimension.step:
        count = int((high - low) / dimension.step + 1e-9)
        values = [low + i * dimension.step for i in range(count + 1)]
        return [round(v) if whole else rounded(v, low, high) for v in values]
    return list(range(int(low), int(high) + 1)) if whole else None


def rounded(value: float, low: float, high: float) -> float:
    """A number with as many digits as anybody writes, between the ends still."""
    return min(max(float(f"{value:.{DIGITS}g}"), low), high)


def _between(low: float, high: float, share: float, logarithmic: bool) -> float:
    if share in (0, 1):
        return low if share == 0 else high
    return math.exp(math.log(low) + share * math.log(high / low)) if logarithmic else low + share * (high - low)


def _same(value: Any, wanted: Any) -> bool:
    """Whether a value is what `when` wants; a component may be named alone."""
    if isinstance(value, Mapping) and isinstance(wanted, str):
        return bool(_name(value) == wanted)
    return bool(value == wanted)


def _name(value: Any) -> Any:
    return value.get("name", value.get("source", value.get("train"))) if isinstance(value, Mapping) else value


def _within(key: str, other: str) -> bool:
    return key == other or key.startswith(f"{other}.")


def _told(values: Mapping[str, Any]) -> str:
    return json.dumps(dict(values), ensure_ascii=False)
