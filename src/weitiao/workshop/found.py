"""What an audit found, as records for people and programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from weitiao.workshop.reading import Part
from weitiao.workshop.rules import Level

EXAMPLES = 5  # rows of a finding that are shown
TEXT = 400  # characters of a row that are kept to be shown


@dataclass(frozen=True)
class Seen:
    """A row to look at."""

    where: str  # ``reviews.csv:12``
    text: str
    told: str = ""  # what is to be seen in it


@dataclass(frozen=True)
class Found:
    """One thing that was found, with rows to look at and what to do about it."""

    name: str  # of the check, such as ``near-duplicates``
    level: Level
    part: str  # train, test, ...; of several parts joined by a comma
    problem: str
    fix: str
    rows: int
    share: float  # of the part's rows
    examples: tuple[Seen, ...] = ()


def found(
    name: str, level: Level, part: Part, problem: str, fix: str, rows: Sequence[int] | np.ndarray,
    *, told: Callable[[int, str], str] | None = None, shown: Iterable[int] | None = None, column: str | None = None,
) -> Found:  # fmt: skip
    """Return a finding about `rows`; `problem` is completed by their number. Some are shown: `shown`, else the first,
    one in the middle and so on, each with what `told` says of (row, text).
    """  # fmt: skip
    rows = np.asarray(rows)
    chosen = list(spread(rows) if shown is None else shown)[:EXAMPLES]
    say = f"{len(rows):,} row{'s' * (len(rows) != 1)} {problem}"
    return Found(name, level, part.name, say, fix, len(rows), len(rows) / max(1, len(part)),
                 tuple(see(part, chosen, told, column)))  # fmt: skip


def spread(rows: np.ndarray) -> list[int]:
    """Return up to `EXAMPLES` of the rows, evenly spread over them."""
    return [int(rows[i]) for i in np.unique(np.linspace(0, len(rows) - 1, min(EXAMPLES, len(rows))).astype(int))]


def see(
    part: Part, rows: Sequence[int], told: Callable[[int, str], str] | None = None, column: str | None = None
) -> list[Seen]:
    """Return rows with their texts (of one column, else of all that are read)."""
    if not len(rows):
        return []
    order = np.sort(np.asarray(rows, np.int64))
    columns = [c for c in part.columns if c.role == column] or [*part.inputs] or [*part.columns[:1]]
    texts = dict(zip(order.tolist(), (text for batch in part.joined(columns, order) for text in batch), strict=True))
    return [Seen(part.where(row), cut(texts[row]), told(row, texts[row]) if told else "") for row in map(int, rows)]


def cut(text: str) -> str:
    """Return a text that is short enough to be shown."""
    return text if len(text) <= TEXT else text[:TEXT] + " …"
