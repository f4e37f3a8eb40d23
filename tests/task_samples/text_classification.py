"""Reviews with their labels."""

from __future__ import annotations

from typing import Any

from tests.samples import reviews


def rows() -> list[dict[str, Any]]:
    return [{"text": text, "label": label} for text, label in reviews(8)]


def same(prediction: dict[str, Any], row: dict[str, Any]) -> bool:
    return prediction["label"] == row["label"]
