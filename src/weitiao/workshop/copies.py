"""Copies of texts that say the same, made by operators: what a model is to answer as it answers the text itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from weitiao import registry
from weitiao.errors import RecipeError
from weitiao.recipe import Chosen
from weitiao.records import Example
from weitiao.workshop.augment import Operator, Rewriter, Text, rows

TRIES = 4  # draws for a copy that is not there already

Copy = Mapping[str, str]  # role -> text


def opened(chosen: Sequence[Chosen], where: str) -> list[Operator | Rewriter]:
    """Return the operators; `where` is the key that they stand under. Raises a `RecipeError` for one whose options do
    not do, and for one that needs to know which label a text has.
    """  # fmt: skip
    found: list[Operator | Rewriter] = []
    for number, each in enumerate(chosen):
        try:
            operator = registry.get("operator", each.name)(each.options)
        except RecipeError as error:
            place = f"{where}[{number}]" + (f".{error.where}" if error.where else "")
            raise RecipeError(error.problem, where=place, fix=error.fix) from None
        if getattr(operator, "partner", False) or getattr(operator, "by_label", False):
            raise RecipeError(f"'{each.name}' needs to know which label a text has, and these have none",
                              where=f"{where}[{number}]", fix="Take it out.")  # fmt: skip
        found.append(operator)
    return found


class Copier:
    """Makes copies of rows that hold a text under each of `roles`; what it makes hangs on its arguments alone, and on
    what models say.

    A copy begins with the operator whose turn it is; where that changes words in their places, others follow in random
    order until `together` of them have changed something. One that has nothing to change is passed over.
    """

    def __init__(
        self, operators: Sequence[Operator | Rewriter], roles: Sequence[str], *, variants: int, together: int, seed: int
    ) -> None:  # fmt: skip
        self._operators, self._roles, self._seed = operators, roles, seed
        self._variants, self._together = variants, together
        self._pointwise = [operator for operator in operators if not isinstance(operator, Rewriter)]
        self.rewritten: dict[tuple[int, int], str] = {}  # row, copy -> its text

    def rewrite(self, texts: Sequence[str]) -> list[str]:
        """Have the operators that work on whole texts rewrite those of all rows; return what is to be told of it."""
        told = []
        for place, operator in enumerate(self._operators):
            if not isinstance(operator, Rewriter):
                continue
            turns = [[copy for copy in range(self._variants) if self._turn(row, copy) == place]
                     for row in range(len(texts))]  # fmt: skip
            done = operator.rewrite([Text(text) for text in texts], list(map(len, turns)), seed=self._seed)
            for row, (copies, found) in enumerate(zip(turns, done.texts, strict=True)):
                self.rewritten |= {(row, copy): text for copy, text in zip(copies, found, strict=False)}
            said = ", ".join(f"{name} {count:,g}" for name, count in done.told.items())
            told.append(f"{operator.name}: {said}" + (f"; stopped: {done.stopped}" if done.stopped else ""))
        return told

    def copies(self, row: Example, number: int) -> list[Copy]:
        """Return the copies of the row of that number: different ones, as far as the operators can make them, then the
        same ones again. None where they can change nothing in it.
        """  # fmt: skip
        given = {role: row[role] for role in self._roles if isinstance(row.get(role), str)}
        found: list[Copy] = []
        for copy in range(self._variants):
            for draw in range(TRIES):
                new = self._copy(given, number, copy, draw)
                if new is None:
                    break
                if new != given and new not in found:
                    found.append(new)
                    break
        return [found[copy % len(found)] for copy in range(self._variants)] if found else []

    def _turn(self, number: int, copy: int) -> int:
        return (number + copy) % len(self._operators)

    def _copy(self, given: Copy, number: int, copy: int, draw: int) -> Copy | None:
        """A copy, whether it is new or not; None where nothing could be changed."""
        if draw == 0 and (number, copy) in self.rewritten:
            return {self._roles[0]: self.rewritten[number, copy]}
        random = rows(self._seed, number, copy * TRIES + draw)
        new, done = given, 0
        for operator in self._in_turn(number, copy, random):
            changed = {role: self._changed(operator, text, random) for role, text in new.items()}
            new, done = changed, done + (changed != new)
            if done == self._together:
                break
        return new if done else None

    def _in_turn(self, number: int, copy: int, random: np.random.Generator) -> list[Operator]:
        """Those that change words: the one whose turn it is, then the others in random order."""
        first: Any = self._operators[self._turn(number, copy)]
        drawn = [self._pointwise[place] for place in random.permutation(len(self._pointwise))]
        return sorted(drawn, key=lambda operator: operator is not first)

    def _changed(self, operator: Operator, text: str, random: np.random.Generator) -> str:
        new = operator(Text(text), random)
        return new.text if new is not None and new.text.strip() else text
