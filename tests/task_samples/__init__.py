"""Eight examples for each task, to be overfitted by a tiny model.

A module is called as its task, with underscores, and holds

``rows()``          eight examples as they stand in a jsonl file
``same(p, row)``    whether a prediction is what the row says
and, where the defaults do not do:
``COLUMNS``         role -> column
``OPTIONS``         of the task
``TRAINING``        of the section `training`
``example(row)``    what the predictor is given (default: the row without the task's targets)
``options(folder)`` options that need files; the task then brings its own data
``WHOLE_STEPS``       True where it compares the examples of a step, which must not be cut
``model(family, folder)``  a tiny model of its own (speech)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from tests import tiny
from tests.method_samples import sample_of as method_sample
from tests.samples import texts
from weitiao.recipe import Recipe


def sample_of(task: str) -> ModuleType:
    """Return the sample of a task."""
    return import_module(f"tests.task_samples.{task.replace('-', '_')}")


def recipe_of(choice: tuple[str, str, str], folder: Path, tiny_model: Callable[[str], Path]) -> Recipe:
    """Eight examples to overfit; they serve as validation, too."""
    task, method, family = choice
    sample = sample_of(task)
    data = folder / f"{task}.jsonl"
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in sample.rows()), encoding="utf-8")
    options = sample.options(folder) if hasattr(sample, "options") else getattr(sample, "OPTIONS", {})
    model = sample.model(family, folder / f"model-{family}") if hasattr(sample, "model") else tiny_model(family)
    chosen = method_sample(method)
    if getattr(chosen, "WITHOUT_DROPOUT", False):
        model = _without_dropout(Path(model), folder / f"still-{family}")
    values: dict[str, Any] = {
        "task": {"name": task, **options}, "model": str(model),
        "method": {"name": method, **getattr(chosen, "EVERYWHERE", {}),
                   **(getattr(chosen, "OPTIONS", {}) if task == "text-classification" else {})},
        "data": {"train": str(data), "validation": str(data), "duplicates": "anywhere", "test_size": 0,
                 "columns": getattr(sample, "COLUMNS", {})},
        "training": {"epochs": getattr(chosen, "EPOCHS", 200), "learning_rate": getattr(chosen, "LEARNING_RATE", 1e-2),
                     "batch_size": 8, "patience": 60, "precision": "fp32", "warmup": 0,
                     "weight_decay": 0, "evaluate_every": 50,
                     **getattr(sample, "TRAINING", {})},
        "evaluation": {"bootstrap": 0, "baselines": False},
        "output": str(folder / "run"),
    }  # fmt: skip
    if hasattr(sample, "options"):  # a task that brings its data
        del values["data"]
    return Recipe(**values)


def _without_dropout(model: Path, folder: Path) -> Path:
    shutil.copytree(model, folder)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    still = {name: 0.0 for name in config if "dropout" in name and isinstance(config[name], float)}
    (folder / "config.json").write_text(json.dumps(config | still), encoding="utf-8")
    return folder


def text_model(family: str, folder: Path, known: Iterable[str] = ()) -> Path:
    """A tiny model that writes text and knows the words of `known`, too; without dropout it learns in half the time."""
    if family == "decoder":
        return tiny.tiny_llama(folder, [*texts(), *known], initializer_range=0.3)
    return tiny.tiny_t5(folder, [*texts(), *known], dropout_rate=0.0)
