"""The reference pages say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def pages():
    spec = importlib.util.spec_from_file_location("docs_build", DOCS / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


@pytest.mark.parametrize("name", ["recipe.md", "components.md", "events.md", "cli.md"])
def test_a_page_is_not_older_than_the_code(pages, name):
    written = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert written == pages[name], f"docs/reference/{name} is stale: run `make docs` and commit it"


def test_there_are_no_other_pages(pages):
    assert {path.name for path in (DOCS / "reference").iterdir()} == set(pages)


def test_every_option_is_described(pages):
    rows = [line for line in (pages["recipe.md"] + pages["components.md"]).splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    assert not [row for row in rows if row.rstrip("| ").count(" | ") < 1 or row.rstrip().endswith("|  |")]
