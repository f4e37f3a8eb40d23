"""Findings about Chinese texts: simplified and traditional characters mixed in one column."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from weitiao.data.kept import Arrays, Kept
from weitiao.records import Column
from weitiao.workshop.found import Found, found
from weitiao.workshop.looking import SCRIPTS, Looked
from weitiao.workshop.reading import Part
from weitiao.workshop.variants import is_installed, telling

NAMES = ("simplified", "traditional")
FEW = 0.01  # share of Chinese rows in the rarer characters up to which they are a note


def found_variants(part: Part, column: Column, looked: Looked, keep: Kept) -> Iterator[Found]:
    """Yield the rows with characters of the rarer kind; nothing where OpenCC, which tells them, is not installed."""
    rows = np.flatnonzero(looked.script == SCRIPTS.index("Chinese"))
    if not len(rows) or not is_installed():
        return
    counts = keep(f"variants-{part.name}-{column.role}", lambda: _count(part, column, rows))["counts"]
    most = [int((counts[:, own] > counts[:, 1 - own]).sum()) for own in (0, 1)]
    rarer = int(most[1] <= most[0])
    holding = counts[:, rarer] > 0
    if not holding.any() or not most[1 - rarer]:
        return
    whole = sum(most)
    shares = ", ".join(f"{name} {count / whole:.1%}" for name, count in zip(NAMES, most, strict=True))
    of = f" in {column.role}" if len(part.inputs) + len(part.targets) > 1 else ""
    problem = f"with {NAMES[rarer]} characters, where others have {NAMES[1 - rarer]} ones{of} (mostly {shares})"
    yield found("chinese-variants", "warning" if holding.mean() > FEW else "note", part, problem,
                "Convert them into one (OpenCC does), unless the model is to know both.", rows[holding],
                column=column.role, told=lambda _, text: "".join(dict.fromkeys(telling(text)[rarer]))[:20])  # fmt: skip


def _count(part: Part, column: Column, rows: np.ndarray) -> Arrays:
    """How many characters of each row are simplified, and traditional, only; int32 of shape (rows, 2)."""
    counts = [tuple(map(len, telling(text))) for [texts] in part.texts([column], rows) for text in texts]
    return {"counts": np.array(counts, np.int32).reshape(-1, 2)}
