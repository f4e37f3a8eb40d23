"""Where predictions go: csv, tsv or jsonl rows, to standard output or, all or nothing, to a file."""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

from weitiao.errors import DataError, WeitiaoError, nearest

Row = dict[str, Any]
FORMS = ("csv", "tsv", "jsonl")
SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
LABELS_JOINED_BY = "|"


class RowWriter(Protocol):
    """Writes rows one after the other."""

    def write(self, row: Row) -> None:
        """Write one row."""


class JsonlWriter:
    """One JSON object a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, row: Row) -> None:
        """Write one row."""
        self._stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


class CsvWriter:
    """Delimited rows; the first row's keys are the header. Lists are joined by ``|``, objects written as JSON."""

    def __init__(self, stream: TextIO, delimiter: str) -> None:
        self._writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
        self._header: list[str] | None = None

    def write(self, row: Row) -> None:
        """Write one row; a `DataError` when it has a column that the first one lacks."""
        if self._header is None:
            self._header = list(row)
            self._writer.writerow(self._header)
        unknown = [name for name in row if name not in self._header]
        if unknown:
            raise DataError(
                f"a row has '{unknown[0]}', which the first row has not",
                fix="Rows with different keys fit in JSON lines: --format jsonl",
            )
        self._writer.writerow([_cell(row.get(name)) for name in self._header])


def writer(form: str, stream: TextIO) -> RowWriter:
    """Return a writer of `form` (see `FORMS`)."""
    return JsonlWriter(stream) if form == "jsonl" else CsvWriter(stream, "\t" if form == "tsv" else ",")


def choose_form(wanted: str | None, output: Path | None, input_form: str) -> str:
    """Return the form to write: as asked, else by the output's suffix, else like the input."""
    if wanted is not None:
        if wanted not in FORMS:
            raise WeitiaoError(f"unknown format '{wanted}'", where="--format", fix=nearest(wanted, FORMS))
        return wanted
    if output is not None and output.suffix:
        form = SUFFIXES.get(output.suffix.lower())
        if form is None:
            raise WeitiaoError(
                f"the suffix '{output.suffix}' says no format that predictions are written in",
                where=f"--output {output}",
                fix="End the name in .csv, .tsv or .jsonl, or give --format.",
            )
        return form
    return input_form if input_form in FORMS else "jsonl" if input_form in ("json", "parquet") else "csv"


def with_prediction(record: Row, prediction: Row) -> Row:
    """Return the input's own columns and the prediction's; a name that is taken gets ``predicted_`` before it."""
    row = dict(record)
    for name, value in prediction.items():
        free = name
        while free in row:
            free = f"predicted_{free}"
        row[free] = value
    return row


def write(rows: Iterable[Row], form: str, output: Path | None) -> int:
    """Write all rows to `output`, or to standard output when it is None; return how many there were."""
    number = 0
    with _opened(output) as stream:
        sink = writer(form, stream)
        for row in rows:
            sink.write(row)
            number += 1
    return number


def flushing(rows: Iterable[Row], every: int) -> Iterator[Row]:
    """Yield rows, sending on what standard output holds after each `every` of them."""
    for number, row in enumerate(rows):
        if number % every == 0:
            sys.stdout.flush()
        yield row


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    if not output.parent.is_dir():
        raise WeitiaoError(f"the folder {output.parent} does not exist", where=f"--output {output}")
    handle, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
    beside = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        beside.chmod(0o666 & ~_umask())
        beside.replace(output)
    finally:
        beside.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _cell(value: Any) -> Any:
    if isinstance(value, list) and all(not isinstance(item, dict | list) for item in value):
        return LABELS_JOINED_BY.join(map(str, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
