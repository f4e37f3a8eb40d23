"""A teacher that stays in memory beside its student: for its probabilities of each next token, and for its insides."""

from __future__ import annotations

from dataclasses import replace

from weitiao.data.arrow import digest
from weitiao.matching import matching
from weitiao.preparation import Preparation
from weitiao.records import Finding
from weitiao.teachers import is_trained, open_teacher, pretrained_teacher
from weitiao.teaching.probabilities import weights_of
from weitiao.training.layer_maps import Pairs


def with_teacher_beside(ready: Preparation) -> Preparation:
    """Return the preparation of a student whose teacher is loaded with it: a run is not resumed under another one."""
    assert ready.recipe.distillation is not None
    recipe, [name] = ready.recipe, ready.recipe.distillation.teachers
    trained = is_trained(name, recipe)
    weights = weights_of(open_teacher(name, recipe)) if trained else pretrained_teacher(name, recipe).fingerprint
    return replace(ready, digest=digest(ready.digest, weights), facts=ready.facts | {"teachers": [name]})


def with_insides(ready: Preparation) -> Preparation:
    """Return the preparation of a student that learns its teacher's insides, too, if the recipe asks for it; of which
    blocks is a finding.
    """  # fmt: skip
    match = matching(ready.recipe, ready.pretrained)
    if match is None:
        return ready
    told = []
    for what in ("hidden", "attention", "relations"):
        if getattr(match.settings, what):
            told.append(f"{what} of blocks {_named(getattr(match.maps, what))}")
    told += ["embeddings"] if match.settings.embeddings else []
    width = f"; the student's states are brought from {match.widths[0]} to {match.widths[1]}" * bool(match.projected)
    note = Finding("note", "distillation.match", f"learned of the teacher's insides: {', '.join(told)}{width}")
    return replace(ready, match=match, findings=[*ready.findings, note])


def _named(pairs: Pairs) -> str:
    """Which of the student's from which of the teacher's."""
    own, theirs = (", ".join(str(pair[side]) for pair in pairs) for side in (0, 1))
    return f"{own} from {theirs}"
