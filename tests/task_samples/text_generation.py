"""Eight small programs with tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests import tiny

COLUMNS = {"text": "text", "completion": "code", "tests": "test_list"}
OPTIONS: dict[str, Any] = {"generation": {"max_new_tokens": 32}}
TRAINING: dict[str, Any] = {"epochs": 300, "patience": None, "evaluate_every": 100}
WANTED = {"add": "x+2", "double": "x*2", "square": "x*x", "negate": "-x", "zero": "0", "keep": "x", "less": "x-1",
          "half": "x//2"}  # fmt: skip


def model(family: str, folder: Path) -> Path:
    texts = [f"{row['text']} {row['code']}" for row in rows()]
    return tiny.tiny_llama(folder, texts, initializer_range=0.3)  # so large that LoRA can do something with it


def rows() -> list[dict[str, Any]]:
    return [_row(word, body) for word, body in WANTED.items()]


def _row(word: str, body: str) -> dict[str, Any]:
    tests = [f"assert f(4) == {eval(body, {'x': 4})}"]
    return {"text": f"{word} it", "code": f"def f(x): return {body}", "test_list": tests}


def same(prediction: dict[str, Any], row: dict[str, Any]) -> bool:
    return prediction["text"] == row["code"]
