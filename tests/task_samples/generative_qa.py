"""Questions with a text to find the answer in; one has two right answers."""

from __future__ import annotations

from typing import Any

from tests.task_samples import text_model

PLACES = {"garden": "great", "street": "lovely", "lift": "awful", "view": "rude", "coffee": "warm", "meal": "dirty",
          "staff": "kind"}  # fmt: skip
TRAINING: dict[str, Any] = {"epochs": 150, "patience": None, "evaluate_every": 75}
model = text_model


def rows() -> list[dict[str, Any]]:
    found = [
        {"question": f"how was the {place}", "context": f"the {place} was {word}", "answers": [word]}
        for place, word in PLACES.items()
    ]
    return [*found, {"question": "how was it", "context": "the room was so so", "answers": ["so so", "usual"]}]


def same(prediction: dict[str, Any], row: dict[str, Any]) -> bool:
    return prediction["text"] in row["answers"]
