from __future__ import annotations

import subprocess
import sys

import pytest

import weitiao

PUBLIC = [
    "Adapters", "Recipe", "__version__", "audit", "augment", "average", "check", "clean", "compare",
    "compare_runs", "cross_validate", "diagnose", "evaluate", "inspect", "known_models", "learning_curve",
    "load", "measure_baselines", "probe", "recommend", "resume", "search", "select", "self_train",
    "simulate_labelling", "split", "stack", "train",
]  # fmt: skip


def test_the_public_names_are_these() -> None:
    assert sorted(weitiao.__all__) == PUBLIC
    assert dir(weitiao) == PUBLIC
    for name in PUBLIC:
        assert getattr(weitiao, name) is not None


def test_the_names_are_those_of_their_modules() -> None:
    from weitiao import Recipe, run, train
    from weitiao.recipe import Recipe as TheRecipe

    assert Recipe is TheRecipe
    assert train is run.train


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'fit'"):
        weitiao.fit  # noqa: B018


@pytest.mark.parametrize("statement", ["import weitiao", "import weitiao.cli.main", "from weitiao import Recipe"])
def test_importing_is_cheap(statement: str) -> None:
    heavy = "{'torch', 'transformers', 'datasets', 'peft', 'sklearn', 'scipy', 'pyarrow', 'numpy', 'rich.progress'}"
    code = f"import sys; {statement}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_star_import_gives_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from weitiao import *", names)
    assert set(PUBLIC) <= set(names)
