"""The `weitiao` command: its subcommands, and how what goes wrong is told."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
import warnings
from typing import Annotated, TextIO

import typer

from weitiao import __version__
from weitiao.cli import (
    adapters,
    audit,
    augment,
    baselines,
    check,
    clean,
    compare,
    curve,
    cv,
    diagnose,
    evaluate,
    init,
    inspect,
    label,
    models,
    predict,
    probe,
    recommend,
    runs,
    schema,
    search,
    select,
    self_train,
    split,
    train,
)
from weitiao.errors import Interrupted, WeitiaoError, WeitiaoWarning
from weitiao.parallel import first_to_tell, leave, rank, world_size

QUIET = {  # libraries keep to themselves; who wants to hear them sets the variable
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "DATASETS_VERBOSITY": "error",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "true",
}

app = typer.Typer(
    name="weitiao",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("init")(init.init)
app.command("recommend")(recommend.recommend)
app.add_typer(models.app, name="models")
app.command("audit")(audit.audit)
app.command("clean")(clean.clean)
app.command("split")(split.split)
app.command("augment")(augment.augment)
app.command("select")(select.select)
app.add_typer(label.app, name="label")
app.command("check")(check.check)
app.command("inspect")(inspect.inspect)
app.command("train")(train.train)
app.command("baselines")(baselines.baselines)
app.command("compare")(compare.compare)
app.command("cv")(cv.cv)
app.command("search")(search.search)
app.command("self-train")(self_train.self_train)
app.command("diagnose")(diagnose.diagnose)
app.command("probe")(probe.probe)
app.command("curve")(curve.curve)
app.add_typer(runs.app, name="runs")
app.add_typer(adapters.app, name="adapters")
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("schema")(schema.schema)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"weitiao {__version__}")
        raise typer.Exit


@app.callback()
def weitiao(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Fine-tune pretrained language models on one ordinary machine, measured honestly.

    \b
    From a data file to a model you can use:
      weitiao init reviews.csv          look at the file, propose recipe.yaml
      weitiao recommend reviews.csv     which model, by which method, in which time
      weitiao audit reviews.csv         is it fit to train on?
      weitiao clean reviews.csv --out reviews-clean
                                        mend it, into new data
      weitiao check recipe.yaml         all that can be known before training
      weitiao train recipe.yaml         fine-tune, evaluate, write a report
      weitiao predict RUN "some text"   use the model
    """
    if world_size() > 1 and context.invoked_subcommand != "train":
        raise WeitiaoError(f"{world_size()} processes were started, and this command is for one",
                           where=f"weitiao {context.invoked_subcommand}",
                           fix="Start `weitiao train` by torchrun, all else by itself.")  # fmt: skip


def main() -> int:
    """Run the command line; return the exit code: 0 done, 1 a fault of ours, 2 bad input, 130 interrupted."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    debug = os.environ.get("WEITIAO_DEBUG", "0") not in ("", "0")
    if not debug:
        warnings.showwarning = _show_warning
    try:
        typer.main.get_command(app)(prog_name="weitiao")
    except WeitiaoError as error:
        if debug:
            traceback.print_exc()
        if first_to_tell(error):
            _tell(error)
        return error.exit_code
    except OSError as error:
        if debug:
            traceback.print_exc()
        where = f"{error.filename}: " if error.filename else ""
        if first_to_tell(error):
            _say(f"error: {where}{error.strerror or error}")
        return 2
    except Exception as error:
        if first_to_tell(error):
            _unexpected(error, debug)
        return 1
    finally:
        leave()
    return 0


def _tell(error: WeitiaoError) -> None:
    """Print where, the problem and the fix on lines of their own."""
    word = "interrupted" if isinstance(error, Interrupted) else "error"
    parts = [part for part in (error.where, error.problem, error.fix) if part]
    _say(f"{word}: " + "\n".join(parts).replace("\n", "\n  "))


def _unexpected(error: Exception, debug: bool) -> None:
    if debug:
        traceback.print_exc()
        return
    with tempfile.NamedTemporaryFile("w", prefix="weitiao-", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.write(f"weitiao {__version__}, Python {sys.version}\n{sys.argv}\n\n{traceback.format_exc()}")
    told = (str(error).splitlines() or [""])[0]
    _say(f"error: unexpected {type(error).__name__}: {told}")
    _say(f"  This is a fault in Weitiao. The traceback is in {file.name}; WEITIAO_DEBUG=1 shows it here.")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,  # noqa: ARG001 - the shape that `warnings` asks for
    lineno: int,  # noqa: ARG001
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    """Show our own warnings as a line; those of libraries only with WEITIAO_DEBUG=1."""
    if issubclass(category, WeitiaoWarning) and rank() == 0:
        _say(f"warning: {message}")


def _say(text: str) -> None:
    typer.echo(text, err=True)
