"""Raw text as documents: lines, blank lines, markdown, folders."""

from __future__ import annotations

import pytest

from weitiao.data import open_table
from weitiao.data.formats.documents import PIECE
from weitiao.data.formats.text import Text
from weitiao.errors import DataError
from weitiao.records import FILE, LINE


def documents(path, **options):
    return open_table(str(path), layout="documents", **options)


def test_one_document_a_line(tmp_path):
    (tmp_path / "a.txt").write_text("first one\nsecond\n" + "more\n" * 30 + "\nlast\n", encoding="utf-8")
    table = documents(tmp_path / "a.txt")
    assert table.dataset["text"][:] == ["first one", "second", *["more"] * 30, "last"]
    assert table.dataset[LINE][-1] == 34
    assert [note.problem for note in table.notes] == ["each line is a document"]


def test_blank_lines_between_documents(tmp_path):
    text = "\n\nOne, which\ngoes on\n\n \nTwo\n\n\nThree:\n  indented\n"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    table = documents(tmp_path / "a.txt")
    assert table.dataset["text"][:] == ["One, which\ngoes on", "Two", "Three:\n  indented"]
    assert table.dataset[LINE][:] == [3, 7, 10]
    assert [note.problem for note in table.notes] == ["blank lines separate documents"]
    assert open_table(str(tmp_path / "a.txt")).dataset.num_rows == 5  # without the layout, a line is an example


def test_markdown_in_any_layout(tmp_path):
    (tmp_path / "law.md").write_text("# Law\n\nArticle 1\n\nArticle 2\n", encoding="utf-8")
    for layout in (None, "documents"):
        rows = open_table(str(tmp_path / "law.md"), layout=layout).dataset
        assert rows["text"][:] == ["# Law\n\nArticle 1\n\nArticle 2"]


def test_a_folder_however_deep(tmp_path):
    (tmp_path / "laws" / "civil").mkdir(parents=True)
    long = "\n\n".join(f"Article {i}. " + "word " * 60 for i in range(20))
    (tmp_path / "laws" / "civil" / "one.md").write_text(long, encoding="utf-8")
    (tmp_path / "laws" / "two.txt").write_bytes("第二部\n第一条\n".encode("gb18030"))
    (tmp_path / "laws" / "empty.txt").write_text("")
    (tmp_path / "laws" / "README.md").write_text("about these")
    (tmp_path / "laws" / ".hidden.txt").write_text("not this")
    table = documents(tmp_path / "laws")
    rows = table.dataset
    assert set(rows["document"][:]) == {"civil/one.md", "two.txt"} == set(rows[FILE][:])
    pieces = [row for row in rows if row["document"] == "civil/one.md"]
    assert len(pieces) == 4
    assert all(len(row["text"]) <= PIECE for row in pieces)
    assert "\n\n".join(row["text"] for row in pieces) == long
    assert [long.split("\n")[row[LINE] - 1][:10] for row in pieces] == [row["text"][:10] for row in pieces]
    assert rows[-1]["text"] == "第二部\n第一条"
    told = " ".join(note.problem for note in table.notes)
    assert "each of its 2 files is a document" in told
    assert "left out: README.md, empty.txt" in told
    assert "1 of 2 files (two.txt): read as GB18030" in told


def test_a_long_paragraph_is_cut_at_lines(tmp_path):
    lines = [f"line {i} " + "x" * 300 for i in range(20)]
    (tmp_path / "a.md").write_text("Title\n\n" + "\n".join(lines), encoding="utf-8")
    rows = documents(tmp_path / "a.md").dataset
    assert rows["text"][0].startswith("Title\n\nline 0")
    assert "\n".join(rows["text"][:]) == "Title\n\n" + "\n".join(lines)
    assert max(map(len, rows["text"][:])) <= PIECE


def test_splits_by_name(tmp_path):
    for name in ("wiki.train.txt", "wiki.valid.txt"):
        (tmp_path / name).write_text(f"{name} one\n{name} two\n")
    assert documents(tmp_path).dataset["text"][0] == "wiki.train.txt one"
    assert documents(tmp_path / "validation").dataset["text"][0] == "wiki.valid.txt one"
    (tmp_path / "other.txt").write_text("not named after a split\n")
    assert len(documents(tmp_path).dataset) == 3  # now it is a folder of three documents
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.md").write_text("from the folder")
    assert documents(tmp_path).dataset["text"][:] == ["from the folder"]


def test_tables_are_read_as_ever(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na,b\nc,d\n")
    (tmp_path / "README.md").write_text("about")
    assert documents(tmp_path).dataset["text"][:] == ["a", "c"]
    assert documents(tmp_path / "a.csv").columns == ["text", "label"]


def test_folders_of_labels_still_are_labels(tmp_path):
    for label in ("good", "bad"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.txt").write_text(f"{label} one")
    assert Text.recognises(tmp_path)
    assert open_table(str(tmp_path)).dataset["label"][:] == ["bad", "good"]
    assert documents(tmp_path).columns == ["text", "document"]


def test_only_markdown_in_a_folder_without_layout(tmp_path):
    (tmp_path / "a.md").write_text("one")
    (tmp_path / "b.md").write_text("two")
    assert open_table(str(tmp_path)).dataset["text"][:] == ["one", "two"]


def test_nothing_in_it(tmp_path):
    (tmp_path / "a.txt").write_text(" \n\n")
    with pytest.raises(DataError, match="holds no examples"):
        documents(tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"a\.txt:1: there is a NUL byte"):
        (tmp_path / "a.txt").write_bytes(b"x\0y")
        documents(tmp_path / "a.txt")
