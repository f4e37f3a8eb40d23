"""Two numbers for each review: how good it is, and how long the visit was."""

from __future__ import annotations

from typing import Any

from tests.samples import reviews

COLUMNS = {"text": "text", "target": ["mood", "visit"]}
OPTIONS = {"metric": "rmse"}  # Spearman's correlation is 1.0 long before the numbers are right

TRAINING = {"epochs": 800, "evaluate_every": 100}  # dropout leaves noise in numbers that a label would hide


def rows() -> list[dict[str, Any]]:
    return [
        {"text": text, "mood": (1.5 if label == "good" else -0.5) + 0.1 * number, "visit": 100 + 10 * (number % 4)}
        for number, (text, label) in enumerate(reviews(8))
    ]


def same(prediction: dict[str, Any], row: dict[str, Any]) -> bool:
    near = {"mood": 0.3, "visit": 5.0}  # visits are 10 apart
    return all(abs(prediction["values"][target] - row[target]) < near[target] for target in near)
