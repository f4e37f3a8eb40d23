"""Tables: read once, cached by content, typed, small in memory."""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from weitiao import sources
from weitiao.data import table as module
from weitiao.data.arrow import rows_digest
from weitiao.data.columns import choose_columns
from weitiao.data.labels import label_codes, label_counts, lines_where, rename
from weitiao.data.table import open_table
from weitiao.errors import DataError, SourceError
from weitiao.recipe import DataSettings
from weitiao.records import FILE, LINE, Column

ROLES = (
    Column("text", ("text", "review")),
    Column("text_pair", ("sentence2",), required=False),
    Column("label", ("label", "category"), target=True, kind="label"),
)


def csv_file(path: Path, rows: list[str], header: str = "text,label") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def records(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# --- tables


def test_columns_lines_and_file(tmp_path):
    path = csv_file(tmp_path / "a.csv", ["good,pos", '"bad\nreally",neg', "fine,pos"])
    table = open_table("a.csv", base=tmp_path)
    assert (table.name, table.columns) == ("a.csv", ["text", "label"])
    assert table.dataset.to_dict() == {
        "text": ["good", "bad\nreally", "fine"],
        "label": ["pos", "neg", "pos"],
        LINE: [2, 3, 5],
        FILE: ["a.csv"] * 3,
    }
    assert open_table(str(path), limit=1).dataset.num_rows == 1


def test_read_once_and_again_when_changed(tmp_path, monkeypatch):
    path = csv_file(tmp_path / "a.csv", ["good,pos"])
    first = open_table(str(path))
    calls = []
    write = module._write
    monkeypatch.setattr(module, "_write", lambda *a: (calls.append(a), write(*a)))
    assert open_table(str(path)).digest == first.digest
    assert not calls
    csv_file(path, ["good,neg"])
    assert open_table(str(path)).digest != first.digest
    assert len(calls) == 1


def test_damaged_cache_is_read_anew(tmp_path):
    path = csv_file(tmp_path / "a.csv", [f"text {i},pos" for i in range(3000)])
    before = cached_tables()
    digest = open_table(str(path)).digest
    (cached,) = cached_tables() - before
    cached.write_bytes(cached.read_bytes()[:-5000])
    assert open_table(str(path)).dataset.num_rows == 3000
    assert open_table(str(path)).digest == digest


def cached_tables():
    return set((sources.cache_folder() / "tables").glob("*.arrow"))


def test_the_digest_is_of_the_rows_and_a_new_reader_only_reads_them_anew(tmp_path, monkeypatch):
    path = csv_file(tmp_path / "a.csv", [f"text {i},pos" for i in range(3000)])
    first, before = open_table(str(path)), cached_tables()
    monkeypatch.setattr(module, "READER", "next")
    monkeypatch.setattr(module, "FIRST_ROWS", 7)  # cut into other batches
    assert open_table(str(path)).digest == first.digest
    assert len(cached_tables() - before) == 1
    csv_file(path, [f"text {i},{'neg' if i == 2999 else 'pos'}" for i in range(3000)])
    assert open_table(str(path)).digest != first.digest


ROWS = {"text": ["a", "bc", None, "", "é"], "n": [1, 2, 3, None, 5], "labels": [["x"], [], None, ["y", "z"], ["x"]],
        "x": [0.5, 1.0, 2.0, float("nan"), None], "o": [{"bytes": b"1", "path": None}] * 5}  # fmt: skip


def test_the_digest_of_rows_sees_each_value_and_not_how_they_are_cut():
    from datasets import Dataset

    def found(rows, cuts=()):
        table = pa.table(rows)
        parts = [table.slice(start, end - start) for start, end in itertools.pairwise([0, *cuts, 5])]
        return rows_digest(Dataset(pa.concat_tables(parts)))

    whole = found(ROWS)
    assert found(ROWS, [1, 3]) == found(ROWS, [2]) == whole
    changes = {"text": ["ab", "c", None, "", "é"], "n": [1, 2, 3, 4, 5], "labels": [["x"], [], [], ["y", "z"], ["x"]],
               "x": [0.5, 1.0, 2.0, None, None], "o": [{"bytes": b"2", "path": None}] * 5}  # fmt: skip
    assert len({whole, *(found(ROWS | {name: values}) for name, values in changes.items())}) == 6
    assert found(ROWS | {"text": ["a", "bc", "", "", "é"]}) != whole
    assert found({"other": ROWS["text"]}) != found({"text": ROWS["text"]})
    nested = [[["a", "b"], []], [["c"]], [], None, [[None]]]
    others = [[["a"], ["b"]], [["c"]], [], None, [[None]]], [*nested[:2], None, None, nested[4]], [*nested[:4], [[""]]]
    assert len({found({"n": each}, cuts) for each in (nested, *others) for cuts in ([], [2, 3])}) == 4
    assert found({"b": [True, False, None, True, True]}) != found({"b": [True, False, False, True, True]})


def test_notes_survive_the_cache(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\n很好,好\n不好,坏\n".encode("gbk"))
    assert "GB18030" in open_table(str(path)).notes[0].problem
    assert "GB18030" in open_table(str(path)).notes[0].problem


def test_a_note_about_one_of_several_files_names_it(tmp_path):
    for number, encoding in enumerate(("utf-8", "gb18030", "utf-8")):
        (tmp_path / f"train-{number:05}-of-00003.csv").write_bytes(
            "text,label\n这是一个很好的电影,好\n".encode(encoding)
        )
    (note,) = open_table(str(tmp_path)).notes
    assert note.problem == "train-00001-of-00003.csv: read as GB18030 (GBK)"


def test_json_types_are_kept_and_mixed_ones_become_text(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FIRST_ROWS", 2)
    monkeypatch.setattr(module, "MOST_ROWS", 2)
    rows = [
        {"text": "a", "n": 1, "x": 1, "tags": ["u"], "mixed": 1},
        {"text": "b", "n": 2, "x": None, "tags": [], "mixed": 2},
        {"text": None, "n": 3, "x": 2.5, "tags": None, "mixed": "two", "late": True},
        {"text": "c", "n": 2**70, "tags": ["v", "w"], "mixed": [1, "é"]},
    ]
    data = open_table(str(records(tmp_path / "a.jsonl", rows))).dataset
    assert data["text"][:] == ["a", "b", None, "c"]
    assert data["x"][:] == [1.0, None, 2.5, None]
    assert data["tags"][:] == [["u"], [], None, ["v", "w"]]
    assert data["mixed"][:] == ["1", "2", "two", '[1, "é"]']
    assert data["late"][:] == [None, None, True, None]
    assert data["n"][:] == ["1", "2", "3", str(2**70)]


def test_empty_missing_and_broken_leave_nothing(tmp_path):
    for name, content, kind in [("a.csv", "text,label\n", DataError), ("b.jsonl", "\n", DataError)]:
        (tmp_path / name).write_text(content)
        with pytest.raises(kind, match="holds no examples"):
            open_table(name, base=tmp_path)
    with pytest.raises(SourceError):
        open_table("c.csv", base=tmp_path)
    before = set((sources.cache_folder() / "tables").iterdir())
    rows = [f"text {i},pos" for i in range(3000)]
    csv_file(tmp_path / "d.csv", [*rows, "one cell"])
    with pytest.raises(DataError, match=r"d\.csv:3002"):
        open_table("d.csv", base=tmp_path)
    assert set((sources.cache_folder() / "tables").iterdir()) == before


def test_full_disk_is_told(tmp_path, monkeypatch):
    import errno
    import os

    def full(_):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)
    csv_file(tmp_path / "full.csv", ["only here,pos"])
    with pytest.raises(DataError, match="disk that holds the cache is full"):
        open_table("full.csv", base=tmp_path)


def test_saved_dataset_dict_and_splits_by_path(tmp_path):
    from datasets import Dataset, DatasetDict

    splits = {name: Dataset.from_dict({"text": [name], "label": ["x"]}) for name in ("train", "test")}
    DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    assert open_table("saved/test", base=tmp_path).dataset["text"][:] == ["test"]
    assert open_table("saved", base=tmp_path, split="train").dataset["text"][:] == ["train"]


def test_hub_shards_are_one_table(tmp_path):
    from datasets import Dataset

    (tmp_path / "hub" / "data").mkdir(parents=True)
    for shard in range(2):
        rows = Dataset.from_dict({"text": [f"{shard}a", f"{shard}b"], "label": ["x", "y"]})
        rows.to_parquet(str(tmp_path / "hub" / "data" / f"train-0000{shard}-of-00002.parquet"))
    data = open_table("hub/train", base=tmp_path).dataset
    assert data["text"][:] == ["0a", "0b", "1a", "1b"]
    assert lines_where(data, [1, 2]) == "train-00000-of-00002.parquet:2; train-00001-of-00002.parquet:1"


# --- columns


def test_columns_by_name_without_case(tmp_path):
    table = open_table(str(csv_file(tmp_path / "a.csv", ["1,good,pos"], "id,Review,Category")))
    chosen = choose_columns(table, ROLES, {})
    assert chosen.names == {"text": "Review", "label": "Category"}
    assert str(chosen) == "text: Review (by its name); label: Category (by its name)"


def test_columns_by_content(tmp_path):
    rows = [f"{i},a rather long sentence about {i},{'good' if i < 15 else 'bad'},{i % 2}" for i in range(30)]
    chosen = choose_columns(open_table(str(csv_file(tmp_path / "a.csv", rows, "nr,what,how,flag"))), ROLES, {})
    assert chosen.names == {"text": "what", "label": "how"}
    assert "guessed" in chosen.how["label"]
    assert "could also be flag" in chosen.findings[0].problem


def test_named_columns(tmp_path):
    table = open_table(str(csv_file(tmp_path / "a.csv", ["good,pos,x"], "text,label,other")))
    assert choose_columns(table, ROLES, {"text": "other"}).names == {"text": "other", "label": "label"}
    with pytest.raises(DataError, match=r"(?s)no column 'labl'.*Did you mean 'label'.*text, label, other"):
        choose_columns(table, ROLES, {"label": "labl"})
    with pytest.raises(DataError, match="no role 'txt'"):
        choose_columns(table, ROLES, {"txt": "text"})


def test_no_column_fits(tmp_path):
    table = open_table(str(csv_file(tmp_path / "a.csv", ["good one,x1", "bad one,x2", "so so,x3"], "what,key")))
    with pytest.raises(DataError, match=r"(?s)which column of a.csv is the label; there is: what, key.*label: key"):
        choose_columns(table, ROLES, {})


FORMS = (
    Column("tokens", ("words",), required=False, form="tokens"),
    Column("tags", ("tags",), required=False, target=True, form="tokens"),
    Column("text", ("text",), required=False, form="text"),
    Column("spans", ("spans",), required=False, target=True, form="text"),
    Column("weight", ("weight",), required=False),
)


@pytest.mark.parametrize(
    ("header", "named", "chosen"),
    [
        ("words,tags,text,spans,weight", {}, ["tokens", "tags", "weight"]),  # the first that is there whole
        ("words,text,spans,weight", {}, ["text", "spans", "weight"]),
        ("words,tags,text,spans", {"spans": "spans"}, ["text", "spans"]),  # the one that is asked for
        ("words,tags,text,other", {"text": "other"}, ["text"]),
        ("words,text", {}, ["tokens", "text"]),  # none is whole: the task says what it needs
    ],
)
def test_a_file_is_read_in_one_of_several_forms(tmp_path, header, named, chosen):
    table = open_table(str(csv_file(tmp_path / "a.csv", [",".join("abcde"[: header.count(",") + 1])], header)))
    assert list(choose_columns(table, FORMS, named).names) == chosen


def test_columns_of_two_forms_are_not_named_together(tmp_path):
    table = open_table(str(csv_file(tmp_path / "a.csv", ["a,b,c,d"], "words,tags,text,spans")))
    with pytest.raises(DataError, match=r"(?s)tokens and text are of two ways .*Name .*: tokens and tags, or text and"):
        choose_columns(table, FORMS, {"tokens": "words", "text": "text"})


# --- labels


def renamed(path: Path, **settings):
    table = open_table(str(path))
    settings = DataSettings(train=str(path), **settings)
    return rename(table, choose_columns(table, ROLES, settings.columns).names, settings, base=path.parent)


def test_rename_copies_nothing_when_nothing_changes(tmp_path):
    path = csv_file(tmp_path / "a.csv", ["good,pos,x"], "review,category,other")
    data = renamed(path, group="other")
    assert data.column_names == ["text", "label", "__group__", LINE, FILE]
    assert data.cache_files == open_table(str(path)).dataset.cache_files


def test_labels_cut_and_named(tmp_path):
    (tmp_path / "names.txt").write_text("joy\nlove\nanger\n", encoding="utf-8")
    path = csv_file(tmp_path / "a.csv", ["a,0|2", "b,1", "c,", "d, 2 | 0 |"])
    data = renamed(path, label_separator="|", label_names="names.txt")
    assert data["label"][:] == [["joy", "anger"], ["love"], [], ["anger", "joy"]]
    assert label_counts(data) == {"joy": 2, "anger": 2, "love": 1}
    codes, names = label_codes(data)
    assert ([names[c] if c < len(names) else None for c in codes]) == ["anger", "love", None, "anger"]


def test_label_number_out_of_range(tmp_path):
    (tmp_path / "names.txt").write_text("joy\nlove\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.csv:3: the label '2' is no number from 0 to 1"):
        renamed(csv_file(tmp_path / "a.csv", ["a,0", "b,2"]), label_names="names.txt")
    with pytest.raises(DataError, match=r"b\.csv:4: the label '7'"):
        renamed(csv_file(tmp_path / "b.csv", ["a,0", "", "b,0;7"]), label_names="names.txt", label_separator=";")
    (tmp_path / "twice.txt").write_text("joy\njoy\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"twice\.txt:2: 'joy' stands here and on line 1"):
        renamed(csv_file(tmp_path / "c.csv", ["a,0"]), label_names="twice.txt")


def test_columns_of_marks(tmp_path):
    header = "text,toxic,threat,insult"
    path = csv_file(tmp_path / "a.csv", ["a,1,0,1", "b,0,0,0", "c,True,,no"], header)
    columns = {"label": ["toxic", "threat", "insult"]}
    assert renamed(path, columns=columns)["label"][:] == [["toxic", "insult"], [], ["toxic"]]
    with pytest.raises(DataError, match=r"b\.csv:3: found '0.5' in the column 'threat'"):
        renamed(csv_file(tmp_path / "b.csv", ["a,1,0,1", "b,0,0.5,0"], header), columns=columns)


def test_numbers_become_text_alike_in_every_format(tmp_path):
    rows = [{"text": "a", "label": 1, "x": 1.0}, {"text": "b", "label": 0, "x": None}]
    data = renamed(records(tmp_path / "a.jsonl", rows))
    assert data["label"][:] == ["1", "0"]
    assert renamed(records(tmp_path / "b.jsonl", rows), columns={"label": "x"})["label"][:] == ["1", None]
    tags = records(tmp_path / "c.jsonl", [{"text": "a", "label": [1, 2]}, {"text": "b", "label": []}])
    assert renamed(tags)["label"][:] == [["1", "2"], []]


def test_lines_where(tmp_path):
    data = open_table(str(csv_file(tmp_path / "a.csv", [f"{i},x" for i in range(20)]))).dataset
    assert lines_where(data, [10, 13, 18]) == "a.csv:12, 15, 20"
    assert lines_where(data, data.to_pandas().label.to_numpy() == "x") == "a.csv:2, 3, 4 and 17 more"


# --- memory

MEASURE = """
import resource, sys, datasets, scipy.sparse.csgraph
from weitiao.data import check_examples, open_splits
from weitiao.recipe import DataSettings
from weitiao.records import Column
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
base = peak()
roles = (Column("text", ("text",)), Column("label", ("label",), target=True, kind="label"))
splits = open_splits(DataSettings(train=sys.argv[1]), roles, seed=0)
check_examples(splits, roles)
print(sum(map(len, splits.values())), peak() - base)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts in other units elsewhere")
def test_a_million_rows_in_under_a_gigabyte(tmp_path, monkeypatch):
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "million.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for i in range(1_000_000):
            file.write(f'"a sentence of everyday length, number {i} of all {i * 7919 % 990_001}",label {i % 20}\n')
    found = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
    rows, megabytes = map(int, found.stdout.split())
    assert rows == 1_000_000
    assert megabytes < 1000, f"{megabytes} MB above the base process"
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss > 0
