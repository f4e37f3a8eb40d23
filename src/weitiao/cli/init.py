"""`weitiao init`: look at a data file and propose a commented recipe."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weitiao.cli import options
from weitiao.errors import DataError, WeitiaoError

if TYPE_CHECKING:
    from datasets import Dataset

    from weitiao.cli.proposal import Look
    from weitiao.data.columns import ChosenColumns
    from weitiao.data.table import Table
    from weitiao.recipe import Recipe

TEXTS = 500  # texts whose language is looked at


def init(
    data: Annotated[str, typer.Argument(help="File or folder of examples; also hf:, ms:, pypi:.", metavar="DATA")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The recipe to write.")] = Path("recipe.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Write over a recipe that is there.")] = False,
    model: Annotated[
        str | None, typer.Option("--model", help="Model to start from; by the text's language when absent.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="Task; by the columns when absent.")] = None,
    columns: options.Columns = None,
) -> None:
    """Look at a data file and propose a commented recipe.

    \b
    Example:
      weitiao init reviews.csv
      weitiao init reviews.csv --output cn.yaml --model intfloat/multilingual-e5-small
    """
    from weitiao.cli import proposal, show

    if output.suffix.lower() not in (".yaml", ".yml"):
        raise WeitiaoError(f"'{output}' does not end in .yaml", where="--output", fix="Proposed recipes are YAML.")
    if output.exists() and not force:
        raise WeitiaoError("is there already", where=str(output), fix="--force writes over it; --output names another.")
    found, notes = look_at(data, output.parent, task, options.columns(columns))
    text = proposal.propose(found, model, _weights(model))
    recipe = _write(text, output)
    show.table(proposal.facts(found, recipe.model.source))
    for note in notes:
        typer.echo(note)
    typer.echo(f"wrote {output}; next: weitiao check {output}")


def look_at(data: str, folder: Path, task: str | None, named: dict[str, str]) -> tuple[Look, list[str]]:
    """Read the data and guess what a recipe in `folder` needs to say; also return notes for people.

    Raises `SourceError` or `DataError` where the data cannot be read or no column fits.
    """
    from weitiao import registry
    from weitiao.cli.proposal import Look
    from weitiao.data.guess import guess_separator
    from weitiao.data.labels import label_counts

    task, table, chosen = _choose(data, task, named)
    separator = guess_separator(table, chosen)
    counts = label_counts(_renamed(table, chosen, separator)) if "label" in chosen.names else {}
    if counts:
        _refuse_free_text(counts, len(table.dataset), chosen)
    neighbours, notes = _neighbours(data, chosen)
    chinese, foreign = _scripts(_texts(table, chosen))
    used = [name for value in chosen.names.values() for name in ([value] if isinstance(value, str) else value)]
    found = Look(
        task=task,
        train=_seen_from(folder, data),
        rows=len(table.dataset),
        columns=chosen.names,
        how=chosen.how,
        others=[name for name in table.columns if name not in used],
        labels=_sorted(counts),
        chinese=chinese,
        foreign=foreign,
        neighbours={split: _seen_from(folder, path) for split, path in neighbours.items()},
        separator=separator,
        writes="encoder" not in registry.get("task", task).families,
    )
    findings = [*table.notes, *chosen.findings]
    return found, [f"{f.level}: {f}" for f in findings] + notes


def _choose(data: str, task: str | None, named: dict[str, str]) -> tuple[str, Table, ChosenColumns]:
    """Return the task wanted, or the one the data looks made for, with the table as it reads it and its columns."""
    from weitiao import registry
    from weitiao.data.columns import choose_columns
    from weitiao.data.guess import guess_task
    from weitiao.data.table import laid_out, open_table

    if task is None:
        task = guess_task(open_table(data), named)
    kind = registry.get("task", task)
    if kind.Options.brings_data:
        raise WeitiaoError(f"a recipe for '{task}' names data for each of its tasks", where="--task",
                           fix="Start from recipes/multi-task.yaml.")  # fmt: skip
    table = open_table(data, layout=kind.layout, named=named)
    with options.naming_columns():
        return task, table, choose_columns(table, kind.columns, laid_out(kind.layout, named), where="--columns")


def _renamed(table: Table, chosen: ChosenColumns, separator: str | None) -> Dataset:
    from weitiao.data.labels import rename
    from weitiao.recipe import DataSettings

    return rename(table, {"label": chosen.names["label"]}, DataSettings(train=table.name, label_separator=separator))


def _refuse_free_text(counts: dict[str, int], rows: int, chosen: ChosenColumns) -> None:
    if len(counts) > max(20, rows / 2):
        raise DataError(
            f"'{chosen.names['label']}' has {len(counts):,} different values in {rows:,} rows: these are no labels",
            where="--columns",
            fix="Name the column that holds the labels: --columns label=COLUMN",
        )


def _sorted(counts: dict[str, int]) -> dict[str, int]:
    """Labels as a run sorts them: numbers by value, then names."""

    def key(label: str) -> tuple[bool, float, str]:
        number = re.fullmatch(r"[-+]?\d+(\.\d+)?", label) is not None
        return (not number, float(label) if number else 0.0, label)

    return {label: counts[label] for label in sorted(counts, key=key)}


def _neighbours(data: str, chosen: ChosenColumns) -> tuple[dict[str, str], list[str]]:
    """Return split -> path of the validation and test data beside the training data, and notes on what was left out."""
    from weitiao.data.table import open_table

    found, notes = {}, []
    for split, path in _candidates(Path(data)).items():
        try:
            columns = open_table(path, limit=100).columns
        except WeitiaoError as error:
            notes.append(f"note: {path} is not used for {split}: {error.problem}")
            continue
        wanted = [name for value in chosen.names.values() for name in ([value] if isinstance(value, str) else value)]
        missing = [name for name in wanted if name not in columns]
        if missing:
            notes.append(f"note: {path} is not used for {split}: it has no column '{missing[0]}'")
        else:
            found[split] = path
    return found, notes


def _candidates(path: Path) -> dict[str, str]:
    """Return split -> file or folder whose name differs from the training data's in the split's name alone."""
    from weitiao.data.formats.detect import split_of, splits_in

    if path.is_dir():
        inside = splits_in(path)
        return {split: f"{path}/{split}" for split in ("validation", "test") if split in inside}
    if not path.is_file() or split_of(path.name) != "train":
        return {}
    found: dict[str, str] = {}
    for file in sorted(path.parent.iterdir()):
        split = split_of(file.name)
        if split in ("validation", "test") and file.is_file() and _besides_split(file) == _besides_split(path):
            found.setdefault(split, str(file))
    return found


def _besides_split(path: Path) -> tuple[list[str], str]:
    from weitiao.data.formats.detect import split_of

    words = [word for word in re.split(r"[^a-z]+", path.stem.lower()) if word and split_of(word) is None]
    return words, path.suffix.lower()


def _texts(table: Table, chosen: ChosenColumns) -> str:
    """Some of the texts, spread over the file, as one."""
    column = next((name for name in chosen.names.values() if isinstance(name, str)), None)
    if column is None:
        return ""
    step = max(1, len(table.dataset) // TEXTS)
    return " ".join(str(text)[:1000] for text in table.dataset[::step][column])


def _scripts(text: str) -> tuple[float, float]:
    """Return the shares of Chinese characters and of letters that are neither Chinese nor Latin."""
    chinese = len(re.findall(r"[\u3400-\u9fff\uf900-\ufaff]", text))
    latin = len(re.findall(r"[A-Za-z\u00c0-\u024f]", text))
    letters = sum(character.isalpha() for character in text) or 1
    return chinese / letters, max(0, letters - chinese - latin) / letters


def _seen_from(folder: Path, data: str) -> str:
    """Return a path as a recipe in `folder` must write it; what is no local path stays as it is."""
    path = Path(data)
    if path.is_absolute() or not path.exists():
        return data
    return Path(os.path.relpath(path, folder)).as_posix()


def _weights(model: str | None) -> int:
    """Return the bytes of a local model folder's weights; 0 where they are not known."""
    folder = Path(model) if model else None
    if folder is None or not folder.is_dir():
        return 0
    return sum(file.stat().st_size for pattern in ("*.safetensors", "*.gguf") for file in folder.glob(pattern))


def _write(text: str, output: Path) -> Recipe:
    """Write the recipe once it is known to read back; return it."""
    from weitiao.recipe import Recipe

    if not output.parent.is_dir():
        raise WeitiaoError(f"the folder {output.parent} does not exist", where="--output")
    beside = output.with_name(f".{output.stem}.writing{output.suffix}")
    try:
        beside.write_text(text, encoding="utf-8")
        recipe = Recipe.read(beside)
        beside.replace(output)
    finally:
        beside.unlink(missing_ok=True)
    return recipe
