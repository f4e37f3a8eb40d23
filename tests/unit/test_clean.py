"""Cleaning does what its rules say, tells each change, and never writes what it is to hide."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from typing import get_args

import pytest

from weitiao.data import open_splits
from weitiao.data.made import Made
from weitiao.errors import DataError, RecipeError, WeitiaoError
from weitiao.recipe import CleanSettings, DataSettings, Recipe
from weitiao.recipe.workshop import PersonalKind, Script
from weitiao.tasks.text_classification import TextClassification
from weitiao.workshop import personal
from weitiao.workshop.augment.base import applied
from weitiao.workshop.by_text import KINDS
from weitiao.workshop.clean import clean
from weitiao.workshop.looking import SCRIPTS
from weitiao.workshop.masking import NAMES, Placeholders, same
from weitiao.workshop.mending import encoding, markup, spaces, width
from weitiao.workshop.rules import unescaped

OFF = {
    "encoding": False, "control": False, "markup": False, "unicode": "keep", "spaces": False, "empty": False,
    "contradictions": "keep", "duplicates": "keep", "leakage": False,
}  # fmt: skip


def table(path, rows, header=("text", "label")):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return str(path)


def lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(folder, split="train"):
    if (path := folder / f"{split}.csv").exists():
        return list(csv.DictReader(path.open(encoding="utf-8", newline="")))
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text("utf-8").splitlines()]


def changes(folder):
    return [json.loads(line) for line in (folder / "changes.jsonl").read_text("utf-8").splitlines()]


def texts(folder, split="train"):
    return [row["text"] for row in read(folder, split)]


PLAIN = [(f"the parcel number {number} came late", "late" if number % 2 else "early") for number in range(6)]


# --- texts


def test_each_rule_mends_and_tells_and_the_file_stays(tmp_path):
    broken = [
        ("the cafÃ© is closed", "x"), ("浣犲ソ浣犲ソ浣犲ソ", "x"), ("zero\u200bwidth", "x"),
        ("a <b>bold</b> &amp; free<br>claim<!-- no -->", "x"), ("ＡＢＣ１２，好", "x"),
        ("  two  blanks\u3000here ", "x"),
    ]  # fmt: skip
    path = tmp_path / "a.csv"
    source = table(path, [*broken, *PLAIN])
    before = path.read_bytes()
    made = clean(source, tmp_path / "new")
    assert path.read_bytes() == before
    assert texts(tmp_path / "new")[:6] == [
        "the café is closed", "你好你好你好", "zerowidth", "a bold & free\nclaim", "ABC12，好", "two blanks here",
    ]  # fmt: skip
    told = changes(tmp_path / "new")
    assert [(each["row"], each["rule"]) for each in told] == [
        ("a.csv:2", "encoding"), ("a.csv:3", "encoding"), ("a.csv:4", "control"), ("a.csv:5", "markup"),
        ("a.csv:6", "unicode"), ("a.csv:7", "spaces"),
    ]  # fmt: skip
    assert told[0] == {"row": "a.csv:2", "split": "data", "action": "changed", "rule": "encoding", "column": "text",
                       "before": "the cafÃ© is closed", "after": "the café is closed"}  # fmt: skip
    assert made.rows == {"data": {"before": 12, "after": 12}}
    assert made.changes["encoding"] == {"changed": 2}
    assert Made.read(tmp_path / "new") == made


def test_with_all_rules_off_nothing_changes(tmp_path):
    rows = [(" a <b>b</b>\u200b ", "x"), (" a <b>b</b>\u200b ", "x"), ("", "y")]
    made = clean(table(tmp_path / "a.csv", rows), tmp_path / "new", OFF)
    assert [tuple(row.values()) for row in read(tmp_path / "new")] == rows
    assert changes(tmp_path / "new") == []
    assert made.changes == {}


@pytest.mark.parametrize(
    ("mend", "before", "after"),
    [
        (markup, "if a < b and c > d", "if a < b and c > d"),
        (markup, "I <3 you & AT&T &notit", "I <3 you & AT&T &notit"),
        (markup, "<p>one</p><p>two</p><script>x()</script>", "one\ntwo\n"),
        (markup, "<td>1</td><td>2</td>", "1 2 "),
        (spaces, "def f(x):\r\n    return  x  \r\n\r\n\r\n\r\ny", "def f(x):\n    return x\n\ny"),
        (spaces, "    indented\n    block\n", "    indented\n    block"),
        (width, "（Ｇ２０）！", "（G20）！"),
        (encoding, "schÃ¶n", "schön"),
        (unescaped, r"one.\nTwo\t3 \u4f60\ud83d\ude00 it\'s", "one.\nTwo\t3 你😀 it's"),
        (unescaped, r"the gradient \nabla and C:\new\Text", r"the gradient \nabla and C:\new\Text"),
        (
            unescaped,
            r"split at '\n', and a path D:\Tmp\New. Line\nTwo",
            "split at '\\n', and a path D:\\Tmp\\New. Line\nTwo",
        ),
    ],
)
def test_what_a_rule_mends_and_what_it_leaves(mend, before, after):
    assert mend(before) == after
    assert mend(after) == after


def test_nfkc_and_simplified_are_chosen(tmp_path):
    pytest.importorskip("opencc")
    source = table(tmp_path / "a.csv", [("價錢①，", "x"), ("b", "y")])
    clean(source, tmp_path / "new", {"unicode": "nfkc", "simplified": True})
    assert texts(tmp_path / "new")[0] == "价钱1,"


# --- rows


def test_rows_are_dropped_by_themselves(tmp_path):
    rows = [("", "x"), ("good text here", ""), ("ab", "x"), ("a very long text " * 9, "x"), ("!!! ??? ... a", "x"),
            ("привет как дела", "x"), ("a usual text", "x")]  # fmt: skip
    made = clean(table(tmp_path / "a.csv", rows), tmp_path / "new",
                 {"shortest": 5, "longest": 60, "letters": 0.5, "scripts": ["Latin"]})  # fmt: skip
    assert texts(tmp_path / "new") == ["a usual text"]
    assert [(each["row"], each["rule"]) for each in changes(tmp_path / "new")] == [
        ("a.csv:2", "empty"), ("a.csv:3", "empty"), ("a.csv:4", "length"), ("a.csv:5", "length"),
        ("a.csv:6", "letters"), ("a.csv:7", "scripts"),
    ]  # fmt: skip
    assert made.changes["empty"] == {"dropped": 2}


@pytest.mark.parametrize(
    ("how", "left"),
    [
        ("majority", ["a", "A ", "one", "two"]),
        ("drop", ["one", "two"]),
        ("keep", ["a", "A ", "a", "tie", "tie", "one", "two"]),
    ],
)
def test_contradictions_are_resolved(tmp_path, how, left):
    rows = [("a", "x"), ("A ", "x"), ("a", "y"), ("tie", "x"), ("tie", "y"), ("one", "x"), ("two", "y")]
    clean(table(tmp_path / "a.csv", rows), tmp_path / "new", {**OFF, "contradictions": how})
    assert texts(tmp_path / "new") == left
    if how == "majority":
        told = changes(tmp_path / "new")
        assert [(each["row"], each["labels"]) for each in told] == [
            ("a.csv:4", {"x": 2, "y": 1}), ("a.csv:5", {"x": 1, "y": 1}), ("a.csv:6", {"x": 1, "y": 1}),
        ]  # fmt: skip


def test_duplicates_are_dropped_once_texts_are_mended(tmp_path):
    rows = [("the room was clean", "x"), ("THE ROOM\u200b was  clean", "x"), ("the room was clean", "y"), ("b", "y")]
    made = clean(table(tmp_path / "a.csv", rows), tmp_path / "new", {"contradictions": "keep"})
    assert texts(tmp_path / "new") == ["the room was clean", "the room was clean", "b"]
    [dropped] = [each for each in changes(tmp_path / "new") if each["action"] == "dropped"]
    assert dropped == {
        "row": "a.csv:3", "split": "data", "action": "dropped", "rule": "duplicates", "of": "a.csv:2",
    }  # fmt: skip
    assert made.rows["data"]["after"] == 3


def test_labels_of_duplicates_are_merged(tmp_path):
    rows = [("a", "joy|love"), ("b", "joy"), ("a", "love|fear"), ("c", "joy|fear"), ("b", "joy")]
    clean(table(tmp_path / "a.csv", rows), tmp_path / "new", {"duplicates": "merge"}, label_separator="|", form="jsonl")
    assert [row["label"] for row in read(tmp_path / "new")] == ["joy|love|fear", "joy", "joy|fear"]
    splits = open_splits(
        DataSettings(train=str(tmp_path / "new"), label_separator="|", validation_size=0, test_size=0),
        TextClassification.columns, seed=0,
    )  # fmt: skip
    assert splits["train"]["label"][:] == [["joy", "love", "fear"], ["joy"], ["joy", "fear"]]


def test_merging_needs_several_labels_a_row(tmp_path):
    with pytest.raises(DataError, match="one label each"):
        clean(table(tmp_path / "a.csv", PLAIN), tmp_path / "new", {"duplicates": "merge"})
    assert not (tmp_path / "new").exists()


LONG = "the parcel that I ordered on monday the third of may has not come to my door, please look for it"


def splits(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    table(folder / "train.csv", [*PLAIN, ("in test", "late"), ("in validation", "early"), (LONG, "late"),
                                 (LONG + " now", "late"), ("own words", "early")])  # fmt: skip
    table(folder / "validation.csv", [("In Validation", "early"), ("In  test", "late"), ("v", "late")])
    table(folder / "test.csv", [("in test", "late"), (LONG.replace("may", "mai"), "late"), ("t", "early")])
    return str(folder)


def test_what_is_tested_on_leaves_training(tmp_path):
    made = clean(splits(tmp_path), tmp_path / "new", {**OFF, "leakage": True})
    new = tmp_path / "new"
    assert {"in test", "in validation"} & set(texts(new)) == set()
    assert texts(new, "validation") == ["In Validation", "v"]
    assert len(texts(new, "test")) == 3
    assert made.changes == {"leakage": {"dropped": 3}}
    assert {(each["row"], each["also_in"]) for each in changes(new)} == {
        ("train.csv:8", "test"), ("train.csv:9", "validation"), ("validation.csv:3", "test"),
    }  # fmt: skip
    assert (new / "train.csv").exists()


def test_near_duplicates_go_inside_and_across(tmp_path):
    clean(splits(tmp_path), tmp_path / "new", {**OFF, "near_duplicates": True})
    assert [text for text in texts(tmp_path / "new") if text.startswith("the parcel that")] == []
    assert {each["rule"] for each in changes(tmp_path / "new")} == {"near-duplicates", "near-leakage"}


@pytest.mark.parametrize(("how", "counts"), [("undersample", (2, 2)), ("oversample", (7, 7))])
def test_labels_are_balanced_in_training_alone(tmp_path, how, counts):
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [(f"text {number}", "often" if number < 7 else "rare") for number in range(9)]
    table(folder / "train.csv", rows)
    table(folder / "test.csv", [(f"test {number}", "often") for number in range(5)])
    clean(str(folder), tmp_path / "new", {**OFF, "balance": how})
    labels = [row["label"] for row in read(tmp_path / "new")]
    assert (labels.count("often"), labels.count("rare")) == counts
    assert len(read(tmp_path / "new", "test")) == 5
    told = changes(tmp_path / "new")
    assert {each["rule"] for each in told} == {"balance"}
    assert [each["action"] for each in told] == ["added" if how == "oversample" else "dropped"] * 5
    if how == "oversample":
        again = [each["row"] for each in told]
        assert sorted(map(again.count, set(again))) == [2, 3]  # each row again before any a third time


def test_the_seed_alone_decides_what_balancing_drops(tmp_path):
    rows = [(f"text {number}", "often" if number < 30 else "rare") for number in range(35)]
    source = table(tmp_path / "a.csv", rows)
    found = []
    for place, seed in enumerate((0, 0, 1)):
        clean(source, tmp_path / f"new{place}", {"balance": "undersample", "seed": seed})
        found.append(texts(tmp_path / f"new{place}"))
    assert found[0] == found[1] != found[2]


# --- personal data

PHONE, MAIL, CARD = "138 0013 8000", "anna.lee@example.org", "11010519491231002X"


def personal_rows():
    return [
        {"text": f"call me at {PHONE} or write to {MAIL}", "label": "a"},
        {"text": f"我的号码是+86 {PHONE.replace(' ', '')}，身份证{CARD}", "label": "b"},
        {"text": f"  nothing <b>but</b> {MAIL.upper()}", "label": "a"},
        {"text": "nothing at all", "label": "b"},
    ]


def test_the_same_value_has_the_same_placeholder_and_is_written_nowhere(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    lines(folder / "train.jsonl", personal_rows())
    lines(folder / "test.jsonl", [{"text": f"again {MAIL} and bob@example.org", "label": "a"}])
    made = clean(str(folder), tmp_path / "new", {"personal": "mask"})
    assert texts(tmp_path / "new") == [
        "call me at [PHONE_1] or write to [EMAIL_1]", "我的号码是[PHONE_1]，身份证[ID_1]", "nothing but [EMAIL_1]",
        "nothing at all",
    ]  # fmt: skip
    assert texts(tmp_path / "new", "test") == ["again [EMAIL_1] and [EMAIL_2]"]
    written = "".join(path.read_text("utf-8") for path in (tmp_path / "new").iterdir()).casefold()
    digits = "".join(filter(str.isalnum, written))
    for secret in (PHONE, PHONE.replace(" ", ""), MAIL, CARD.casefold(), "bob@"):
        assert secret.casefold() not in written
        assert "".join(filter(str.isdigit, secret)) == "" or "".join(filter(str.isdigit, secret)) not in digits
    told = [each for each in changes(tmp_path / "new") if each["row"] == "train.jsonl:3"]
    assert [(each["rule"], "before" in each) for each in told] == [
        ("markup", False), ("spaces", False), ("personal", False),
    ]  # fmt: skip
    assert made.changes["personal"] == {"changed": 4}


def test_some_kinds_are_masked_and_rows_are_dropped(tmp_path):
    source = lines(tmp_path / "a.jsonl", personal_rows())
    clean(source, tmp_path / "some", {"personal": "mask", "personal_kinds": ["email"]})
    assert texts(tmp_path / "some")[0] == f"call me at {PHONE} or write to [EMAIL_1]"
    made = clean(source, tmp_path / "none", {"personal": "drop"})
    assert texts(tmp_path / "none") == ["nothing at all"]
    assert [each["kinds"] for each in changes(tmp_path / "none")] == [
        ["email", "phone"],
        ["id_card", "phone"],
        ["email"],
    ]
    assert made.changes["personal"] == {"dropped": 3}


def test_a_row_that_cannot_be_masked_is_dropped(tmp_path):
    """Half of the number is an entity: no placeholder can stand for it and leave the entity what it is."""
    text = "ring 13800138000 now, Anna"
    rows = [
        {"text": text, "entities": [[10, 16, "X"], [22, 26, "PER"]]},
        {"text": text, "entities": [[5, 16, "TEL"], [22, 26, "PER"]]},
    ]
    clean(lines(tmp_path / "a.jsonl", rows), tmp_path / "new", {"personal": "mask"}, task="token-classification")
    [left] = read(tmp_path / "new")
    assert left["text"] == "ring [PHONE_1] now, Anna"
    assert [(left["text"][e["start"] : e["end"]], e["type"]) for e in left["entities"]] == [
        ("[PHONE_1]", "TEL"), ("Anna", "PER"),
    ]  # fmt: skip


def written(folder):
    return "".join(path.read_text("utf-8") for path in folder.iterdir())


def test_what_a_rule_took_out_is_told_nowhere_either(tmp_path):
    rows = [{"text": f'<a href="mailto:{MAIL}">write</a> to us', "label": "a"}, {"text": "other words", "label": "b"}]
    clean(lines(tmp_path / "a.jsonl", rows), tmp_path / "new", {"personal": "mask"})
    assert texts(tmp_path / "new") == ["write to us", "other words"]
    assert [(each["rule"], "before" in each) for each in changes(tmp_path / "new")] == [("markup", False)]
    assert MAIL not in written(tmp_path / "new")


@pytest.mark.parametrize("how", ["mask", "drop"])
def test_rows_in_which_something_is_left_are_dropped(tmp_path, how):
    """Where a text is not taken out to be mended, what it holds is looked for all the same."""
    qa = [
        {"question": "who?", "context": f"write to {MAIL}", "answers": ["Anna"], "answer_starts": [3]},
        {"question": "where?", "context": "in Rome", "answers": ["Rome"], "answer_starts": [3]},
    ]
    made = clean(lines(tmp_path / "qa.jsonl", qa), tmp_path / "qa", {"personal": how}, task="question-answering")
    assert [row["question"] for row in read(tmp_path / "qa")] == ["where?"]
    assert made.changes["personal"] == {"dropped": 1}
    ner = [
        {"tokens": ["call", "138", "0013", "8000", "now"], "tags": ["O"] * 5},
        {"tokens": ["call", "Anna"], "tags": ["O", "B-PER"]},
    ]
    clean(lines(tmp_path / "ner.jsonl", ner), tmp_path / "ner", {"personal": how}, task="token-classification")
    assert [row["tokens"] for row in read(tmp_path / "ner")] == [["call", "Anna"]]
    call = {"id": "1", "type": "function", "function": {"name": "mail", "arguments": json.dumps({"to": MAIL})}}
    chat = [
        {"messages": [
            {"role": "user", "content": "write"}, {"role": "assistant", "content": "", "tool_calls": [call]}
        ]},
        {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]},
    ]  # fmt: skip
    clean(lines(tmp_path / "chat.jsonl", chat), tmp_path / "chat", {"personal": how})
    assert [row["messages"][0]["content"] for row in read(tmp_path / "chat")] == ["hello"]
    for name in ("qa", "ner", "chat"):
        assert MAIL not in written(tmp_path / name)
        assert "8000" not in written(tmp_path / name)


def test_columns_that_are_not_read_are_named(tmp_path):
    source = table(tmp_path / "a.csv", [("a text", "x", MAIL), ("b text", "y", "")], ("text", "label", "author"))
    made = clean(source, tmp_path / "new", {"personal": "mask"})
    assert read(tmp_path / "new")[0]["author"] == MAIL
    assert made.notes[-1].endswith("copied as they are: author")
    assert clean(source, tmp_path / "other").notes == made.notes[:-1]


def test_kinds_and_scripts_have_one_name_everywhere():
    kinds = set(get_args(PersonalKind))
    assert kinds == set(NAMES) - {"name"} == set(KINDS) == {kind for kind, *_ in personal._PATTERNS}
    assert {"none", *get_args(Script)} == set(SCRIPTS)


def test_values_are_the_same_however_they_are_written():
    assert same("phone", "+86 138-0013-8000") == same("phone", "１３８００１３８０００")
    assert same("email", "Anna@Example.org") == same("email", "anna@example.org")
    assert same("bank_card", "4111 1111 1111 1111") == same("bank_card", "4111-1111-1111-1111")
    assert same("ip", "10.0.0.1") != same("ip", "100.0.1")
    assert Placeholders(()).edits(f"call {PHONE}") == []


# --- people's names

PEOPLE = [("see Anna in Oslo today", "a"), ("nobody came in Rome", "b"), ("see Bob in Rome and Anna in Oslo", "a")]


def test_names_are_masked_the_same_in_all_rows(ner, tmp_path):
    made = clean(table(tmp_path / "a.csv", PEOPLE), tmp_path / "new", {"personal": "mask", "ner": str(ner)})
    assert texts(tmp_path / "new") == [
        "see [NAME_1] in Oslo today", "nobody came in Rome", "see [NAME_2] in Rome and [NAME_1] in Oslo",
    ]  # fmt: skip
    assert [each["kinds"] for each in changes(tmp_path / "new")] == [["name"], ["name"]]
    assert "Anna" not in written(tmp_path / "new")
    assert made.changes["personal"] == {"changed": 2}
    clean(table(tmp_path / "a.csv", PEOPLE), tmp_path / "drop", {"personal": "drop", "ner": str(ner)})
    assert texts(tmp_path / "drop") == ["nobody came in Rome"]


def test_names_in_tokens_are_masked_token_by_token(ner, tmp_path):
    rows = [{"tokens": ["see", "Anna", "in", "Oslo", "today"], "tags": ["O", "B-PER", "O", "B-LOC", "O"]}]
    settings = {"personal": "mask", "ner": str(ner)}
    clean(lines(tmp_path / "a.jsonl", rows), tmp_path / "new", settings, task="token-classification")
    [row] = read(tmp_path / "new")
    assert row == {"tokens": ["see", "[NAME_1]", "in", "Oslo", "today"], "tags": ["O", "B-PER", "O", "B-LOC", "O"]}


def test_a_name_that_is_part_of_a_longer_one_is_the_same_person():
    masks = Placeholders(["email"])
    names = ["Anna", "Anna Meyer", "王小明"]
    text = "Anna Meyer (anna@x.org) met 王小明先生; Annabel and anna did not, Anna did"
    assert applied(text, masks.edits(text, names)) == (
        "[NAME_1] ([EMAIL_1]) met [NAME_2]先生; Annabel and anna did not, [NAME_1] did"
    )
    assert masks.held(text, names) == ["email", "name"]
    assert applied("ANNA MEYER", masks.edits("ANNA MEYER", ["ANNA MEYER"])) == "[NAME_1]"
    assert masks.edits("no one", ["Anna", " "]) == []


def test_a_model_for_names_must_find_people(ner, tmp_path):
    source = table(tmp_path / "a.csv", PEOPLE)
    with pytest.raises(RecipeError, match="set it to mask or drop"):
        clean(source, tmp_path / "new", {"ner": str(ner)})
    with pytest.raises(RecipeError, match=r"clean\.ner_types.*does not find ORG"):
        clean(source, tmp_path / "new", {"ner": str(ner), "ner_types": ["ORG"], "personal": "mask"})
    assert not (tmp_path / "new").exists()


# --- languages, quality, labels

FRENCH = "ce colis est encore arrivé en retard, je ne suis pas du tout content de vous"
ENGLISH = "this parcel came late once more and I am not happy with your service at all"


def test_rows_in_other_languages_are_dropped(tmp_path):
    rows = [(ENGLISH, "a"), (FRENCH, "b"), ("ok", "a"), ("这个包裹又迟到了", "b"), ("このかばんは高いです", "b")]
    source = table(tmp_path / "a.csv", rows)
    clean(source, tmp_path / "en", {"languages": ["en"]})
    assert texts(tmp_path / "en") == [ENGLISH, "ok"]
    assert [(each["rule"], each["language"]) for each in changes(tmp_path / "en")] == [
        ("languages", "fr"), ("languages", "zh"), ("languages", "ja"),
    ]  # fmt: skip
    clean(source, tmp_path / "zh", {"languages": ["zh", "fr"]})
    assert texts(tmp_path / "zh") == [FRENCH, "ok", "这个包裹又迟到了"]
    with pytest.raises(RecipeError, match="languages"):
        clean(source, tmp_path / "x", {"languages": ["English"]})


def test_texts_that_repeat_themselves_are_dropped(tmp_path):
    source = table(tmp_path / "a.csv", [(ENGLISH, "a"), ("buy now " * 40, "b"), ("很好" * 60, "b")])
    clean(source, tmp_path / "new", {"quality": True})
    assert texts(tmp_path / "new") == [ENGLISH]
    assert {each["rule"] for each in changes(tmp_path / "new")} == {"quality"}
    clean(source, tmp_path / "all")
    assert len(texts(tmp_path / "all")) == 3


def test_labels_are_written_as_most_rows_write_them(tmp_path):
    rows = [
        ("one text", "Card Lost"), ("two texts", "card_lost"), ("three texts", "Card Lost"), ("one text", "card lost"),
        ("four texts", "C++"), ("five texts", "C"), ("six texts", "A"), ("seven texts", "A-"),
    ]  # fmt: skip
    source = table(tmp_path / "a.csv", rows)
    made = clean(source, tmp_path / "new", {"label_spellings": True})
    assert [row["label"] for row in read(tmp_path / "new")] == ["Card Lost"] * 3 + ["C++", "C", "A", "A-"]
    assert made.changes["label-spellings"] == {"changed": 1}  # the other one is a duplicate now
    told = next(each for each in changes(tmp_path / "new") if each["rule"] == "label-spellings")
    assert (told["column"], told["before"], told["after"]) == ("label", "card_lost", "Card Lost")
    clean(source, tmp_path / "off")
    assert "card_lost" in written(tmp_path / "off")


def test_several_labels_in_a_cell_are_written_alike(tmp_path):
    rows = [("one text", "joy|Love"), ("two texts", "love"), ("three texts", "love|LOVE"), ("four texts", "love")]
    settings = {"label_spellings": True}
    clean(table(tmp_path / "a.csv", rows), tmp_path / "new", settings, label_separator="|")
    assert [row["label"] for row in read(tmp_path / "new")] == ["joy|love", "love", "love", "love"]
    many = [{"text": text, "label": label.split("|")} for text, label in rows]
    clean(lines(tmp_path / "a.jsonl", many), tmp_path / "lists", settings)
    assert [row["label"] for row in read(tmp_path / "lists")] == [["joy", "love"], ["love"], ["love"], ["love"]]


# --- what rows hold besides


def test_tags_entities_and_answers_stay_aligned(tmp_path):
    ner = [
        {"tokens": ["\u200bAnna\u200b", "visited", "Ａcme", "\u200b", "."], "tags": ["B-PER", "O", "B-ORG", "O", "O"]}
    ]
    clean(lines(tmp_path / "ner.jsonl", ner), tmp_path / "ner", task="token-classification")
    [row] = read(tmp_path / "ner")
    assert row == {"tokens": ["Anna", "visited", "Acme", "\u200b", "."], "tags": ["B-PER", "O", "B-ORG", "O", "O"]}

    context = "<p>The \u200bＧ２０  met in <b>Rome</b>.</p>"
    rows = [{"question": "where?", "context": context, "answers": ["Rome"], "answer_starts": [context.index("Rome")]}]
    clean(lines(tmp_path / "qa.jsonl", rows), tmp_path / "qa", task="question-answering")
    [row] = read(tmp_path / "qa")
    assert row["context"] == "The G20 met in Rome."
    [start] = row["answer_starts"]
    assert row["context"][start:].startswith("Rome")


def test_dialogues_are_mended_turn_by_turn(tmp_path):
    said = [(f"hi  <b>you</b> {MAIL}", "hello\u200b"), ("other", "words")]
    rows = [
        {"conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]}
        for asked, answer in said
    ]
    clean(lines(tmp_path / "a.jsonl", rows), tmp_path / "new", {"personal": "mask"})
    assert read(tmp_path / "new") == [
        {"messages": [{"role": "user", "content": "hi you [EMAIL_1]"}, {"role": "assistant", "content": "hello"}]},
        {"messages": [{"role": "user", "content": "other"}, {"role": "assistant", "content": "words"}]},
    ]


def test_other_columns_and_values_stay(tmp_path):
    rows = [{"id": 7, "text": " a ", "label": 1, "more": {"deep": [1, {"b": None}]}, "words": ["x", "y"], "note": None},
            {"id": 8, "text": "b", "label": 0, "more": None, "words": [], "note": "n"}]  # fmt: skip
    clean(lines(tmp_path / "a.jsonl", rows), tmp_path / "new")
    assert read(tmp_path / "new") == [{**rows[0], "text": "a"}, rows[1]]


# --- recipes, the command line, errors


def recipe(tmp_path, **sections):
    values = {"task": "text-classification", "model": "somewhere", **sections}
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(values), encoding="utf-8")  # JSON is YAML
    return path


def test_a_recipe_names_data_and_rules(tmp_path):
    table(tmp_path / "a.csv", [(" a <b>b</b>", "x"), ("c", "y")], header=("review", "stars"))
    table(tmp_path / "t.csv", [("c", "y")], header=("review", "stars"))
    path = recipe(tmp_path, data={"train": "a.csv", "test": "t.csv", "columns": {"text": "review", "label": "stars"}},
                  clean={"spaces": False})  # fmt: skip
    made = clean(path, tmp_path / "new")
    assert [row["review"] for row in read(tmp_path / "new")] == [" a b"]
    assert made.changes["leakage"] == {"dropped": 1}
    clean(path, tmp_path / "over", {"markup": False, "leakage": False})
    assert [row["review"] for row in read(tmp_path / "over")] == [" a <b>b</b>", "c"]
    assert Recipe.read(path).clean == CleanSettings(spaces=False)
    with pytest.raises(RecipeError, match=r"clean\.markdown.*unknown key"):
        Recipe.read(path, ["clean.markdown=true"])


def run(*words, cwd):
    return subprocess.run([sys.executable, "-m", "weitiao", *words], capture_output=True, text=True, cwd=cwd)


def test_the_command_tells_what_it_did_and_what_is_wrong(tmp_path):
    table(tmp_path / "a.csv", [("a <b>b</b>", "x"), *PLAIN])
    done = run("clean", "a.csv", "--out", "new", "--set", "personal=mask", "--set", "clean.shortest=3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "markup" in done.stdout
    assert "changes.jsonl" in done.stdout
    json_ = run("clean", "a.csv", "--out", "new2", "--json", cwd=tmp_path)
    assert json.loads(json_.stdout)["rows"]["data"] == {"before": 7, "after": 7}
    for words, told in (
        (("--out", "new"), "is there already"),
        (("--out", "x/y"), "does not exist"),
        (("--out", "b", "--set", "personel=mask"), "Did you mean 'personal'"),
        (("--out", "b", "--set", "personal=hide"), "clean.personal"),
        (("--out", "b", "--set", "shortest=9", "--set", "longest=3"), "no text is both"),
        (("--out", "b", "--set", "longest=1"), "no row is left of 7, by length"),
        (("--out", "b", "--columns", "text=nope"), "nope"),
    ):
        failed = run("clean", "a.csv", *words, cwd=tmp_path)
        assert failed.returncode == 2, (words, failed.stderr)
        assert told in failed.stderr
        assert "Traceback" not in failed.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "new", "new2"]


def test_balancing_needs_labels(tmp_path):
    source = lines(tmp_path / "a.jsonl", [{"input": "a b", "target": "b"}, {"input": "c d", "target": "d"}])
    with pytest.raises(WeitiaoError, match="not one label a row"):
        clean(source, tmp_path / "new", {"balance": "oversample"}, task="text2text-generation")
