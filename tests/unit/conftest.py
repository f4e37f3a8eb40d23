"""What several subjects' tests share: a trained model that is slow to make."""

from __future__ import annotations

import json

import pytest

from tests import trials_here
from tests.tiny import tiny_bert
from weitiao import Recipe, train


@pytest.fixture
def in_process(monkeypatch):
    """Trials in the test's process."""
    trials_here.patch(monkeypatch)


@pytest.fixture(scope="session")
def ner(tmp_path_factory):
    """A model that was trained to find two names and two places."""
    folder = tmp_path_factory.mktemp("ner")
    people, places = ("Anna", "Bob"), ("Rome", "Oslo")
    rows = [
        {"tokens": ["see", who, "in", where, "today"], "tags": ["O", "B-PER", "O", "B-LOC", "O"]}
        for _ in range(4) for who in people for where in places
    ]  # fmt: skip
    rows += [{"tokens": ["nobody", "came", "in", where], "tags": ["O", "O", "O", "B-LOC"]} for where in places * 4]
    (folder / "ner.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [" ".join(row["tokens"]) for row in rows]
    run = train(Recipe(
        task="token-classification", model=str(tiny_bert(folder / "model", words)),
        data={"train": str(folder / "ner.jsonl"), "validation_size": 0.0, "test_size": 0.0, "duplicates": "anywhere"},
        training={"epochs": 30, "learning_rate": 3e-3, "batch_size": 8, "precision": "fp32"},
        evaluation={"bootstrap": 0, "baselines": False}, output=str(folder / "run"),
    ))  # fmt: skip
    return run.folder
