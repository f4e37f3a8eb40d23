"""The contract, over everything registered: overfit eight examples, save, load in a fresh process, same predictions."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.samples import reviews
from weitiao import load, registry, train
from weitiao.recipe import Recipe
from weitiao.records import FAMILIES

CHOICES = [
    (task, method, family)
    for task in registry.names("task")
    for method in registry.names("method")
    for family in FAMILIES
    if family in registry.get("task", task).families and family in registry.get("method", method).families
]
EIGHT = reviews(8)

# Loads every artifact with plain transformers in a process that cannot import weitiao.
PLAIN = """
import json, sys
sys.modules["weitiao"] = None
from transformers import pipeline
texts = json.loads(sys.argv[1])
found = {}
for folder in sys.argv[2:]:
    answers = pipeline("text-classification", folder, device="cpu")(texts, truncation=True, top_k=None)
    found[folder] = [{a["label"]: a["score"] for a in answer} for answer in answers]
print(json.dumps(found))
"""
OURS = """
import json, sys
from weitiao import load
texts = json.loads(sys.argv[1])
print(json.dumps({f: [p["probabilities"] for p in load(f, device="cpu").predict(texts)] for f in sys.argv[2:]}))
"""


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]) -> dict[str, Path]:
    """Eight examples overfitted by every choice; they serve as validation, too."""
    folder = tmp_path_factory.mktemp("contract")
    data = folder / "eight.csv"
    with data.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *EIGHT])
    made = {}
    for task, method, family in CHOICES:
        rate = 3e-3 if method == "full" else 1e-2  # fewer weights take larger steps
        values: dict[str, Any] = {
            "task": task, "method": method, "model": str(tiny_model(family)),
            "data": {"train": str(data), "validation": str(data), "duplicates": "anywhere", "test_size": 0},
            "training": {"epochs": 200, "learning_rate": rate, "batch_size": 8, "patience": 60, "warmup": 0,
                         "weight_decay": 0, "evaluate_every": 50},
            "evaluation": {"bootstrap": 0, "baselines": False},
            "output": str(folder / f"{task}-{method}-{family}"),
        }  # fmt: skip
        run = train(Recipe(**values))
        assert run.score is not None
        made[f"{task}/{method}/{family}"] = run.artifact
    return made


def in_fresh_process(script: str, folders: list[Path]) -> dict[str, list[dict[str, float]]]:
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps([text for text, _ in EIGHT]), *map(str, folders)],
        capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"}, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_eight_examples_are_overfitted(artifacts: dict[str, Path]) -> None:
    for choice, folder in artifacts.items():
        predicted = [p["label"] for p in load(folder).predict([text for text, _ in EIGHT])]
        assert predicted == [label for _, label in EIGHT], choice


@pytest.mark.parametrize("script", [OURS, PLAIN], ids=["weitiao", "plain transformers"])
def test_a_fresh_process_predicts_the_same(artifacts: dict[str, Path], script: str) -> None:
    answers = in_fresh_process(script, list(artifacts.values()))
    for choice, folder in artifacts.items():
        here = [p["probabilities"] for p in load(folder).predict([text for text, _ in EIGHT])]
        for mine, theirs in zip(here, answers[str(folder)], strict=True):
            assert mine == pytest.approx(theirs, abs=1e-5), choice


def test_no_pickle_in_any_artifact(artifacts: dict[str, Path]) -> None:
    for folder in artifacts.values():
        endings = {path.suffix for path in folder.rglob("*") if path.is_file()}
        assert not endings & {".bin", ".pt", ".pth", ".pkl", ".pickle"}


def test_unknown_options_are_refused() -> None:
    from pydantic import ValidationError

    for kind in ("task", "method"):
        for name in registry.names(kind):
            with pytest.raises(ValidationError):
                registry.get(kind, name).Options.model_validate({"no_such_option": 1})


@pytest.mark.parametrize(("task", "method", "family"), CHOICES)
def test_a_batch_cut_in_four_gives_the_same_step(
    task: str, method: str, family: str, tiny_model: Callable[[str], Path], recipe_values: Callable[..., dict[str, Any]]
) -> None:
    """Losses and gradient norms of the first steps do not depend on how a step is cut (dropout off)."""
    from torch import nn

    from weitiao.loading import load_for_training
    from weitiao.preparation import prepare
    from weitiao.training.loop import train_steps

    seen = []
    for size in (8, 2):
        recipe = Recipe(**recipe_values(
            family, task=task, method=method,
            training={"epochs": 1, "learning_rate": 1e-3, "batch_size": 8, "micro_batch_size": size, "seed": 1},
        ))  # fmt: skip
        training, _ = load_for_training(prepare(recipe))
        for module in training.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            for name, value in vars(module).items():
                if "dropout" in name and isinstance(value, float):
                    setattr(module, name, 0.0)
        steps = train_steps(training)
        seen.append([(done.loss, done.gradient_norm) for _, done in zip(range(3), steps, strict=False)])
    np.testing.assert_allclose(seen[0], seen[1], rtol=2e-4, atol=1e-6)
