"""`weitiao label`: label a pool of texts, the most useful ones first, in a page or in the terminal."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from weitiao.cli import options
from weitiao.cli.label_simulation import STRATEGIES
from weitiao.errors import WeitiaoError

PORT = 8765
SIMULATE = "--simulate"


class PoolOrCommand(TyperGroup):
    """A group whose first word may be a pool: then it is `start`; with ``--simulate`` it is `simulate`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put a command in front where there is none and no help is asked for."""
        if SIMULATE in args:
            args = ["simulate", *(word for word in args if word != SIMULATE)]
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["start", *args]
        return list(super().parse_args(ctx, args))


app = typer.Typer(cls=PoolOrCommand, rich_markup_mode=None, no_args_is_help=True)
Project = Annotated[Path, typer.Argument(metavar="FOLDER", help="A labelling project: labels/NAME.")]


@app.callback()
def label() -> None:
    """Label a pool of texts: train, choose the most useful examples, label them, train again.

    \b
    Example:
      weitiao label pool.csv --recipe recipe.yaml --labels good,bad
      weitiao label pool.csv --terminal
      weitiao label export labels/pool --format csv --out labelled.csv
      weitiao label --simulate recipe.yaml

    `weitiao label POOL` stands for `weitiao label start POOL` (a pool that is called like a command is ./export), and
    `weitiao label --simulate RECIPE` for `weitiao label simulate RECIPE`.
    """


@app.command("start")
def start(
    pool: Annotated[str, typer.Argument(metavar="POOL", help="File or folder of texts; labels in it are not read.")],
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="RECIPE", help="What to train; needed the first time.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="A,B", help="Labels to give, beside those of the recipe's data.")
    ] = None,
    multi_label: Annotated[
        bool | None, typer.Option("--multi-label/--single-label", help="Any number of labels, or one; as the recipe.")
    ] = None,
    every: Annotated[
        int | None, typer.Option("--every", help="New labels after which a model is trained; 0: on request. 50.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option("--strategy", metavar="NAME", help="What chooses examples once there is a model.")
    ] = None,
    cold: Annotated[
        str | None, typer.Option("--cold-start", metavar="NAME", help="What chooses them before: cluster-uncertain.")
    ] = None,
    overlap: Annotated[
        float | None, typer.Option("--overlap", help="Share of examples that two people label, for agreement. 0.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of what is drawn. 0.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the project; labels/POOL.")
    ] = None,
    set_: options.Set = None,
    terminal: Annotated[bool, typer.Option("--terminal", help="Label here, without a page.")] = False,
    annotator: Annotated[str | None, typer.Option("--as", metavar="NAME", help="Your name, for --terminal.")] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; others than this machine's need the token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of the page; 0: any.")] = PORT,
    train: Annotated[bool, typer.Option("--train/--no-train", help="Train rounds here, or only label.")] = True,
) -> None:
    """Open a project, or begin one, and label: in a page at the address that is printed, until ctrl-C.

    \b
    Example:
      weitiao label pool.csv --recipe recipe.yaml --labels good,bad
      weitiao label pool.csv --every 100 --overlap 0.1
      weitiao label pool.csv --host 0.0.0.0

    Each label is on the disk before the page shows the next example. The same command goes on.
    """
    from weitiao.labelling.access import Access
    from weitiao.labelling.desk import Desk
    from weitiao.labelling.project import open_project
    from weitiao.recipe import Recipe
    from weitiao.training.fit import stop_on_signal

    if set_ and recipe is None:
        raise WeitiaoError("changes a recipe, and none is named", where="--set", fix="Name it: --recipe recipe.yaml")
    said = {"every": every, "strategy": strategy, "cold": cold, "overlap": overlap, "seed": seed}
    if not terminal:
        from weitiao.labelling import server

        server.require()
    project = open_project(
        pool, None if recipe is None else Recipe.read(recipe, set_ or ()), folder=output,
        labels=options.names(labels), several=multi_label,
        settings={name: value for name, value in said.items() if value is not None},
    )  # fmt: skip
    desk = Desk(project, trains=train)
    if terminal:
        from weitiao.labelling.terminal import sit

        desk.rounds.start()
        try:
            sit(desk, annotator or getpass.getuser())
        finally:
            desk.rounds.stop()
        return
    access = Access.to(host)
    listening = server.bound(host, port)
    typer.echo(f"{len(project.pool):,} rows to label, kept in {project.folder}")
    typer.echo(f"open {server.address(listening, access)}  (ctrl-C ends)")
    with stop_on_signal():  # what the server hears it raises again when it has ended
        desk.rounds.start()
        try:
            server.serve(desk, listening, access)
        finally:
            desk.rounds.stop()


@app.command("simulate")
def simulate(
    recipe: options.RecipeFile,
    strategies: Annotated[
        list[str] | None,
        typer.Option("--strategies", metavar="LIST", help=f"Strategies to compare; {STRATEGIES} when absent."),
    ] = None,
    start: Annotated[int, typer.Option("--start", min=1, help="Labels to begin with.")] = 100,
    step: Annotated[int, typer.Option("--step", min=1, help="Labels more each round.")] = 100,
    until: Annotated[int, typer.Option("--until", min=1, help="Labels of the last round.")] = 1000,
    seeds: Annotated[str, typer.Option("--seeds", metavar="N", help="How many times, or which seeds: 5,6,7")] = "3",
    first: Annotated[
        str, typer.Option("--first", metavar="NAME", help="What chooses the rows to begin with, for all alike.")
    ] = "random",
    output: Annotated[Path | None, options.output("simulation", "simulations")] = None,
    set_: options.Set = None,
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Replay a labelled set with each strategy: how many labels each would have saved.

    \b
    Example:
      weitiao label --simulate recipe.yaml
      weitiao label simulate recipe.yaml --strategies random,margin --seeds 5

    The training split of the recipe is taken for a pool, and its labels are given as they are asked for.
    """
    from weitiao.cli.label_simulation import simulate as replay

    replay(recipe, strategies=strategies or (STRATEGIES,), start=start, step=step, until=until, seeds=seeds,
           first=first, output=output, set_=set_, quiet=quiet, json_=json_)  # fmt: skip


