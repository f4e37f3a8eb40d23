"""The same tones, with what they say in Chinese, for a model of several languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.task_samples import automatic_speech_recognition as spoken
from tests.tiny import tiny_whisper

TEXTS = (
    "房间在左边", "把灯打开", "把窗户打开", "我的书在哪里",
    "我们喜欢这部电影", "中午给我打电话", "停在这里", "两杯咖啡和一杯茶",
)  # fmt: skip
TRAINING: dict[str, Any] = {"epochs": 120}


def rows() -> list[dict[str, Any]]:
    return [
        {"audio": row["audio"], "translation": text} for row, text in zip(spoken.rows(), TEXTS, strict=True)
    ]  # fmt: skip


def model(family: str, folder: Path) -> Path:
    return tiny_whisper(folder, TEXTS, multilingual=True, init_std=0.3)


def same(prediction: dict[str, Any], row: dict[str, Any]) -> bool:
    return prediction["text"] == row["translation"]
