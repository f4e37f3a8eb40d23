"""What is wrong with examples is found and told with its lines."""

from __future__ import annotations

import json

import pytest

from weitiao.data.checks import check_examples
from weitiao.data.splits import open_splits
from weitiao.recipe import DataSettings
from weitiao.records import Column, Finding

ROLES = (
    Column("text", ("text",)),
    Column("text_pair", ("pair",), required=False),
    Column("remark", ("remark",), required=False, every=False),
    Column("label", ("label",), target=True, kind="label"),
)


@pytest.fixture
def found(tmp_path):
    def check(rows: list[dict], **settings) -> list[Finding]:
        path = tmp_path / "a.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        settings = {"validation_size": 0, "test_size": 0, **settings}
        return check_examples(open_splits(DataSettings(train=str(path), **settings), ROLES, seed=0), ROLES)

    return check


def rows(count: int = 60) -> list[dict]:
    return [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(count)]


def test_nothing_to_find(found):
    assert found(rows()) == []


def test_empty_texts_and_labels_are_errors_with_lines(found):
    bad = [{"text": " \u3000", "label": "a"}, {"text": None, "label": "b"}, {"text": "x", "label": ""}, {"text": "y"}]
    findings = found(rows() + bad)
    assert [(f.level, f.where, f.problem) for f in findings[:2]] == [
        ("error", "data.train a.jsonl:61, 62", "2 rows with an empty text"),
        ("error", "data.train a.jsonl:63, 64", "2 rows with an empty label"),
    ]


def test_an_empty_optional_column_is_a_warning(found):
    findings = found([{**row, "pair": "" if i == 3 else "p"} for i, row in enumerate(rows())])
    assert [(f.level, f.problem) for f in findings] == [("warning", "1 row with an empty text_pair")]


def test_a_cell_that_may_be_empty_is_no_finding(found):
    assert found([{**row, "remark": "" if i % 2 else "odd"} for i, row in enumerate(rows())]) == []


def test_no_label_among_several_is_a_warning(found):
    findings = found([{"text": f"t {i}", "label": ["a", "b"][: i % 3]} for i in range(60)])
    assert [(f.level, f.where) for f in findings] == [("warning", "data.train a.jsonl:1, 4, 7 and 17 more")]


def test_few_repeated_and_contradictory(found):
    extra = [{"text": "same", "label": "a"}, {"text": "Same ", "label": "b"}, {"text": "twin", "label": "a"}]
    findings = found([*rows(20), *extra, {"text": "twin", "label": "a"}])
    assert [(f.level, f.where, f.problem) for f in findings] == [
        ("warning", "data.train a.jsonl:21, 22", "1 text with different labels, in 2 rows"),
        ("warning", "data.train", "24 examples are very few to learn from: scores will be shaky"),
        ("note", "data.train a.jsonl:22, 24", "2 rows repeat a text of a row before"),
    ]


def test_contradictions_between_lists_of_labels(found):
    extra = [{"text": "same", "label": ["a", "b"]}, {"text": "same", "label": ["a"]}]
    findings = found([{"text": f"t {i}", "label": ["a"]} for i in range(60)] + extra)
    assert "1 text with different labels, in 2 rows" in [f.problem for f in findings]
