"""The contract, over everything registered: overfit eight examples, save, load in a fresh process, same predictions."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contracts.elsewhere import alone, card_runs_there, classified_there, predicted_there
from tests.method_samples import sample_of as method_sample
from tests.task_samples import recipe_of, sample_of
from weitiao import load, registry, train
from weitiao.errors import RecipeError
from weitiao.recipe import Recipe
from weitiao.records import FAMILIES

BUILT_IN = sorted(registry.BUILT_IN["task"])
PAIRS = [(task, family) for task in BUILT_IN for family in FAMILIES if family in registry.get("task", task).families]
# Every method on every family under one task; every task on every family under one method, and once under LoRA.
CHOICES = [
    *((task, "full", family) for task, family in PAIRS),
    *(
        ("text-classification", method, family)
        for method in registry.names("method")
        for family in FAMILIES
        if method != "full" and family in registry.get("method", method).families
        if getattr(method_sample(method), "HERE", True)
    ),
    *((task, "lora", next(f for t, f in reversed(PAIRS) if t == task)) for task in BUILT_IN if "class" not in task),
]  # fmt: skip


@pytest.fixture(scope="module")
def there() -> Iterator[Callable[..., Any]]:
    """Call a function in another process: one with weitiao or, with ``plain=True``, one without."""
    spawn = multiprocessing.get_context("spawn")
    processes = {plain: ProcessPoolExecutor(1, spawn, initializer=alone, initargs=(plain,)) for plain in (False, True)}
    yield lambda work, *given, plain=False: processes[plain].submit(work, *given).result(timeout=500)
    for process in processes.values():
        process.shutdown()


def inputs(task: str) -> list[Any]:
    """The examples as somebody gives them who wants the targets."""
    sample = sample_of(task)
    if hasattr(sample, "example"):
        return [sample.example(row) for row in sample.rows()]
    targets = {column.role for column in registry.get("task", task).columns if column.target}
    known = {role: column for role, column in getattr(sample, "COLUMNS", {}).items() if role not in targets}
    if known:
        return [{role: row[column] for role, column in known.items()} for row in sample.rows()]
    return [{key: value for key, value in row.items() if key not in targets} for row in sample.rows()]


def close(one: Any, other: Any) -> bool:
    """Whether two predictions are the same but for the last digits."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return one == pytest.approx(other, abs=1e-4) if isinstance(one, float) else one == other


@pytest.mark.parametrize("choice", CHOICES, ids="/".join)
def test_overfit_save_and_load_in_a_fresh_process(
    choice: tuple[str, str, str], tmp_path: Path, tiny_model: Callable[[str], Path], there: Callable[..., Any]
) -> None:
    task = choice[0]
    run = train(recipe_of(choice, tmp_path, tiny_model))
    assert run.score is not None
    predictor = load(run.artifact)
    predicted = predictor.predict(inputs(task))
    wrong = [
        (p, row) for p, row in zip(predicted, sample_of(task).rows(), strict=True) if not sample_of(task).same(p, row)
    ]
    assert not wrong, wrong[:2]
    assert all(map(close, predicted, there(predicted_there, str(run.artifact), inputs(task))))
    there(card_runs_there, str(run.artifact), plain=True)
    endings = {path.suffix for path in run.artifact.rglob("*") if path.is_file()}
    assert not endings & {".bin", ".pt", ".pth", ".pkl", ".pickle"}


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_transformers_predicts_the_same(
    family: str, tmp_path: Path, tiny_model: Callable[[str], Path], there: Callable[..., Any]
) -> None:
    run = train(recipe_of(("text-classification", "lora", family), tmp_path, tiny_model))
    texts = [row["text"] for row in sample_of("text-classification").rows()]
    here = [p["probabilities"] for p in load(run.artifact).predict(texts)]
    for mine, theirs in zip(here, there(classified_there, str(run.artifact), texts, plain=True), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)


def test_unknown_options_are_refused() -> None:
    from pydantic import ValidationError

    for kind in ("task", "method", "acquisition"):
        for name in registry.names(kind):
            with pytest.raises(ValidationError):
                registry.get(kind, name).Options.model_validate({"no_such_option": 1})


@pytest.mark.parametrize("choice", CHOICES, ids="/".join)
def test_a_batch_cut_in_pieces_gives_the_same_step(
    choice: tuple[str, str, str], tmp_path: Path, tiny_model: Callable[[str], Path]
) -> None:
    """Losses and gradient norms of the first steps do not depend on how a step is cut (dropout off)."""
    from torch import nn

    from weitiao.loading import load_for_training
    from weitiao.preparation import prepare
    from weitiao.training.loop import train_steps

    seen, pieces = [], []
    recipe = recipe_of(choice, tmp_path, tiny_model)
    if any(getattr(sample, "WHOLE_STEPS", False) for sample in (sample_of(choice[0]), method_sample(choice[1]))):
        cut = recipe.changed({"training.micro_batch_tokens": (20, "python")})
        with pytest.raises(RecipeError, match="tokens cut a step"):
            prepare(cut)
        return
    for tokens in (100_000, 20):
        values = recipe.to_dict()
        training = {"epochs": 3, "learning_rate": 1e-3, "batch_size": 8, "micro_batch_tokens": tokens, "seed": 1,
                    "precision": "fp32"}  # fmt: skip
        training, _ = load_for_training(prepare(Recipe(**{**values, "training": training})))
        for module in training.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            for name, value in vars(module).items():
                if "dropout" in name and isinstance(value, float):
                    setattr(module, name, 0.0)
        steps = train_steps(training)
        seen.append([(done.loss, done.gradient_norm) for _, done in zip(range(3), steps, strict=False)])
        pieces.append(max(len(training.collate(rows)) for rows in training.order(0)))
    assert pieces[0] == 1 < pieces[1]
    np.testing.assert_allclose(seen[0], seen[1], rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("task", BUILT_IN)
def test_a_new_head_is_trained_and_an_old_one_refused(
    task: str, tmp_path: Path, tiny_model: Callable[[str], Path]
) -> None:
    """The method `head` trains only what is new; where nothing is, it says so."""
    from weitiao.outline import outline
    from weitiao.preparation import prepare

    family = next(f for t, f in PAIRS if t == task)
    ready = prepare(recipe_of((task, "full", family), tmp_path, tiny_model))
    head = registry.get("method", "head")
    method = head(head.Options())
    wanted = ready.task.head(family)
    pretrained = wanted.logits == "token" and family != "encoder"  # a language model's head
    if pretrained or wanted.auto_class == "AutoModel":  # vectors have none
        with pytest.raises(RecipeError, match="nothing would be trained"):
            outline(ready.pretrained, ready.task, method)
    else:
        shape = outline(ready.pretrained, ready.task, method)
        assert 0 < shape.trainable < shape.parameters
