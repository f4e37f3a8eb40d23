"""The right answers of a question as files write them, and where they stand in the context."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from weitiao.errors import DataError
from weitiao.records import Example
from weitiao.tasks.inputs import place_of

NEAR = 50  # characters around its offset in which an answer may stand
START_KEYS = ("answer_start", "answer_starts", "start")

How = Literal["there", "found", "moved", "first", "nowhere", "elsewhere"]


class Answer(NamedTuple):
    """A right answer; `start` is the character it begins at, None where the file does not tell."""

    text: str
    start: int | None = None


class Place(NamedTuple):
    """Where an answer stands in the context, in characters, end exclusive, without white space around it.

    `how`: ``there`` at its offset; ``found`` without one, once; ``moved`` from a wrong offset; ``first`` of several,
    there being no offset; ``nowhere`` in the context; ``elsewhere``, several times but never near its offset. In the
    last two cases start and end are -1.
    """

    start: int
    end: int
    how: How

    @property
    def known(self) -> bool:
        """Whether the answer stands somewhere."""
        return self.end >= 0


def right_answers(example: Example) -> list[Answer]:
    """Return an example's right answers; none where the context does not hold any.

    `answers` is a text, a list of texts, or SQuAD's objects: ``{"text": [...], "answer_start": [...]}``, or a list of
    ``{"text": ..., "answer_start": ...}``, also as JSON text. `answer_starts` is a number or a list of as many.
    A `DataError` names the row and the field.
    """
    cell, where = _value(example.get("answers")), place_of(example)
    if isinstance(cell, Mapping):
        texts = _listed(cell.get("text"))
        starts = _listed(next((cell[key] for key in START_KEYS if key in cell), None))
    elif isinstance(cell, list) and any(isinstance(each, Mapping) for each in cell):
        texts, starts = _of_objects(cell, where)
    else:
        texts, starts = _listed(cell), _listed(_value(example.get("answer_starts")))
    if starts and len(starts) != len(texts):
        raise DataError(f"'answer_starts' has {len(starts)} numbers for {len(texts)} answers", where=where,
                        fix="Each answer needs the character that it begins at; or leave them all out.")  # fmt: skip
    starts = starts or [None] * len(texts)
    return [Answer(_text(text, where), _start(start, where)) for text, start in zip(texts, starts, strict=True)
            if text is not None and str(text).strip()]  # fmt: skip


def texts_of_answers(example: Example) -> list[str]:
    """Return the texts of an example's right answers."""
    return [answer.text.strip() for answer in right_answers(example)]


def find(context: str, answer: Answer) -> Place:
    """Find an answer: at its offset, else nearest to it, else where it stands but once.

    Letter for letter, then with other case or white space; whole words before parts of words.
    """
    text, start = answer.text.strip(), answer.start
    if start is not None:
        after_space = start + len(answer.text) - len(answer.text.lstrip())
        for begin in (after_space, start):
            if begin >= 0 and context.startswith(text, begin):
                return Place(begin, begin + len(text), "there")
    places = _occurrences(context, text)
    if not places:
        return Place(-1, -1, "nowhere")
    if start is None:
        return Place(*places[0], "found" if len(places) == 1 else "first")
    nearest = min(places, key=lambda span: abs(span[0] - start))
    if len(places) > 1 and abs(nearest[0] - start) > NEAR:
        return Place(-1, -1, "elsewhere")
    return Place(*nearest, "moved")


def _occurrences(context: str, text: str) -> list[tuple[int, int]]:
    exact = [match.span() for match in re.finditer(re.escape(text), context)]
    spaced = r"\s*".join(re.escape(letter) for letter in text if not letter.isspace())
    found = exact or [match.span() for match in re.finditer(spaced, context, re.IGNORECASE)]
    return [span for span in found if _is_whole(context, *span)] or found


def _is_whole(context: str, start: int, end: int) -> bool:
    """Whether no word of a script with spaces is cut at either end."""
    return not any(
        0 < at < len(context) and re.fullmatch(r"[^\W_\u2e80-\u9fff\uf900-\ufaff]{2}", context[at - 1 : at + 1])
        for at in (start, end)
    )


# --- cells


def _value(cell: Any) -> Any:
    """Return a cell with objects and lists read where it is JSON text."""
    if not isinstance(cell, str) or not cell.lstrip().startswith(("{", "[")):
        return cell
    try:
        value = json.loads(cell)
    except ValueError:
        return cell  # an answer that begins with a bracket
    return value if isinstance(value, list) or "text" in value else cell


def _listed(cell: Any) -> list[Any]:
    if isinstance(cell, list):
        return cell
    return [] if cell is None or cell == "" else [cell]


def _of_objects(cell: list[Any], where: str) -> tuple[list[Any], list[Any]]:
    for each in cell:
        if not isinstance(each, Mapping) or "text" not in each:
            raise DataError(f"'answers' holds {json.dumps(each, ensure_ascii=False)[:80]}, no answer", where=where,
                            fix='Write {"text": ..., "answer_start": ...}.')  # fmt: skip
    starts = [next((each[key] for key in START_KEYS if key in each), None) for each in cell]
    return [each["text"] for each in cell], starts


def _text(text: Any, where: str) -> str:
    if isinstance(text, Mapping | list):
        raise DataError(f"'answers' holds {type(text).__name__}, not text", where=where,
                        fix="Write a text, or a list of texts.")  # fmt: skip
    return str(text)


def _start(start: Any, where: str) -> int | None:
    """Return a whole number; None for nothing and for -1, which stands for an unknown place."""
    if start is None or str(start).strip() == "":
        return None
    try:
        number = float(str(start))
        whole = int(number)
    except (ValueError, OverflowError):
        whole, number = 0, 0.5
    if whole != number:
        raise DataError(f"'answer_starts' holds '{start}', not a whole number", where=where,
                        fix="It is the character that the answer begins at, counted from 0.")  # fmt: skip
    return None if whole < 0 else whole
