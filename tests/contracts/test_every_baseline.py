"""The contract over every baseline: it says what its answers come from."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from tests import tiny
from weitiao import models, registry
from weitiao.evaluation.baselines.base import Knows
from weitiao.recipe import ModelSettings
from weitiao.records import FAMILIES


@pytest.mark.parametrize("name", registry.names("baseline"))
def test_it_says_what_it_knows(name: str) -> None:
    """Before it is made, too: a forecast goes by it. The teacher is none that a task names."""
    assert registry.get("baseline", name).knows in set(get_args(Knows)) - {"teacher"}


@pytest.mark.parametrize("name", registry.names("prompted"))
def test_what_asks_by_prompts_says_what_it_needs(name: str, tmp_path: Path) -> None:
    """A recipe is checked, and a forecast made, before it is."""
    kind = registry.get("prompted", name)
    assert kind.knows in {"before training", "examples"}
    assert kind.families <= set(FAMILIES)
    options = kind.Options()
    opened = models.open_pretrained(ModelSettings(source=str(tiny.tiny_llama(tmp_path / "model"))), base=tmp_path)
    kind.check(options, ["a", "b"], ["text"], opened.reader(opened.own_length))
    few, many = (kind.reads(options, text=10.0, shown=10.0, labels=labels, most=512) for labels in (2, 20))
    assert 0 < few < many


@pytest.mark.parametrize("task", sorted(registry.BUILT_IN["task"]))
def test_of_a_task_no_two_read_nothing(task: str) -> None:
    """The scores of the one that reads no example stand for chance."""
    kinds = [registry.get("baseline", name).knows for name in registry.get("task", task).baselines]
    assert kinds.count("answers") <= 1
