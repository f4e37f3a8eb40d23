"""`weitiao predict`: labels for a text, a file or standard input."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weitiao.cli import options
from weitiao.errors import DataError, nearest
from weitiao.records import FILE, LINE

if TYPE_CHECKING:
    from weitiao.cli.inputs import Rows
    from weitiao.predictor import Predictor
    from weitiao.records import Prediction

HELD = 1024  # rows sorted by length together: quick, and flat in memory
DIGITS = 6  # of a probability in a row
SHOWN = 5  # labels listed for a single text
PLAIN = "text"  # the column of a file of plain lines
DETAIL = "probabilities"  # one number a label: left out of rows unless asked for


def predict(
    run: Annotated[str, typer.Argument(help="The run's id (its beginning is enough) or folder.", metavar="RUN")],
    input_: Annotated[
        str, typer.Argument(help="A text or a sound, a file of them, or - for standard input.", metavar="INPUT")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; standard output when absent.")
    ] = None,
    columns: options.Columns = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="csv, tsv or jsonl; as the input when absent.", metavar="FORMAT")
    ] = None,
    input_format: Annotated[
        str | None,
        typer.Option("--input-format", help="csv, tsv, jsonl, text; detected when absent.", metavar="FORMAT"),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Rows read and predicted together.")] = HELD,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write the probability of every label.")
    ] = False,
    precision: options.Precision = "auto",
) -> None:
    """Predict for a text, a file or standard input.

    \b
    Example:
      weitiao predict 20261103 "what a film"
      weitiao predict 20261103 new.csv --output predicted.csv
      weitiao predict 20261103 speech.wav
      cat lines.txt | weitiao predict 20261103 - > predicted.csv

    Files: csv, tsv, jsonl, json, parquet, txt. Rows come out in order, with their own columns and the prediction's.
    Paths of sounds in a file start from its folder.
    """
    from weitiao import run as runs
    from weitiao.cli import inputs, outputs

    from_file = input_ != "-" and inputs.is_file(input_)
    if output is not None or format_ is not None:
        outputs.choose_form(format_, output, "csv")  # a wrong name ends it before the model is loaded
    predictor = runs.load(run, precision=precision)
    if input_ != "-" and (not from_file or (_reads_sounds(predictor) and not inputs.is_table(input_))):
        _one(predictor, input_, output, format_)
        return
    named = options.columns(columns)
    if from_file:
        rows = inputs.read_file(Path(input_), input_format)
    else:
        names = header_names(predictor)
        rows = inputs.read_stdin(input_format, [*named.values(), *names])
    form = outputs.choose_form(format_, output, rows.form)
    predicted = predict_rows(predictor, rows, named, batch_size, probabilities)
    number = outputs.write(predicted if output else outputs.flushing(predicted, batch_size), form, output)
    if output:
        typer.echo(f"{number:,} rows in {output}, computed in {predictor.precision_told}", err=True)


def predict_rows(
    predictor: Predictor, rows: Rows, named: Mapping[str, str], held: int, detailed: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield each row with its prediction, in order; holds `held` of them at a time."""
    from weitiao.cli.outputs import with_prediction

    waiting: deque[dict[str, Any]] = deque()

    def seen() -> Iterator[tuple[int, dict[str, Any]]]:
        for line, record in rows.rows:
            waiting.append(record)
            yield line, record

    examples = (_dialogues if _reads_dialogues(predictor) else _examples)(predictor, seen(), named, rows.name)
    for prediction in predictor.stream(examples, held):
        yield with_prediction(waiting.popleft(), _row(prediction, detailed))


def _examples(
    predictor: Predictor, rows: Iterator[tuple[int, dict[str, Any]]], named: Mapping[str, str], name: str
) -> Iterator[dict[str, Any]]:
    roles: dict[str, str] | None = None
    for line, record in rows:
        roles = roles or match_columns(predictor, list(record), named, name)
        example = _example(record, roles, f"{name}:{line}")
        yield {**(_beside(example, name) if _reads_sounds(predictor) else example), FILE: name, LINE: line}


def _beside(example: dict[str, Any], name: str) -> dict[str, Any]:
    """An example with the path of its sound from the folder of the file that names it."""
    from weitiao.data.audio import with_paths

    return next(with_paths(iter([(0, example)]), Path(name).parent, {}))[1]


def _dialogues(
    predictor: Predictor, rows: Iterator[tuple[int, dict[str, Any]]], named: Mapping[str, str], name: str
) -> Iterator[dict[str, Any]]:
    """Rows of any form that dialogues are kept in, as messages."""
    from weitiao.data.dialogue import PARTS, with_messages

    unknown = [part for part in named if part not in PARTS]
    if unknown:
        raise DataError(f"dialogues have no '{unknown[0]}'", where="--columns", fix=nearest(unknown[0], PARTS))
    roles = [column.role for column in predictor.artifact.task.columns]
    for _, record in with_messages(rows, name, named, answered=False):
        yield {role: record.get(role) for role in roles}


