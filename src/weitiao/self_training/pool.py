"""The pool of a self-training: rows that may become pseudo-labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weitiao import data
from weitiao.preparation import Preparation
from weitiao.records import FILE, LINE, Example, target_role


@dataclass(frozen=True, eq=False)
class Pool:
    """Rows without those that stand in a split."""

    inputs: list[Example]
    answers: list[Any]  # the label cells of the file, where it has them; else None
    places: list[str]  # where each stands, such as ``pool.csv:12``
    notes: list[str]
    digest: str

    @classmethod
    def of(cls, source: str, ready: Preparation) -> Pool:
        """Open the pool: a path counts from the current folder, as on a command line."""
        there = str(Path(source).resolve()) if Path(source).exists() else source
        rows, findings = ready.pool(there, "unlabelled", answers=True)
        target = target_role(ready.task.columns)
        examples = list(data.RowLookup(rows))
        roles = [role for role in ready.splits.columns.names if role != target]
        return cls(
            [{role: example[role] for role in roles} for example in examples],
            [example.get(target) for example in examples], [f"{example[FILE]}:{example[LINE]}" for example in examples],
            [finding.problem for finding in findings], data.fingerprint(rows),
        )  # fmt: skip
