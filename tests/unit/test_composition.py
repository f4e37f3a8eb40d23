"""Several adapters of one base: beside each other in memory, averaged, stacked."""

from __future__ import annotations

import csv
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from tests.tiny import TEXTS, tiny_bert, tiny_llama
from weitiao import Adapters, average, evaluate, load, stack, train
from weitiao.artifacts.artifact import open_artifact
from weitiao.cli.main import app
from weitiao.errors import DataError, ModelError, RunError, WeitiaoError

GOOD, BAD = ["the film was good", "we liked it very much", "the service is great"], ["a bad book", "nobody liked it"]
ASKED = ["a good film", "a bad film", "nobody liked the service"]
TAGGED = "the O\nfilm B-THING\nwas O\ngood O\n\na O\nbad O\nbook B-THING\n\nthe O\nroom B-THING\nwas O\nsmall O\n\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two bases and data for three tasks."""
    folder = tmp_path_factory.mktemp("composition")
    tiny_bert(folder / "bert")
    tiny_bert(folder / "stranger", seed=1)
    tiny_llama(folder / "llama")
    with (folder / "films.csv").open("w", newline="") as file:
        rows = [*[(text, "good") for text in GOOD], *[(text, "bad") for text in BAD]] * 3
        csv.writer(file).writerows([("text", "label"), *rows])
    (folder / "things.conll").write_text(TAGGED * 3)
    (folder / "texts.txt").write_text("\n".join(TEXTS[:4] * 3))
    return folder


def run(
    place: Path, name: str, method: Any, task: str = "text-classification", model: str = "bert", **training: Any
) -> Path:
    """The artifact of a short run, trained once."""
    output = place / name
    if not output.exists():
        files = {"text-classification": "films.csv", "token-classification": "things.conll"}
        train({
            "task": task, "model": str(place / model), "method": method, "output": str(output),
            "data": {"train": str(place / files.get(task, "texts.txt")), "validation_size": 0, "test_size": 0,
                     "seed": 0, "duplicates": "anywhere"},
            "training": {"epochs": 4, "batch_size": 4, "learning_rate": 1e-2, "precision": "fp32", **training},
            "evaluation": {"baselines": False},
        })  # fmt: skip
    return output / "artifact"


@pytest.fixture(scope="module")
def beside(place: Path) -> dict[str, Path]:
    return {
        "films": run(place, "films", "lora"),
        "things": run(place, "things", "bitfit", "token-classification"),
        "probe": run(place, "probe", "head"),
        "bottleneck": run(place, "bottleneck", "adapter"),
    }


