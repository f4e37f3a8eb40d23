"""What labellers do, one act at a time: the records that a project's `labels.jsonl` holds."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from weitiao.errors import DataError, nearest

Kind = Literal["label", "skip", "unsure", "note", "undo", "adjudicate", "new-label"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LONGEST = 200  # characters of a name
Answer = Any  # plain JSON: a label, a list of labels, a list of spans, a text


def new_id() -> str:
    """Return an id that no other act has."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Act:
    """One thing that somebody did. Its `id` is made where it was done, so that it may be sent twice and count once."""

    act: Kind
    annotator: str
    row: str = ""  # id of the pool's row; "" where it is about none
    answer: Answer = None  # of label and adjudicate; of new-label its name
    note: str = ""
    undoes: str = ""  # of undo: the id of the act that does not count any more
    seconds: float | None = None  # between seeing the row and the act
    guess: Mapping[str, Any] | None = None  # what the model had guessed
    shown: bool = False  # whether the guess was to be seen
    source: str = ""  # where it was imported from; "" of what was done here
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    id: str = field(default_factory=new_id)

    def line(self) -> str:
        """Return it as a line of JSON; what is empty is left out."""
        kept = {each.name: getattr(self, each.name) for each in fields(self)}
        told = {"act", "annotator"} | {name for name, value in kept.items() if value not in (None, "", False)}
        if self.act in ("label", "adjudicate"):
            told.add("answer")  # an empty list is an answer
        return json.dumps({name: value for name, value in kept.items() if name in told}, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, line: str, where: str) -> Act:
        """Return the act of a line; a `DataError` at `where` for anything else."""
        try:
            stored = json.loads(line)
        except ValueError as error:
            raise DataError(f"is not JSON: {error}", where=where, fix="Take the line out, or put it right.") from None
        if not isinstance(stored, dict):
            raise DataError("is no act: not a JSON object", where=where)
        known = {each.name for each in fields(cls)}
        missing = {"act", "annotator", "time", "id"} - set(stored)
        if missing or set(stored) - known:
            told = f"has no '{min(missing)}'" if missing else f"has an unknown field '{min(set(stored) - known)}'"
            raise DataError(f"is no act: {told}", where=where)
        if stored["act"] not in KINDS:
            raise DataError(f"unknown act '{stored['act']}'", where=where, fix=nearest(str(stored["act"]), KINDS))
        return cls(**stored)


def checked_text(text: str, where: str) -> str:
    """Return a text as it is; a `DataError` where it holds half a character, which no file can hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"character {error.start + 1} is half of one: {text[error.start]!r}", where=where,
                        fix="Take it out.") from None  # fmt: skip
    return text


def checked_name(name: str, what: str) -> str:
    """Return the name of a person or a label without white space around it; a `DataError` where it can be none."""
    found = " ".join(name.split())
    if not found or len(found) > LONGEST or not found.isprintable():
        raise DataError(f"found {name[:40]!r}", where=what, fix=f"Write 1 to {LONGEST} characters on a line.")
    return found
