"""The section of a recipe that says what better settings are looked for among: read by `weitiao search` alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from weitiao.recipe.amounts import TimeAmount
from weitiao.recipe.sections import Settings

Whole = int  # a field below is called `int`
FREE = ("trials", "time", "workers", "storage")  # of a search, may be others when it goes on
KINDS = ("choices", "log", "uniform", "int")


class Dimension(Settings):
    """What one value of the recipe may be: one of `choices`, `log`, `uniform` and `int`. A list alone is `choices`."""

    choices: list[Any] | None = None
    """One of these, components with options among them: `[full, {name: lora, rank: 8}]`."""
    log: list[float] | bool | None = None
    """A number between two ends whose logarithm is drawn evenly: `[1e-5, 1e-3]`. `true` beside `int`: whole numbers,
    drawn so."""
    uniform: list[float] | None = None
    """A number between two ends, drawn evenly: `[0, 0.3]`."""
    int: list[Whole] | None = None
    """A whole number between two ends, both of them included: `[4, 64]`."""
    step: Annotated[float, Field(gt=0)] | None = None
    """Of `int` and `uniform`: only every so many from the lower end on."""
    steps: Annotated[Whole, Field(ge=2)] | None = None
    """For a grid: so many values from end to end of what has no others of its own."""
    when: dict[str, Any] = {}  # noqa: RUF012 - pydantic gives each its own
    """Only drawn where other keys of the recipe have these values, or one of a list: `{method: lora}`."""

    @property
    def kind(self) -> str:
        """Which of `KINDS` it is."""
        if self.log is True:
            return "int"
        return next(name for name in KINDS if getattr(self, name) not in (None, False))

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value of a range."""
        low, high = getattr(self, self.kind)
        return low, high

    @property
    def logarithmic(self) -> bool:
        """Whether its logarithm is drawn evenly."""
        return bool(self.log)

    @model_validator(mode="after")
    def _sound(self) -> Dimension:
        given = [name for name in KINDS if getattr(self, name) not in (None, False) and getattr(self, name) is not True]
        if len(given) != 1 or (self.log is True and given != ["int"]):
            raise ValueError("give one of choices, log, uniform and int; log: true goes with int alone")
        if given == ["choices"]:
            self._sound_choices()
        else:
            self._sound_range()
        return self

    def _sound_choices(self) -> None:
        if not self.choices:
            raise ValueError("there is nothing to choose from")
        told = [json.dumps(each, sort_keys=True, default=str) for each in self.choices]
        twice = next((each for each in told if told.count(each) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} stands there twice")
        if self.step is not None or self.steps is not None:
            raise ValueError("step and steps go with a range")

    def _sound_range(self) -> None:
        ends = getattr(self, self.kind)
        if len(ends) != 2 or not ends[0] < ends[1]:
            raise ValueError(f"found {ends}; write the lower end and the higher one: [low, high]")
        if self.logarithmic and ends[0] <= 0:
            raise ValueError(f"the logarithm of {ends[0]:g} is no number: begin above 0")
        if self.step is not None and self.logarithmic:
            raise ValueError("step goes with ranges that are drawn evenly, steps with all")
        if self.step is not None and self.step > ends[1] - ends[0]:
            raise ValueError(f"a step of {self.step:g} leads out of it")
        if self.step is not None and self.kind == "int" and self.step != round(self.step):
            raise ValueError(f"a step of {self.step:g} leads to numbers that are not whole")
        if self.step is not None and self.steps is not None:
            raise ValueError("give step or steps")


class Pruning(Settings):
    """Which trials are stopped early, by the scores of their own evaluations on validation."""

    name: Literal["none", "halving", "hyperband", "median"] = "none"
    """`halving`: after `first`, `first * factor`, ... evaluations goes on what is among the best `1 / factor` of the
    trials that came so far (ASHA; Li et al. 2020). `hyperband`: the same, but some trials are let run longer first
    (Li et al. 2018). `median`: stops what is worse than the median of the others at the same evaluation."""
    first: int = Field(1, ge=1)
    """Evaluations after which the first may be stopped."""
    factor: int = Field(3, ge=2)
    """Of `halving` and `hyperband`: one in so many goes on."""
    free: int = Field(4, ge=0)
    """Of `median`: so many trials come to their end before any is stopped."""

    @model_validator(mode="after")
    def _own(self) -> Pruning:
        own = {"none": set(), "halving": {"first", "factor"}, "hyperband": {"first", "factor"},
               "median": {"first", "free"}}[self.name]  # fmt: skip
        other = sorted(self.model_fields_set - own - {"name"})
        if other and any(getattr(self, name) != type(self).model_fields[name].default for name in other):
            raise ValueError(f"{self.name} has no {other[0]}")
        return self


def _dimension(value: Any) -> Any:
    return {"choices": value} if isinstance(value, list) else value


def _named(value: Any) -> Any:
    if value is None or value is False:
        return {"name": "none"}
    return {"name": value} if isinstance(value, str) else value


def _filled(value: Any) -> Any:
    if isinstance(value, Mapping) and value:
        return value
    raise ValueError("it is empty: name what may differ, such as training.learning_rate: {log: [1e-5, 1e-3]}")


class SearchSettings(Settings):
    """What `weitiao search` looks for better settings among, and how."""

    space: Annotated[dict[str, Annotated[Dimension, BeforeValidator(_dimension)]], BeforeValidator(_filled)]
    """Key of the recipe -> what it may be: `{training.learning_rate: {log: [1e-5, 1e-3]}, method: [full, lora]}`."""
    strategy: Literal["tpe", "random", "grid", "gp", "qmc"] = "tpe"
    """How trials are drawn. `tpe`: near those that did well (Bergstra et al. 2011), after ten at random. `gp`: by a
    Gaussian process. `qmc`: spread evenly (Sobol). `grid`: each point once."""
    trials: int | None = Field(None, ge=1)
    """Trials at most. All of a grid; 20 where there is no `time` either."""
    time: TimeAmount | None = None
    """Longest time for all trials together, such as `2h`. A trial that is under way then goes on once there is more."""
    seeds: int = Field(1, ge=1)
    """Trainings of each trial, with other seeds; its score is their mean."""
    folds: int | None = Field(None, ge=2)
    """Cross-validate each trial in so many folds of the training examples, test held back, in place of one validation
    split: so many times the trainings, for a score that hangs less on which examples were held out."""
    pruning: Annotated[Pruning, BeforeValidator(_named)] = Pruning()
    """Which trials are stopped early: a name, or `{name: halving, factor: 2}`. Of several seeds the first one tells."""
    objective: str | None = None
    """Score on validation to search by; the task's primary one when absent."""
    workers: int = Field(1, ge=1)
    """Trials at once on this machine; they share its cores and its memory."""
    storage: str | None = None
    """Database where trials are written, for workers on several machines: `postgresql://user@host/name`. A file in the
    search's folder when absent."""

    @property
    def fixed(self) -> dict[str, Any]:
        """What must be the same when a search goes on."""
        return {key: value for key, value in self.model_dump(mode="json").items() if key not in FREE}
