"""The texts that a row holds, with the spans that must move with them; taken out, and put back when they changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import groupby
from typing import Any, Protocol

from weitiao.metrics.tags import OUTSIDE
from weitiao.records import Column
from weitiao.tasks.annotations import Joined, spans_in, tags_in, tokens_in, units_of_text, units_of_tokens
from weitiao.tasks.answers import find, right_answers
from weitiao.tasks.inputs import place_of
from weitiao.workshop.augment.base import Edit, Span, Text
from weitiao.workshop.reading import Part

Row = Mapping[str, Any]  # role -> cell, with `LINE` and `FILE`
OUTSIDES = (OUTSIDE, "0")  # tags of what is no entity; numbers count from it


@dataclass(frozen=True)
class Held:
    """A text of a row. Where it is one of several in a cell, `place` counts them."""

    role: str
    text: Text
    place: int = 0
    needed: bool = False  # whether it must not become empty: tags, or other texts, belong to it
    target: bool = False  # whether it is learned to be written


class Cells(Protocol):
    """How the rows of a task hold their texts."""

    def texts(self, row: Row) -> list[Held]:
        """Return all texts of a row, in order; a `DataError` names a row whose spans cannot be read."""

    def put(self, row: Row, texts: Sequence[Held]) -> dict[str, Any]:
        """Return role -> new cell for the same texts, changed; their spans are where they have gone to."""


def cells_of(part: Part, *, tokens: str = "each") -> Cells:
    """Return how a part's rows hold their texts, by the roles that are there.

    `tokens`: where a row is a list of tokens with tags, whether each is a text (``each``) or the sentence is one, with
    its entities as spans (``joined``).
    """
    columns = [*part.inputs, *part.targets]
    roles = {column.role for column in part.columns}
    if {"question", "context", "answers"} <= roles:
        return AnswerCells(columns, starts="answer_starts" in roles)
    if {"text", "entities"} <= roles:
        return EntityCells()
    if {"tokens", "tags"} <= roles and tokens == "joined":
        return TokenCells(part)
    return PlainCells(columns)


# --- texts by themselves


class PlainCells:
    """Texts, lists of texts and dialogues, without spans."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = {column.role: column for column in columns}

    def texts(self, row: Row) -> list[Held]:
        """Return the texts of all cells; those of an item of a list must not become empty."""
        return [held for column in self._columns.values() for held in self.of(column, row)]

    def of(self, column: Column, row: Row) -> list[Held]:
        """Return the texts of one cell."""
        items = _items(column, row)
        several = isinstance(items, list)
        found = items if isinstance(items, list) else [items]
        targets = _said(row[column.role]) if column.kind == "dialogue" else [column.target] * len(found)
        return [
            Held(column.role, Text(text), place, needed=several, target=target)
            for place, (text, target) in enumerate(zip(found, targets, strict=True))
            if isinstance(text, str) and text
        ]

    def put(self, row: Row, texts: Sequence[Held]) -> dict[str, Any]:
        """Return the cells with these texts in them."""
        new: dict[str, Any] = {}
        for role, changed in groupby(texts, key=lambda held: held.role):
            new[role] = _with_items(self._columns[role], row, {held.place: held.text.text for held in changed})
        return new


def _items(column: Column, row: Row) -> list[Any] | str | None:
    """The texts of a cell as a list where there may be several, or its only one."""
    cell = row.get(column.role)
    if column.role == "tokens":
        return tokens_in(cell, place_of(row))
    if column.kind == "dialogue":
        return [part for message in json.loads(cell or "[]") for part in _contents(message)]
    if isinstance(cell, list):
        return cell
    return cell if isinstance(cell, str) and not _is_json(cell) else None


def _with_items(column: Column, row: Row, texts: Mapping[int, str]) -> Any:
    cell = row.get(column.role)
    if column.kind == "dialogue":
        messages, place = json.loads(cell or "[]"), 0
        for message in messages:
            count = len(_contents(message))
            own = [texts.get(at) for at in range(place, place + count)]
            if isinstance(message.get("content"), list):
                spoken = [part for part in message["content"] if isinstance(part, dict)]
                for part, text in zip(spoken, own, strict=True):
                    part["text"] = part.get("text") if text is None else text
            elif own and own[0] is not None:
                message["content"] = own[0]
            place += count
        return json.dumps(messages, ensure_ascii=False)
    items = _items(column, row)
    if not isinstance(items, list):
        return texts.get(0, cell)
    new = [texts.get(place, item) for place, item in enumerate(items)]
    if isinstance(cell, str):  # tokens as a text
        return json.dumps(new, ensure_ascii=False) if cell.lstrip()[:1] == "[" else " ".join(new)
    return new


