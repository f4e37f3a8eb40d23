"""`weitiao augment`: more training examples, made of those that are there; and whether they help."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from weitiao.cli import options
from weitiao.cli.progress import progress


def augment(
    data: options.Given,
    out: options.NewFolder,
    operators: Annotated[
        list[str] | None,
        typer.Option("--operators", metavar="LIST", help="Operators, with options where wanted; may be given again."),
    ] = None,
    factor: Annotated[
        float | None, typer.Option("--factor", help="New examples as a multiple of those there are; 1 when not said.")
    ] = None,
    per_class: Annotated[int | None, typer.Option("--per-class", help="New examples of each class.")] = None,
    balance: Annotated[bool, typer.Option("--balance", help="Rare classes grow to the size of the largest.")] = False,
    most: Annotated[
        float | None, typer.Option("--most", help="With --balance: a class grows to so many times its size at most.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of all that is drawn; 0 when absent.")] = None,
    all_train: Annotated[
        bool, typer.Option("--all-train", help="All of the data are for training; what is tested on is elsewhere.")
    ] = False,
    measure: Annotated[
        Literal["together", "each"] | None,
        typer.Option("--measure", help="Train with and without, over seeds; each: each operator by itself, too."),
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", metavar="N", help="Of --measure: how many, or which.")] = "3",
    task: options.Task = None,
    columns: options.Columns = None,
    label_separator: options.LabelSeparator = None,
    form: options.Form = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Make more training examples of those there are. Labels stay; entities and answers move with the text.

    \b
    Example:
      weitiao augment data/ --out more/ --operators typos,drop-words
      weitiao augment data/ --out more/ --operators "{name: typos, rate: 0.2}" --balance
      weitiao augment recipe.yaml --out more/ --operators swap-words --measure together

    The data are not changed, validation and test are copied as they are. `--measure` trains a recipe's model with and
    without the new examples, in the folder OUT-measured; stopped, the same command goes on.
    """
    from dataclasses import asdict

    from weitiao.augmentation import augment_and_measure
    from weitiao.cli import show
    from weitiao.cli.compare import tell as tell_compared
    from weitiao.workshop.augmenting import augment as run

    settings = _values(operators, factor, per_class, balance, most, seed)
    known: dict[str, Any] = {"all_train": all_train, "task": task, "columns": options.columns(columns) or None,
                             "label_separator": label_separator, "form": form}  # fmt: skip
    shown = not (quiet or json_)
    with options.naming_columns(), progress(shown=shown and not measure) as tell:
        if measure:
            each, drawn = measure == "each", options.parsed_seeds(seeds)
            made, compared = augment_and_measure(data, out, settings, each=each, seeds=drawn, show=shown, **known)
        else:
            made = run(data, out, settings, tell=tell, **known)
    if json_:
        show.as_json({"made": asdict(made), "compared": compared.to_dict()} if measure else asdict(made))
        return
    show.made(made, out)
    if measure:
        typer.echo("")
        tell_compared(compared)


def _values(
    operators: list[str] | None, factor: float | None, per_class: int | None, balance: bool, most: float | None,
    seed: int | None,
) -> dict[str, Any]:  # fmt: skip
    """What the options say of the section `augment`."""
    given = {"factor": factor, "per_class": per_class, "balance": balance or None, "most": most, "seed": seed}
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if operators:
        values["operators"] = options.parsed_list(operators, "--operators", "typos,drop-words")
    return values
