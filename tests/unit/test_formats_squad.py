"""SQuAD files of both versions and CMRC's variants, a row a question."""

from __future__ import annotations

import json

import pytest

from weitiao.data import open_table
from weitiao.data.formats.detect import format_of
from weitiao.data.formats.json import Json
from weitiao.data.formats.squad import Squad
from weitiao.errors import DataError
from weitiao.records import LINE

CONTEXT = "The mill was built in 1840. It burned down in 1902."


def article(*questions: dict) -> dict:
    return {"title": "Mill", "paragraphs": [{"context": CONTEXT, "qas": list(questions)}]}


def question(number: int, *answers: tuple[str, int], **more: object) -> dict:
    found = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": f"q{number}", "question": f"Question {number}?", "answers": found, **more}


def written(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


def test_both_versions(tmp_path):
    second = question(3, is_impossible=True, plausible_answers=[{"text": "1902", "answer_start": 46}])
    data = {"version": "v2.0", "data": [article(question(1, ("1840", 22)), question(2, ("1902", 46), ("in 1902", 43))),
                                        article(second, question(4, ("1840", 22), is_impossible=True))]}  # fmt: skip
    path = written(tmp_path / "a.json", data)
    assert format_of(path) is Squad
    rows = open_table(str(path)).dataset
    assert rows["answers"][:] == [["1840"], ["1902", "in 1902"], [], []]
    assert rows["answer_starts"][:] == [[22], [46, 43], [], []]
    assert rows[LINE][:] == [1, 2, 3, 4]
    assert rows[0] | {LINE: 1} == {
        "id": "q1", "title": "Mill", "context": CONTEXT, "question": "Question 1?", "answers": ["1840"],
        "answer_starts": [22], LINE: 1, "__file__": "a.json",
    }  # fmt: skip


def test_other_ways_of_writing_it(tmp_path):
    flat = {"data": [{"context": CONTEXT, "qas": [question(1, ("1840", 22))], "paragraphs": None} | {}]}
    del flat["data"][0]["paragraphs"]
    original = [{"context_id": "T", "context_text": "磨坊建于1840年。", "title": "磨坊",
                 "qas": [{"query_id": "T_1", "query_text": "何时建成？", "answers": ["1840年", "1840"]}]}]  # fmt: skip
    path = written(tmp_path / "cmrc.json", original)
    assert format_of(path) is Squad
    row = next(Squad.read(path))[1]
    assert (row["id"], row["question"], row["answers"]) == ("T_1", "何时建成？", ["1840年", "1840"])
    assert row["answer_starts"] == [-1, -1]  # the file does not say
    assert format_of(written(tmp_path / "list.json", [article(question(1))])) is Squad
    assert next(Squad.read(written(tmp_path / "flat.json", flat)))[1]["answers"] == ["1840"]


def test_other_json_is_left_alone(tmp_path):
    for name, value in [("a", {"data": [{"text": "paragraphs"}]}), ("b", [{"context": "x", "question": "y"}])]:
        assert format_of(written(tmp_path / f"{name}.json", value)) is Json


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({"data": [{"title": "x", "paragraphs": [{"qas": []}]}]}, r"data\[0\]\.paragraphs\[0\]: 'context' is missing"),
        ({"data": [article(), {"paragraphs": 3}]}, r"data\[1\]: 'paragraphs' is no list of objects"),
        ({"data": [article({"id": "q", "answers": []})]}, r"paragraphs\[0\]\.qas\[0\]: 'question' is missing"),
        ({"data": [article(question(1, ("a", "9")))]}, r"answers\[0\]: 'answer_start' is '9', not a whole number"),
        ({"data": [article(question(1) | {"answers": "1840"})]}, r"qas\[0\]: 'answers' is str, not a list"),
        ({"data": {"paragraphs": []}}, r"a\.json: found no list of articles"),
    ],
)
def test_what_is_missing_is_named(tmp_path, broken, told):
    path = written(tmp_path / "a.json", broken)
    with pytest.raises(DataError, match=told):
        open_table(str(path))


def test_a_broken_file_names_its_line(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"data": [\n {"paragraphs": [\n  {"context" "x"}]}]}', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.json:3"):
        open_table(str(path))
