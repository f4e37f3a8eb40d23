"""Two sentences and what they come down to, with a second summary that is as good."""

from __future__ import annotations

from typing import Any

from tests.task_samples import text_model

WORDS = {"great": "good", "lovely": "good", "awful": "bad", "rude": "bad", "plain": "usual", "clean": "good",
         "dirty": "bad", "average": "usual"}  # fmt: skip
TRAINING: dict[str, Any] = {"epochs": 150, "patience": None, "evaluate_every": 75}
model = text_model


def rows() -> list[dict[str, Any]]:
    return [
        {"text": f"the room was {word}. the bed was {word}, too.", "summary": f"all {kind}", "references": [kind]}
        for word, kind in WORDS.items()
    ]


def same(prediction: dict[str, Any], row: dict[str, Any]) -> bool:
    return prediction["text"] == row["summary"]
