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


def losses(recipe: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    monkeypatch.setattr("sys.argv", ["weitiao", "train", str(recipe), "--quiet"])
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main())
    assert not ended.value.code
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [event["loss"] for event in events if event["event"] == "StepDone"]


@pytest.mark.parametrize(("method", "family"), CASES)
def test_losses_are_the_golden_ones(
    method: str, family: str, recipe_values: Callable[..., dict[str, Any]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    recipe = tmp_path / "recipe.json"
    values = recipe_values(family, method=method, evaluation={"bootstrap": 0, "baselines": False})
    recipe.write_text(json.dumps(values))
    found = losses(recipe, Path(values["output"]), monkeypatch)
    compare(found, HERE / f"{method}-{family}.txt")


@pytest.mark.parametrize("task", sorted(set(registry.BUILT_IN["task"]) - {"text-classification"}))
def test_losses_of_every_task_are_the_golden_ones(
    task: str, tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = next(family for family in FAMILIES if family in registry.get("task", task).families)
    values = recipe_of((task, "full", family), tmp_path, tiny_model).to_dict()
    values["training"] |= {"epochs": 8, "evaluate_every": 100, "batch_size": 4, "warmup": 0.1}
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(values))
    compare(losses(recipe, Path(values["output"]), monkeypatch), HERE / f"{task}-{family}.txt")


def test_losses_of_tsdae_are_the_golden_ones(
    tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = recipe_of(("sentence-embedding", "full", "encoder"), tmp_path, tiny_model).to_dict()
    values["task"] |= {"objective": "tsdae"}
    values["training"] |= {"epochs": 8, "evaluate_every": 100, "batch_size": 4, "warmup": 0.1}
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(values))
    compare(losses(recipe, Path(values["output"]), monkeypatch), HERE / "tsdae-encoder.txt")


def test_losses_beside_texts_without_labels_are_the_golden_ones(
    recipe_values: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = tmp_path / "pool.csv"
    pool.write_text("review\n" + "".join(f"{text} once more\n" for text, _ in reviews(60, seed=5)).replace(",", ""))
    values = recipe_values(evaluation={"bootstrap": 0, "baselines": False})
    operators = [{"name": name, "chinese": "characters"} for name in ("drop-words", "swap-words")]
    values["consistency"] = {"unlabelled": str(pool), "operators": operators, "threshold": 0.5, "annealing": "linear"}
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(values))
    compare(losses(recipe, Path(values["output"]), monkeypatch), HERE / "consistency-encoder.txt")


def test_losses_of_a_student_that_learns_its_teachers_insides_are_the_golden_ones(
    recipe_values: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, quick = tmp_path / "recipe.json", {"bootstrap": 0, "baselines": False}
    values = recipe_values(evaluation=quick, output=str(tmp_path / "teacher"))
    recipe.write_text(json.dumps(values))
    losses(recipe, tmp_path / "teacher", monkeypatch)
    wanted = {"teacher": str(tmp_path / "teacher"), "match": {"attention": 1.0, "relations": 0.5, "embeddings": 0.5}}
    values = recipe_values(evaluation=quick, distillation=wanted, model__layers=[1])
    recipe.write_text(json.dumps(values))
    compare(losses(recipe, Path(values["output"]), monkeypatch), HERE / "match-encoder.txt")


def compare(found: list[float], golden: Path) -> None:
    if os.environ.get("WEITIAO_WRITE_GOLDEN"):
        golden.write_text("".join(f"{loss:.6f}\n" for loss in found))
    wanted = [float(line) for line in golden.read_text().split()]
    assert found == pytest.approx(wanted, rel=1e-3, abs=1e-4)
