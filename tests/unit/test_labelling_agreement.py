"""Agreement against examples that were published, and worked out by hand."""

from __future__ import annotations

import pytest

from tests.labelling import desk, give
from weitiao.labelling.agreement import cohens_kappa, krippendorffs_alpha

# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability": part C, four observers, some values missing
OBSERVERS = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


def units(rows: tuple[str, ...]) -> list[list[str]]:
    return [[value for value in column if value != "."] for column in zip(*rows, strict=True)]


def test_alpha_of_krippendorff_s_examples():
    assert krippendorffs_alpha(units(OBSERVERS)) == pytest.approx(0.743, abs=5e-4)
    assert krippendorffs_alpha(units(("0100000010", "1110010000"))) == pytest.approx(0.095, abs=5e-4)  # part A


def test_alpha_by_hand():
    # 2 rows, 2 labellers: aa, ab. n = 4, D_o pairs: 0 + (4 - 2) / 1 = 2; 16 - 9 - 1 = 6; 1 - 3 * 2 / 6 = 0
    assert krippendorffs_alpha([["a", "a"], ["a", "b"]]) == pytest.approx(0.0)
    assert krippendorffs_alpha([["a", "a"], ["b", "b"]]) == 1.0
    assert krippendorffs_alpha([["a"], ["b"]]) is None
    assert krippendorffs_alpha([["a", "a"], ["a", "a"]]) is None


def test_kappa_by_hand():
    # 50 rows: both yes 20, both no 15, yes/no 5, no/yes 10. p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5
    pairs = [("yes", "yes")] * 20 + [("no", "no")] * 15 + [("yes", "no")] * 5 + [("no", "yes")] * 10
    assert cohens_kappa(pairs) == pytest.approx(0.4)
    assert cohens_kappa([("a", "a"), ("b", "b")]) == 1.0
    assert cohens_kappa([("a", "a")]) is None
    assert cohens_kappa([]) is None


def test_agreement_of_a_project_counts_rows_pairs_and_labels(tmp_path):
    at = desk(tmp_path)
    for text, anna, bob in (("the room was great", "good", "good"), ("the room was rude", "bad", "bad"),
                            ("a bad meal", "bad", "good")):  # fmt: skip
        give(at, text, anna)
        give(at, text, bob, "bob")
    give(at, "<b>so so</b>", "bad")
    found = at.progress()["agreement"]
    assert (found["rows"], found["disputed"]) == (3, 1)
    assert found["observed"] == pytest.approx(2 / 3)
    # p_o = 2/3; anna: good 1/3, bad 2/3; bob: good 2/3, bad 1/3; p_e = 4/9
    assert found["pairs"]["anna, bob"] == pytest.approx((2 / 3 - 4 / 9) / (5 / 9))
    # n = 6, three each: D_o 2 pairs of 6 - ... 1 - 5 * 2 / (36 - 18)
    assert found["alpha"] == pytest.approx(1 - 5 * 2 / 18)
    assert found["labels"]["good"] == pytest.approx(found["alpha"])


def test_agreement_on_several_labels_is_told_by_label(tmp_path):
    at = desk(tmp_path, labels=("a", "b", "c"), several=True)
    give(at, "the room was great", ["a", "b"])
    give(at, "the room was great", ["b", "a"], "bob")
    give(at, "a bad meal", ["c"])
    give(at, "a bad meal", ["c", "a"], "bob")
    found = at.progress()["agreement"]
    assert (found["rows"], found["disputed"]) == (2, 1)
    assert found["labels"]["b"] == 1.0
    assert found["labels"]["a"] < 1.0
