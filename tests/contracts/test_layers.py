"""Imports go down only, and nothing heavy is imported before it is used."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARIES = {"torch", "transformers", "datasets", "peft", "sklearn", "scipy"}
ARRAYS = {"numpy", "pandas", "pyarrow"}


def test_imports_go_down_only():
    command = Path(sysconfig.get_path("scripts")) / "lint-imports"
    result = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def imported(code: str) -> set[str]:
    """Names of the top-level modules that are loaded after running `code` in a fresh process."""
    script = f"import sys\ntry:\n  exec({code!r})\nexcept SystemExit: pass\nprint('', *sys.modules, sep='\\n')"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines())


@pytest.mark.parametrize(
    "code",
    [
        "import weitiao",
        "import weitiao.cli.main",
        "from weitiao import Recipe",
        "from weitiao import Recipe; Recipe.schema()",
        "import sys; sys.argv[1:] = ['--help']; from weitiao.cli.main import main; main()",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(code):
    assert not imported(code) & (LIBRARIES | ARRAYS)


def test_a_recipe_that_is_not_there_is_told_without_loading_libraries():
    code = "import sys; sys.argv[1:] = ['train', 'no-such.yaml']; from weitiao.cli.main import main; assert main() == 2"
    assert not imported(code) & LIBRARIES
