"""Do new training examples help? Makes them, and trains a recipe's model with and without over seeds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from weitiao.candidates import CALLED
from weitiao.comparison import compare
from weitiao.data.made import Made
from weitiao.errors import WeitiaoError
from weitiao.evaluation.compared import Compared
from weitiao.recipe import AugmentSettings, Recipe
from weitiao.workshop.augmenting import augment, settings_of
from weitiao.workshop.reading import given

WITHOUT, LONGER, WITH = "without", "without, as many steps", "with"


def augment_and_measure(
    source: str | Path | Recipe,
    out: str | Path,
    settings: AugmentSettings | Mapping[str, Any] | None = None,
    *,
    each: bool = False,
    seeds: int | Sequence[int] = 3,
    show: bool = False,
    **known: Any,
) -> tuple[Made, Compared]:
    """Augment as `augment` does, then train the recipe `source` without and with the new examples, with each seed.

    More examples make more steps, which may help by themselves: so it is also trained without them for as many. With
    `each` also with those of each operator alone. All is in the folder beside `out` whose name ends in ``-measured``;
    called again, it goes on where it was stopped. `known` goes to `augment`. Raises `WeitiaoError` where `source` is no
    recipe, and as `augment` and `compare` do.
    """
    out, asked = Path(out), given(source)
    if (recipe := asked.recipe) is None:
        raise WeitiaoError("there is no model to train", where="--measure", fix="Give a recipe in place of the data.")
    chosen = settings_of(recipe, settings)
    measured = out.with_name(f"{out.name}-measured")
    made = _made_once(source, out, chosen, known)
    rows = made.rows["train"]
    longer = {"training": {"epochs": recipe.training.epochs * rows["after"] / rows["before"]}}
    method = recipe.method.model_dump(mode="json")
    candidates = [{**method, CALLED: WITHOUT}, {**method, CALLED: LONGER, **longer}]
    sources = {WITH: out}
    if each and len(chosen.operators) > 1:
        (measured / "data").mkdir(parents=True, exist_ok=True)
        for name, alone in _alone(chosen):
            sources[name] = measured / "data" / name
            _made_once(source, sources[name], alone, known)
    candidates += [
        {**method, CALLED: name, "data": {"train": os.path.relpath(folder, recipe.base)}}
        for name, folder in sources.items()
    ]
    return made, compare(recipe, candidates, seeds, output=measured / "runs", show=show)


def _alone(settings: AugmentSettings) -> Iterator[tuple[str, AugmentSettings]]:
    """The settings with each operator by itself, by its name."""
    names = [operator.name for operator in settings.operators]
    for number, operator in enumerate(settings.operators, 1):
        name = operator.name if names.count(operator.name) == 1 else f"{operator.name} {number}"
        yield name, settings.model_copy(update={"operators": [operator]})


def _made_once(source: str | Path | Recipe, out: Path, settings: AugmentSettings, known: Mapping[str, Any]) -> Made:
    """Augment; or, where the same was done before it was stopped, read what came of it."""
    before = Made.read(out)
    same = ("augment", given(source).source, settings.model_dump(mode="json"))
    if before and (before.command, before.source, before.settings) == same:
        return before
    return augment(source, out, settings, **known)
