"""A labelling project of a few rows, without a model: for tests."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from weitiao.labelling.desk import Desk, Given
from weitiao.labelling.project import Project, open_project
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
