"""Objects and lists in rows: kept as JSON text, whatever keys each row has."""

from __future__ import annotations

import json

import pytest

from weitiao.data import open_table
from weitiao.data import table as module
from weitiao.errors import DataError


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(module, "FIRST_ROWS", 2)
    monkeypatch.setattr(module, "MOST_ROWS", 2)


def test_objects_with_different_keys(tmp_path, small_batches):
    calls = [{"function": {"name": "f", "arguments": {"n": 1}}}, {"function": {"name": "g", "arguments": {"s": "é"}}}]
    rows = [{"messages": [{"role": "user", "content": "x", "tool_calls": None}, {"role": "a", "tool_calls": [call]}],
             "meta": {"k": call}, "tags": ["a", "b"], "turns": [["x", "y"]]} for call in calls]  # fmt: skip
    rows += [{"messages": [], "meta": {}, "tags": [], "turns": []}, {"messages": None, "meta": None}]
    data = open_table(jsonl(tmp_path / "a.jsonl", rows)).dataset
    assert [json.loads(value) for value in data["messages"][:3]] == [row["messages"] for row in rows[:3]]
    assert data["meta"][:] == [*(json.dumps(row["meta"], ensure_ascii=False) for row in rows[:3]), None]
    assert '"é"' in data["messages"][1]
    assert data["tags"][:] == [["a", "b"], ["a", "b"], [], None]
    assert data["turns"][:] == ['[["x", "y"]]', '[["x", "y"]]', "[]", None]


def test_mixed_columns_become_text(tmp_path, small_batches):
    rows = [{"content": "words", "many": [1, 2], "late": ["a"]}, {"content": "more", "many": ["x", None, 2.5]},
            {"content": [{"text": "part"}], "many": None, "late": ["b"]},
            {"content": {"text": "object"}, "many": [True], "late": [{"x": 1}]}]  # fmt: skip
    data = open_table(jsonl(tmp_path / "a.jsonl", rows)).dataset
    assert data["content"][:] == ["words", "more", '[{"text": "part"}]', '{"text": "object"}']
    assert data["many"][:] == [["1", "2"], ["x", None, "2.5"], None, ["true"]]
    assert data["late"][:] == ['["a"]', None, '["b"]', '[{"x": 1}]']


def test_lists_of_other_types_in_a_later_batch(tmp_path, small_batches):
    rows = [{"x": [1]}, {"x": [2]}, {"x": ["a"]}]
    assert open_table(jsonl(tmp_path / "a.jsonl", rows)).dataset["x"][:] == [["1"], ["2"], ["a"]]


def test_parquet_objects_lose_the_keys_arrow_put_in(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    messages = [[{"role": "user", "content": "x"}], [{"role": "assistant", "tool_calls": [{"name": "f"}]}, None], None]
    pq.write_table(pa.table({"messages": messages, "n": [1, None, 3]}), tmp_path / "a.parquet")
    data = open_table(str(tmp_path / "a.parquet")).dataset
    assert [value and json.loads(value) for value in data["messages"][:]] == messages
    assert data["n"][:] == [1, None, 3]


def test_bytes_stay_bytes(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    sounds = [{"bytes": b"\x00\xff", "path": None}, {"bytes": None, "path": "a.wav"}, None]
    pq.write_table(pa.table({"audio": sounds, "text": ["a", "b", "c"]}), tmp_path / "a.parquet")
    assert open_table(str(tmp_path / "a.parquet")).dataset["audio"][:] == sounds


def test_class_names_of_token_tags(tmp_path):
    from datasets import ClassLabel, Dataset, Features, Sequence, Value

    features = Features({"tokens": Sequence(Value("string")), "ner_tags": Sequence(ClassLabel(names=["O", "B-PER"]))})
    dataset = Dataset.from_dict({"tokens": [["Anna", "ran"], []], "ner_tags": [[1, 0], []]}, features=features)
    dataset.to_parquet(str(tmp_path / "a.parquet"))
    dataset.save_to_disk(str(tmp_path / "saved"))
    for name in ("a.parquet", "saved"):
        assert open_table(name, base=tmp_path).dataset["ner_tags"][:] == [["B-PER", "O"], []]


def test_an_object_of_rows_by_id(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"7": {"text": "a"}, "9": {"text": "b", "id": "own"}}))
    data = open_table("a.json", base=tmp_path).dataset
    assert (data["id"][:], data["text"][:]) == (["7", "own"], ["a", "b"])
    (tmp_path / "b.json").write_text(json.dumps({"x": {"text": "a"}, "y": {"label": "b"}}))
    with pytest.raises(DataError, match="found no one list of examples"):
        open_table("b.json", base=tmp_path)
