"""`weitiao init` tells the task by the columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from weitiao.data.guess import guess_task
from weitiao.data.table import open_table

TURNS = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]
ROWS: dict[str, list[dict[str, Any]]] = {
    "text-classification": [{"text": f"a text {i}", "label": "yes" if i % 2 else "no"} for i in range(8)],
    "text-regression": [{"text": f"a text {i}", "score": i / 7} for i in range(40)],
    "token-classification": [{"tokens": ["Bonn", "lies"], "tags": ["B-LOC", "O"]}] * 3,
    "question-answering": [{"question": "Who?", "context": "Ada wrote.", "answers": ["Ada"], "answer_start": [0]}] * 3,
    "generative-qa": [{"question": "Who wrote?", "answer": "Ada"}] * 3,
    "summarization": [{"article": "A long text. It goes on.", "summary": "A text."}] * 3,
    "translation": [{"en": "Good day", "zh": "你好"}] * 3,
    "text2text-generation": [{"input": "3", "target": "three"}] * 3,
    "chat": [{"messages": TURNS}] * 3,
    "text-generation": [{"text": "Add two numbers.", "code": "def f(): ...", "test_list": ["assert f"]}] * 3,
    "language-modeling": [{"text": f"Document {i} is about nothing."} for i in range(8)],
}


@pytest.mark.parametrize("task", ROWS)
def test_the_task_is_told_by_the_columns(task: str, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS[task]), encoding="utf-8")
    assert guess_task(open_table(str(path)), {}) == task


def test_named_roles_count(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("review,joy\na text,1\nanother,2\n")
    assert guess_task(open_table(str(path)), {"text": "review", "target": "joy"}) == "text-regression"
