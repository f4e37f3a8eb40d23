"""CoNLL-type files: sentences of tokens and tags, told from ordinary tsv and text files by content."""

from __future__ import annotations

from pathlib import Path

import pytest

from weitiao.data import open_table
from weitiao.data.formats.conll import Conll
from weitiao.data.formats.csv import Csv
from weitiao.data.formats.detect import format_of
from weitiao.data.formats.text import Text
from weitiao.errors import DataError
from weitiao.records import LINE

SENTENCES = [
    (["Anna", "moved", "to", "New", "York", "."], ["B-PER", "O", "O", "B-LOC", "I-LOC", "O"]),
    (["It", "rained", "."], ["O", "O", "O"]),
    (["Siemens", "hired", "her"], ["B-ORG", "O", "O"]),
]


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def conll(by: str = "\t", beside: tuple[str, ...] = ()) -> str:
    return "\n".join(
        "".join(by.join((token, *beside, tag)) + "\n" for token, tag in zip(*sentence, strict=True))
        for sentence in SENTENCES
    )


@pytest.mark.parametrize("name", ["a.conll", "a.bio", "a.txt", "a.tsv", "a.data"])
@pytest.mark.parametrize("by", ["\t", " "])
def test_two_columns_by_suffix_and_by_content(tmp_path, name, by):
    path = written(tmp_path / name, conll(by))
    assert format_of(path) is Conll
    data = open_table(str(path)).dataset
    assert list(zip(data["tokens"][:], data["tags"][:], strict=True)) == SENTENCES
    assert data[LINE][:] == [1, 8, 12]


def test_conll_2003_columns_documents_and_comments(tmp_path):
    text = (
        "-DOCSTART- -X- -X- O\n\n# newdoc id = 7\n" + conll(" ", ("NNP", "B-NP")) + "-DOCSTART- -X- -X- O\nEnd NN B O\n"
    )
    path = written(tmp_path / "a.txt", text)
    records = list(Conll.read(path))
    assert [(record["tokens"], record["tags"]) for _, record in records] == [*SENTENCES, (["End"], ["O"])]
    assert [line for line, _ in records] == [4, 11, 15, 19]
    assert "of its 4 columns the first is taken for the token and the last for the tag" in Conll.notes(path)[0]


def test_tokens_that_start_like_comments_are_tokens(tmp_path):
    path = written(tmp_path / "a.conll", "#tag\tO\n#\tO\nx\tB-PER\n\n# sent_id = 2 of a\ny\tO\n")
    assert [record["tokens"] for _, record in Conll.read(path)] == [["#tag", "#", "x"], ["y"]]


def test_chinese_characters_windows_line_ends_and_odd_spaces(tmp_path):
    path = tmp_path / "a.bio"
    path.write_bytes(
        "我 O\r\n爱 O \r\n北 B-LOC\r\n京 I-LOC\r\n \r\n\u3000 O\r\n\u3000 O\r\n好 O\r\n\r\n".encode("gb18030")
    )
    found = list(Conll.read(path))
    assert [record["tokens"] for _, record in found] == [["我", "爱", "北", "京"], ["好"]]
    assert [line for line, _ in found] == [1, 8]
    assert Conll.notes(path)[-1] == "2 lines without a token left out"


def test_white_space_that_is_an_entity_is_named(tmp_path):
    path = written(tmp_path / "a.conll", "x\tO\n \tO\n\tB-PER\n")
    with pytest.raises(DataError, match=r"a\.conll:3: there is no token before the tag 'B-PER'"):
        list(Conll.read(path))


@pytest.mark.parametrize("bad", ["lost", "two many O O", "#Russia"])
def test_a_line_with_other_columns_is_named(tmp_path, bad):
    path = written(tmp_path / "a.conll", conll(" ") + f"\n{bad}\n")
    with pytest.raises(DataError, match=rf"a\.conll:16: the line has {len(bad.split())} column.*the others have 2"):
        open_table(str(path))


def test_one_wrong_line_does_not_hide_what_a_tsv_is(tmp_path):
    path = written(tmp_path / "a.tsv", conll("\t") + "\nlost\n")
    with pytest.raises(DataError, match=r"a\.tsv:16: the line has 1 column, the others have 2, separated by tabs"):
        open_table(str(path))


def test_tokens_alone_can_be_predicted_for(tmp_path):
    path = written(tmp_path / "a.conll", "It\nrained\n\nStill\n")
    assert [record for _, record in Conll.read(path)] == [{"tokens": ["It", "rained"]}, {"tokens": ["Still"]}]


@pytest.mark.parametrize(
    "text",
    [
        "text\tlabel\ngood one\tB\nbad one\tI\nso so\tO\n",  # no blank lines
        "text\tlabel\n\ngood one\tpos\n\nbad one\tneg\n",  # blank lines, but no tags
        "a\tO\nb\tO\tO\n\nc\tO\tO\tO\n\nd\te\n",  # widths differ
    ],
)
def test_ordinary_tsv_files_stay_what_they_are(tmp_path, text):
    assert format_of(written(tmp_path / "a.tsv", text)) is Csv


def test_text_stays_text_and_tabs_make_a_table(tmp_path):
    assert format_of(written(tmp_path / "a.txt", "a good film\n\nO what a day\n")) is Text
    assert format_of(written(tmp_path / "b.txt", "one\ttab\nnone here\n")) is Text
    path = written(tmp_path / "c.txt", "Hello.\tHallo.\nGood night, all.\tGute Nacht, alle.\nThanks!\tDanke!\n")
    assert format_of(path) is Csv
    assert open_table(str(path)).dataset["column2"][:] == ["Hallo.", "Gute Nacht, alle.", "Danke!"]


def test_a_folder_of_splits(tmp_path):
    for name in ("train", "devel", "test"):
        written(tmp_path / f"{name}.tsv", conll())
    assert open_table(f"{tmp_path}/validation").dataset["tags"][0] == SENTENCES[0][1]
