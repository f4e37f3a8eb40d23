"""Do new training examples help? Makes them, and trains a recipe's model with and without over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weitiao.comparison import compare_data
from weitiao.data.made import Made
from weitiao.errors import WeitiaoError
from weitiao.evaluation.compared import Compared
from weitiao.recipe import AugmentSettings, Recipe
from weitiao.workshop.augmenting import augment, settings_of
from weitiao.workshop.reading import given

WITHOUT, TOGETHER = "without", "with"


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

    With `each` also with those of each operator by itself. All is in the folder beside `out` whose name ends in
    ``-measured``; called again, it goes on where it was stopped. `known` goes to `augment`. Raises `WeitiaoError`
    where `source` is no recipe, and as `augment` and `compare` do.
    """
    out, asked = Path(out), given(source)
    if asked.recipe is None:
        raise WeitiaoError("there is no model to train", where="--measure", fix="Give a recipe in place of the data.")
    chosen = settings_of(asked.recipe, settings)
    measured = out.with_name(f"{out.name}-measured")
    made = _made_once(source, out, chosen, known)
    before = asked.base / asked.settings.train
    sources: dict[str, str | Path] = {WITHOUT: before if before.exists() else asked.settings.train, TOGETHER: out}
    if each and len(chosen.operators) > 1:
        folder = measured / "data"
        folder.mkdir(parents=True, exist_ok=True)
        for number, operator in enumerate(chosen.operators):
            name = operator.name if [o.name for o in chosen.operators].count(operator.name) == 1 else (
                f"{operator.name} {number + 1}")  # fmt: skip
            _made_once(source, folder / name, chosen.model_copy(update={"operators": [operator]}), known)
            sources[name] = folder / name
    return made, compare_data(asked.recipe, sources, seeds, output=measured / "runs", show=show)


def _made_once(source: str | Path | Recipe, out: Path, settings: AugmentSettings, known: Mapping[str, Any]) -> Made:
    """Augment; or, where the same was done before it was stopped, read what came of it."""
    before = Made.read(out)
    if before and (before.command, before.settings) == ("augment", settings.model_dump(mode="json")):
        return before
    return augment(source, out, settings, **known)