Form = Annotated[
    str, typer.Option("--format", metavar="NAME", help="csv, jsonl, label-studio or argilla; by the file's name.")
]


@app.command("export")
def export(
    project: Project,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The new file to write.")],
    form: Form = "",
) -> None:
    """Write what was labelled to a file: csv and jsonl to train on, the others to go on elsewhere.

    \b
    Example:
      weitiao label export labels/pool --out labelled.csv
      weitiao label export labels/pool --format label-studio --out tasks.json

    csv and jsonl hold each row's adjudicated answer, else the majority's; label-studio and argilla what each
    person said.
    """
    from weitiao.labelling.exchange import export as written
    from weitiao.labelling.project import read_project

    counts = written(read_project(project), out, form or _form(out))
    for what in ("settled", "disputed", "skipped or unsure"):
        if counts[what]:
            note = " (no answer: rule on them, or have a third person label them)" if what == "disputed" else ""
            typer.echo(f"{what}: {counts[what]:,}{note}")
    typer.echo(f"written to {out}")


@app.command("import")
def import_(
    project: Project,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Rows of the pool with their labels.")],
    form: Form = "",
    annotator: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Whose labels they are; as the file says when absent.")
    ] = None,
    add_labels: Annotated[bool, typer.Option("--add-labels", help="Take labels over that are not known yet.")] = False,
) -> None:
    """Take labels over from a file: all of them, or none where one cannot be read.

    \b
    Example:
      weitiao label import labels/pool labelled.csv --as anna
      weitiao label import labels/pool export.json --format label-studio

    Rows are known by their texts, to the character. The same file again adds nothing.
    """
    from weitiao.labelling.exchange import import_labels
    from weitiao.labelling.project import read_project

    found = import_labels(read_project(project), file, form or _form(file), annotator=annotator, add_labels=add_labels)
    typer.echo(f"answers taken over: {found.answers:,}")
    for count, what in ((found.known, "answers that were there already"), (found.empty, "rows without an answer"),
                        (found.elsewhere, "rows that are not in the pool")):  # fmt: skip
        if count:
            typer.echo(f"{what}: {count:,}")
    if found.new_labels:
        typer.echo(f"new labels: {', '.join(found.new_labels)}")


def _form(file: Path) -> str:
    """The format that a file's name tells."""
    known = {".csv": "csv", ".jsonl": "jsonl"}
    if file.suffix.lower() not in known:
        raise WeitiaoError(f"{file.name} may be of several formats", where="--format",
                           fix="Say which: label-studio or argilla.")  # fmt: skip
    return known[file.suffix.lower()]
