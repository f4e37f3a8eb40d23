"""What many tests need: a cache of their own, a tiny model, a small data file, a recipe of both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tests.samples import texts, write_reviews

BUILDERS = {"encoder": "tiny_bert", "decoder": "tiny_llama", "seq2seq": "tiny_t5"}
WIDER = {"initializer_range": 0.3}  # random bodies whose outputs differ from text to text, so that a head can learn


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["WEITIAO_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def _fp32_on_every_machine() -> Iterator[None]:
    """Numbers that tests expect do not hang on whether this CPU multiplies bf16, which `precision: auto` would use."""
    import torch

    with pytest.MonkeyPatch.context() as patch:
        for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
            patch.setattr(torch.cpu, name, lambda: False)
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Family -> folder of a tiny random model that knows the words of the sample reviews."""
    from tests import tiny

    made: dict[str, Path] = {}

    def build(family: str) -> Path:
        if family not in made:
            folder = tmp_path_factory.mktemp("models") / family
            made[family] = getattr(tiny, BUILDERS[family])(folder, texts(), **({} if family == "seq2seq" else WIDER))
        return made[family]

    return build


@pytest.fixture
def recipe_values(tmp_path: Path, tiny_model: Callable[[str], Path]) -> Callable[..., dict[str, Any]]:
    """A small recipe as plain data; keyword arguments with dots as ``__`` change it."""

    def build(family: str = "encoder", **changes: Any) -> dict[str, Any]:
        values: dict[str, Any] = {
            "task": {"name": "text-classification"},
            "model": {"source": str(tiny_model(family))},
            "data": {"train": str(write_reviews(tmp_path / "reviews.csv"))},
            "method": {"name": "full"},
            "training": {"epochs": 2, "learning_rate": 3e-3, "batch_size": 16, "seed": 7, "precision": "fp32"},
            "evaluation": {"bootstrap": 50},
            "output": str(tmp_path / "run"),
        }
        for key, value in changes.items():
            section, _, name = key.partition("__")
            if name:
                values[section] = {**values.get(section, {}), name: value}
            else:
                values[section] = value
        return values

    return build
