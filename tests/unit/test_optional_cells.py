"""Cells that may be empty: a question without an answer, a dialogue without tools, a program without imports."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.task_samples import sample_of, text_model
from weitiao import Recipe, evaluate, load, train
from weitiao.errors import DataError
from weitiao.tasks.chat import Chat

Rows = list[dict[str, Any]]


def questions() -> Rows:
    """As a table has them: the eighth question has no answer."""
    rows = sample_of("question-answering").rows()
    return [{"question": r["question"], "context": r["context"], "answer": (r["answers"] or [""])[0]} for r in rows]


def dialogues() -> Rows:
    return [{"tools": None, **row} for row in sample_of("chat").rows()]


def programs() -> Rows:
    rows = sample_of("text-generation").rows()
    return [{**row, "test_setup_code": "import math" if row is rows[0] else ""} for row in rows]


def written(path: Path, rows: Rows) -> str:
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            out = csv.DictWriter(file, list(rows[0]))
            out.writeheader()
            out.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


CASES = {
    "question-answering": ("encoder", questions, "questions.csv", None),
    "chat": ("decoder", dialogues, "dialogues.jsonl", "tools"),
    "text-generation": ("decoder", programs, "programs.jsonl", "test_setup_code"),
}


@pytest.mark.parametrize("task", CASES)
def test_empty_optional_cells_are_learned_measured_and_no_fault(
    task: str, tmp_path: Path, tiny_model: Callable[[str], Path]
) -> None:
    family, rows, name, optional = CASES[task]
    data, sample = written(tmp_path / name, rows()), sample_of(task)
    own = sample.model(family, tmp_path / "model") if hasattr(sample, "model") else tiny_model(family)
    run = train(Recipe(
        task={"name": task, **getattr(sample, "OPTIONS", {})}, model=str(own),
        data={"train": data, "validation": data, "test_size": 0, "duplicates": "anywhere"},
        training={"epochs": 1, "batch_size": 8}, evaluation={"bootstrap": 0, "baselines": False},
        output=str(tmp_path / "run"),
    ))  # fmt: skip
    assert "with an empty" not in (run.folder / "events.jsonl").read_text()
    assert evaluate(run.folder, data).scores.examples == 8
    if optional is not None:
        without = [{role: cell for role, cell in row.items() if role != optional} for row in rows()[:4]]
        assert evaluate(run.folder, written(tmp_path / f"without-{name}", without)).scores.examples == 4
    else:
        unlabelled = [{"question": row["question"], "context": row["context"]} for row in rows()]
        with pytest.raises(DataError, match="is the answers"):
            evaluate(run.folder, written(tmp_path / "without.jsonl", unlabelled))


def test_a_part_of_the_input_that_was_trained_on_is_asked_for(tmp_path: Path) -> None:
    rows = [{**row, "context": f"page {i}"} for i, row in enumerate(sample_of("generative-qa").rows())]
    run = train(Recipe(
        task={"name": "generative-qa", "generation": {"max_new_tokens": 4}},
        model=str(text_model("decoder", tmp_path / "model")),
        data={"train": written(tmp_path / "rows.jsonl", rows), "validation_size": 0, "test_size": 0},
        training={"epochs": 1, "batch_size": 8}, evaluation={"bootstrap": 0, "baselines": False},
        output=str(tmp_path / "run"),
    ))  # fmt: skip
    with pytest.raises(DataError, match="example 1 has no context"):
        load(run.artifact).predict([{"question": rows[0]["question"]}])


def test_packing_is_tried_on_the_loaded_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    monkeypatch.setattr("weitiao.tasks.packing.check_packing", looked.append)
    sample = sample_of("chat")
    train(Recipe(
        task={"name": "chat", "packing": True, **sample.OPTIONS},
        model=str(sample.model("decoder", tmp_path / "model")),
        data={"train": written(tmp_path / "rows.jsonl", dialogues()), "validation_size": 0, "test_size": 0},
        training={"epochs": 1, "batch_size": 8}, evaluation={"bootstrap": 0, "baselines": False},
        output=str(tmp_path / "run"),
    ))  # fmt: skip
    assert [type(model).__name__ for model in looked] == ["LlamaForCausalLM"]
    Chat(Chat.Options()).examine(looked[0])
    assert len(looked) == 1
