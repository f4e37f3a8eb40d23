"""A package outside adds a method, a format and a task by entry points alone.

The package is the one in CONTRIBUTING.md. That it trains and predicts is shown by running the blocks of that page.
"""

from __future__ import annotations

import contextlib

import pytest

from tests.docs.blocks import blocks
from tests.docs.sandbox import ROOT, Sandbox


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    with contextlib.closing(Sandbox(tmp_path_factory.mktemp("outside"))) as made:
        for block in blocks(ROOT / "CONTRIBUTING.md"):
            if block.file:
                made.write(block.file, block.text)
        yield made


def test_its_names_stand_beside_the_built_in_ones(sandbox):
    sandbox.python("""
from weitiao import registry
assert {"norms", "full", "lora"} <= set(registry.names("method"))
assert {"fasttext", "csv"} <= set(registry.names("format"))
assert {"text-score", "text-classification"} <= set(registry.names("task"))
""")


def test_its_options_are_checked_like_any_other(sandbox):
    (sandbox.folder / "wrong.yaml").write_text(
        "task: text-score\nmodel: m\ndata: d.csv\nmethod:\n  name: norms\n  biasse: true\n"
    )
    sandbox.python("""
from weitiao import Recipe
from weitiao.errors import RecipeError
try:
    Recipe.read("wrong.yaml")
except RecipeError as error:
    assert "wrong.yaml:6" in str(error) and "Did you mean 'biases'?" in str(error), error
else:
    raise SystemExit("accepted")
assert "norms" in str(Recipe.json_schema())
""")


def test_a_misspelt_name_of_it_finds_it(sandbox):
    sandbox.python("""
from weitiao import registry
from weitiao.errors import RecipeError
try:
    registry.get("format", "fastext")
except RecipeError as error:
    assert "Did you mean 'fasttext'?" in str(error)
""")


def test_a_built_in_name_cannot_be_taken(sandbox, tmp_path):
    info = tmp_path / "thief-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thief\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[weitiao.method]\nlora = thief:Lora\n")
    sandbox.python(f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from weitiao import registry
registry.table.cache_clear()
assert registry.get("method", "lora").__module__ == "weitiao.methods.lora"
""")
