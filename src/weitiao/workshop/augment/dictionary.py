"""The words of jieba's dictionary, with how often each stands in the corpus it was counted in."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path


def chinese_words() -> Iterator[tuple[str, int]]:
    """Yield (word, count) in the dictionary's order. The package must be installed (`jieba_is_there`)."""
    spec = importlib.util.find_spec("jieba")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    with (Path(spec.submodule_search_locations[0]) / "dict.txt").open(encoding="utf-8") as lines:
        for line in lines:
            word, count, *_ = line.split(" ")
            yield word, int(count)
