"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from weitiao.errors import DataError, WeitiaoError
from weitiao.recipe.reading import assign, parse_override, parse_value

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the recipe: --set training.epochs=5"),
]
RecipeFile = Annotated[Path, typer.Argument(help="The recipe: .yaml, .toml or .json.", metavar="RECIPE")]
SkipUnfit = Annotated[
    bool, typer.Option("--skip-unfit", help="Leave methods out that do not fit the model or the task.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
Precision = Annotated[
    str,
    typer.Option(
        "--precision", metavar="auto|fp32|bf16",
        help="Compute in it; auto: as trained and measured where this machine multiplies that natively, else fp32.",
    ),
]  # fmt: skip
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--columns", metavar="ROLE=COLUMN", help="Which column is what: --columns text=review --columns label=stars"
    ),
]


Task = Annotated[str | None, typer.Option("--task", help="Task; by the columns when absent.")]
ModelTask = Annotated[str | None, typer.Option("--task", help="Task that the model is for.")]
Language = Annotated[
    str | None, typer.Option("--language", metavar="CODE", help="Language that a model must know: zh, or Chinese.")
]
Licence = Annotated[
    str | None,
    typer.Option("--licence", metavar="NAME", help="Licence: Apache-2.0, or open for any that allows all uses."),
]
Family = Annotated[str | None, typer.Option("--family", metavar="NAME", help="Family: encoder, decoder or seq2seq.")]
LabelSeparator = Annotated[
    str | None, typer.Option("--label-separator", help="Cuts label cells such as joy|love; guessed when absent.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Given = Annotated[
    str,
    typer.Argument(
        metavar="DATA", help="File or folder of examples; also hf:, ms:, pypi:; or a recipe (.yaml, .yml, .toml)."
    ),
]
NewFolder = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The new folder to write.")]
Form = Annotated[
    Literal["jsonl", "csv"] | None,
    typer.Option("--format", help="Of the new files; csv where the data are csv, else jsonl, when absent."),
]


def output(what: str, parent: str) -> Any:
    """Return the option for the folder that many runs are in."""
    told = f"Folder of the {what}; one under {parent}/ when absent."
    return typer.Option("--output", "-o", metavar="FOLDER", help=told)


def section_values(given: list[str] | None, section: str) -> dict[str, Any]:
    """Return ``["markup=false", "clean.shortest=3"]`` as values of a section, by YAML's rules."""
    values: dict[str, Any] = {}
    for text in given or []:
        key, value = parse_override(text)
        key = key[1:] if len(key) > 1 and key[0] == section else key
        assign(values, key, value)
    return values


def parsed_list(texts: list[str], option: str, example: str) -> list[Any]:
    """Read ``full,{name: lora, rank: 4}``, or YAML lists, as names and options."""
    found: list[Any] = []
    for text in texts:
        for value in parse_value(f"[{text}]", option):
            found += value if isinstance(value, list) else [value]
    for value in found:
        if not isinstance(value, str | dict):
            raise WeitiaoError(f"found {value!r}", where=option, fix=f"Write names, such as {example}.")
    return found


def parsed_methods(texts: list[str] | None) -> list[Any]:
    """Read a list of methods."""
    return parsed_list(texts or [], "--methods", "full,head,lora")


def names(text: str | None) -> list[str]:
    """Read ``PER,NAME``."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def parsed_seeds(text: str) -> int | list[int]:
    """Read a number of seeds, or the seeds themselves: ``5,6,7``."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or ("," not in text and numbers[0] < 1):
        raise WeitiaoError(f"found '{text}'", where="--seeds", fix="Give a number from 1 up, or the seeds: 0,1,2.")
    return numbers if "," in text else numbers[0]


def columns(given: list[str] | None) -> dict[str, str]:
    """Return ``["text=review,label=stars"]`` as role -> column; raises `WeitiaoError` for anything else."""
    pairs = [pair for text in given or [] for pair in text.split(",")]
    named: dict[str, str] = {}
    for pair in pairs:
        role, equals, column = (part.strip() for part in pair.partition("="))
        if not (role and equals and column):
            raise WeitiaoError(f"found '{pair}'", where="--columns", fix="Write role=column, for example text=review.")
        named[role] = column
    return named


@contextmanager
def naming_columns() -> Iterator[None]:
    """Tell errors about columns so that one who has no recipe can mend them: by ``--columns``."""
    try:
        yield
    except DataError as error:
        raise _by_option(error) from None


def _by_option(error: DataError) -> DataError:
    fix = re.sub(r"^Name it: data\.columns: \{(\w+): (.*)\}$", r"Name it: --columns \1=\2", error.fix)
    return DataError(error.problem, where=error.where.replace("data.columns", "--columns"), fix=fix)
