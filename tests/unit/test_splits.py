"""Splits: every row once, nothing shared, labels in like shares, the same for the same seed."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weitiao import registry
from weitiao.data.checks import check_examples
from weitiao.data.cut import apportion, cut, sample
from weitiao.data.keys import normalised, occurrences, text_keys
from weitiao.data.splits import open_splits
from weitiao.errors import DataError
from weitiao.recipe import DataSettings
from weitiao.records import LINE, Column

ROLES = (
    Column("text", ("text",)),
    Column("text_pair", ("text_pair",), required=False),
    Column("label", ("label",), required=False, target=True, kind="label"),
)


def write(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("text", "label")) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def reviews(count: int, labels: int = 3, prefix: str = "review") -> list[tuple[str, str]]:
    return [(f"{prefix} number {i}", f"label {i % labels}") for i in range(count)]


def opened(train: str, seed: int = 0, **values):
    return open_splits(DataSettings(train=train, **values), ROLES, seed=seed)


def problems(splits) -> str:
    return "\n".join(f"{f.level} {f.where}: {f.problem}" for f in splits.findings)


# --- the cut itself


@st.composite
def examples(draw):
    count = draw(st.integers(1, 300))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    units = np.unique(random.integers(0, draw(st.integers(1, count)), count), return_inverse=True)[1]
    strata = random.integers(0, draw(st.integers(1, 6)), count)
    return units, strata, random.integers(0, 2**63, count).astype(np.uint64)


@given(examples(), st.sampled_from([0.0, 0.1, 0.3]), st.sampled_from([0.0, 0.1, 0.5]), st.integers(0, 9))
@settings(deadline=None)
def test_units_stay_whole_and_train_is_never_empty(data, validation, test, seed):
    units, strata, keys = data
    parts = cut(units, strata, keys, validation=validation, test=test, seed=seed)
    assert len(parts) == len(units)
    assert set(parts.tolist()) <= {0, *([1] if validation else []), *([2] if test else [])}
    assert (parts == 0).any()
    for unit in range(units.max() + 1):
        assert len(set(parts[units == unit].tolist())) == 1


@given(st.lists(st.integers(10, 200), min_size=1, max_size=8), st.integers(0, 99))
@settings(deadline=None)
def test_labels_in_like_shares(counts, seed):
    strata = np.repeat(np.arange(len(counts)), counts)
    keys = np.random.default_rng(seed).integers(0, 2**63, len(strata)).astype(np.uint64)
    parts = cut(np.arange(len(strata)), strata, keys, validation=0.1, test=0.2, seed=seed)
    assert abs((parts == 1).sum() - 0.1 * len(strata)) <= 1
    assert abs((parts == 2).sum() - 0.2 * len(strata)) <= 1
    for label, count in enumerate(counts):
        assert abs((parts[strata == label] == 1).sum() - 0.1 * count) <= 1
        assert abs((parts[strata == label] == 2).sum() - 0.2 * count) <= 1


@given(examples(), st.integers(0, 9))
@settings(deadline=None)
def test_row_order_does_not_matter(data, seed):
    _, strata, keys = data
    keys = keys + np.arange(len(keys), dtype=np.uint64)
    units = np.arange(len(keys))
    order = np.random.default_rng(seed).permutation(len(keys))
    straight = cut(units, strata, keys, validation=0.1, test=0.1, seed=seed)
    shuffled = cut(units, strata[order], keys[order], validation=0.1, test=0.1, seed=seed)
    assert np.array_equal(straight[order], shuffled)


def test_groups_of_many_labels_come_near_the_shares():
    random = np.random.default_rng(0)
    units = np.repeat(np.arange(200), random.integers(1, 20, 200))
    strata = random.integers(0, 3, len(units))
    parts = cut(
        units, strata, random.integers(0, 2**63, len(units)).astype(np.uint64), validation=0.1, test=0.1, seed=1
    )
    for part, share in ((1, 0.1), (2, 0.1)):
        assert abs((parts == part).mean() - share) < 0.01
        for label in range(3):
            assert abs((parts[strata == label] == part).mean() - share) < 0.03


def test_a_class_with_one_example_is_trained_on():
    strata = np.array([0] * 50 + [1] * 50 + [2])
    keys = np.arange(101, dtype=np.uint64)
    for seed in range(20):
        assert cut(np.arange(101), strata, keys, validation=0.2, test=0.2, seed=seed)[100] == 0


def test_apportion():
    ties = np.arange(3, dtype=np.uint64)
    assert apportion(np.array([50, 30, 20]), 0.1, np.array([49, 29, 19]), ties).tolist() == [5, 3, 2]
    assert apportion(np.array([5, 5, 5]), 0.1, np.array([4, 4, 4]), ties).tolist() == [1, 1, 0]
    assert apportion(np.array([1, 1, 1]), 0.5, np.array([0, 0, 0]), ties).tolist() == [0, 0, 0]


def test_sample_keeps_shares():
    strata = np.repeat([0, 1, 2], [500, 300, 200])
    rows = sample(strata, np.arange(1000, dtype=np.uint64), 100, seed=0)
    assert np.bincount(strata[rows]).tolist() == [50, 30, 20]
    assert list(rows) == sorted(set(rows.tolist()))


# --- texts


def test_same_text_but_for_case_width_and_spaces():
    assert normalised("  Ｇｏｏｄ\u3000ＦＩＬＭ \n") == normalised("good film") == "good film"
    assert normalised("Straße") == normalised("STRASSE")
    assert normalised("很好！") == normalised("很好!")
    assert normalised("good") != normalised("goods")


def test_occurrences():
    assert occurrences(np.array([5, 3, 5, 5, 3], np.uint64)).tolist() == [0, 0, 1, 2, 1]


# --- files


def test_cut_from_one_file(tmp_path):
    splits = opened(write(tmp_path / "reviews.csv", reviews(200)))
    assert {name: len(data) for name, data in splits.items()} == {"train": 160, "validation": 20, "test": 20}
    texts = [text for data in splits.values() for text in data["text"][:]]
    assert sorted(texts) == sorted(text for text, _ in reviews(200))
    assert splits.origin["test"] == "10% of reviews.csv, stratified"
    assert list(splits) == ["train", "validation", "test"]
    assert splits["train"]["__line__"][:] == sorted(splits["train"]["__line__"][:])


def test_same_split_in_another_process_and_in_another_order(tmp_path):
    rows = reviews(300, 4)
    path = write(tmp_path / "a.csv", rows)
    first = opened(path, seed=3)
    assert opened(path, seed=3).digest == first.digest
    assert opened(path, seed=4).digest != first.digest
    script = (
        "import sys; from weitiao.data import open_splits; from weitiao.recipe import DataSettings;"
        "from weitiao.records import Column;"
        "roles = (Column('text', ()), Column('label', (), target=True, kind='label'));"
        "print(open_splits(DataSettings(train=sys.argv[1]), roles, seed=3).digest)"
    )
    again = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert again.stdout.strip() == first.digest
    random.Random(0).shuffle(rows)
    other = opened(write(tmp_path / "b.csv", rows), seed=3)
    for name in first:
        assert set(other[name]["text"][:]) == set(first[name]["text"][:])


def test_golden_cut(tmp_path):
    splits = opened(write(tmp_path / "a.csv", reviews(30)), seed=7)
    assert splits["test"]["__line__"][:] == [17, 27, 28]
    assert splits["validation"]["__line__"][:] == [9, 11, 31]


WORDS = st.sampled_from(["good", "Good", "bad", "BAD ", "ｂａｄ", "so so", "fine", "ok", "meh", "wow", "hm", "no"])


@given(st.lists(st.tuples(WORDS, st.sampled_from("ab"), st.sampled_from("123456")), min_size=3, max_size=60))
@settings(deadline=None, max_examples=25)
def test_no_text_and_no_group_on_both_sides(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("splits")
    splits = opened(write(folder / "a.csv", rows, ("text", "label", "author")), validation_size=0.2, test_size=0.2)
    assert sum(map(len, splits.values())) == len(rows)
    seen = Counter(key for data in splits.values() for key in set(map(normalised, data["text"][:])))
    assert set(seen.values()) == {1}
    path = write(folder / "b.csv", rows, ("text", "label", "author"))
    try:
        grouped = opened(path, validation_size=0.2, test_size=0.2, group="author")
    except DataError as refused:
        told = refused.problem
    else:
        told = ""
    if told:
        assert told.endswith("groups stay whole, and all stand in validation or test in another group")
        return
    author = {line: row[2] for line, row in enumerate(rows, 2)}
    groups = Counter(g for data in grouped.values() for g in {author[line] for line in data["__line__"][:]})
    assert set(groups.values()) == {1}
    seen = Counter(key for data in grouped.values() for key in set(map(normalised, data["text"][:])))
    assert set(seen.values()) == {1}


def test_a_text_that_links_all_groups_is_dropped_not_followed(tmp_path):
    rows = [(f"text {i}", f"l{i % 2}", f"author {i % 20}") for i in range(200)]
    rows += [("ok", "l0", f"author {i}") for i in range(20)]
    splits = opened(write(tmp_path / "a.csv", rows, ("text", "label", "author")), group="author")
    assert {"validation", "test"} <= set(splits)
    assert "in another group" in problems(splits)
    holding = [name for name, data in splits.items() if "ok" in data["text"][:]]
    assert len(holding) == 1
    assert "__group__" not in splits["train"].column_names
    assert "whole groups of 'author'" in splits.origin["test"]


def linked(path: Path, count: int = 24, same: int = 16) -> str:
    """Rows by an author each, of whom so many say "ok"."""
    rows = [("ok" if i < same else f"text {i}", f"l{i % 2}", f"author {i}") for i in range(count)]
    return write(path, rows, ("text", "label", "author"))


def test_a_split_that_loses_all_its_texts_to_another_is_left_out(tmp_path):
    path, lacking = linked(tmp_path / "a.csv"), 0
    for seed in range(40):
        splits = opened(path, seed, group="author")
        assert all(map(len, splits.values()))
        assert [*splits] == [*splits.origin] == [*splits.text_keys]
        told = problems(splits)
        for name, split in splits.items():
            assert splits.origin[name].startswith(f"{len(split) / 24:.0%} of a.csv")
        if "validation" not in splits:
            lacking += 1
            assert (
                "warning data.validation_size: no validation split: all its texts stand in another split, too" in told
            )
        assert splits.cut == tuple(name for name in splits if name != "train")
    assert 0 < lacking < 40


def test_the_shares_that_are_told_are_those_of_what_is_left(tmp_path):
    path, seen = linked(tmp_path / "a.csv", 100, 52), 0
    for seed in range(10):
        splits = opened(path, seed, group="author", validation_size=0.3, test_size=0.2)
        if "validation" not in splits:
            continue
        got = len(splits["validation"]) / 100
        assert splits.origin["validation"].startswith(f"{got:.0%} of a.csv")
        told = f"validation got {got:.0%} of the rows rather than 30%: groups stay whole, and texts of several are left"
        assert (told in problems(splits)) == (got < 0.21)
        seen += got < 0.21
    assert seen


def test_where_one_text_is_all_that_groups_say_nothing_is_left(tmp_path):
    path = linked(tmp_path / "a.csv", 24, 24)
    with pytest.raises(DataError, match="no text is left to train on: groups stay whole") as caught:
        opened(path, group="author")
    assert caught.value.where == "data.group"


@pytest.mark.parametrize("duplicates", ["together", "anywhere"])
def test_near_duplicates_that_link_most_groups_are_told(tmp_path, duplicates):
    """Texts 0 to 19 are nearly alike and link the authors; text 20 is said by two of them."""
    rows = [(f"nearly {i}" if i < 20 else f"text {i}", f"l{i % 2}", f"author {i % 20}") for i in range(200)]
    rows += [("text 20", "l0", "author 5"), *[("nearly 0", "l0", f"author {i}") for i in range(20)]]
    path = write(tmp_path / "a.csv", rows, ("text", "label", "author"))
    alike = np.r_[np.zeros(20, int), np.arange(1, 181), 1, np.zeros(20, int)]
    found = DataSettings(train=path, group="author", duplicates=duplicates)
    splits = open_splits(found, ROLES, seed=0, alike=alike)
    groups = [set(keys.tolist()) for keys in splits.group_keys.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 20
    dropped = [each for each in splits.findings if "left out" in each.problem]
    near = sum(text.startswith("nearly") for split in splits.values() for text in split["text"])
    [told] = [each for each in splits.findings if "nearly alike" in each.problem]
    assert told.level == "warning"
    if duplicates == "anywhere":
        assert not dropped
        assert sum(map(len, splits.values())) == 221
        assert told.problem.startswith(f"{near} rows are nearly alike and stand in several splits: groups stay whole")
    else:
        assert dropped
        assert near < 40
        assert told.problem.startswith(f"{near} rows are nearly alike")


def test_near_duplicates_give_way_before_copies_do(tmp_path):
    """The same, and copies link only two authors: they stay whole."""
    rows = [(f"nearly {i}" if i < 20 else f"text {i}", f"l{i % 2}", f"author {i % 20}") for i in range(200)]
    path = write(tmp_path / "a.csv", [*rows, ("text 20", "l0", "author 5")], ("text", "label", "author"))
    alike = np.r_[np.zeros(20, int), np.arange(1, 181), 1]
    for seed in range(5):
        splits = open_splits(DataSettings(train=path, group="author"), ROLES, seed=seed, alike=alike)
        assert sum(map(len, splits.values())) == 201
        assert [each.problem.split(": ")[0] for each in splits.findings if each.level == "warning"] == [
            "20 rows are nearly alike and stand in several splits"
        ]
        texts = [set(split["text"][:]) for split in splits.values()]
        assert sum(map(len, texts)) == len(set.union(*texts)) == 200


def turns(*said: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]


@pytest.mark.parametrize(
    ("task", "made"),
    [
        ("chat", lambda asked, answer: {"messages": turns(f"{asked}?", answer)}),
        ("chat", lambda asked, answer: {"messages": turns(f"{asked}?", answer, "And then?", f"{answer} again")}),
        ("chat", lambda asked, answer: {"instruction": asked, "input": "", "output": answer}),
        ("summarization", lambda asked, answer: {"text": asked, "summary": answer}),
        ("translation", lambda asked, answer: {"source": asked, "target": answer, "references": [answer]}),
        ("text2text-generation", lambda asked, answer: {"input": asked, "target": answer}),
        ("text-generation", lambda asked, answer: {"prompt": asked, "completion": answer}),
        ("generative-qa", lambda asked, answer: {"question": asked, "context": "here", "answers": [answer]}),
    ],
)
def test_the_same_input_with_another_answer_stays_in_one_split(tmp_path, task, made):
    rows = [made(f"what is number {i}", f"answer {i} by {who}") for i in range(30) for who in range(3)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    kind = registry.get("task", task)
    splits = open_splits(DataSettings(train=str(file)), kind.columns, seed=0, layout=kind.layout)
    found = {name: {(line - 1) // 3 for line in splits[name][LINE][:]} for name in splits}  # three rows for a question
    assert {name: len(questions) for name, questions in found.items()} == {"train": 24, "validation": 3, "test": 3}
    assert {name: len(split) for name, split in splits.items()} == {"train": 72, "validation": 9, "test": 9}


def test_another_question_in_a_dialogue_makes_another_input(tmp_path):
    rows = [{"messages": turns("hello", "hi", f"what is number {i}", "no idea")} for i in range(30)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kind = registry.get("task", "chat")
    splits = open_splits(DataSettings(train=str(tmp_path / "rows.jsonl")), kind.columns, seed=0, layout=kind.layout)
    assert len(np.unique(np.concatenate(list(splits.text_keys.values())))) == 30


def test_given_files_and_what_they_share(tmp_path):
    train = write(tmp_path / "train.csv", [*reviews(50), ("The END", "label 0"), ("the  end", "label 0")])
    test = write(tmp_path / "test.csv", [*reviews(10, prefix="other"), ("the end", "label 0")])
    splits = opened(train, test=test)
    assert {name: len(data) for name, data in splits.items()} == {"train": 45, "validation": 5, "test": 11}
    assert "warning data.train train.csv:52, 53: 2 rows of train have a text that is in test too" in problems(splits)
    one = opened(write(tmp_path / "one.csv", [*reviews(50), ("The END", "label 0")]), test=test)
    told = "1 row of train has a text that is in test too; it is left out of train"
    assert f"warning data.train one.csv:52: {told}" in problems(one)
    kept = opened(train, test=test, duplicates="anywhere", validation_size=0)
    assert len(kept["train"]) == 52
    assert "they stay" in problems(kept)
    with pytest.raises(DataError, match="no text is left to train on"):
        opened(train, test=train)


def test_given_files_and_the_groups_they_share(tmp_path):
    header = ("text", "label", "author")
    rows = [(f"text {i}", f"label {i % 2}", f"author {i % 20}") for i in range(100)]
    rows += [(f"nobody's {i}", "label 0", "") for i in range(3)]
    train = write(tmp_path / "train.csv", rows, header)
    test = write(tmp_path / "test.csv", [("seen", "label 0", "Author 3"), ("not seen", "label 1", "other"),
                                         ("whose", "label 1", "")], header)  # fmt: skip
    held = [("held", "label 0", "author 4"), ("held too", "label 0", "other")]
    held = write(tmp_path / "held.csv", held, header)
    splits = opened(train, test=test, validation=held, group="author")
    assert {name: len(data) for name, data in splits.items()} == {"train": 93, "validation": 2, "test": 3}
    assert not {f"text {i}" for i in range(100) if i % 20 in (3, 4)} & set(splits["train"]["text"][:])
    told = "5 rows of train are of a group that is in test too; they are left out of train"
    assert f"warning data.train train.csv:5, 25, 45 and 2 more: {told}" in problems(splits)
    assert "validation held.csv:3: 1 row of validation is of a group that is in test too; it stays in both" in problems(
        splits
    )
    cut = opened(train, test=test, group="author")  # validation is cut of what is left
    assert sum(len(cut[name]) for name in ("train", "validation")) == 98
    plain = write(tmp_path / "plain.csv", [("seen", "label 0"), ("not seen", "label 1")])
    assert len(opened(train, test=plain, validation_size=0, group="author")["train"]) == 103
    whole = write(tmp_path / "whole.csv", [(f"new {i}", "label 0", f"author {i}") for i in range(20)], header)
    with pytest.raises(DataError, match="no text is left to train on"):
        opened(write(tmp_path / "own.csv", rows[:100], header), test=whole, group="author")


def test_duplicates_anywhere_fall_where_they_fall(tmp_path):
    path = write(tmp_path / "a.csv", [("same", "a")] * 50 + [("other", "b")] * 50)
    splits = opened(path, duplicates="anywhere")
    assert {name: len(data) for name, data in splits.items()} == {"train": 80, "validation": 10, "test": 10}
    assert Counter(splits["test"]["label"][:]) == {"a": 5, "b": 5}


def test_splits_of_a_folder(tmp_path):
    (tmp_path / "reviews").mkdir()
    write(tmp_path / "reviews" / "train.csv", reviews(40))
    write(tmp_path / "reviews" / "dev.csv", reviews(10, prefix="dev"))
    splits = opened(str(tmp_path / "reviews"))
    assert splits.origin == {
        "train": "90% of reviews/train.csv, stratified",
        "validation": "reviews/dev.csv",
        "test": "10% of reviews/train.csv, stratified",
    }


def test_missing_column_of_another_split(tmp_path):
    train = write(tmp_path / "train.csv", reviews(20))
    test = write(tmp_path / "test.csv", reviews(5), ("text", "lable"))
    with pytest.raises(DataError, match=r"(?s)data\.test: test\.csv has no column 'label'.*text, lable"):
        opened(train, test=test)


def test_several_labels_are_shared_out_by_the_rarest(tmp_path):
    rows = [(f"text {i}", "common|rare" if i % 10 == 0 else "common") for i in range(200)]
    splits = opened(write(tmp_path / "a.csv", rows), label_separator="|")
    rare = {name: sum("rare" in labels for labels in data["label"][:]) for name, data in splits.items()}
    assert rare == {"train": 16, "validation": 2, "test": 2}


def test_numbers_are_shared_out_by_size(tmp_path):
    rows = [(f"text {i}", f"{i / 7:.3f}") for i in range(300)]
    splits = opened(write(tmp_path / "a.csv", rows))
    assert abs(np.mean(np.array(splits["test"]["label"][:], float)) - 300 / 14) < 3


@pytest.mark.parametrize("number", [lambda i: f"{i / 7:.3f}", lambda i: str(i * i)])
def test_what_a_regression_learns_is_shared_out_by_size(tmp_path, number):
    """Whole numbers as well: each tenth of the targets gives a tenth of itself to validation and to test."""
    file = write(tmp_path / "a.csv", [(f"text {i}", number(i)) for i in range(300)], ("text", "grade"))
    splits = open_splits(DataSettings(train=file), registry.get("task", "text-regression").columns, seed=0)
    assert splits.origin["test"] == "10% of a.csv, stratified"
    for name in ("validation", "test"):
        tenths = Counter((line - 2) // 30 for line in splits[name][LINE][:])
        assert tenths == dict.fromkeys(range(10), 3)


def test_several_numbers_are_not_shared_out_by_the_rarest(tmp_path):
    file = write(tmp_path / "a.csv", [(f"text {i}", str(i % 2), str(i % 3)) for i in range(60)], ("text", "a", "b"))
    roles = registry.get("task", "text-regression").columns
    splits = open_splits(DataSettings(train=file, columns={"target": ["a", "b"]}), roles, seed=0)
    assert splits.origin["test"] == "10% of a.csv"


def test_max_examples(tmp_path):
    splits = opened(write(tmp_path / "a.csv", reviews(200, 4)), max_examples=40)
    assert Counter(splits["train"]["label"][:]) == {f"label {i}": 10 for i in range(4)}
    assert splits.origin["train"] == "80% of a.csv, stratified, 40 of 160 examples"


def test_too_few_to_cut(tmp_path):
    splits = opened(write(tmp_path / "a.csv", [("one", "a"), ("two", "b")]))
    assert len(splits["train"]) == 2
    assert "no test split: there are too few examples to cut it" in problems(splits)


def test_sizes_that_leave_nothing(tmp_path):
    with pytest.raises(DataError, match="leaves nothing to train on"):
        opened(write(tmp_path / "a.csv", reviews(20)), test_size=0.5, validation_size=0.5)


def test_keys_reach_the_checks(tmp_path):
    rows = [*reviews(100), ("twice", "label 0"), ("Twice", "label 1")]
    splits = opened(write(tmp_path / "a.csv", rows))
    for name, data in splits.items():
        assert np.array_equal(splits.text_keys[name], text_keys(data, ["text"]))
    assert any("different labels" in finding.problem for finding in check_examples(splits, ROLES))