def close(one: Any, other: Any) -> None:
    """The same predictions but for rounding: merged or not, numbers are rounded anew."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = list(one.values()), [other[name] for name in one]
    if isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            close(a, b)
    else:
        assert one == (pytest.approx(other, rel=1e-4) if isinstance(one, float) else other)


def weights(artifact: Path) -> dict[str, torch.Tensor]:
    return load_file(artifact / "model.safetensors")


# --- beside each other


def test_each_adapter_predicts_as_its_own_artifact(beside: dict[str, Path]) -> None:
    adapters = Adapters(beside, device="cpu")
    assert adapters.names == list(beside)
    for name, artifact in beside.items():
        close(adapters.predict(ASKED, name), load(artifact, device="cpu").predict(ASKED))


def test_the_base_is_in_memory_once(beside: dict[str, Path]) -> None:
    adapters = Adapters(beside, device="cpu")
    held = [dict(adapters[name].inference.model.named_parameters()) for name in adapters.names]
    query = "encoder.layer.1.attention.self.query"
    matrices = [
        next(p for key, p in parameters.items() if query in key and key.endswith(("query.weight", "base_layer.weight")))
        for parameters in held
    ]
    assert len({matrix.data_ptr() for matrix in matrices}) == 1
    biases = [next(p for key, p in parameters.items() if query in key and key.endswith("bias")) for parameters in held]
    assert biases[0].data_ptr() == biases[2].data_ptr() != biases[1].data_ptr()  # bitfit has moved its own
    there = {p.data_ptr(): p.numel() for parameters in held for p in parameters.values()}
    base = sum(tensor.numel() for tensor in load_file(beside["films"].parents[1] / "bert/model.safetensors").values())
    assert sum(there.values()) < 2 * base < sum(p.numel() for parameters in held for p in parameters.values())


def test_an_adapter_for_each_example_and_the_order_stays(beside: dict[str, Path]) -> None:
    adapters = Adapters(beside, device="cpu")
    mixed = adapters.predict(ASKED, ["things", "films", "things"])
    close(mixed[1:2], adapters.predict(ASKED[1:2], "films"))
    close([mixed[0], mixed[2]], adapters.predict([ASKED[0], ASKED[2]], "things"))
    with pytest.raises(DataError, match="3 examples, but 1 adapters"):
        adapters.predict(ASKED, ["films"])
    with pytest.raises(ModelError, match="no adapter 'film'") as caught:
        adapters.predict(ASKED, ["films", "films", "film"])
    assert "films" in caught.value.fix


def test_threads_do_not_disturb_each_other(beside: dict[str, Path]) -> None:
    adapters = Adapters(beside, device="cpu")
    alone = {name: adapters.predict(ASKED, name) for name in adapters.names}
    names = adapters.names * 8
    with ThreadPoolExecutor(6) as pool:
        for name, found in zip(names, pool.map(lambda name: adapters.predict(ASKED, name), names), strict=True):
            close(found, alone[name])


def test_language_models_and_classifiers_of_one_decoder(place: Path) -> None:
    runs = {
        "texts": run(place, "texts", "lora", "language-modeling", "llama"),
        "films": run(place, "llama-films", "lora", model="llama"),
    }
    adapters = Adapters(runs, device="cpu")
    for name, artifact in runs.items():
        close(adapters.predict(ASKED, name), load(artifact, device="cpu").predict(ASKED))


def test_a_run_without_an_adapter_is_refused(place: Path) -> None:
    with pytest.raises(ModelError, match=r"'full'.*there is no adapter"):
        Adapters({"a": run(place, "full", "full", learning_rate=1e-3)})
    with pytest.raises(ModelError, match="no adapters"):
        Adapters({})


def test_another_base_is_refused_and_both_are_named(place: Path, beside: dict[str, Path], tmp_path: Path) -> None:
    other = run(place, "strange", "lora", model="stranger")
    with pytest.raises(ModelError, match=r"stranger \(.*bert \("):
        Adapters({"films": beside["films"], "strange": other})
    moved = tmp_path / "artifact"
    shutil.copytree(beside["films"], moved)
    told = json.loads((moved / "adapter/base.json").read_text())
    (moved / "adapter/base.json").write_text(json.dumps(told | {"base": "0" * 64}))
    from weitiao.recipe import Recipe

    Recipe.restore(beside["films"] / "weitiao/recipe.json").store(moved / "weitiao/recipe.json")
    with pytest.raises(ModelError, match=r"another base \(000000000000\)"):
        Adapters({"films": moved})


# --- averaged


@pytest.mark.parametrize("method", ["lora", "full", "bitfit"])
def test_the_mean_is_the_base_and_the_weighted_updates(place: Path, tmp_path: Path, method: str) -> None:
    rate = 1e-3 if method == "full" else 1e-2
    one, two = (run(place, f"{method}-{seed}", method, seed=seed, learning_rate=rate) for seed in (1, 2))
    made = average([one, two], output=tmp_path / "made", weights=[3, 1])
    first, second, mean = weights(one), weights(two), weights(made)
    assert first.keys() == mean.keys()
    for name, tensor in mean.items():
        wanted = 0.75 * first[name].double() + 0.25 * second[name].double()
        torch.testing.assert_close(tensor, wanted.float(), rtol=1e-6, atol=1e-7)
        if torch.equal(first[name], second[name]):
            assert torch.equal(tensor, first[name])
    assert not (made / "adapter").exists()
    assert len(load(made).predict(ASKED)) == 3


def test_what_was_averaged_is_told_and_nothing_is_scored(place: Path, tmp_path: Path) -> None:
    one, two = (run(place, f"lora-{seed}", "lora", seed=seed) for seed in (1, 2))
    made = average([one.parent, two.parent], output=tmp_path / "made")
    told = json.loads((made / "weitiao/combined.json").read_text())
    assert told["how"] == "average"
    assert told["runs"] == [{"run": "lora-1", "weight": 0.5}, {"run": "lora-2", "weight": 0.5}]
    card = (made / "README.md").read_text()
    assert "0.5 of `lora-1`, 0.5 of `lora-2`" in card
    assert "Not measured" in card
    assert open_artifact(made).scores == {}
    assert open_artifact(made).recipe.base == open_artifact(one).recipe.base
    assert evaluate(made, str(place / "films.csv")).scores.examples == 15
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_runs_that_are_not_alike_are_refused(place: Path, beside: dict[str, Path], tmp_path: Path) -> None:
    one = run(place, "lora-1", "lora", seed=1)
    for other, what in (
        (beside["probe"], "method"),
        (beside["things"], "task"),
        (run(place, "small", {"name": "lora", "rank": 2}), "options of the method"),
        (run(place, "strange", "lora", model="stranger"), "stranger"),
    ):
        with pytest.raises(ModelError, match=what):
            average([one, other], output=tmp_path / "made")
    with pytest.raises(RunError, match="one run alone"):
        average([one], output=tmp_path / "made")
    for given, problem in (([1.0], "1 weights for 2"), ([1.0, -1.0], "-1.0"), ([0.0, 0.0], "0.0")):
        with pytest.raises(RunError, match=problem):
            average([one, one], output=tmp_path / "made", weights=given)
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_holds_something_is_left_alone(place: Path, tmp_path: Path) -> None:
    one = run(place, "lora-1", "lora", seed=1)
    (tmp_path / "made").mkdir()
    (tmp_path / "made/precious").write_text("x")
    for combine in (average, stack):
        with pytest.raises(RunError, match="holds something"):
            combine([one, one], output=tmp_path / "made")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["precious"]


def test_adapters_that_do_not_merge_are_averaged_themselves(place: Path, tmp_path: Path) -> None:
    one, two = (run(place, f"adapter-{seed}", "adapter", seed=seed) for seed in (1, 2))
    made = average([one, two], output=tmp_path / "made", weights=[0.25, 0.75])
    files = sorted(path.relative_to(one) for path in one.rglob("*.safetensors"))
    assert len(files) == 2
    for file in files:
        first, second, mean = (load_file(artifact / file) for artifact in (one, two, made))
        for name, tensor in mean.items():
            torch.testing.assert_close(tensor, 0.25 * first[name] + 0.75 * second[name], rtol=1e-5, atol=1e-7)
    found = load(made, device="cpu").predict(ASKED)
    close(Adapters({"made": made}, device="cpu").predict(ASKED, "made"), found)
    assert evaluate(made, str(place / "films.csv")).scores.examples == 15


# --- stacked


def test_a_stack_is_the_base_and_both_updates(place: Path, tmp_path: Path) -> None:
    texts = run(place, "texts", "lora", "language-modeling", "llama")
    films = run(place, "llama-films", "lora", model="llama")
    made = stack([texts, films], output=tmp_path / "made")
    base, below, top, both = load_file(place / "llama/model.safetensors"), weights(texts), weights(films), weights(made)
    assert both.keys() == top.keys()
    for name, tensor in both.items():
        if name.startswith("model."):
            torch.testing.assert_close(tensor, below[name] + top[name] - base[name], rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(tensor, top[name])  # the head
    assert not torch.equal(below["model.layers.0.mlp.up_proj.weight"], base["model.layers.0.mlp.up_proj.weight"])
    assert not (made / "adapter").exists()
    assert json.loads((made / "weitiao/combined.json").read_text())["runs"] == [
        {"run": "texts"},
        {"run": "llama-films"},
    ]
    assert "the lowest first: `texts`, then `llama-films`" in (made / "README.md").read_text()
    assert load(made).task == "text-classification"
    assert evaluate(made, str(place / "films.csv")).scores.examples == 15


@pytest.mark.parametrize("below", ["full", "lora-1", "bitfit-1"])
def test_weights_that_the_upper_one_moved_itself_are_added_too(place: Path, tmp_path: Path, below: str) -> None:
    lower = run(place, below, below.partition("-")[0], learning_rate=1e-3 if below == "full" else 1e-2)
    upper = run(place, "things", "bitfit", "token-classification")
    made = stack([lower, upper], output=tmp_path / "made")
    base, one, two, both = load_file(place / "bert/model.safetensors"), weights(lower), weights(upper), weights(made)
    for name, tensor in base.items():
        if name.startswith("pooler"):
            continue
        wanted = one[f"bert.{name}"] + two[f"bert.{name}"] - tensor
        torch.testing.assert_close(both[f"bert.{name}"], wanted, rtol=1e-5, atol=1e-6)
    assert torch.equal(both["classifier.weight"], two["classifier.weight"])


def test_an_adapter_that_does_not_merge_may_be_on_top(place: Path, beside: dict[str, Path], tmp_path: Path) -> None:
    lower, upper = run(place, "lora-1", "lora", seed=1), beside["bottleneck"]
    made = stack([lower, upper], output=tmp_path / "made")
    one, both = weights(lower), weights(made)
    changed = [name for name in one if not torch.equal(one[name], weights(upper)[name]) and "encoder" in name]
    assert changed
    for name in changed:
        torch.testing.assert_close(both[name], one[name], rtol=1e-5, atol=1e-6)
    assert torch.equal(both["classifier.weight"], weights(upper)["classifier.weight"])
    top = "adapter/" + next(path.name for path in (upper / "adapter").glob("*.safetensors"))
    for name, tensor in load_file(made / top).items():
        assert torch.equal(tensor, load_file(upper / top)[name])
    assert len(load(made, device="cpu").predict(ASKED)) == 3
    with pytest.raises(ModelError, match="another base"):
        Adapters({"made": made})  # its base is no longer the one that others stand on
    with pytest.raises(ModelError, match="'adapter' cannot be merged"):
        stack([upper, lower], output=tmp_path / "other")


def test_what_cannot_be_stacked_is_refused(place: Path, beside: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="left the body as it was"):
        stack([beside["probe"], beside["films"]], output=tmp_path / "made")
    with pytest.raises(ModelError, match="there is no adapter"):
        stack([beside["films"], run(place, "full", "full", learning_rate=1e-3)], output=tmp_path / "made")
    with pytest.raises(ModelError, match="stranger"):
        stack([beside["films"], run(place, "strange", "lora", model="stranger")], output=tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


# --- from the command line


def test_the_commands_write_models_that_predict(place: Path, tmp_path: Path) -> None:
    one, two = (str(run(place, f"lora-{seed}", "lora", seed=seed).parent) for seed in (1, 2))
    for how, more in (("average", ["--weights", "0.7,0.3"]), ("stack", [])):
        made = str(tmp_path / how)
        done = CliRunner().invoke(app, ["adapters", how, one, two, *more, "--output", made], catch_exceptions=False)
        assert done.exit_code == 0
        assert f"weitiao evaluate {made}" in done.output
        done = CliRunner().invoke(app, ["predict", made, "a good film"], catch_exceptions=False)
        assert "good" in done.output
    with pytest.raises(WeitiaoError, match="'a,b'"):
        CliRunner().invoke(
            app,
            ["adapters", "average", one, two, "--weights", "a,b", "-o", str(tmp_path / "x")],
            catch_exceptions=False,
        )
