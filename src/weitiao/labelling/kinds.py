"""What a labeller gives to a row: a label, several, spans of it, or a text; told by the column that the task learns."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from weitiao import registry
from weitiao.errors import DataError, nearest
from weitiao.labelling.acts import Answer, checked_text
from weitiao.labelling.state import key
from weitiao.recipe import Recipe
from weitiao.records import Column, Prediction
from weitiao.tasks.annotations import spans_in

LONGEST_TEXT = 100_000  # characters of a text that is given as an answer


@dataclass(frozen=True)
class Guess:
    """What a model answers, as a labeller would."""

    answer: Answer
    confidence: float | None  # of the answer, where the model has one
    others: Sequence[tuple[str, float]] = ()  # labels with their probability, the likeliest first

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        others = [[label, round(share, 4)] for label, share in self.others]
        confidence = None if self.confidence is None else round(self.confidence, 4)
        return {"answer": self.answer, "confidence": confidence, "others": others}


class Kind(Protocol):
    """A kind of answer. Answers are plain JSON values."""

    name: ClassVar[str]  # of the page's part that asks for it
    labelled: ClassVar[bool]  # whether answers are made of labels

    def checked(self, answer: Answer, text: str, labels: Collection[str], where: str) -> Answer:
        """Return an answer as it is kept; a `DataError` at `where` for one that is none."""

    def read(self, cell: Any, text: str, where: str) -> Answer | None:
        """Return the answer that a cell of data holds; None where it holds none."""

    def guess(self, prediction: Prediction) -> Guess:
        """Return what a model predicted as an answer."""

    def labels_in(self, answer: Answer) -> list[str]:
        """Return the labels that an answer is made of."""

    def unit(self, answer: Answer) -> Hashable:
        """Return what has to be the same for two labellers to agree."""


SHOWN = 5  # labels that a guess tells of


def _known(label: Any, labels: Collection[str], where: str) -> str:
    if not isinstance(label, str) or label not in labels:
        raise DataError(f"unknown label {label!r}", where=where, fix=nearest(str(label), labels))
    return label


def _likeliest(prediction: Prediction) -> list[tuple[str, float]]:
    found: Mapping[str, float] = prediction["probabilities"]
    return sorted(found.items(), key=lambda each: -each[1])[:SHOWN]


class OneLabel:
    """One of several labels: a text."""

    name: ClassVar[str] = "label"
    labelled: ClassVar[bool] = True

    def checked(self, answer: Answer, text: str, labels: Collection[str], where: str) -> Answer:
        """One that is known."""
        return _known(answer, labels, where)

    def read(self, cell: Any, text: str, where: str) -> Answer | None:
        """A cell's text."""
        if isinstance(cell, list):
            raise DataError("holds a list of labels", where=where, fix="Each row has one label here.")
        return str(cell).strip() or None if cell is not None else None

    def guess(self, prediction: Prediction) -> Guess:
        """The likeliest."""
        return Guess(prediction["label"], prediction["score"], _likeliest(prediction))

    def labels_in(self, answer: Answer) -> list[str]:
        """Itself."""
        return [answer]

    def unit(self, answer: Answer) -> Hashable:
        """Itself."""
        return str(answer)


class SeveralLabels:
    """Any number of labels: a list, none included."""

    name: ClassVar[str] = "labels"
    labelled: ClassVar[bool] = True

    def checked(self, answer: Answer, text: str, labels: Collection[str], where: str) -> Answer:
        """Each known, in the order of the label set."""
        if not isinstance(answer, list):
            raise DataError(f"found {answer!r}, not a list of labels", where=where)
        given = {_known(label, labels, where) for label in answer}
        return [label for label in labels if label in given]

    def read(self, cell: Any, text: str, where: str) -> Answer | None:
        """A cell's list."""
        if cell is None:
            return None
        return [str(each).strip() for each in (cell if isinstance(cell, list) else [cell]) if str(each).strip()]

    def guess(self, prediction: Prediction) -> Guess:
        """Those that the model takes; as sure as the least sure of them, or of none as that none fits."""
        probabilities, found = prediction["probabilities"], prediction["labels"]
        sure = min((probabilities[label] for label in found), default=1 - max(probabilities.values(), default=0.0))
        return Guess(found, sure, _likeliest(prediction))

    def labels_in(self, answer: Answer) -> list[str]:
        """All."""
        return list(answer)

    def unit(self, answer: Answer) -> Hashable:
        """The set."""
        return frozenset(answer)


