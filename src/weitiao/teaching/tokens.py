"""A teacher that stays in memory beside its student, for its probabilities of each next token."""

from __future__ import annotations

from dataclasses import replace

from weitiao.data.arrow import digest
from weitiao.preparation import Preparation
from weitiao.teachers import open_teacher
from weitiao.teaching.probabilities import weights_of


def with_tokens(ready: Preparation) -> Preparation:
    """Return the preparation of a student whose teacher is loaded with it: a run is not resumed under another one."""
    assert ready.recipe.distillation is not None
    [name] = ready.recipe.distillation.teachers
    told = digest(ready.digest, weights_of(open_teacher(name, ready.recipe)))
    return replace(ready, digest=told, facts=ready.facts | {"teachers": [name]})
