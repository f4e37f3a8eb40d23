"""What goes wrong because of what a person gave: shown to them without a traceback, exit code 2."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_ROW = re.compile(r"(?:data\.\w+ )?(.+:\d+)(?: \(.*\))?")  # ``reviews.csv:12``, ``chat.jsonl:8 (messages[2].role)``


class WeitiaoError(Exception):
    """An error a person can mend.

    `problem` says which setting or line and what was found; `fix` says what to do. `where` names the place, such as
    ``recipe.yaml:7 (training.epochs)`` or ``reviews.csv:12``.
    """

    exit_code = 2

    def __init__(self, problem: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(problem)
        self.problem, self.where, self.fix = problem, where, fix

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.problem}" + (f"\n{self.fix}" if self.fix else "")


class RecipeError(WeitiaoError):
    """A recipe that cannot be read or says something impossible."""


class DataError(WeitiaoError):
    """Data that cannot be read or cannot be trained on."""

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows that it is about, such as ``reviews.csv:12``; none where it is about no single ones."""
        found = _ROW.fullmatch(self.where)
        return (found[1],) if found else ()


class RefusedError(DataError):
    """Several faults of the data at once, and all `rows` that they are about."""

    rows: tuple[str, ...] = ()

    def __init__(self, problem: str, rows: Iterable[str]) -> None:
        super().__init__(problem)
        self.rows = tuple(rows)


class SourceError(WeitiaoError):
    """A model or data set that cannot be fetched."""


class ModelError(WeitiaoError):
    """A model folder that does not fit the recipe."""


class RunError(WeitiaoError):
    """A run folder that cannot be used: held by another run, damaged, or out of disk."""


class ProcessLost(RunError):  # noqa: N818 - often no fault of this one
    """Another process of a run on several devices has ended, for a reason that it told or could not tell."""

    exit_code = 1


class Interrupted(WeitiaoError):  # noqa: N818 - not a fault: the person asked for it
    """The run was stopped by ctrl-C or SIGTERM after its checkpoint was saved."""

    exit_code = 130


class WeitiaoWarning(UserWarning):
    """Something a person should know, while the work goes on."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``Did you mean 'x'?`` for the closest of `known`, else the list of them."""
    known = sorted(known)
    return guessed(name, known) or ("There is: " + ", ".join(known) + "." if known else "")


def guessed(name: str, known: Iterable[str]) -> str:
    """Return ``Did you mean 'x'?`` for the closest of `known`; "" where none is close."""
    close = closest(name, known)
    return "" if close is None else f"Did you mean '{close}'?"


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that is most like a name; None where none is close."""
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)), None)
