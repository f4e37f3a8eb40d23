"""Data are cut as training would cut them, near duplicates together; what is left out is told."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.samples import reviews
from tests.unit.test_clean import changes, lines, read, recipe, table, texts
from weitiao.data import open_splits
from weitiao.errors import DataError, RecipeError
from weitiao.recipe import DataSettings
from weitiao.tasks.text_classification import TextClassification
from weitiao.workshop.split import split

ROWS = reviews(200)


def test_it_cuts_as_training_does(tmp_path):
    source = table(tmp_path / "a.csv", ROWS)
    split(source, tmp_path / "new", {"seed": 3}, near=False)
    ours = {name: texts(tmp_path / "new", name) for name in ("train", "validation", "test")}
    theirs = open_splits(DataSettings(train=source), TextClassification.columns, seed=3)
    assert ours == {name: rows["text"][:] for name, rows in theirs.items()}
    assert {name: len(rows) for name, rows in ours.items()} == {"train": 160, "validation": 20, "test": 20}
    again = open_splits(DataSettings(train=str(tmp_path / "new")), TextClassification.columns, seed=9)
    assert ours == {name: rows["text"][:] for name, rows in again.items()}
    labels = [row["label"] for row in read(tmp_path / "new", "test")]
    assert labels.count("good") == 10
    assert changes(tmp_path / "new") == []


def nearly(count=60):
    """Groups of four texts that are nearly alike, each group of one label."""
    words = ["parcel", "garden", "window", "letter", "ticket", "doctor", "school", "market", "station", "kitchen"]
    found = []
    for group in range(count // 4):
        start = f"{words[group % 10]} {group * 37} and the {words[(group * 3 + 1) % 10]} of mister number {group * 91}"
        found += [(f"{start} were seen near the old house again {'!' * copy}{' so' * (copy > 2)}", "ab"[group % 2])
                  for copy in range(4)]  # fmt: skip
    return found


def test_near_duplicates_stay_together(tmp_path):
    source = table(tmp_path / "a.csv", nearly())
    split(source, tmp_path / "near", {"validation_size": 0.2, "test_size": 0.2})
    parts = {name: {text.split(" and ")[0] for text in texts(tmp_path / "near", name)}
             for name in ("train", "validation", "test")}  # fmt: skip
    assert not parts["train"] & parts["test"]
    assert not parts["train"] & parts["validation"]
    assert not parts["validation"] & parts["test"]
    assert all(parts.values())


def test_near_duplicates_that_stand_apart_with_their_groups_are_told(tmp_path):
    """Texts that are nearly alike are each by another author, and so link all authors."""
    rows = [(text, label, f"author {(number // 4 + number % 4) % 15}") for number, (text, label) in enumerate(nearly())]
    source = table(tmp_path / "a.csv", rows, ("text", "label", "author"))
    made = split(source, tmp_path / "near", {"validation_size": 0.2, "test_size": 0.2, "group": "author"})
    [told] = [note for note in made.notes if "nearly alike" in note]
    parts = {name: [text.split(" and ")[0] for text in texts(tmp_path / "near", name)]
             for name in ("train", "validation", "test")}  # fmt: skip
    count = sum(any(text in other for key, other in parts.items() if key != name)
                for name, part in parts.items() for text in part)  # fmt: skip
    assert f": {count} rows are nearly alike and stand in several splits: groups stay whole" in told
    assert sum(map(len, parts.values())) == 60


def test_groups_and_a_test_file_that_is_given(tmp_path):
    rows = [(text, label, f"author {number // 10}") for number, (text, label) in enumerate(ROWS)]
    table(tmp_path / "a.csv", rows, ("text", "label", "author"))
    table(tmp_path / "t.csv", [*rows[:3], ("unseen words", "good", "nobody")], ("text", "label", "author"))
    path = recipe(tmp_path, data={"train": "a.csv", "test": "t.csv", "group": "author"}, training={"seed": 4})
    made = split(path, tmp_path / "new")
    authors = {name: {row["author"] for row in read(tmp_path / "new", name)} for name in ("train", "validation")}
    assert not authors["train"] & authors["validation"]
    assert "author 0" not in authors["train"] | authors["validation"]  # who wrote what stands in test
    assert made.settings["seed"] == 4
    assert made.rows["test"] == {"before": 4, "after": 4}
    assert [(each["row"], each["rule"]) for each in changes(tmp_path / "new")] == [
        (f"a.csv:{line}", "leakage") for line in range(2, 12)
    ]  # fmt: skip


def test_one_split_of_a_folder_can_be_cut(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    table(folder / "test.csv", ROWS[:50])
    table(folder / "train.csv", ROWS[50:])
    split(str(folder / "test"), tmp_path / "new", {"test_size": 0.2})
    found = [texts(tmp_path / "new", name) for name in ("train", "validation", "test")]
    assert [len(rows) for rows in found] == [35, 5, 10]
    assert sorted(text for rows in found for text in rows) == sorted(text for text, _ in ROWS[:50])


def test_tokens_and_dialogues_are_cut_too(tmp_path):
    chats = [{"prompt": f"question {number}?", "completion": f"answer {number}"} for number in range(30)]
    split(lines(tmp_path / "a.jsonl", chats), tmp_path / "chat", task="chat")
    turns = [row["messages"][0]["content"] for name in ("train", "validation", "test")
             for row in read(tmp_path / "chat", name)]  # fmt: skip
    assert sorted(turns) == sorted(row["prompt"] for row in chats)


def test_what_is_wrong_is_told_before_anything_is_written(tmp_path):
    source = table(tmp_path / "a.csv", ROWS[:40])
    with pytest.raises(DataError, match="not told to split"):
        split(source, tmp_path / "new", {"columns": {}})
    with pytest.raises(RecipeError, match=r"data\.test_size"):
        split(source, tmp_path / "new", {"test_size": 1.5})
    for words, told in ((("--group", "nobody"), "no column 'nobody'"), (("--test", "0.6", "--validation", "0.5"), "1"),
                        (("--test", "x"), "'--test'")):  # fmt: skip
        failed = subprocess.run([sys.executable, "-m", "weitiao", "split", "a.csv", "--out", "new", *words],
                                capture_output=True, text=True, cwd=tmp_path)  # fmt: skip
        assert failed.returncode == 2
        assert told in failed.stderr
        assert "Traceback" not in failed.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    done = subprocess.run([sys.executable, "-m", "weitiao", "split", "a.csv", "--out", "new", "--json"],
                          capture_output=True, text=True, cwd=tmp_path)  # fmt: skip
    assert json.loads(done.stdout)["rows"] == {"train": {"after": 32}, "validation": {"after": 4}, "test": {"after": 4}}