def _contents(message: Mapping[str, Any]) -> list[Any]:
    """The texts of a message's content, which may come in parts."""
    content = message.get("content")
    if isinstance(content, list):
        return [part.get("text") for part in content if isinstance(part, dict)]
    return [content]


def _said(messages: str | None) -> list[bool]:
    """Whether each of a dialogue's texts is the assistant's."""
    read = json.loads(messages or "[]")
    return [message.get("role") == "assistant" for message in read for _ in _contents(message)]


def _is_json(text: str) -> bool:
    if text[:1] not in "[{":
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


# --- texts with spans


class AnswerCells:
    """Questions about contexts: the answers stand in the context, by their places."""

    def __init__(self, columns: Sequence[Column], *, starts: bool) -> None:
        self._plain = PlainCells([column for column in columns if column.role not in ("context", "answers")])
        self._starts = starts

    def texts(self, row: Row) -> list[Held]:
        """Return the question, and the context where all of its answers are found in it."""
        places = [find(row["context"] or "", answer) for answer in right_answers(row)]
        found = self._plain.texts(row)
        if row["context"] and all(place.known for place in places):
            found.append(Held("context", Text(row["context"], tuple((place.start, place.end) for place in places))))
        return found

    def put(self, row: Row, texts: Sequence[Held]) -> dict[str, Any]:
        """Return the cells; answers are what stands in their places now."""
        context = next((held.text for held in texts if held.role == "context"), None)
        new = self._plain.put(row, [held for held in texts if held.role != "context"])
        if context is None or context.text == row["context"]:
            return new
        new["context"] = context.text
        answers = [context.text[start:end] for start, end in context.spans]
        starts = [start for start, _ in context.spans]
        if not answers:
            return new
        if self._starts:
            return new | {
                "answers": _like(row["answers"], answers),
                "answer_starts": _like(row["answer_starts"], starts),
            }
        if not isinstance(row["answers"], str) or not _is_json(row["answers"]):
            return new | {"answers": _like(row["answers"], answers)}
        objects = [{"text": text, "answer_start": at} for text, at in zip(answers, starts, strict=True)]
        return new | {"answers": json.dumps(objects, ensure_ascii=False)}


def _like(cell: Any, values: list[Any]) -> Any:
    """The values as the cell before held its own: one or several, JSON text or not, numbers or digits."""
    if isinstance(cell, list):
        digits = any(isinstance(each, str) for each in cell)
        return [str(value) if digits else value for value in values]
    if isinstance(cell, str):
        return json.dumps(values, ensure_ascii=False) if _is_json(cell) and cell[0] == "[" else str(values[0])
    return values[0]


class EntityCells:
    """Texts whose entities are given by characters."""

    def texts(self, row: Row) -> list[Held]:
        """Return the text with its entities as spans."""
        if not row["text"]:
            return []
        spans = spans_in(row["entities"], row["text"], place_of(row))
        return [Held("text", Text(row["text"], tuple((span.start, span.end) for span in spans)))]

    def put(self, row: Row, texts: Sequence[Held]) -> dict[str, Any]:
        """Return text and entities."""
        if not texts:
            return {}
        text = texts[0].text
        types = [span.type for span in spans_in(row["entities"], row["text"], place_of(row))]
        entities = [
            {"start": start, "end": end, "type": type} for (start, end), type in zip(text.spans, types, strict=True)
        ]
        return {"text": text.text, "entities": json.dumps(entities, ensure_ascii=False)}


