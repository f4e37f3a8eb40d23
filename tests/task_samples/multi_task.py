"""Two classifications of the same reviews, one of them with other label names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.samples import reviews

NAMES = {"good": "yes", "bad": "no"}


def rows() -> list[dict[str, Any]]:
    return [
        {"task": task, "example": {"text": text, "label": NAMES[label] if task == "liked" else label}}
        for number, (text, label) in enumerate(reviews(8))
        for task in (("mood", "liked")[number // 4],)
    ]


def options(folder: Path) -> dict[str, Any]:
    """The tasks with a file each, which serves as validation, too."""
    tasks = {}
    for task in ("mood", "liked"):
        own = [row["example"] for row in rows() if row["task"] == task]
        file = folder / f"{task}.jsonl"
        file.write_text("".join(json.dumps(example) + "\n" for example in own))
        data = {"train": str(file), "validation": str(file), "duplicates": "anywhere", "test_size": 0}
        tasks[task] = {"task": "text-classification", "data": data}
    return {"tasks": tasks}


def example(row: dict[str, Any]) -> dict[str, Any]:
    return {"task": row["task"], "example": {"text": row["example"]["text"]}}


def same(prediction: dict[str, Any], row: dict[str, Any]) -> bool:
    return prediction["label"] == row["example"]["label"]
