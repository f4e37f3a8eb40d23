"""The real data sets are read as they are: what each holds, counted."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from weitiao.data import open_table

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data sets are not here")

FILES = {
    "ncbi_disease/train.tsv": (5424, ["tokens", "tags"]),
    "ncbi_disease/validation": (923, ["tokens", "tags"]),
    "btc_ner/h.conll": (2000, ["tokens", "tags"]),  # and one of a single line without a token
    "cmrc2018/cmrc2018_trial.json": (1002, ["id", "title", "context", "question", "answers", "answer_starts"]),
    "xquad/xquad.zh.json": (1190, ["id", "title", "context", "question", "answers", "answer_starts"]),
    "emobank/emobank.csv": (10062, ["id", "split", "V", "A", "D", "text"]),
    "scitldr/dev.jsonl": (619, ["source", "source_labels", "rouge_scores", "paper_id", "target", "title"]),
    "csl/ts_dev.tsv": (1000, ["column1", "column2", "column3"]),
    "tatoeba_en_zh/cmn.txt": (29155, ["column1", "column2", "column3"]),
    "webquestions/trainmodel.json": (2834, ["qId", "answers", "qText"]),
    "gsm8k/train.jsonl": (7473, ["question", "answer"]),
    "llamafactory_demo/dpo_zh_demo.json": (300, ["conversations", "chosen", "rejected"]),
}


@pytest.mark.parametrize("name", FILES)
def test_rows_and_columns(name):
    table = open_table(name, base=DATA)
    assert (len(table.dataset), table.columns) == FILES[name]


@pytest.mark.parametrize(
    ("name", "rows", "tools"),
    [
        ("llamafactory_demo/alpaca_en_demo.json", 999, False),
        ("llamafactory_demo/identity.json", 91, False),
        ("llamafactory_demo/glaive_toolcall_en_demo.json", 300, True),
        ("llamafactory_demo/glaive_toolcall_zh_demo.json", 300, True),
        ("kdconv/film_dev.json", 150, False),
        ("gsm8k/train.jsonl", 7473, False),
    ],
)
def test_dialogues(name, rows, tools):
    table = open_table(name, base=DATA, layout="dialogue")
    assert len(table.dataset) == rows
    assert ("tools" in table.columns) is tools
    for row in table.dataset.select(range(20)):
        messages = json.loads(row["messages"])
        assert {message["role"] for message in messages} <= {"system", "user", "assistant", "tool"}
        assert messages[0]["role"] == "user"
        assert not tools or all("parameters" in tool["function"] for tool in json.loads(row["tools"] or "[]"))


def test_crosswoz_unpacked(tmp_path):
    with zipfile.ZipFile(DATA / "crosswoz" / "val.json.zip") as archive:
        archive.extractall(tmp_path)
    table = open_table("val.json", base=tmp_path, layout="dialogue")
    assert len(table.dataset) == 500
    first = json.loads(table.dataset["messages"][0])
    assert [message["role"] for message in first[:3]] == ["user", "assistant", "user"]
    assert set(first[0]) == {"role", "content"}


def test_documents(tmp_path):
    laws = open_table("zh_laws", base=DATA, layout="documents").dataset
    assert len(set(laws["document"][:])) == 13
    written = sum(len(file.read_text(encoding="utf-8").split()) for file in (DATA / "zh_laws").glob("*.md"))
    assert sum(len(text.split()) for text in laws["text"][:]) == written  # nothing is lost
    with zipfile.ZipFile(DATA / "us_speeches" / "inaugural.zip") as archive:
        archive.extractall(tmp_path)
    assert len(set(open_table(str(tmp_path), layout="documents").dataset["document"][:])) == 59
