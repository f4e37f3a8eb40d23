"""Findings about rows beside others: the same text again, nearly the same, in another split, with another label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from weitiao.data.kept import Arrays, Kept
from weitiao.data.keys import text_keys
from weitiao.data.labels import label_codes
from weitiao.records import Column
from weitiao.workshop.found import EXAMPLES, Found, Seen, cut, see
from weitiao.workshop.near import THRESHOLD, Near, find_near, size_for
from weitiao.workshop.reading import Part
from weitiao.workshop.rules import Level

PROBE = 500  # texts that say how long an n-gram is


@dataclass(frozen=True, eq=False)
class Together:
    """All parts' rows one after the other, with what tells equal and nearly equal texts."""

    parts: tuple[Part, ...]
    keys: np.ndarray  # uint64 of shape (n,): equal where the texts that are read are
    near: Near
    starts: np.ndarray  # int64 of shape (parts + 1,)


def compare(parts: Sequence[Part], keep: Kept) -> Together:
    """Compare all rows of all parts with each other."""
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    made = keep("together", lambda: _compare(parts, starts))
    near = Near(made["group"], made["pairs"], made["similarity"])
    return Together(tuple(parts), made["keys"], near, starts)


def _compare(parts: Sequence[Part], starts: np.ndarray) -> Arrays:
    keys = np.concatenate([part.keys for part in parts])
    inputs = _telling(parts)
    first = next(parts[0].joined(inputs), [])

    def texts(rows: np.ndarray) -> list[str]:
        found: list[str] = []
        for part, low, high in zip(parts, starts[:-1], starts[1:], strict=True):
            own = rows[(rows >= low) & (rows < high)] - low
            if len(own):
                found += [text for batch in part.joined(_own_columns(part, inputs), own) for text in batch]
        return found

    batches = (batch for part in parts for batch in part.joined(_own_columns(part, inputs)))
    near = find_near(batches, texts, size=size_for(first[:PROBE]), distinct=keys)
    return {"keys": keys, "group": near.group, "pairs": near.pairs, "similarity": near.similarity}


def _telling(parts: Sequence[Part]) -> tuple[Column, ...]:
    """The columns that tell rows apart: a passage that many questions are asked about does not."""
    inputs = parts[0].inputs
    if len(inputs) < 2:
        return inputs
    whole = len(parts[0])
    distinct = {c.role: len(np.unique(text_keys(parts[0].dataset, [c.role]))) for c in inputs}
    return tuple(c for c in inputs if distinct[c.role] > 0.6 * whole) or inputs


def _own_columns(part: Part, columns: Sequence[Column]) -> Sequence[Column]:
    """These columns as a part has them: texts that a model is to meet may have others than what it is trained on."""
    roles = {column.role for column in columns}
    return [column for column in part.inputs if column.role in roles] or part.inputs


def found_together(together: Together) -> Iterator[Found]:
    """Yield repeated, nearly repeated, leaked and contradictory rows."""
    for number, part in enumerate(together.parts):
        yield from _repeats(together, number)
        yield from _contradictions(together, number, part)
    for one in range(len(together.parts)):
        for other in range(one + 1, len(together.parts)):
            yield from _leaks(together, one, other)


def _own(together: Together, number: int, of: np.ndarray) -> np.ndarray:
    return of[together.starts[number] : together.starts[number + 1]]


def _repeats(together: Together, number: int) -> Iterator[Found]:
    keys, group = _own(together, number, together.keys), _own(together, number, together.near.group)
    exact = _after_the_first(keys)
    if exact.any():
        yield _grouped(together, number, "duplicates", "note",
                       ("repeat a text of a row before", "repeats a text of a row before"), exact, keys,
                       "Keep one of each, unless how often a text occurs is to count.")  # fmt: skip
    near = _after_the_first(group) & ~exact
    like = f"nearly the text of a row before (similarity {THRESHOLD} or more)"
    if near.any():
        yield _grouped(together, number, "near-duplicates", "note",
                       (f"are {like}", f"is {like}"), near, group,
                       "Look at some; keep one of each where they say the same.")  # fmt: skip


def _after_the_first(values: np.ndarray) -> np.ndarray:
    again = np.ones(len(values), bool)
    again[np.unique(values, return_index=True)[1]] = False
    return again