class TokenCells:
    """Tokens with tags, as one text: entities are spans and keep their tokens and tags; the rest is cut anew, as the
    tokens of the data are cut.
    """  # fmt: skip

    def __init__(self, part: Part) -> None:
        joined = Joined()
        for cell in part.dataset["tokens"]:
            joined.add(tokens_in(cell, part.name))
        self._signs = joined.signs

    def texts(self, row: Row) -> list[Held]:
        """Return the sentence with its entities as spans."""
        units = units_of_tokens(tokens_in(row["tokens"], place_of(row)))
        spans = tuple((units.starts[first], units.ends[last - 1]) for first, last in self._entities(row))
        return [Held("tokens", Text(units.text, spans))]

    def put(self, row: Row, texts: Sequence[Held]) -> dict[str, Any]:
        """Return tokens and tags."""
        tokens = tokens_in(row["tokens"], place_of(row))
        tags = tags_in(row["tags"], None, len(tokens), place_of(row))
        outside = next((tag for tag in OUTSIDES if tag in tags), OUTSIDE)
        [held] = texts
        found, said, at = list[str](), list[str](), 0
        spans = zip(held.text.spans, self._entities(row), strict=True)
        for (start, end), (first, last) in sorted(spans):
            between = units_of_text(held.text.text[at:start], self._signs).words
            found += [*between, *tokens[first:last]]
            said += [outside] * len(between) + tags[first:last]
            at = end
        rest = units_of_text(held.text.text[at:], self._signs).words
        return {"tokens": found + rest, "tags": said + [outside] * len(rest)}

    def _entities(self, row: Row) -> list[Span]:
        """Runs of tokens that are not outside of entities."""
        tokens = tokens_in(row["tokens"], place_of(row))
        tags = tags_in(row["tags"], None, len(tokens), place_of(row))
        found, at = list[Span](), 0
        for inside, run in groupby(tags, key=lambda tag: tag not in OUTSIDES):
            count = len(list(run))
            if inside:
                found.append((at, at + count))
            at += count
        return found


# --- spans after a change


def moved(before: Text, after: str, edits: Sequence[Edit] | None = None) -> Text | None:
    """Return `after` with the spans of `before` where they have gone to; None where that cannot be told, as when a
    change reaches over a span's border or nothing is left of it. `edits` made it of `before`; found where not given.
    """  # fmt: skip
    if not before.spans:
        return Text(after)
    starts, ends = _places(_blocks(before.text, edits) if edits is not None else _compared(before.text, after))
    spans = []
    for start, end in before.spans:
        first, last = starts.get(start), ends.get(end)
        if first is None or last is None or first >= last or not after[first:last].strip():
            return None
        spans.append((first, last))
    return Text(after, tuple(spans))


Block = tuple[int, int, int, int]  # of one text from, to; of the other from, to


def _compared(before: str, after: str) -> list[Block]:
    """Stretches of both that stand for each other, equal or not, one after the other."""
    start, longest = 0, min(len(before), len(after))
    while start < longest and before[start] == after[start]:
        start += 1
    end = 0
    while end < longest - start and before[-1 - end] == after[-1 - end]:
        end += 1
    middle = SequenceMatcher(None, before[start : len(before) - end], after[start : len(after) - end], autojunk=False)
    inside = [(start + a, start + b, start + c, start + d) for _, a, b, c, d in middle.get_opcodes()]
    last = (len(before) - end, len(before), len(after) - end, len(after))
    return [(0, start, 0, start), *inside, last]


def _blocks(before: str, edits: Sequence[Edit]) -> list[Block]:
    found, at, to = list[Block](), 0, 0
    for edit in edits:
        found.append((at, edit.start, to, to + edit.start - at))
        to += edit.start - at
        found.append((edit.start, edit.end, to, to + len(edit.new)))
        at, to = edit.end, to + len(edit.new)
    return [*found, (at, len(before), to, to + len(before) - at)]


def _places(blocks: Sequence[Block]) -> tuple[dict[int, int], dict[int, int]]:
    """Where what begins, and what ends, at a place of the one text does so in the other."""
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    for i1, i2, j1, j2 in blocks:
        if i2 - i1 == j2 - j1:
            starts |= {at: j1 + at - i1 for at in range(i1, i2)}
            ends |= {at: j1 + at - i1 for at in range(i1 + 1, i2 + 1)}
        elif j1 == j2:  # left out
            starts |= dict.fromkeys(range(i1, i2), j1)
            ends |= dict.fromkeys(range(i1 + 1, i2 + 1), j1)
        elif i1 < i2:  # something else: as a whole
            starts[i1], ends[i2] = j1, j2
    return starts, ends


def kept(held: Held, new: str, edits: Sequence[Edit] | None = None) -> Held | None:
    """Return a text as it is after a change; None where it must not be changed so: spans would be lost, or a token of
    several become none or two.
    """  # fmt: skip
    if held.needed and (not new.strip() or len(new.split()) > len(held.text.text.split())):
        return None
    text = moved(held.text, new, edits)
    return None if text is None else replace(held, text=text)
