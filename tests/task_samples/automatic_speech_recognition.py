"""Tones of eight pitches, each with something to say: samples beside their rate, as whole numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.tiny import tiny_whisper

RATE = 16_000
TEXTS = (
    "the room is on the left", "turn on the light", "open the window", "where is my book",
    "we liked the film", "call me at noon", "stop here", "two coffees and a tea",
)  # fmt: skip
PITCHES = (150, 250, 400, 650, 1000, 1600, 2500, 4000)
TRAINING: dict[str, Any] = {"epochs": 120}


def rows() -> list[dict[str, Any]]:
    return [{"audio": tone(pitch), "text": text} for pitch, text in zip(PITCHES, TEXTS, strict=True)]


def tone(pitch: float, seconds: float = 0.4) -> dict[str, Any]:
    """A tone as somebody gives it in JSON lines."""
    wave = np.sin(2 * np.pi * pitch * np.arange(int(seconds * RATE)) / RATE)
    return {"array": (12_000 * wave).astype(int).tolist(), "sampling_rate": RATE}


def model(family: str, folder: Path) -> Path:
    return tiny_whisper(folder, TEXTS, init_std=0.3)


def same(prediction: dict[str, Any], row: dict[str, Any]) -> bool:
    return prediction["text"] == row["text"]
