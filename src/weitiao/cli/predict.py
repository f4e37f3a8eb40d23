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
from weitiao.errors import DataError

if TYPE_CHECKING:
    from weitiao.cli.inputs import Rows
    from weitiao.predictor import Predictor
    from weitiao.records import Prediction

HELD = 1024  # rows sorted by length together: quick, and flat in memory
DIGITS = 6  # of a probability in a row
SHOWN = 5  # labels listed for a single text
DETAIL = "probabilities"  # one number a label: left out of rows unless asked for


def predict(
    run: Annotated[str, typer.Argument(help="The run's id (its beginning is enough) or folder.", metavar="RUN")],
    input_: Annotated[str, typer.Argument(help="A text, a file, or - for standard input.", metavar="INPUT")],
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
) -> None:
    """Predict for a text, a file or standard input.

    \b
    Example:
      weitiao predict 20261103 "what a film"
      weitiao predict 20261103 new.csv --output predicted.csv
      cat lines.txt | weitiao predict 20261103 - > predicted.csv

    Files: csv, tsv, jsonl, json, parquet, txt. Rows come out in order, with their own columns and the prediction's.
    """
    from weitiao import run as runs
    from weitiao.cli import inputs, outputs

    from_file = input_ != "-" and inputs.is_file(input_)
    if output is not None or format_ is not None:
        outputs.choose_form(format_, output, "csv")  # a wrong name ends it before the model is loaded
    predictor = runs.load(run)
    if input_ != "-" and not from_file:
        _one(predictor, input_, output, format_)
        return
    named = options.columns(columns)
    if from_file:
        rows = inputs.read_file(Path(input_), input_format)
    else:
        names = [name for usual in roles_of(predictor).values() for name in usual]
        rows = inputs.read_stdin(input_format, [*named.values(), *names])
    form = outputs.choose_form(format_, output, rows.form)
    predicted = predict_rows(predictor, rows, named, batch_size, probabilities)
    number = outputs.write(predicted if output else outputs.flushing(predicted, batch_size), form, output)
    if output:
        typer.echo(f"{number:,} rows in {output}", err=True)


def predict_rows(
    predictor: Predictor, rows: Rows, named: Mapping[str, str], held: int, detailed: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield each row with its prediction, in order; holds `held` of them at a time."""
    from weitiao.cli.outputs import with_prediction

    waiting: deque[dict[str, Any]] = deque()

    def examples() -> Iterator[dict[str, Any]]:
        roles: dict[str, str] | None = None
        for line, record in rows.rows:
            roles = roles or match_columns(predictor, list(record), named, rows.name)
            waiting.append(record)
            yield _example(record, roles, f"{rows.name}:{line}")

    for prediction in predictor.stream(examples(), held):
        yield with_prediction(waiting.popleft(), _row(prediction, detailed))


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

    if len(roles_of(predictor)) > 1:
        names = ", ".join(roles_of(predictor))
        raise DataError(f"the model reads {names}: a single text is not enough", fix="Give a file, or JSON lines on -.")
    if not text.strip():
        raise DataError("the text is empty", where="INPUT")
    prediction = predictor.predict([text])[0]
    if output is not None or form is not None:
        outputs.write([{"text": text, **_row(prediction, False)}], outputs.choose_form(form, output, "jsonl"), output)
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
