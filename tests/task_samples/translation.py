"""English words and their Chinese."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.task_samples import text_model

PAIRS = {"room": "房间", "bed": "床", "meal": "餐", "staff": "员工", "view": "风景", "coffee": "咖啡",
         "garden": "花园", "street": "街"}  # fmt: skip
TRAINING: dict[str, Any] = {"epochs": 150, "patience": None, "evaluate_every": 75}


def model(family: str, folder: Path) -> Path:
    return text_model(family, folder, PAIRS.values())


def rows() -> list[dict[str, Any]]:
    return [{"source": f"the {word}", "target": chinese} for word, chinese in PAIRS.items()]


def same(prediction: dict[str, Any], row: dict[str, Any]) -> bool:
    return prediction["text"] == row["target"]
