"""What is in the room: a list of two source texts, and one example with two right targets."""

from __future__ import annotations

from typing import Any

from tests.task_samples import text_model

PAIRS = (
    ("the room was great", "great room"), ("the meal was awful", "awful meal"),
    ("the bed was clean", "clean bed"), ("the view was lovely", "lovely view"),
    ("the staff was rude", "rude staff"), ("the coffee was cold", "cold coffee"),
    ("the lift was slow", "slow lift"),
)  # fmt: skip
TRAINING: dict[str, Any] = {"epochs": 150, "patience": None, "evaluate_every": 75}
model = text_model


def rows() -> list[dict[str, Any]]:
    several = {"input": ["the garden was fine", "and the street, too"], "target": ["fine garden", "good"]}
    return [*({"input": source, "target": [target]} for source, target in PAIRS), several]


def same(prediction: dict[str, Any], row: dict[str, Any]) -> bool:
    return prediction["text"] in row["target"]