def _grouped(
    together: Together,
    number: int,
    name: str,
    level: Level,
    says: tuple[str, str],
    rows: np.ndarray,
    by: np.ndarray,
    fix: str,
) -> Found:
    """A finding whose examples are groups of rows, the largest ones; `says`: of several rows, of one."""
    part = together.parts[number]
    values, counts = np.unique(by[rows], return_counts=True)
    shown = []
    for value in values[np.argsort(-counts, kind="stable")][:EXAMPLES]:
        members = np.flatnonzero(by == value)
        others = _told(part, members[1:3].tolist())
        more = f"\nand {len(members) - 3:,} more" if len(members) > 3 else ""
        [first] = see(part, [int(members[0])])
        shown.append(Seen(first.where, first.text, others + more))
    count = int(rows.sum())
    say = f"{count:,} rows {says[0]}" if count != 1 else f"1 row {says[1]}"
    return Found(name, level, part.name, say, fix, count, count / max(1, len(part)), tuple(shown))


def _contradictions(together: Together, number: int, part: Part) -> Iterator[Found]:
    """The same, or nearly the same, text with different labels."""
    if part.label is None:
        return
    codes, names = _labels(part)
    keys, group = (_own(together, number, of) for of in (together.keys, together.near.group))
    same, near = _disputed(keys, codes), _disputed(group, codes)
    if same.any():
        yield _disputes(together, number, "contradictions", "warning", "the text", same, keys, codes, names)
    if (only := near & ~same).any():
        yield _disputes(together, number, "near-contradictions", "note", "nearly the text", only, group, codes, names)


def _disputed(by: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Which rows have a number in `by` that another label has, too; bool of shape (n,)."""
    pairs = np.unique(np.stack([by.astype(np.uint64), codes.astype(np.uint64)], axis=1), axis=0)
    values, counts = np.unique(pairs[:, 0], return_counts=True)
    return np.isin(by.astype(np.uint64), values[counts > 1])


def _labels(part: Part) -> tuple[np.ndarray, list[str]]:
    """A number a row that is equal where the labels are, and what it stands for."""
    import pyarrow as pa

    if pa.types.is_string(part.dataset.data.schema.field("label").type):
        return label_codes(part.dataset)
    keys = text_keys(part.dataset, ["label"])
    _, first, codes = np.unique(keys, return_index=True, return_inverse=True)
    return codes, [", ".join(map(str, part.dataset[int(row)]["label"] or [])) for row in first]


def _disputes(
    together: Together, number: int, name: str, level: Level, what: str, rows: np.ndarray, by: np.ndarray,
    codes: np.ndarray, names: list[str],
) -> Found:  # fmt: skip
    part = together.parts[number]
    shown = []
    values = by[np.flatnonzero(rows)]
    for value in values[np.sort(np.unique(values, return_index=True)[1])][:EXAMPLES]:
        members = np.flatnonzero((by == value) & rows)
        seen = see(part, members[:4].tolist())
        told = "\n".join(
            f"{each.where}: {names[codes[row]] if codes[row] < len(names) else '(none)'} | {cut(each.text)}"
            for each, row in zip(seen, members, strict=False)
        )
        shown.append(Seen(seen[0].where, seen[0].text, told))
    count = int(rows.sum())
    say = f"{count:,} rows have {what} of another row and another label"
    fix = "Decide for one label, or take these rows out."
    return Found(name, level, part.name, say, fix, count, count / max(1, len(part)), tuple(shown))


def _leaks(together: Together, one: int, other: int) -> Iterator[Found]:
    """Rows of the later part whose text stands, wholly or nearly, in the earlier one."""
    part, earlier = together.parts[other], together.parts[one]
    keys, before = _own(together, other, together.keys), _own(together, one, together.keys)
    exact = np.isin(keys, before)
    near = np.isin(_own(together, other, together.near.group), _own(together, one, together.near.group)) & ~exact
    for name, rows, how in (("leakage", exact, "the same text as"), ("near-leakage", near, "nearly the text of")):
        if not rows.any():
            continue
        count = int(rows.sum())
        shown = [_leak(together, one, other, int(row)) for row in np.flatnonzero(rows)[:EXAMPLES]]
        who = f"{count:,} rows of {part.name} have" if count != 1 else f"1 row of {part.name} has"
        say = f"{who} {how} a row of {earlier.name}"
        fix = f"Take them out of {earlier.name}: with them in both, scores on {part.name} are too good."
        yield Found(
            name, "warning", f"{earlier.name}, {part.name}", say, fix, count, count / max(1, len(part)), tuple(shown)
        )


def _leak(together: Together, one: int, other: int, row: int) -> Seen:
    group = together.near.group[together.starts[other] + row]
    twin = int(np.flatnonzero(_own(together, one, together.near.group) == group)[0])
    [seen] = see(together.parts[other], [row])
    return Seen(seen.where, seen.text, _told(together.parts[one], [twin]))


def _told(part: Part, rows: Sequence[int]) -> str:
    """Where rows stand and their texts, a line each."""
    return "\n".join(f"{each.where}: {each.text}" for each in see(part, rows))
