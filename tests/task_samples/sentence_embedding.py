"""Eight texts without a label: their vectors are numbers of length 1, and no two of them are the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.samples import reviews

WHOLE_STEPS = True
TRAINING = {"epochs": 40, "learning_rate": 1e-3}
WIDTH = 32  # of the tiny encoder
_seen: dict[str, list[float]] = {}  # text -> its vector, since the first text was seen


def rows() -> list[dict[str, Any]]:
    return [{"text": text} for text, _ in reviews(8)]


def same(prediction: dict[str, Any], row: dict[str, Any]) -> bool:
    vector = prediction["vector"]
    if row == rows()[0]:
        _seen.clear()
    _seen[row["text"]] = vector
    others = [float(np.dot(vector, other)) for text, other in _seen.items() if text != row["text"]]
    return len(vector) == WIDTH and abs(float(np.linalg.norm(vector)) - 1) < 1e-4 and max(others, default=0) < 0.999
