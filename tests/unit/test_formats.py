"""Files of every known format, as people have them, read right or refused with their line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from weitiao import registry
from weitiao.data.formats.conll import Conll
from weitiao.data.formats.csv import Csv, layout_of
from weitiao.data.formats.detect import files_of, format_of, splits_in
from weitiao.data.formats.documents import Documents
from weitiao.data.formats.encoding import detect_encoding
from weitiao.data.formats.json import Json
from weitiao.data.formats.jsonl import Jsonl
from weitiao.data.formats.parquet import Parquet
from weitiao.data.formats.saved import SavedDataset
from weitiao.data.formats.squad import Squad
from weitiao.data.formats.text import Text
from weitiao.errors import DataError
from weitiao.records import FILE

DATA = Path(__file__).parents[3] / "shared" / "data"
CHINESE = [
    ("这家餐厅的味道很好，服务也很周到", "好评"),
    ("等了一个小时才上菜，太慢了", "差评"),
    ("价格便宜\n分量足", "好评"),
]


def written(path: Path, text: str, encoding: str = "utf-8", newline: str = "") -> Path:
    with path.open("w", encoding=encoding, newline=newline) as file:
        file.write(text)
    return path


def quoted(rows: list[tuple[str, ...]], delimiter: str = ",") -> str:
    def cell(value: str) -> str:
        special = any(mark in value for mark in (delimiter, '"', "\n"))
        return '"' + value.replace('"', '""') + '"' if special else value

    return "".join(delimiter.join(map(cell, row)) + "\n" for row in rows)


# --- csv: encodings


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gbk", "gb18030", "utf-32"]
)
def test_csv_in_any_encoding(tmp_path, encoding):
    path = written(tmp_path / "a.csv", quoted([("text", "label"), *CHINESE]), encoding)
    records = list(Csv.read(path))
    assert [(r["text"], r["label"]) for _, r in records] == CHINESE
    assert [line for line, _ in records] == [2, 3, 4]


def test_english_utf16_without_mark(tmp_path):
    path = written(tmp_path / "a.csv", "text,label\ngood one,pos\nbad one,neg\n", "utf-16-be")
    assert [r["label"] for _, r in Csv.read(path)] == ["pos", "neg"]


def test_latin1_is_the_last_resort_and_told(tmp_path):
    path = written(tmp_path / "a.csv", "text,label\ncafé crème à la carte,pos\nnaïve,neg\n", "latin-1")
    assert next(Csv.read(path))[1]["text"] == "café crème à la carte"
    assert any("Latin-1" in note for note in Csv.notes(path))


def test_windows_1252(tmp_path):
    path = written(tmp_path / "a.txt", "it’s “fine” – really\nnaïve\n", "cp1252")
    assert next(Text.read(path))[1]["text"] == "it’s “fine” – really"
    assert "Windows-1252" in Text.notes(path)[0]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("big5", "這家餐廳的味道很好，服務也很週到，下次還會再來，推薦給大家\n" * 20),
        ("cp1251", "это очень хороший фильм, который мне понравился\n" * 20),
        ("shift_jis", "このレストランはとても美味しいです。サービスも良かったです\n" * 20),
    ],
)
def test_other_scripts_are_guessed(tmp_path, encoding, text):
    path = written(tmp_path / "a.txt", text, encoding)
    assert next(Text.read(path))[1]["text"] == text.split("\n")[0]
    assert "guess" in detect_encoding(path).note


def test_one_bad_line_in_utf8_is_named(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"第{i}条评论，很好,好评".encode() for i in range(20)]
    rows[11] = b"caf\xe9,x"
    path.write_bytes(b"text,label\n" + b"\n".join(rows))
    with pytest.raises(DataError, match=r"a\.csv:13: this line is not UTF-8"):
        list(Csv.read(path))


def test_bad_byte_far_into_the_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(("很好的一天\n" * 200_000).encode() + b"\xff\n" + "再见\n".encode())
    with pytest.raises(DataError, match=r"a\.txt:200001"):
        list(Text.read(path))


def test_truncated_utf16(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\n很好,好\n".encode("utf-16") + b"\x00")
    with pytest.raises(DataError, match=r"a\.csv:3"):
        list(Csv.read(path))


def test_nul_byte_is_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\n" + b"good,pos\n" * 5 + b"b\0ad,neg\n")
    with pytest.raises(DataError, match=r"a\.csv:7: there is a NUL byte"):
        list(Csv.read(path))


# --- csv: layout


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_delimiters_with_quoted_ones_and_line_breaks_in_cells(tmp_path, delimiter):
    rows = [("text", "label")] + [(f'one{delimiter} two\n"{i}" and, more; so', f"l{i % 3}") for i in range(9)]
    path = written(tmp_path / "a.csv", quoted(rows, delimiter))
    assert layout_of(path).delimiter == delimiter
    records = list(Csv.read(path))
    assert [(r["text"], r["label"]) for _, r in records] == rows[1:]
    assert [line for line, _ in records] == list(range(2, 20, 2))  # each text takes two lines


def test_windows_line_ends_and_blank_lines(tmp_path):
    path = written(tmp_path / "a.csv", 'text,label\r\n\r\n"a\r\nb",x\r\n\r\n  \r\nc,y\r\n')
    assert list(Csv.read(path)) == [(3, {"text": "a\r\nb", "label": "x"}), (7, {"text": "c", "label": "y"})]


def test_unquoted_commas_in_a_semicolon_file(tmp_path):
    path = written(tmp_path / "a.csv", "text;wert\nja, gut;1,5\nnein, nie, nie;2,5\nso;3,5\n")
    assert [r["wert"] for _, r in Csv.read(path)] == ["1,5", "2,5", "3,5"]


def test_tsv_without_quoting(tmp_path):
    path = written(tmp_path / "a.tsv", 'text\tlabel\n"Wow" he said\t1\nfine\t0\n"so it begins\t1\n')
    assert [r["text"] for _, r in Csv.read(path)] == ['"Wow" he said', "fine", '"so it begins']
    assert any("quotes are read as part" in note for note in Csv.notes(path))


def test_backslash_escapes(tmp_path):
    path = written(tmp_path / "a.csv", 'text,label\n"she said \\"no, no\\" twice",a\nfine,b\n')
    assert next(Csv.read(path))[1]["text"] == 'she said "no, no" twice'


def test_quote_that_never_closes(tmp_path):
    path = written(tmp_path / "a.csv", 'text,label\ngood,pos\n"bad,neg\nfine,pos\n')
    with pytest.raises(DataError, match=r"a\.csv:3: a quote opens in this row and never closes"):
        list(Csv.read(path))


def test_quote_closed_by_a_later_one(tmp_path):
    path = written(tmp_path / "a.csv", 'text,label\ngood,pos\n"bad,neg\nfine,pos\n"quoted",pos\n')
    with pytest.raises(DataError, match=r"a\.csv:3: a quote closes"):
        list(Csv.read(path))


def test_row_of_another_width(tmp_path):
    path = written(tmp_path / "a.csv", "text,label\ngood,pos\nbad, really,neg\nfine,pos\nok,pos\n")
    with pytest.raises(DataError, match=r"a\.csv:3: the row has 3 cells, the header has 2 \(text, label\)"):
        list(Csv.read(path))


def test_huge_cell(tmp_path):
    path = written(tmp_path / "a.csv", f'text,label\n"{"long, " * 100_000}",x\nshort,y\n')
    assert len(next(Csv.read(path))[1]["text"]) == 600_000


def test_one_column_of_text_with_commas(tmp_path):
    path = written(tmp_path / "a.csv", "text\nyes, no\nno\na, b, c\n")
    assert [r["text"] for _, r in Csv.read(path)] == ["yes, no", "no", "a, b, c"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("good film,pos\nbad film,neg\ngood story,pos\n", ("column1", "column2")),
        ("I like it\t27\ted1\nWow, what a day\t4,27\ted2\n", ("column1", "column2", "column3")),
        ("frage;antwort\nwie geht es dir heute;gut\nwas machst du;nichts\n", ("frage", "antwort")),
        (",text,label\n0,good,a\n1,bad,b\n", ("column1", "text", "label")),
        ("0,1\ngood,a\nbad,b\n", ("0", "1")),
        ("标题,分类\n今天天气好,天气\n股市大涨,财经\n", ("标题", "分类")),
        ("What do you think?,When\nfine,2024-01-02\nbad,2024-01-03\n", ("What do you think?", "When")),
        ("text,text\na,b\nc,d\n", ("text", "text_2")),
    ],
)
def test_header_is_told_from_data(tmp_path, text, names):
    assert layout_of(written(tmp_path / "a.csv", text)).names == names


def test_missing_header_is_told(tmp_path):
    path = written(tmp_path / "a.csv", "good film,pos\nbad film,neg\ngood story,pos\n")
    assert len(list(Csv.read(path))) == 3
    assert any("no header" in note for note in Csv.notes(path))


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_empty_csv(tmp_path, content):
    with pytest.raises(DataError, match="empty"):
        list(Csv.read(written(tmp_path / "a.csv", content)))


# --- json


def test_jsonl_lines_and_errors(tmp_path):
    path = written(tmp_path / "a.jsonl", '{"text": "a\u2028b"}\n\n{"text": "c"}\n{"text": \n')
    records = Jsonl.read(path)
    assert [next(records), next(records)] == [(1, {"text": "a\u2028b"}), (3, {"text": "c"})]
    with pytest.raises(DataError, match=r"a\.jsonl:4"):
        next(records)
    with pytest.raises(DataError, match=r"b\.jsonl:1: found list"):
        next(Jsonl.read(written(tmp_path / "b.jsonl", "[1]\n")))


@pytest.mark.parametrize("wrap", ["{}", '{{"data": {}}}', '{{"version": "1", "rows": {}}}', '{{"data": {}, "x": [1]}}'])
@pytest.mark.parametrize("indent", [None, 1])
def test_json_shapes(tmp_path, wrap, indent):
    rows = [{"text": f"第{i}, [x] {{y}}", "label": i} for i in range(50)]
    path = written(tmp_path / "a.json", wrap.format(json.dumps(rows, indent=indent, ensure_ascii=False)))
    assert [r for _, r in Json.read(path)] == rows


def test_json_list_longer_than_a_chunk(tmp_path, monkeypatch):
    import weitiao.data.formats.json as module

    rows = [{"text": "x" * (i % 40), "label": [i, -i, 1.5e3]} for i in range(200)]
    path = written(tmp_path / "a.json", json.dumps(rows, indent=2))
    for chunk in (1, 7, 64):
        monkeypatch.setattr(module, "CHUNK", chunk)
        assert [r for _, r in Json.read(path)] == rows


def test_json_errors_name_the_line(tmp_path):
    with pytest.raises(DataError, match=r"a\.json:3"):
        list(Json.read(written(tmp_path / "a.json", '[\n{"a": 1},\n{"a" 2}\n' + ',{"a": 3}\n' * 9 + "]")))
    with pytest.raises(DataError, match="row 2: found int"):
        list(Json.read(written(tmp_path / "b.json", '[{"a": 1}, 5]')))
    with pytest.raises(DataError, match=r"c\.json:2"):
        list(Json.read(written(tmp_path / "c.json", '[{"a": 1},\n{"a": 2}')))
    with pytest.raises(DataError, match="no one list"):
        list(
            Json.read(written(tmp_path / "d.json", '{"a": 1}\n'))
            if False
            else Json.read(written(tmp_path / "d.json", '{"a":\n1}'))
        )


def test_json_lines_called_json(tmp_path):
    path = written(tmp_path / "a.json", '{"text": "a"}\n{"text": "b"}\n')
    assert [r["text"] for _, r in Json.read(path)] == ["a", "b"]


# --- parquet and saved data sets


def test_parquet_gives_class_names(tmp_path):
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    dataset = Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)
    dataset.to_parquet(str(tmp_path / "a.parquet"))
    dataset.save_to_disk(str(tmp_path / "saved"))
    expected = [
        (1, {"text": "a", "label": "pos"}),
        (2, {"text": "b", "label": "neg"}),
        (3, {"text": "c", "label": None}),
    ]
    assert list(Parquet.read(tmp_path / "a.parquet")) == expected
    assert list(SavedDataset.read(tmp_path / "saved")) == expected


def test_damaged_parquet(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match="not a whole Parquet file"):
        list(Parquet.read(tmp_path / "a.parquet"))


# --- text


def test_folder_of_labels(tmp_path):
    for label, text in (("sport", "scores\nand goals\n"), ("politik", "Wähler\n")):
        (tmp_path / "news" / label).mkdir(parents=True)
        (tmp_path / "news" / label / "1.txt").write_bytes(text.encode("latin-1"))
    records = [r for _, r in Text.read(tmp_path / "news")]
    assert records == [
        {"text": "Wähler", "label": "politik", FILE: "politik/1.txt"},
        {"text": "scores\nand goals", "label": "sport", FILE: "sport/1.txt"},
    ]


@pytest.mark.parametrize("names", [("neg.txt", "pos.txt"), ("rt.neg", "rt.pos")])
def test_folder_of_files_named_after_labels(tmp_path, names):
    for name in names:
        written(tmp_path / name, "one\n\ntwo\n")
    written(tmp_path / "README.txt", "about")
    records = list(Text.read(tmp_path))
    assert [(line, r["label"]) for line, r in records] == [(1, "neg"), (3, "neg"), (1, "pos"), (3, "pos")]


# --- which format, which files


def test_each_format_is_chosen_by_suffix_or_content(tmp_path):
    jsonl = '{"text": "a"}\n'
    assert format_of(written(tmp_path / "a.TSV", "a\tb\n")) is Csv
    assert format_of(written(tmp_path / "b.jsonl", jsonl)) is Jsonl
    assert format_of(written(tmp_path / "c.data", jsonl)) is Jsonl
    assert format_of(written(tmp_path / "d.data", '[{"a": 1}]')) is Json
    assert format_of(written(tmp_path / "e.pos", "plain\n")) is Text
    known = {registry.get("format", n) for n in registry.names("format")}
    assert {Csv, Json, Jsonl, Parquet, Text, SavedDataset, Conll, Squad, Documents} == known


@pytest.mark.parametrize(
    ("name", "told"), [("a.xlsx", "Save the sheet as CSV"), ("a.pkl", "run code"), ("a.bin", "Known are")]
)
def test_what_cannot_be_read_says_what_to_do(tmp_path, name, told):
    (tmp_path / name).write_bytes(b"PK\x03\x04\0\0\0\0\xff")
    with pytest.raises(DataError, match=told):
        format_of(tmp_path / name)


def test_hub_folder(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        (tmp_path / "data" / f"{name}.parquet").write_bytes(b"")
    written(tmp_path / "README.md", "x")
    assert splits_in(tmp_path) == {"train", "test"}
    assert [f.name for f in files_of(tmp_path, "train")] == [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ]
    assert [f.name for f in files_of(tmp_path)] == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    with pytest.raises(DataError, match="no data file for validation"):
        files_of(tmp_path, "validation")
    written(tmp_path / "data" / "train.csv", "a,b\n")
    with pytest.raises(DataError, match="several data files"):
        files_of(tmp_path, "train")


def test_folder_with_one_readable_file(tmp_path):
    written(tmp_path / "reviews.csv", "a,b\n")
    written(tmp_path / "LICENSE.txt", "x")
    assert files_of(tmp_path) == [tmp_path / "reviews.csv"]


def test_text_folders_by_split(tmp_path):
    for split in ("train", "test"):
        for label in ("pos", "neg"):
            (tmp_path / split / label).mkdir(parents=True)
            written(tmp_path / split / label / "0.txt", "text")
    assert splits_in(tmp_path) == {"train", "test"}
    assert files_of(tmp_path, "test") == [tmp_path / "test"]


# --- real files


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is absent")
@pytest.mark.parametrize(
    ("name", "names", "rows"),
    [
        ("banking77/train.csv", ("text", "category"), 10003),
        ("goemotions/test.tsv", ("column1", "column2", "column3"), 5427),
        ("csl/cls_ctg_dev.tsv", ("column1", "column2", "column3"), 1000),
        ("emobank/emobank.csv", ("id", "split", "V", "A", "D", "text"), 10062),
    ],
)
def test_real_files(name, names, rows):
    assert layout_of(DATA / name).names == names
    assert sum(1 for _ in Csv.read(DATA / name)) == rows
