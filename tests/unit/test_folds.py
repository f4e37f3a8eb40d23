"""`data.fold`: every example is tested on once, nothing is shared, and what cannot be cut is refused."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weitiao.data.cut import folds
from weitiao.data.fold import held_out
from weitiao.data.splits import open_splits
from weitiao.data.unlabelled import open_unlabelled
from weitiao.errors import DataError, RecipeError
from weitiao.recipe import DataSettings, Recipe
from weitiao.records import LINE, Column

ROLES = (
    Column("text", ("text",)),
    Column("label", ("label",), required=False, target=True, kind="label"),
)


HEADER = ("text", "label", "author")


def write(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("text", "label")) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def reviews(count: int, labels: int = 2) -> list[tuple[str, str]]:
    return [(f"第{i}条 review", f"label {i % labels}") for i in range(count)]


def opened(train: str, number: int, of: int = 5, seed: int = 0, repeat: int = 0, keep_test: bool = False, **values):
    fold = {"number": number, "of": of, "repeat": repeat, "keep_test": keep_test}
    return open_splits(DataSettings(train=train, fold=fold, **values), ROLES, seed=seed)


def lines(splits, name: str) -> list[int]:
    return [row[LINE] for row in splits[name]] if name in splits else []


@st.composite
def rows(draw):
    count = draw(st.integers(12, 200))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    units = np.unique(random.integers(0, draw(st.integers(6, count)), count), return_inverse=True)[1]
    strata = random.integers(0, draw(st.integers(1, 4)), count)
    return units, strata, random.integers(0, 2**63, count).astype(np.uint64), draw(st.integers(2, 5))


@settings(max_examples=60, deadline=None)
@given(rows(), st.integers(0, 1000))
def test_folds_hold_whole_units_and_do_not_hang_on_the_order_of_rows(given, seed):
    units, strata, keys, of = given
    found = folds(units, strata, keys, of=of, seed=seed)
    assert set(found) <= set(range(of))
    for unit in np.unique(units):
        assert len(set(found[units == unit])) == 1
    keys = np.arange(len(keys), dtype=np.uint64)  # each its own, so that no two rows may change places
    found = folds(units, strata, keys, of=of, seed=seed)
    order = np.random.default_rng(seed).permutation(len(units))
    assert np.array_equal(folds(units[order], strata[order], keys[order], of=of, seed=seed), found[order])


def test_every_example_is_tested_on_once(tmp_path):
    path = write(tmp_path / "a.csv", reviews(103))
    tested = []
    for number in range(1, 6):
        splits = opened(path, number)
        found = {name: set(lines(splits, name)) for name in ("train", "validation", "test")}
        assert sum(map(len, found.values())) == 103
        assert len(found["test"]) in (20, 21)
        assert 0.07 <= len(found["validation"]) / 103 <= 0.10
        counts = Counter(splits["test"]["label"])
        assert max(counts.values()) - min(counts.values()) <= 2
        tested += found["test"]
    assert sorted(tested) == list(range(2, 105))
    assert splits.origin["test"] == "20% of a.csv, stratified, fold 5 of 5"
    assert not splits.findings


def test_repeats_cut_anew_and_a_fold_is_found_again(tmp_path):
    path = write(tmp_path / "a.csv", reviews(100))
    first = lines(opened(path, 1), "test")
    assert lines(opened(path, 1), "test") == first
    assert lines(opened(path, 1, repeat=1), "test") != first
    assert opened(path, 1).digest != opened(path, 2).digest


def test_the_same_text_and_the_same_group_stay_together(tmp_path):
    random = np.random.default_rng(0)
    many = [(f"text {random.integers(40)}", f"label {i % 2}", f"g{random.integers(12)}") for i in range(120)]
    path = write(tmp_path / "a.csv", many, ("text", "label", "group"))
    for number in range(1, 4):
        splits = opened(path, number, of=3)
        assert not np.isin(splits.text_keys["train"], splits.text_keys["test"]).any()
        assert not np.isin(splits.text_keys["train"], splits.text_keys["validation"]).any()
    apart = [(f"text {i}", f"label {i % 2}", f"g{i % 12}") for i in range(120)]
    path = write(tmp_path / "b.csv", apart, ("text", "label", "group"))
    seen = []
    for number in range(1, 4):
        tested = {(line - 2) % 12 for line in lines(opened(path, number, of=3, group="group"), "test")}
        assert not tested & {(line - 2) % 12 for line in lines(opened(path, number, of=3, group="group"), "train")}
        seen += tested
    assert sorted(seen) == list(range(12))


def test_what_is_given_stays_what_it_is(tmp_path):
    path, test = write(tmp_path / "a.csv", reviews(50)), write(tmp_path / "test.csv", reviews(10))
    held = write(tmp_path / "held.csv", [(f"held {i}", f"label {i % 2}") for i in range(10)])
    splits = opened(path, 1, test=test, validation=held)
    assert splits.origin["validation"] == "held.csv"
    assert splits.origin["test"].startswith("20% of a.csv")
    assert {name: len(splits[name]) for name in splits} == {"train": 32, "validation": 10, "test": 8}
    given = {text for text, _ in reviews(10)}  # stand in the test file, and so nowhere else
    assert not given & {row["text"] for name in ("train", "test") for row in splits[name]}
    kept = opened(path, 1, test=test, validation=held, keep_test=True)
    assert {name: len(kept[name]) for name in kept} == {name: len(splits[name]) for name in splits}
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("train", "validation", "test"):
        write(folder / f"{name}.csv", [(f"{name} {i}", f"label {i % 2}") for i in range(30)])
    splits = opened(str(folder), 1, of=3)
    assert {name: len(splits[name]) for name in splits} == {"train": 20, "validation": 30, "test": 10}
    assert all(row["text"].startswith("train") for row in splits["test"])


def test_a_test_split_that_would_be_cut_may_stay_aside(tmp_path):
    path = write(tmp_path / "a.csv", reviews(100))
    aside = set(lines(open_splits(DataSettings(train=path), ROLES, seed=0), "test"))
    seen = []
    for number in range(1, 4):
        splits = opened(path, number, of=3, keep_test=True)
        seen += lines(splits, "test")
        assert not aside & {line for name in splits for line in lines(splits, name)}
    assert sorted([*seen, *aside]) == list(range(2, 102))


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("keep_test", [True, False])
def test_what_stays_aside_is_not_learned_without_its_labels_either(tmp_path, given, keep_test):
    path = write(tmp_path / "a.csv", [(f"own {i}", f"label {i % 2}") for i in range(60)])
    test = {"test": write(tmp_path / "test.csv", reviews(20))} if given else {}
    plain = open_splits(DataSettings(train=path, **test), ROLES, seed=0)
    texts = [text for name in plain for text in plain[name]["text"]]
    pool = write(tmp_path / "pool.csv", [(text,) for text in [*texts, "new 1", "new 2"]], ("text",))
    for number in (1, 2, 3):
        splits = opened(path, number, of=3, keep_test=keep_test, **test)
        aside = set(plain.text_keys["test"].tolist()) if given or keep_test else set()
        assert set(splits.aside.tolist()) == aside
        for known in (splits, splits.without_test()):
            rows, _ = open_unlabelled(pool, DataSettings(train=path), ROLES, known, base=tmp_path, where="pool")
            assert rows["text"][:] == ["new 1", "new 2"]


def linked(path: Path) -> str:
    """Rows of 20 authors, each of whom says "ok": a text that would link them all."""
    said = [(f"text {i}", f"label {i % 2}", f"author {i % 20}") for i in range(200)]
    return write(path, said + [("OK", "label 0", f"author {i}") for i in range(20)], ("text", "label", "author"))


def test_a_text_that_stays_aside_in_one_group_is_not_learned_of_another(tmp_path):
    path = linked(tmp_path / "a.csv")
    plain = open_splits(DataSettings(train=path, group="author"), ROLES, seed=0)
    assert "OK" in plain["test"]["text"][:]  # else nothing is tried here
    for number in (1, 2, 3):
        splits = opened(path, number, of=3, keep_test=True, group="author")
        for name in splits:
            assert not np.isin(splits.text_keys[name], plain.text_keys["test"]).any()
        assert "of train have a text that stays aside in another group; they are left out" in "\n".join(
            finding.problem for finding in splits.findings
        )
        assert set(plain.text_keys["test"].tolist()) == set(splits.aside.tolist())
        authors = {(line - 2) % 20 for name in splits for line in lines(splits, name)}
        assert not authors & {(line - 2) % 20 for line in lines(plain, "test")}


@pytest.mark.parametrize("keep_test", [True, False])
def test_a_fold_that_loses_all_its_texts_to_another_part_is_refused(tmp_path, keep_test):
    """24 rows by an author each, 16 of whom say "ok": with it goes what a part has."""
    rows = [("ok" if i < 16 else f"text {i}", "label 0", f"author {i}") for i in range(24)]
    path, refused = write(tmp_path / "a.csv", rows, ("text", "label", "author")), []
    for seed in range(40):
        try:
            splits = opened(path, 1, of=3, seed=seed, keep_test=keep_test, group="author")
        except DataError as error:
            refused.append(error)
        else:
            assert {"train", "test"} <= set(splits)
            assert all(map(len, splits.values()))
            assert splits.origin["test"].startswith(f"{len(splits['test']) / 24:.0%} of a.csv")
    same = [("ok", "label 0", f"author {i}") for i in range(24)]
    path = write(tmp_path / "b.csv", same, ("text", "label", "author"))
    with pytest.raises(DataError, match=r"fold 1 of 3 (has no example|leaves no example to train on)") as caught:
        opened(path, 1, of=3, keep_test=keep_test, group="author")
    for error in (*refused, caught.value):
        assert error.where == "data.fold"
        assert error.problem.endswith("stay together or share a text with another group")


def test_a_fold_whose_class_is_lost_to_another_part_is_refused(tmp_path):
    """All rows of a class are one text, which many authors say: it is either tested on or trained on."""
    rows = [(f"text {i}", f"label {i % 2}", f"author {i % 20}") for i in range(100)]
    path = write(tmp_path / "a.csv", rows + [("OK", "other", f"author {i}") for i in range(20)], HEADER)
    with pytest.raises(
        DataError, match="leaves no example to train on of 'other', which 20 rows have: too few, or too few texts"
    ):
        opened(path, 1, of=3, group="author")


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("answers", [True, False])
def test_a_group_that_is_measured_on_is_not_learned_without_its_labels_either(tmp_path, given, answers):
    rows = [(f"text {i}", f"label {i % 2}", f"author {i % 30}") for i in range(120)]
    path = write(tmp_path / "a.csv", rows, ("text", "label", "author"))
    held = [(f"held {i}", "label 0", f"other {i}") for i in range(6)]
    test = {"test": write(tmp_path / "test.csv", held, ("text", "label", "author"))} if given else {}
    others = [(f"more {i}", "label 0", f"author {i}") for i in range(30)]
    others += [("someone else's", "label 0", "nobody"), ("nobody's", "label 0", "")]
    others += [(f"also held {i}", "label 1", f"other {i}") for i in range(6)]
    pool = write(tmp_path / "pool.csv", others, ("text", "label", "author"))
    for number in (1, 2, 3):
        splits = opened(path, number, of=3, keep_test=True, group="author", **test)
        learned = {(line - 2) % 30 for line in lines(splits, "train")}
        wanted = {f"more {i}" for i in learned} | {"someone else's", "nobody's"}
        wanted |= set() if given else {f"also held {i}" for i in range(6)}
        for known in (splits, splits.without_test()):
            settings = DataSettings(train=path, group="author")
            found, told = open_unlabelled(pool, settings, ROLES, known, base=tmp_path, where="p", answers=answers)
            assert set(found["text"][:]) == wanted
            assert "__group__" not in found.column_names
            assert "of a group that is measured on" in told[-1].problem
    bare = write(tmp_path / "bare.csv", [("more 1",), ("more 2",)], ("text",))  # it does not say whose they are
    found, _ = open_unlabelled(bare, settings, ROLES, splits, base=tmp_path, where="p")
    assert len(found) == 2


@settings(max_examples=60, deadline=None)
@given(rows(), st.integers(0, 1000), st.booleans())
def test_nothing_held_out_is_fitted_on(given, seed, grouped):
    groups, strata, keys, of = given
    random = np.random.default_rng(seed)
    texts = keys[random.integers(0, len(keys), len(keys))]
    groups = groups.astype(np.uint64) if grouped else None  # group 0: none
    seen = []
    for fit, held in held_out(texts, groups, strata, of=of, seed=seed):
        assert not np.isin(texts[fit], texts[held]).any()
        if groups is None:
            assert len(fit) + len(held) == len(texts)
        else:
            assert not set(groups[fit].tolist()) & set(groups[held].tolist()) - {0}
        seen += held.tolist()
    assert sorted(seen) == list(range(len(texts)))


def test_labels_are_in_like_shares_in_what_is_held_out():
    strata = np.arange(100) % 4
    found = [held for _, held in held_out(np.arange(100, dtype=np.uint64), None, strata, of=5, seed=1)]
    assert [np.bincount(strata[held]).tolist() for held in found] == [[5] * 4] * 5


def test_a_text_that_links_all_groups_is_left_out_of_what_is_fitted_on():
    texts = np.r_[np.arange(1, 201), np.zeros(20)].astype(np.uint64)
    groups = np.r_[np.arange(200) % 20, np.arange(20)].astype(np.uint64) + np.uint64(1)
    parts = list(held_out(texts, groups, np.zeros(220, np.int64), of=5, seed=0))
    assert len(parts) == 5
    for fit, held in parts:
        assert len(fit)
        assert not set(groups[fit].tolist()) & set(groups[held].tolist())
        assert not set(texts[fit].tolist()) & set(texts[held].tolist())


def test_a_fold_without_a_class_is_refused(tmp_path):
    rare = [*reviews(40), ("rare one", "rare"), ("rare two", "rare"), ("rare three", "rare")]
    path = write(tmp_path / "a.csv", rare)
    with pytest.raises(DataError, match="has no example of 'rare', which 3 rows have") as caught:
        [opened(path, each) for each in range(1, 6)]
    assert caught.value.where == "data.fold"
    assert "Take fewer folds" in caught.value.fix
    assert [opened(path, each, of=3)["test"]["label"][:].count("rare") for each in (1, 2, 3)] == [1, 1, 1]


def test_a_group_that_fills_everything_is_refused(tmp_path):
    path = write(tmp_path / "a.csv", [(f"t{i}", f"label {i % 2}", "g") for i in range(30)], ("text", "label", "group"))
    with pytest.raises(DataError, match=r"30 rows are too few, or too many of them have to stay together"):
        [opened(path, number, of=3, group="group") for number in (1, 2, 3)]
    path = write(tmp_path / "b.csv", [("the same", f"label {i % 2}") for i in range(30)])
    with pytest.raises(DataError, match="have to stay together"):
        [opened(path, number, of=3) for number in (1, 2, 3)]


@pytest.mark.parametrize("fold", [{"number": 0, "of": 5}, {"number": 1, "of": 1}, {"number": 6, "of": 5}, {"of": 5}])
def test_bad_folds_are_refused(fold):
    with pytest.raises(RecipeError, match="fold"):
        Recipe(task="text-classification", model="m", data={"train": "a.csv", "fold": fold})