class Spans:
    """Parts of a text with a type each: ``[{"start": 0, "end": 4, "type": "PER"}]``, characters, the end not included;
    what the task `token-classification` reads.
    """  # fmt: skip

    name: ClassVar[str] = "spans"
    labelled: ClassVar[bool] = True

    def checked(self, answer: Answer, text: str, labels: Collection[str], where: str) -> Answer:
        """Within the text, apart from each other, of known types; in their order."""
        if not isinstance(answer, list):
            raise DataError(f"found {answer!r}, not a list of spans", where=where)
        found = spans_in(answer, text, where)
        return [{"start": s.start, "end": s.end, "type": _known(s.type, labels, where)} for s in found]

    def read(self, cell: Any, text: str, where: str) -> Answer | None:
        """A cell's list; nothing at all is no answer, an empty list is one."""
        if cell is None or cell == "":
            return None
        return [{"start": s.start, "end": s.end, "type": s.type} for s in spans_in(cell, text, where)]

    def guess(self, prediction: Prediction) -> Guess:
        """The entities; as sure as the least sure of them."""
        found = [{name: each[name] for name in ("start", "end", "type")} for each in prediction["entities"]]
        return Guess(found, min((each["score"] for each in prediction["entities"]), default=None))

    def labels_in(self, answer: Answer) -> list[str]:
        """The types."""
        return list(dict.fromkeys(each["type"] for each in answer))

    def unit(self, answer: Answer) -> Hashable:
        """All spans with their types: one character more or less is another answer."""
        return key(answer)


class FreeText:
    """A text that the model is to write."""

    name: ClassVar[str] = "text"
    labelled: ClassVar[bool] = False

    def checked(self, answer: Answer, text: str, labels: Collection[str], where: str) -> Answer:
        """Not empty, and of a length that a model could learn."""
        if not isinstance(answer, str) or not answer.strip():
            raise DataError("the text is empty", where=where, fix="Write something, or skip the row.")
        if len(answer) > LONGEST_TEXT:
            raise DataError(f"the text has {len(answer):,} characters", where=where,
                            fix=f"Write {LONGEST_TEXT:,} at most.")  # fmt: skip
        return checked_text(answer.strip(), where)

    def read(self, cell: Any, text: str, where: str) -> Answer | None:
        """A cell's text; of several the first."""
        first = next(iter(cell), None) if isinstance(cell, list) else cell
        return str(first).strip() or None if first is not None else None

    def guess(self, prediction: Prediction) -> Guess:
        """What the model writes, or found."""
        return Guess(prediction["text"] if "text" in prediction else prediction["answer"], None)

    def labels_in(self, answer: Answer) -> list[str]:
        """None."""
        return []

    def unit(self, answer: Answer) -> Hashable:
        """The text but for width and white space."""
        return " ".join(unicodedata.normalize("NFKC", str(answer)).split())


KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (OneLabel(), SeveralLabels(), Spans(), FreeText())}


def kind_for(recipe: Recipe, several: bool) -> tuple[Kind, Column]:
    """Return what is to be given to each row for a task to learn it, and the column that it stands in.

    `several`: whether a row may have more than one label. Raises a `DataError` where it is none of these kinds.
    """
    task = registry.get("task", recipe.task.name)
    for column in task.columns if task.reads == "text" else ():
        if not column.target:
            continue
        if column.kind == "label":
            return KINDS["labels" if several else "label"], column
        if column.kind == "any" and not column.prose and column.form == "text":
            return KINDS["spans"], column
        if column.kind in ("text", "any") and column.prose and not column.form:
            return KINDS["text"], column
    raise DataError(f"examples of the task {recipe.task.name} cannot be labelled here", where=recipe.place("task"),
                    fix="What can be given is a label, several, spans of a text, or a text.")  # fmt: skip
