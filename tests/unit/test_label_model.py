"""The simple model that labels are doubted by: it knows of no row from the row itself, nor from the same text."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from weitiao.data.kept import Arrays
from weitiao.workshop.known_labels import can_learn, known_labels
from weitiao.workshop.label_model import out_of_fold
from weitiao.workshop.reading import Part, open_parts


def kept(_: str, make: Callable[[], Arrays]) -> Arrays:
    return make()


def opened(path: Path, rows: list[tuple[str, str]]) -> Part:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    [part] = open_parts(str(path), task="text-classification").parts
    return part


def right(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float((probabilities.argmax(axis=1) == labels).mean())


def test_a_label_is_not_told_by_the_same_text_in_another_row() -> None:
    """Labels are drawn by chance, the same for all rows of a text: nothing but the text itself tells them."""
    random = np.random.default_rng(0)
    texts = np.repeat(np.arange(1, 151, dtype=np.uint64), 4)
    x = random.standard_normal((151, 400)).astype(np.float32)[texts.astype(int)]
    labels = random.integers(0, 2, 151)[texts.astype(int)]
    apart = np.arange(len(texts), dtype=np.uint64)
    assert right(out_of_fold(x, labels, apart, 0), labels) > 0.75
    assert right(out_of_fold(x, labels, texts, 0), labels) < 0.62


def test_a_label_that_was_not_fitted_on_is_not_guessed() -> None:
    """All rows of label 2 are one text, and all of label 0 another: where they are held out, nothing is known of it."""
    texts, labels = np.repeat([1, 2, 3], [6, 8, 6]).astype(np.uint64), np.repeat([0, 1, 2], [6, 8, 6])
    x = np.random.default_rng(1).standard_normal((20, 4)).astype(np.float32)
    found = out_of_fold(x, labels, texts, 0)
    assert found.sum(axis=1) == pytest.approx(np.ones(20))
    assert found[labels == 2, 2].tolist() == [0.0] * 6
    two = out_of_fold(x[:14], labels[:14], texts[:14], 0)
    assert right(two, labels[:14]) == 0.0


def test_labels_are_learned_of_five_different_texts(tmp_path: Path) -> None:
    rows = [(f"a good text, number {i}", "good") for i in range(6)] + [(f"a bad one {i}", "bad") for i in range(6)]
    repeated = opened(tmp_path / "a.csv", [*rows, *[("Nothing at all", "none"), ("nothing  at all", "none")] * 4])
    assert can_learn(repeated)
    assert not can_learn(repeated, np.arange(8))
    known = known_labels(repeated, kept, seed=0)
    assert sorted(known.names) == ["bad", "good"]
    assert len(known.rows) == 12
    assert not can_learn(opened(tmp_path / "b.csv", [*rows[:6], *rows[6:7] * 6]))
