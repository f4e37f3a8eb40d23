"""`weitiao label --simulate`: what each strategy would have brought on a set that is labelled already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weitiao.cli import options

if TYPE_CHECKING:
    from weitiao.acquisition.simulated import Simulated

STRATEGIES = "random,margin,badge,cluster-uncertain"


def simulate(
    recipe: Path,
    *,
    strategies: Sequence[str] = (STRATEGIES,),
    start: int = 100,
    step: int = 100,
    until: int = 1000,
    seeds: str = "3",
    first: str = "random",
    output: Path | None = None,
    set_: Sequence[str] | None = None,
    quiet: bool = False,
    json_: bool = False,
) -> None:
    """Replay the training split of a recipe with each strategy, and print what came of it.

    `strategies` are written ``random,margin,{name: bald, passes: 20}``, `seeds` is their number or the seeds
    themselves: ``5,6,7``. Raises `WeitiaoError` before the first run where anything is wrong.
    """
    from weitiao.acquisition.simulation import simulate_labelling
    from weitiao.cli import show
    from weitiao.recipe import Recipe

    found = simulate_labelling(
        Recipe.read(recipe, set_ or ()), parsed_strategies(strategies), start=start, step=step, until=until,
        seeds=options.parsed_seeds(seeds), first=first, output=output, show=not quiet,
    )  # fmt: skip
    if json_:
        show.as_json(found.to_dict())
        return
    tell(found)


def parsed_strategies(texts: Sequence[str]) -> list[Any]:
    """Read a list of strategies."""
    return options.parsed_list(list(texts), "--strategies", STRATEGIES)


def tell(found: Simulated) -> None:
    """Print what a simulation found."""
    from weitiao.acquisition.simulation import PAGE
    from weitiao.acquisition.simulation_page import course_row
    from weitiao.cli import show
    from weitiao.metrics.words import spoken

    rows = [course_row(course, found) for course in found.courses]
    keys = ("name", "needed", "mean", "against", "interval", "last", "time")
    show.table(
        [[row[key] for key in keys] + [row["problem"] or row["finding"]] for row in rows],
        ("strategy", "labels needed", f"{spoken(found.score)}, mean over the curve", "beside random", "interval",
         f"with {found.until:,}", "choosing a round", ""), right=range(1, 7),
    )  # fmt: skip
    show.conclusion(found.advice, found.notes, page=Path(found.folder) / PAGE)
