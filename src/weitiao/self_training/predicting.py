"""A model's guesses of a whole pool, on the disk as they are made: what was stopped goes on from there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from weitiao.inspection import load
from weitiao.predictor import CHUNK, Predictor
from weitiao.records import Example
from weitiao.self_training.choosing import Guess, guess_of

Tell = Callable[[int, int], None]  # (rows that are predicted, of how many)


def guesses_of(model: Path, pool: Sequence[Example], kept: Path, tell: Tell) -> list[Guess]:
    """Return what the model of a run says of each row. `kept` is a file of one line a row that is added to as they are
    predicted; what stands there is not predicted again. `tell` is called after each `CHUNK` of rows, and may raise.
    """  # fmt: skip
    found = _read(kept)
    found = found[: len(found) if len(found) == len(pool) else len(found) // CHUNK * CHUNK]
    if len(found) == len(pool):
        return found
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text("".join(map(_line, found)), encoding="utf-8")
    predictor = load(model)
    with kept.open("a", encoding="utf-8") as file:
        for some in _chunks(predictor, pool, len(found)):
            file.write("".join(map(_line, some)))
            file.flush()
            os.fsync(file.fileno())
            found += some
            tell(len(found), len(pool))
    return found


def _chunks(predictor: Predictor, pool: Sequence[Example], start: int) -> Iterator[list[Guess]]:
    for at in range(start, len(pool), CHUNK):
        yield [guess_of(prediction) for prediction in predictor.predict(pool[at : at + CHUNK])]


def _line(guess: Guess) -> str:
    return json.dumps(asdict(guess), ensure_ascii=False) + "\n"


def _read(kept: Path) -> list[Guess]:
    """The whole lines of a file: the last may be cut short."""
    if not kept.exists():
        return []
    lines = kept.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    return [Guess(**json.loads(line)) for line in lines]
