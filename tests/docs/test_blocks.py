"""Every code block of every page runs: commands, scripts, recipes.

The blocks of a page run in order in one folder and share what they leave there. A block whose language is followed by
a file name is that file. ``<!-- not run: reason -->`` before a block leaves it out; `pytest -rs` lists those.
"""

from __future__ import annotations

import contextlib

import pytest

from tests.docs.blocks import Block, blocks
from tests.docs.sandbox import ROOT, Sandbox

SHOWN = {"text", "mermaid"}  # languages that are read, not run
WRITTEN_BY_CODE = ROOT / "docs/reference"
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if WRITTEN_BY_CODE not in path.parents and any(block.language not in SHOWN for block in blocks(path))
)
NOT_RUN = [block for path in PAGES for block in blocks(path) if block.not_run]


def run(block: Block, sandbox: Sandbox) -> None:
    if block.file:
        sandbox.write(block.file, block.text)
    elif block.language not in SHOWN:
        runner = getattr(sandbox, block.language, None)
        assert runner, f"no way to run a block of {block.language}"
        runner(block.text)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(path, tmp_path):
    with contextlib.closing(Sandbox(tmp_path)) as sandbox:
        for block in blocks(path):
            if block.not_run:
                continue
            try:
                run(block, sandbox)
            except Exception as error:
                raise AssertionError(f"{block.page}:{block.line}: {error}") from error


@pytest.mark.parametrize("block", NOT_RUN, ids=lambda block: f"{block.page}:{block.line}")
def test_a_block_that_is_not_run_says_why(block):
    assert len(block.not_run) > 10
    pytest.skip(f"{block.page}:{block.line} is not run: {block.not_run}")


def test_the_search_finds_blocks_files_and_reasons(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n```bash\nls\n```\n\n<!-- not run: needs a hub -->\n```python a/b.py\nx = 1\n```\n")
    found = blocks(page)
    assert [(b.language, b.file, b.line, b.not_run) for b in found] == [
        ("bash", None, 2, None),
        ("python", "a/b.py", 7, "needs a hub"),
    ]