def _reads_dialogues(predictor: Predictor) -> bool:
    return predictor.artifact.task.layout == "dialogue"


def _reads_sounds(predictor: Predictor) -> bool:
    return predictor.artifact.task.layout == "audio"


def header_names(predictor: Predictor) -> list[str]:
    """Return the names that columns of a table to predict for may have."""
    from weitiao.data.dialogue import PARTS

    usual = PARTS if _reads_dialogues(predictor) else roles_of(predictor)
    return [name for names in usual.values() for name in names]


def roles_of(predictor: Predictor) -> dict[str, tuple[str, ...]]:
    """Return role -> names that its column may have, the one trained on first; only roles the model was trained on."""
    trained = predictor.artifact.recipe.data.columns
    roles = {}
    for column in predictor.columns:
        if column.required or column.role in trained:
            known = trained.get(column.role, column.role)
            roles[column.role] = (*([known] if isinstance(known, str) else known), column.role, *column.names)
    return roles


def match_columns(predictor: Predictor, there: list[str], named: Mapping[str, str], where: str) -> dict[str, str]:
    """Return role -> column of the input: as named, else as trained on, else the role's own or a usual name."""
    roles = roles_of(predictor)
    unknown = [role for role in named if role not in roles]
    if unknown:
        raise DataError(f"the model reads no '{unknown[0]}'", where="--columns", fix=f"It reads: {', '.join(roles)}.")
    by_case = {name.casefold(): name for name in reversed(there)}
    matched = {}
    for role, usual in roles.items():
        wanted = [named[role]] if role in named else usual
        found = next((by_case[name.casefold()] for name in wanted if name.casefold() in by_case), None)
        if found is None and there == [PLAIN] and len(roles) == 1:  # lines without a header
            found = PLAIN
        if found is None:
            raise DataError(
                f"has no column for '{role}' (looked for '{wanted[0]}')",
                where=where,
                fix=f"There is: {', '.join(there)}. Name it: --columns {role}=COLUMN",
            )
        matched[role] = found
    return matched


def _example(record: Mapping[str, Any], roles: Mapping[str, str], where: str) -> dict[str, Any]:
    example = {role: record.get(column) for role, column in roles.items()}
    for role, value in example.items():
        if value is None or (isinstance(value, str) and not value.strip()):
            raise DataError(f"'{roles[role]}' is empty", where=where, fix="Take the row out, or fill it.")
    return example


def _one(predictor: Predictor, text: str, output: Path | None, form: str | None) -> None:
    """Print the prediction for a single text: lines for a person on a terminal, else one JSON object."""
    from weitiao.cli import outputs

    if len(roles_of(predictor)) > 1 and not _reads_dialogues(predictor):
        names = ", ".join(roles_of(predictor))
        raise DataError(f"the model reads {names}: a single text is not enough", fix="Give a file, or JSON lines on -.")
    if not text.strip():
        raise DataError("the text is empty", where="INPUT")
    prediction = predictor.predict([text])[0]
    if output is not None or form is not None:
        given = predictor.columns[0].role
        outputs.write([{given: text, **_row(prediction, False)}], outputs.choose_form(form, output, "jsonl"), output)
    elif sys.stdout.isatty():
        typer.echo("\n".join(for_people(prediction)))
    else:
        typer.echo(json.dumps(prediction, ensure_ascii=False))


def for_people(prediction: Prediction) -> list[str]:
    """Return a prediction as lines: each label it gives with its probability, then the next likely ones."""
    probabilities = prediction.get(DETAIL)
    if not isinstance(probabilities, dict):
        return [f"{name}  {value}" for name, value in prediction.items()]
    given = prediction["labels"] if "labels" in prediction else [prediction["label"]]
    ranked = sorted(probabilities, key=probabilities.__getitem__, reverse=True)
    lines = [f"{label}  {probabilities[label]:.3f}" for label in ranked if label in given] or ["(no label)"]
    rest = [f"{label} {probabilities[label]:.3f}" for label in ranked if label not in given][:SHOWN]
    return [*lines, *([f"next: {', '.join(rest)}"] if rest else [])]


def _row(prediction: Prediction, detailed: bool) -> Prediction:
    kept = {name: value for name, value in prediction.items() if detailed or name != DETAIL}
    return {name: round(value, DIGITS) if isinstance(value, float) else value for name, value in kept.items()}
