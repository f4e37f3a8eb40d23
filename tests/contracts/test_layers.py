"""Imports go down only, and nothing heavy is imported before it is used."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "datasets", "peft", "sklearn", "scipy", "pandas", "pyarrow", "numpy")


def test_imports_go_down_only():
    command = Path(sysconfig.get_path("scripts")) / "lint-imports"
    result = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import weitiao",
        "import weitiao.cli.main",
        "from weitiao import Recipe",
        "from weitiao import Recipe; Recipe.json_schema()",
        "import sys; sys.argv[1:] = ['--help']; from weitiao.cli.main import main; main()",
        "import sys; sys.argv[1:] = ['train', 'no-such.yaml']; from weitiao.cli.main import main; assert main() == 2",
    ],
)
def test_nothing_heavy_is_imported_early(code):
    told = f"print('HEAVY', *(set({HEAVY}) & set(sys.modules)))"
    check = f"import sys\ntry:\n  exec({code!r})\nexcept SystemExit: pass\n{told}"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1].split()[1:] == [], result.stdout
