"""Runs made to fail, each in its way, on a tiny model and texts drawn from word lists: the fault is named."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import tiny_bert
from weitiao import diagnose, train
from weitiao.errors import RunError

WORDS = [f"{first}{middle}{last}" for first in "bdfgklmnprst" for middle in "aeiou" for last in "nrstl"]  # 300
Rows = list[tuple[str, str]]
USUAL = 1e-3  # of `full` for a body as narrow as the tiny one


def drawn(count: int, labels: int = 2, *, clear: float = 0.5, seed: int = 0) -> Rows:
    """Texts of ten words, of which a share of about `clear` are of the label's own list; labels in turn."""
    draw, size = random.Random(seed), len(WORDS) // labels
    own = [WORDS[n * size : (n + 1) * size] for n in range(labels)]
    found = []
    for row in range(count):
        label = row % labels
        text = " ".join(draw.choice(own[label] if draw.random() < clear else WORDS) for _ in range(10))
        found.append((f"{text} {row}", f"label {label}"))
    return found


def mislabelled(rows: Rows, share: float, seed: int = 0) -> Rows:
    """The same with so many labels drawn at random."""
    draw, labels = random.Random(seed), sorted({label for _, label in rows})
    return [(text, draw.choice(labels) if draw.random() < share else label) for text, label in rows]


PLANTED: dict[str, tuple[set[str], Rows, dict[str, Any]]] = {
    "30 rows, 40 epochs": ({"too little data", "overfits"}, drawn(30, clear=0.2), {"epochs": 40, "patience": None}),
    "a rate far too high": ({"learning rate too high"}, drawn(600), {"learning_rate": 300 * USUAL}),
    "a rate far too low": ({"learning rate too low"}, drawn(600), {"learning_rate": USUAL / 300}),
    "an epoch of the head": ({"underfits", "stopped too early"}, drawn(600, 10), {"method": "head", "epochs": 1}),
    "40% random labels": ({"noisy labels"}, mislabelled(drawn(1600), 0.4), {"epochs": 8}),
    "8 rows a label": ({"too little data"}, drawn(160, 20, clear=0.35), {"epochs": 60, "batch_size": 8}),
    "dropout of 0.7": (
        {"underfits"}, drawn(800), {"epochs": 6, "regularization": {"dropout": 0.7, "attention_dropout": 0.7}},
    ),
    "weight decay of 100": ({"underfits"}, drawn(800), {"epochs": 6, "weight_decay": 100.0}),
    "a batch of one, a high rate": (
        {"unstable", "learning rate too high"}, drawn(200), {"batch_size": 1, "learning_rate": 60 * USUAL},
    ),
    "by heart": (
        {"overfits"}, drawn(500, clear=0.12), {"epochs": 40, "patience": None, "evaluate_every": 100},
    ),
    "one epoch": ({"stopped too early", "underfits"}, drawn(600, 10), {"epochs": 1}),
}  # fmt: skip
SOUND: dict[str, tuple[Rows, dict[str, Any]]] = {
    "two labels": (drawn(800), {"epochs": 6}),
    "ten labels": (drawn(1500, 10, clear=0.7), {"epochs": 12}),
    "an adapter": (drawn(800, clear=0.6), {"epochs": 8, "method": "lora"}),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("model") / "words", WORDS)


def ran(folder: Path, model: Path, rows: Rows, settings: Mapping[str, Any], **data: Rows) -> Path:
    """Train on rows and return the run's folder; a run that breaks down leaves it, too."""
    files = {name: folder / f"{name}.csv" for name in ("train", *data)}
    for name, file in files.items():
        lines = "".join(f"{text},{label}\n" for text, label in (data.get(name) or rows))
        file.write_text("text,label\n" + lines)
    training = {"epochs": 4, "batch_size": 16, "learning_rate": "auto", "seed": 3, "precision": "fp32",
                **{key: value for key, value in settings.items() if key != "method"}}  # fmt: skip
    values = {
        "task": {"name": "text-classification"}, "model": {"source": str(model)},
        "method": settings.get("method", "full"), "data": {name: str(file) for name, file in files.items()},
        "training": training,
        "evaluation": {"bootstrap": 0}, "output": str(folder / "run"),
    }  # fmt: skip
    with suppress(RunError):  # diverged
        train(values)
    return folder / "run"


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_named(name: str, model: Path, tmp_path: Path) -> None:
    wanted, rows, settings = PLANTED[name]
    found = diagnose(ran(tmp_path, model, rows, settings))
    assert set(found.clear) & wanted, found.verdict


def test_a_validation_split_of_another_kind_is_named(model: Path, tmp_path: Path) -> None:
    found = diagnose(ran(tmp_path, model, drawn(600), {}, validation=mislabelled(drawn(300, seed=8), 0.6),
                         test=drawn(300, seed=9)))  # fmt: skip
    assert "validation unlike test" in found.clear, found.verdict


@pytest.mark.parametrize("name", SOUND)
def test_nothing_but_what_is_mild_is_found_in_a_sound_run(name: str, model: Path, tmp_path: Path) -> None:
    found = diagnose(ran(tmp_path, model, *SOUND[name]))
    assert not found.clear, (found.verdict, found.troubles)
