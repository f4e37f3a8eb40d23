"""Runs of several tasks among the adapters of one base: beside others, averaged, stacked."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import tiny_bert
from tests.unit.test_composition import ASKED, BAD, GOOD, TAGGED, close, weights
from weitiao import Adapters, average, evaluate, load, stack, train
from weitiao.errors import DataError, ModelError

BOTH = [{"task": name, "example": {role: text}} for name, role in (("films", "text"), ("things", "tokens"))
        for text in ASKED]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base and data for two tasks."""
    folder = tmp_path_factory.mktemp("several")
    tiny_bert(folder / "bert")
    for name, more in (("films.csv", []), ("other-films.csv", [("the film was great", "good")])):
        with (folder / name).open("w", newline="") as file:
            rows = [*[(text, "good") for text in GOOD], *[(text, "bad") for text in BAD], *more] * 3
            csv.writer(file).writerows([("text", "label"), *rows])
    (folder / "things.conll").write_text(TAGGED * 3)
    return folder


def data(place: Path, name: str) -> dict[str, Any]:
    return {"train": str(place / name), "validation_size": 0, "test_size": 0, "seed": 0, "duplicates": "anywhere"}


def run(place: Path, name: str, method: str, *, films: str = "films.csv", alone: bool = False, **training: Any) -> Path:
    """The artifact of a short run of both tasks, or of films alone, trained once."""
    output = place / name
    several = {
        "films": {"task": "text-classification", "data": data(place, films)},
        "things": {"task": "token-classification", "data": data(place, "things.conll")},
    }
    recipe: dict[str, Any] = {"task": {"name": "multi-task", "tasks": several}}
    if alone:
        recipe = {"task": "text-classification", "data": data(place, films)}
    if not output.exists():
        train({
            **recipe, "model": str(place / "bert"), "method": method, "output": str(output),
            "training": {"epochs": 4, "batch_size": 4, "learning_rate": 1e-2, "precision": "fp32", **training},
            "evaluation": {"baselines": False},
        })  # fmt: skip
    return output / "artifact"


def says_so(artifact: Path, how: str) -> bool:
    """Whether the cards of the whole and of both models tell how it was made, and of no adapter."""
    cards = [path.read_text(encoding="utf-8") for path in artifact.rglob("README.md")]
    return len(cards) == 3 and all(how in card and "adapter/" not in card for card in cards)


def test_beside_each_other(place: Path) -> None:
    runs = {"both": run(place, "both-1", "lora", seed=1), "films": run(place, "films", "lora", alone=True)}
    adapters = Adapters(runs, device="cpu")
    close(adapters.predict(BOTH, "both"), load(runs["both"], device="cpu").predict(BOTH))
    close(adapters.predict(ASKED, "films"), load(runs["films"], device="cpu").predict(ASKED))
    query = "encoder.layer.1.attention.self.query.base_layer.weight"
    held = [dict(adapters[name].inference.model.named_parameters()) for name in adapters.names]
    assert len({next(p for key, p in each.items() if key.endswith(query)).data_ptr() for each in held}) == 1


@pytest.mark.parametrize("method", ["lora", "bitfit"])
def test_averaged(place: Path, tmp_path: Path, method: str) -> None:
    """Runs whose data differs in one of the tasks, too."""
    one = run(place, f"{method}-1", method, seed=1)
    two = run(place, f"{method}-2", method, seed=2, films="other-films.csv")
    made = average([one, two], output=tmp_path / "made", weights=[3, 1])
    for part in ("films", "things"):
        first, second, mean = (weights(artifact / part) for artifact in (one, two, made))
        assert first.keys() == mean.keys()
        for name, tensor in mean.items():
            torch.testing.assert_close(tensor, 0.75 * first[name] + 0.25 * second[name], rtol=1e-5, atol=1e-6)
    together = load(made, device="cpu").predict(BOTH)
    close(together, [one for part in ("films", "things") for one in load(made / part, device="cpu").predict(ASKED)])
    assert says_so(made, "weighted mean")
    assert evaluate(made / "films", str(place / "films.csv")).scores.examples == 15


def test_stacked(place: Path, tmp_path: Path) -> None:
    both, films = run(place, "lora-1", "lora", seed=1), run(place, "films", "lora", alone=True)
    base = load_file(place / "bert/model.safetensors")
    for name, order, heads in (("top", [films, both], "films"), ("below", [both, films], "")):
        made = stack(order, output=tmp_path / name)
        found, one, other = weights(made / heads), weights(films), weights(both / "films")
        for key, tensor in base.items():
            if not key.startswith("pooler"):
                wanted = one[f"bert.{key}"] + other[f"bert.{key}"] - tensor
                torch.testing.assert_close(found[f"bert.{key}"], wanted, rtol=1e-5, atol=1e-6)
        last = other if heads else one
        assert torch.equal(found["classifier.weight"], last["classifier.weight"])
        assert load(made, device="cpu").predict(BOTH if heads else ASKED)
    assert says_so(tmp_path / "top", "on one another")


def test_what_is_not_alike_is_refused(place: Path, tmp_path: Path) -> None:
    both, films = run(place, "lora-1", "lora", seed=1), run(place, "films", "lora", alone=True)
    with pytest.raises(ModelError, match="task"):
        average([both, films], output=tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_the_model_of_one_task_is_no_adapter(place: Path, tmp_path: Path) -> None:
    both, films = run(place, "lora-1", "lora", seed=1), run(place, "films", "lora", alone=True)
    with pytest.raises(ModelError, match="several tasks that share an adapter") as caught:
        Adapters({"films": both / "films"})
    assert caught.value.fix == f"Name the whole: {both}."
    with pytest.raises(ModelError, match="several tasks that share an adapter"):
        stack([films, both / "films"], output=tmp_path / "made")


def test_an_example_without_what_its_task_reads_is_refused(place: Path) -> None:
    predictor = load(run(place, "lora-1", "lora", seed=1), device="cpu")
    with pytest.raises(DataError, match="has no tokens"):
        predictor.predict([{"task": "things", "example": {"text": "a film"}}])
