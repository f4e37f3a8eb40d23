"""No pickle anywhere in the package: not by name, and not by the library calls that pickle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "weitiao"
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"torch.save", "torch.load", "numpy.save", "numpy.load", "np.save", "np.load", "pandas.read_pickle"}


def pickling(source: str) -> list[str]:
    """Imports and calls in a Python source that pickle or unpickle, each with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        else:
            continue
        found += [f"{node.lineno}: {name}" for name in names if name.split(".")[0] in MODULES or name in CALLS]
    return found


@pytest.mark.parametrize(
    "source", ["import pickle", "from joblib import dump", "torch.save(x, p)", "from torch import load"]
)
def test_the_search_finds_pickling(source):
    assert pickling(source)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_pickle(path):
    assert not pickling(path.read_text(encoding="utf-8"))
