"""A labelling project of a few rows, without a model, and rounds as if there had been one: for tests."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from weitiao.labelling.desk import Desk, Given
from weitiao.labelling.project import Project, open_project
from weitiao.labelling.rounds import Round, Rounds
from weitiao.recipe import Recipe

TEXTS = (
    "the room was great",
    "the room was rude",
    "这家酒店很好 😀",
    "<b>so so</b>",
    "the room was great",
    "a bad meal",
)


def pool(folder: Path, texts: tuple[str, ...] = TEXTS, column: str = "text", name: str = "pool.csv") -> Path:
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([(column,), *((text,) for text in texts)])
    return path


def recipe(folder: Path, task: Any = "text-classification", **data: Any) -> Recipe:
    values = {"task": task, "model": "no-such-model", "data": {"train": str(folder / "pool.csv"), **data}}
    (folder / "recipe.json").write_text(json.dumps(values))
    return Recipe.read(folder / "recipe.json")


def project(
    folder: Path, task: Any = "text-classification", labels: tuple[str, ...] = ("good", "bad"), **options: Any
) -> Project:
    """A project of `TEXTS` in `folder`."""
    source = options.pop("source", None) or pool(folder)
    data = options.pop("data", {})
    return open_project(str(source), recipe(folder, task, **data), folder=folder / "labels/pool", labels=labels,
                        **options)  # fmt: skip


def desk(folder: Path, *words: Any, **options: Any) -> Desk:
    return Desk(project(folder, *words, **options), trains=False)


def give(desk: Desk, text: str, answer: Any, annotator: str = "anna", act: Any = "label", **more: Any) -> None:
    """Say something of the first row with a text."""
    row = next(row for row in desk.project.pool if row.text == text)
    desk.take(Given(act, annotator, row.id, answer=answer, **more))


def accuracy(rows: int) -> float:
    """What a model has that was trained on so many."""
    return 0.9 - 0.4 * (rows / 50) ** -0.7


def finished(project: Project, number: int, rows: int, **more: Any) -> None:
    """Write a round as one that came to its end."""
    score = accuracy(rows)
    measured = {"name": "accuracy", "score": score, "low": score - 0.02, "high": score + 0.02, "examples": 1000,
                "split": "test", **more}  # fmt: skip
    Rounds(project, project.state, trains=False)._note(Round(number, rows, rows, "finished", seconds=9.0, **measured))


def guessed(project: Project, text: str, guess: Any) -> None:
    """Write a queue as a round leaves it: the first row with a text, and the model's guess."""
    row = next(row.id for row in project.pool if row.text == text)
    home = project.rounds / "001"
    home.mkdir(parents=True, exist_ok=True)
    queue = {"number": 1, "strategy": "margin", "rows": [row], "guesses": {row: guess}}
    (home / "queue.json").write_text(json.dumps(queue), encoding="utf-8")
