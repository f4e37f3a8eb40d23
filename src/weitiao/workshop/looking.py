"""One pass over all texts: what each row has by itself, as arrays that are small beside the texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import regex

from weitiao.data.kept import Arrays, Kept
from weitiao.data.keys import text_key
from weitiao.records import Column
from weitiao.workshop.personal import find
from weitiao.workshop.reading import Part
from weitiao.workshop.rules import RULES

SCRIPTS = ("none", "Latin", "Chinese", "Japanese", "Korean", "Cyrillic", "Arabic", "other")
AFFIX = 40  # characters of a beginning or an end that many rows may share
ROWS = 100_000  # kept at once: an audit that is interrupted goes on from there

_LETTERS = {
    "Latin": regex.compile(r"\p{Latin}"),
    "Chinese": regex.compile(r"\p{Han}"),
    "Japanese": regex.compile(r"[\p{Hiragana}\p{Katakana}]"), "Korean": regex.compile(r"\p{Hangul}"),
    "Cyrillic": regex.compile(r"\p{Cyrillic}"), "Arabic": regex.compile(r"\p{Arabic}"),
    "other": regex.compile(r"\p{L}"),
}  # fmt: skip


@dataclass(frozen=True)
class Looked:
    """What the rows of one column have by themselves; arrays are of shape (n,) unless told otherwise."""

    characters: np.ndarray  # int32
    script: np.ndarray  # uint8, a place in `SCRIPTS`
    begins: np.ndarray  # uint64: stands for the first `AFFIX` characters; 0 where there are fewer
    ends: np.ndarray  # uint64: the same of the last ones
    hits: dict[str, np.ndarray]  # of each rule the rows it found, int64 of any length
    personal: dict[str, np.ndarray]  # of each kind of personal data the rows that hold it


def look(part: Part, column: Column, keep: Kept, tell: Callable[[int], None]) -> Looked:
    """Look at all texts of a column; `tell` is called with the number of rows after every `ROWS`."""
    chunks = []
    for start in range(0, len(part), ROWS):
        rows = np.arange(start, min(start + ROWS, len(part)))
        chunks.append(keep(f"{part.name}-{column.role}-{start}", partial(_look, part, column, rows)))
        tell(len(rows))
    return _together(chunks)


def _look(part: Part, column: Column, rows: np.ndarray) -> Arrays:
    lengths: list[int] = []
    scripts: list[int] = []
    affixes: list[tuple[int, int]] = []
    hits: dict[str, list[int]] = {f"hit {rule.name}": [] for rule in RULES}
    for [batch] in part.texts([column], rows):
        for row, text in enumerate(batch, start=int(rows[0]) + len(lengths)):
            for rule in RULES:
                if rule.look(text):
                    hits[f"hit {rule.name}"].append(row)
            for kind in {span.kind for span in find(text)}:
                hits.setdefault(f"personal {kind}", []).append(row)
        lengths += map(len, batch)
        scripts += map(script_of, batch)
        affixes += map(_affixes, batch)
    begins, ends = np.array(affixes, np.uint64).reshape(-1, 2).T
    return {
        "characters": np.array(lengths, np.int32), "script": np.array(scripts, np.uint8),
        "begins": begins, "ends": ends,
        **{name: np.array(found, np.int64) for name, found in hits.items()},
    }  # fmt: skip


def _together(chunks: Sequence[Arrays]) -> Looked:
    def joined(name: str, kind: type[np.generic]) -> np.ndarray:
        return np.concatenate([np.empty(0, kind), *(chunk[name] for chunk in chunks if name in chunk)]).astype(kind)

    names = sorted({name for chunk in chunks for name in chunk})
    return Looked(
        characters=joined("characters", np.int32),
        script=joined("script", np.uint8),
        begins=joined("begins", np.uint64),
        ends=joined("ends", np.uint64),
        hits={name[4:]: joined(name, np.int64) for name in names if name.startswith("hit ")},
        personal={name[9:]: joined(name, np.int64) for name in names if name.startswith("personal ")},
    )


def script_of(text: str) -> int:
    """Return which script most letters of a text have, as a place in `SCRIPTS`. Chinese is told from Japanese by its
    lack of kana: a tenth of the letters is enough of them.
    """  # fmt: skip
    if text.isascii():
        return SCRIPTS.index("Latin") if any(map(str.isalpha, text)) else 0
    counts: dict[str, float] = {name: len(pattern.findall(text)) for name, pattern in _LETTERS.items()}
    letters = counts["other"]
    if not letters:
        return 0
    if counts["Japanese"] > letters / 10:
        return SCRIPTS.index("Japanese")
    counts["other"] -= sum(counts[name] for name in _LETTERS if name != "other")
    counts["Latin"] /= 3 if counts["Chinese"] else 1  # a Chinese character says as much as some letters do
    return SCRIPTS.index(max(counts, key=lambda name: counts[name]))


def _affixes(text: str) -> tuple[int, int]:
    """Numbers that stand for the first and the last characters; 0 where these would overlap."""
    return (text_key(text[:AFFIX]), text_key(text[-AFFIX:])) if len(text) >= 2 * AFFIX else (0, 0)
