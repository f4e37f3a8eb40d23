"""`weitiao self-train`: learn from a pool of texts without labels, by a model's own answers that it is sure of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from weitiao.cli import options

if TYPE_CHECKING:
    from weitiao.self_training.trained import SelfTrained


def self_train(
    recipe: options.RecipeFile,
    unlabelled: Annotated[
        str, typer.Option("--unlabelled", metavar="POOL", help="File of texts without labels: .csv, .jsonl, hf:, ...")
    ],
    rounds: Annotated[int, typer.Option("--rounds", help="Rounds after the first, which has the labels alone.")] = 3,
    threshold: Annotated[
        float, typer.Option("--threshold", help="Least confidence of what is taken: over 0, at most 1.")
    ] = 0.9,
    per_class: Annotated[
        int | None, typer.Option("--per-class", metavar="N", help="Take N of each class at most, the surest first.")
    ] = None,
    shares: Annotated[
        Literal["equal", "labels"],
        typer.Option("--shares", help="labels: N on average, in the proportion of the labels."),
    ] = "equal",
    seeds: Annotated[str, typer.Option("--seeds", metavar="N", help="How many seeds, or which: 0,1,2.")] = "1",
    output: Annotated[Path | None, options.output("self-training", "self-trainings")] = None,
    set_: options.Set = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Train on labels, label a pool by the model, train afresh on both, and so on; say whether it helped.

    \b
    Example:
      weitiao self-train recipe.yaml --unlabelled pool.csv
      weitiao self-train recipe.yaml --unlabelled pool.csv --threshold 0.95 --per-class 100 --seeds 3

    Validation chooses the round, and may choose the labels alone. Stopped, by ctrl-C or otherwise, the same command
    goes on; more rounds and seeds may be asked for then.
    """
    from weitiao.cli import show
    from weitiao.recipe import Recipe
    from weitiao.self_training.self_training import self_train as run

    found = run(
        Recipe.read(recipe, set_ or ()), unlabelled, rounds=rounds, threshold=threshold, per_class=per_class,
        shares=shares, seeds=options.parsed_seeds(seeds), output=output, show=not quiet,
    )  # fmt: skip
    if json_:
        show.as_json(found.to_dict())
        return
    tell(found)


def tell(found: SelfTrained) -> None:
    """Print what came of a self-training."""
    from weitiao.cli import show
    from weitiao.metrics.words import spoken
    from weitiao.self_training.page import round_row, side_rows
    from weitiao.self_training.self_training import PAGE

    rows = [round_row(each, chain, found) for chain in found.chains for each in chain.rounds]
    titles = {"seed": "seed", "number": "round", "taken": "rows taken", "share": "of the pool",
              "least": "fewest of a class", "most": "most of a class", "right": "right",
              "validation": f"{spoken(found.score)} on validation", "time": "time"}  # fmt: skip
    if all(row["right"] == "–" for row in rows):
        del titles["right"]
    show.table([[*(row[key] for key in titles), row["problem"] or ("best" if row["best"] else "")] for row in rows],
               (*titles.values(), ""), right=range(len(titles)))  # fmt: skip
    sides = side_rows(found)
    if sides:
        typer.echo("")
        keys = ("name", "mean", "seeds", "difference", "interval", "finding")
        show.table([[row[key] for key in keys] for row in sides],
                   ("on test", spoken(found.score), "each seed", "self-trained beside it", "interval", ""),
                   right=range(1, 5))  # fmt: skip
    show.conclusion(found.advice, found.notes, model=Path(found.run), page=Path(found.folder) / PAGE)
