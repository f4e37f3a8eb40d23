"""Golden losses: the same recipe through the real command line gives the losses written down here, step by step.

A change that is meant to leave the numbers alone has identical losses. One that is meant to change them writes the
files anew with ``WEITIAO_WRITE_GOLDEN=1`` and says why in its commit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.samples import reviews
from tests.task_samples import recipe_of
from weitiao import registry
from weitiao.cli.main import main
from weitiao.records import FAMILIES

HERE = Path(__file__).parent
CASES = [("full", "encoder"), ("lora", "decoder"), ("head", "seq2seq"), ("few-shot", "encoder")]


def losses(values: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The losses of the recipe's steps; it is written into `folder`."""
    recipe, run = folder / "recipe.json", Path(values["output"])
    recipe.write_text(json.dumps(values))
    monkeypatch.setattr("sys.argv", ["weitiao", "train", str(recipe), "--quiet"])
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main())
    assert not ended.value.code
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [event["loss"] for event in events if event["event"] == "StepDone"]


def of_task(task: str, family: str, folder: Path, tiny_model: Callable[[str], Path], **options: Any) -> dict[str, Any]:
    """A task's sample recipe, for a few more steps."""
    values = recipe_of((task, "full", family), folder, tiny_model).to_dict()
    values["task"] |= options
    values["training"] |= {"epochs": 8, "evaluate_every": 100, "batch_size": 4, "warmup": 0.1}
    return values


@pytest.mark.parametrize(("method", "family"), CASES)
def test_losses_are_the_golden_ones(
    method: str, family: str, recipe_values: Callable[..., dict[str, Any]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    values = recipe_values(family, method=method, evaluation={"bootstrap": 0, "baselines": False})
    compare(losses(values, tmp_path, monkeypatch), HERE / f"{method}-{family}.txt")


@pytest.mark.parametrize("task", sorted(set(registry.BUILT_IN["task"]) - {"text-classification"}))
def test_losses_of_every_task_are_the_golden_ones(
    task: str, tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = next(family for family in FAMILIES if family in registry.get("task", task).families)
    values = of_task(task, family, tmp_path, tiny_model)
    compare(losses(values, tmp_path, monkeypatch), HERE / f"{task}-{family}.txt")


def test_losses_of_tsdae_are_the_golden_ones(
    tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = of_task("sentence-embedding", "encoder", tmp_path, tiny_model, objective="tsdae")
    compare(losses(values, tmp_path, monkeypatch), HERE / "tsdae-encoder.txt")


def test_losses_beside_texts_without_labels_are_the_golden_ones(
    recipe_values: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = tmp_path / "pool.csv"
    pool.write_text("review\n" + "".join(f"{text} once more\n" for text, _ in reviews(60, seed=5)).replace(",", ""))
    values = recipe_values(evaluation={"bootstrap": 0, "baselines": False})
    operators = [{"name": name, "chinese": "characters"} for name in ("drop-words", "swap-words")]
    values["consistency"] = {"unlabelled": str(pool), "operators": operators, "threshold": 0.5, "annealing": "linear"}
    compare(losses(values, tmp_path, monkeypatch), HERE / "consistency-encoder.txt")


def test_losses_of_a_student_that_learns_its_teachers_insides_are_the_golden_ones(
    recipe_values: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {"bootstrap": 0, "baselines": False}
    values = recipe_values(evaluation=quick, output=str(tmp_path / "teacher"))
    losses(values, tmp_path, monkeypatch)
    wanted = {"teacher": str(tmp_path / "teacher"), "match": {"attention": 1.0, "relations": 0.5, "embeddings": 0.5}}
    values = recipe_values(evaluation=quick, distillation=wanted, model__layers=[1])
    compare(losses(values, tmp_path, monkeypatch), HERE / "match-encoder.txt")


def compare(found: list[float], golden: Path) -> None:
    if os.environ.get("WEITIAO_WRITE_GOLDEN"):
        golden.write_text("".join(f"{loss:.6f}\n" for loss in found))
    wanted = [float(line) for line in golden.read_text().split()]
    assert found == pytest.approx(wanted, rel=1e-3, abs=1e-4)
