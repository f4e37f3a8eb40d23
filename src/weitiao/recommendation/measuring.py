"""What training will take, measured: a few real steps of the models of a shortlist that are on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from weitiao.errors import WeitiaoError
from weitiao.inspection import check
from weitiao.recipe import Recipe
from weitiao.recommendation.recommended import Choice, Recommendation, measured, recipe_of, start_told


def with_measured(found: Recommendation, tell: Callable[[str], None] | None = None) -> Recommendation:
    """Return the recommendation with what `weitiao check` forecasts for each model on this machine.

    The order stays. What cannot be tried out keeps its estimate, and a note says why. `tell` hears what is tried.
    """
    choices, notes = [], list(found.notes)
    for choice in found.choices:
        if not choice.entry.here:
            choices.append(choice)
            continue
        if tell:
            tell(f"trying {choice.source} with {choice.method}")
        try:
            choices.append(_tried(choice, found))
        except WeitiaoError as error:
            notes.append(f"note: {choice.source} could not be tried out: {error.problem}")
            choices.append(choice)
    return replace(found, choices=choices, notes=notes, advice=[start_told(choices[0]), *found.advice[1:]])


def _tried(choice: Choice, found: Recommendation) -> Choice:
    with tempfile.TemporaryDirectory(prefix="weitiao-") as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(recipe_of(found, choice, base=path.parent), encoding="utf-8")
        told = check(Recipe.read(path)).facts
    if "forecast" not in told:
        raise WeitiaoError("the recipe is not sound: `weitiao check` says what is wrong")
    return measured(choice, float(told["forecast"]["seconds"]), told["forecast"]["memory"])
